"""A sorter that times pulses itself, on the simulated clock, and a microscope with one: for tests of the gate."""

from dataclasses import dataclass, field

from acquisition.clock import NS_PER_MS, Clock
from acquisition.microscope import Capabilities, Imaging, RigGone
from acquisition.pulses import PulseReport
from acquisition.simulated.microscope import SimulatedMicroscope

SMALL = {"height_px": 64, "width_px": 64, "n_cells": 3, "specimen_um": (400.0, 400.0)}


@dataclass
class ToldTimer:
    """Keeps every moment exactly, and refuses what it is told too late."""

    lead_ms: float = 2.0
    opened: list[tuple[str, int]] = field(default_factory=list)
    """Of every pulse that came its name and when the gate opened."""
    off_ns: int = 0
    """So much beside its moment it opens."""
    silent: bool = False
    gone: bool = False

    def __post_init__(self) -> None:
        self.clock: Clock | None = None
        self._waiting: list[tuple[int, str]] = []
        self._reports: list[PulseReport] = []

    def fire_at(self, at_ns: int, width_ms: float, name: str) -> None:
        assert self.clock is not None
        if at_ns - self.clock.now_ns() < self.lead_ms * NS_PER_MS:
            self._reports.append(PulseReport(name, "late", "it came too late for the sorter"))
        else:
            self._waiting.append((at_ns, name))

    def reports(self) -> list[PulseReport]:
        assert self.clock is not None
        if self.gone:
            raise RigGone("the sorter is gone")
        for at_ns, name in sorted(self._waiting):
            if at_ns + self.off_ns <= self.clock.now_ns():
                self._waiting.remove((at_ns, name))
                self.opened.append((name, at_ns + self.off_ns))
                self._reports.append(PulseReport(name, "done", "opened", at_ns + self.off_ns))
        reports, self._reports = self._reports, []
        return [] if self.silent else reports

    def cancel_pulses(self) -> None:
        self._reports += [PulseReport(name, "refused", "cancelled") for _, name in self._waiting]
        self._waiting.clear()


@dataclass(kw_only=True)
class TimedMicroscope(SimulatedMicroscope):
    """The simulated microscope, whose trigger output is such a sorter."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.timer = ToldTimer()

    @property
    def pulse_timer(self) -> ToldTimer:
        return self.timer

    def open(self, clock: Clock, imaging: Imaging) -> Capabilities:
        self.timer.clock = clock
        return super().open(clock, imaging)

    def make_safe(self) -> None:
        self.timer.cancel_pulses()
        super().make_safe()


@dataclass(kw_only=True)
class GatedMicroscope(SimulatedMicroscope):
    """The simulated microscope, which notes when its gate was opened and shut."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.edges: list[tuple[bool, int]] = []
        self.time: Clock | None = None
        self.slow_s = 0.0
        """How long its output takes to open."""

    def open(self, clock: Clock, imaging: Imaging) -> Capabilities:
        self.time = clock
        return super().open(clock, imaging)

    def set_gate(self, opened: bool) -> None:
        assert self.time is not None
        if opened:
            self.time.sleep_s(self.slow_s)
        if opened != bool(self.edges and self.edges[-1][0]):
            self.edges.append((opened, self.time.now_ns()))
        super().set_gate(opened)
