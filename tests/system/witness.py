"""A simulated microscope that keeps a diary in a file: what its devices did, whichever process drove them."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec

from acquisition.clock import Clock
from acquisition.frame import StagePosition
from acquisition.microscope import Capabilities, Imaging
from acquisition.simulated.microscope import SimulatedMicroscope


class Entry(msgspec.Struct, frozen=True):
    """What was done and what the devices read back right afterwards; `t_ns` is the machine's monotonic clock."""

    what: str
    pid: int
    t_ns: int
    shutter_open: bool
    gate_open: bool
    stage_busy: bool
    stage: StagePosition

    @property
    def is_safe(self) -> bool:
        return not (self.shutter_open or self.gate_open or self.stage_busy)


@dataclass
class WitnessedMicroscope(SimulatedMicroscope):
    """Also a rig that only one run may hold: the one that its diary belongs to."""

    diary: str = ""

    @property
    def rig_id(self) -> str:
        return f"witnessed:{self.diary}"

    def open(self, clock: Clock, imaging: Imaging) -> Capabilities:
        capabilities = super().open(clock, imaging)
        self._write("open")
        return capabilities

    def start(self) -> None:
        super().start()
        self._write("start")

    def set_gate(self, opened: bool) -> None:
        super().set_gate(opened)
        if opened:
            self._write("gate opened")

    def make_safe(self) -> None:
        super().make_safe()
        if self._is_open:
            self._write("safe")

    def _write(self, what: str) -> None:
        state = self.state()
        entry = Entry(
            what=what, pid=os.getpid(), t_ns=self._clock.now_ns(), shutter_open=state.shutter_open,
            gate_open=state.gate_open, stage_busy=self.busy(), stage=state.stage,
        )  # fmt: skip
        with Path(self.diary).open("ab") as file:
            file.write(msgspec.json.encode(entry) + b"\n")


def read_diary(path: Path) -> Iterator[Entry]:
    """All entries, in order."""
    with path.open("rb") as lines:
        for line in lines:
            yield msgspec.json.decode(line, type=Entry)
