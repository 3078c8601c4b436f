"""The DemoCamera as a flow channel: its stage goes one long way while it images, so that its beads pass through the view."""

from dataclasses import dataclass

from acquisition.commands import MoveStage
from acquisition.micromanager.microscope import MicroManagerMicroscope

FAR_UM = 2e6


@dataclass(kw_only=True)
class FlowingDemo(MicroManagerMicroscope):
    """For practising with a sort on a real MMCore; how fast beads flow is the stage's own property, `XY.Velocity`."""

    def start(self) -> None:
        """Image, and set out."""
        super().start()
        self.halt()
        self.apply(MoveStage(x_um=FAR_UM))

    def stop(self) -> None:
        """Stand still, and stop imaging."""
        self.halt()
        super().stop()
