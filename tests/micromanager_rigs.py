"""The Micro-Manager driver on a real MMCore with the demonstration devices, for the tests of it; and a desk on top."""

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from types import SimpleNamespace

import pytest

from acquisition.clock import NS_PER_MS, SystemClock
from acquisition.commands import Command, Order, Outcome
from acquisition.frame import Frame
from acquisition.limits import Limits
from acquisition.loop import AcquisitionLoop
from acquisition.micromanager.microscope import MicroManagerMicroscope
from acquisition.microscope import Capabilities, Imaging
from tests.polling import next_frame, wait_until

pytest.importorskip("mm_test_adapters", reason="needs the device adapters of the extra `demo`")
import mm_test_adapters

from tests.micromanager_cores import JavaLikeCore, Watched, watched

__all__ = ["watched"]
CONFIG = Path(__file__).parents[1] / "hardware_configs" / "micromanager_demo.cfg"
ADAPTERS = mm_test_adapters.device_adapter_path()
IMAGING = Imaging(interval_ms=1.0, exposure_ms=10.0, light_mw=2.0)
"""An interval below the exposure: every image of the free-running camera is wanted."""
STEP_UM = 0.015
CLOCK = SystemClock()

Open = Callable[..., MicroManagerMicroscope]


@pytest.fixture
def open_rig(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> Iterator[Open]:
    """Opens microscopes on any kind of core and closes them when the test is over."""
    opened = []

    def open_one(core: str = "pymmcore", imaging: Imaging = IMAGING, **settings: object) -> MicroManagerMicroscope:
        config = str(settings.pop("config_file", CONFIG))
        if core == "java":
            bridge = SimpleNamespace(Core=lambda port, timeout: JavaLikeCore(watched, config, ADAPTERS))
            monkeypatch.setitem(sys.modules, "pycromanager", bridge)
        else:
            settings["config_file"] = config
        microscope = MicroManagerMicroscope(core=core, **({"buffer_mb": 16, "trigger": "Trigger"} | settings))
        opened.append(microscope)
        microscope.open(CLOCK, imaging)
        return microscope

    yield open_one
    watched.failing.clear()
    watched.hanging.clear()
    watched.release.set()
    for microscope in opened:
        microscope.close()


def stand_still(microscope: MicroManagerMicroscope) -> None:
    wait_until(lambda: not microscope.busy(), CLOCK, "the stage stands")


def fresh_frame(microscope: MicroManagerMicroscope) -> Frame:
    """A frame whose exposure surely began after now: on a busy machine its end is thought to be later than it was."""
    now_ns = CLOCK.now_ns() + 30 * NS_PER_MS
    while True:
        frame = next_frame(microscope, CLOCK)
        if frame.header.t_ns - frame.header.exposure_ms * NS_PER_MS > now_ns:
            return frame


LIMITS = Limits(
    x_um=(-100, 100),
    y_um=(-100, 100),
    z_um=(-10, 10),
    exposure_ms=(0.5, 50),
    interval_ms=(0.5, 10_000),
    light_mw=(0, 5),
)


@dataclass
class RealDesk:
    """The acquisition loop on a Micro-Manager rig, turned by the test."""

    rig: MicroManagerMicroscope
    imaging: Imaging = IMAGING
    limits: Limits = LIMITS
    frames: list[Frame] = field(default_factory=list)
    doses_mj: list[float] = field(default_factory=list)
    outcomes: dict[str, Outcome] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.rig.close()
        self.capabilities: Capabilities = self.rig.open(CLOCK, self.imaging)
        self._orders: list[Order] = []
        self._numbers = count()
        self.loop = AcquisitionLoop(
            self.rig, self.capabilities, self.limits, self.imaging, CLOCK, self._publish, self._receive, self._answer
        )
        self.loop.start()

    def ask(self, command: Command) -> str:
        """Its id; `turn` until it has an outcome."""
        order_id = f"{type(command).__name__}.{next(self._numbers)}"
        self._orders.append(Order(id=order_id, command=command, source="test", trusted=True))
        return order_id

    def outcome(self, command: Command) -> tuple[str, str]:
        """Turn the loop until the command has its outcome: status and detail."""
        order_id = self.ask(command)
        self.turn_until(lambda: order_id in self.outcomes)
        return self.outcomes[order_id].status, self.outcomes[order_id].detail

    def turn_until(self, condition: Callable[[], bool]) -> None:
        until_ns = CLOCK.now_ns() + 10_000 * NS_PER_MS
        while not condition():
            assert self.loop.end is None, self.loop.end
            assert CLOCK.now_ns() < until_ns, "not within 10 s"
            self.loop.turn()

    def more(self, n: int) -> None:
        """Turn the loop for so many further frames."""
        n_frames = len(self.frames) + n
        self.turn_until(lambda: len(self.frames) >= n_frames)

    def because_of(self, order_id: str) -> list[Frame]:
        return [frame for frame in self.frames if frame.header.reason == order_id]

    def _publish(self, frame: Frame, dose_mj: float) -> None:
        self.frames.append(frame)
        self.doses_mj.append(dose_mj)

    def _receive(self, wait_s: float) -> list[Order]:
        if not self._orders:
            CLOCK.sleep_s(wait_s)
        arrived, self._orders = self._orders, []
        return arrived

    def _answer(self, order: Order, status: str, detail: str, checked_ns: int) -> None:
        assert order.id not in self.outcomes, "exactly one outcome"
        self.outcomes[order.id] = Outcome(order.id, status, detail, checked_ns)  # type: ignore[arg-type]
