"""A channel in which discs flow past a camera that hands out stacks of strips; the wanted ones are darker. No more than that."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tomli_w

from acquisition.clock import NS_PER_MS, NS_PER_S, Clock
from acquisition.commands import Command
from acquisition.frame import Frame, FrameHeader, StagePosition
from acquisition.microscope import Capabilities, DeviceState, Imaging

BACKGROUND, WANTED, OTHER = 160.0, 0.35, 0.7
RADIUS_PX = 8
N_NOISES = 32
SECTIONS: dict[str, dict[str, Any]] = {
    "rig": {"name": "discs"},
    "microscope": {"use": "tests.flow_rig:DiscFlow"},
    "imaging": {"interval_ms": 0.5, "exposure_ms": 0.01, "light_mw": 1.0},
    "limits": {
        "x_um": [0.0, 0.0], "y_um": [0.0, 0.0], "exposure_ms": [0.001, 1.0], "interval_ms": [0.1, 10.0],
        "pulses_per_s": 2000.0, "pulse_tolerance_ms": 0.2,
    },
    "classifier": {"use": "tests.flow_rig:DiscClassifier"},
    "sort": {
        "gate": {"classes": ["dark"]}, "flow": {"junction_um": 6000.0, "speed_um_s": 100_000.0},
        "finder": {"background_strips": 64},
    },
    "inference": {"deadline_ms": 1000.0},
    "recorder": {"images": "none", "min_free_gb": 0.01},
    "ring": {"megabytes": 64.0},
}  # fmt: skip


def flow_config(folder: Path, **sections: dict[str, Any]) -> Path:
    """A config file of such a sort; `sections` change single keys."""
    path = folder / "flow.toml"
    tables = {name: table | sections.get(name, {}) for name, table in SECTIONS.items()}
    tables |= {name: table for name, table in sections.items() if name not in SECTIONS}
    path.write_text(tomli_w.dumps(tables), encoding="utf-8")
    return path


@dataclass
class DiscFlow:
    """Every cell goes at the same speed, along the middle of the channel; the gate opens and shuts, and deflects nothing."""

    cells_per_s: float = 500.0
    wanted_share: float = 0.05
    speed_um_s: float = 100_000.0
    um_per_px: float = 0.5
    height_px: int = 64
    width_px: int = 256
    strips: int = 16
    seed: int = 0
    rig_id: str | None = None

    def open(self, clock: Clock, imaging: Imaging) -> Capabilities:
        self._clock, self._imaging = clock, imaging
        self._rng = np.random.default_rng(self.seed)
        self._noise = self._rng.normal(0, 2, (N_NOISES, self.height_px, self.width_px))
        self._disc = np.hypot(*np.indices((2 * RADIUS_PX + 1,) * 2) - RADIUS_PX) <= RADIUS_PX
        self._cells: list[tuple[float, float, bool]] = []
        self._next_s = 0.0
        self._index = self._lost = 0
        self._running = self._gate_open = False
        self._start_ns = clock.now_ns()
        return Capabilities(
            "a channel with discs", self.strips * self.height_px, self.width_px, "uint8", self.um_per_px,
            frozenset({"PulseSorter"}),
        )  # fmt: skip

    def start(self) -> None:
        if not self._running:
            self._running, self._start_ns = True, self._clock.now_ns() - self._ends_ns(self._index)[0]

    def stop(self) -> None:
        self._running = False

    def ready_in_s(self) -> float:
        return (self._start_ns + self._ends_ns(self._index)[-1] - self._clock.now_ns()) / NS_PER_S

    def poll_frame(self) -> Frame | None:
        if not self._running or self.ready_in_s() > 0:
            return None
        ends_ns, index = self._ends_ns(self._index), self._index
        self._index += 1
        times = tuple(self._start_ns + end for end in ends_ns)
        pixels = np.stack([self._strip(index * self.strips + i, end / NS_PER_S) for i, end in enumerate(ends_ns)])
        header = FrameHeader(
            index=index, t_ns=times[-1], t_read_ns=self._clock.now_ns(), height_px=self.strips * self.height_px,
            width_px=self.width_px, dtype="uint8", channel="", exposure_ms=self._imaging.exposure_ms,
            interval_ms=self._imaging.interval_ms, light_mw=self._imaging.light_mw, stage=StagePosition(),
            stage_from_pixel=(self.um_per_px, 0.0, 0.0, 0.0, self.um_per_px, 0.0), um_per_px=self.um_per_px,
            strip_t_ns=times if self.strips > 1 else (),
        )  # fmt: skip
        return Frame(header, pixels.reshape(-1, self.width_px))

    def lost_frames(self) -> int:
        return 0

    def dose_mj(self) -> float:
        return 0.0

    def exhausted(self) -> bool:
        return False

    def apply(self, command: Command) -> None:
        raise NotImplementedError

    def busy(self) -> bool:
        return False

    def halt(self) -> None:
        """Nothing moves."""

    def set_gate(self, opened: bool) -> None:
        self._gate_open = opened

    def state(self) -> DeviceState:
        imaging = self._imaging
        return DeviceState(
            StagePosition(), imaging.exposure_ms, imaging.interval_ms, imaging.light_mw, "", self._running,
            self._gate_open,
        )  # fmt: skip

    def make_safe(self) -> None:
        self._running = self._gate_open = False

    def close(self) -> None:
        self.make_safe()

    def _ends_ns(self, index: int) -> list[int]:
        """Ends of exposure of a stack's strips, from the start of imaging."""
        interval_ns = self._imaging.interval_ms * NS_PER_MS
        return [round((index * self.strips + i + 1) * interval_ns) for i in range(self.strips)]

    def _strip(self, n: int, t_s: float) -> npt.NDArray[np.uint8]:
        """All cells that are in view at `t_s`."""
        while self._next_s < t_s:
            wanted = bool(self._rng.random() < self.wanted_share)
            self._cells.append((self._next_s, self._rng.normal(self.height_px / 2, 2), wanted))
            self._next_s += self._rng.exponential(1 / self.cells_per_s)
        speed_px_s = self.speed_um_s / self.um_per_px
        self._cells = [cell for cell in self._cells if (t_s - cell[0]) * speed_px_s < self.width_px + 2 * RADIUS_PX]
        strip = np.full((self.height_px, self.width_px + 4 * RADIUS_PX), BACKGROUND)
        for entered_s, y_px, wanted in self._cells:
            x, y = round((t_s - entered_s) * speed_px_s), round(y_px) - RADIUS_PX
            place = strip[y : y + len(self._disc), x : x + len(self._disc)]
            place[self._disc[: place.shape[0], : place.shape[1]]] *= WANTED if wanted else OTHER
        strip = strip[:, 2 * RADIUS_PX : 2 * RADIUS_PX + self.width_px] + self._noise[n * 7 % N_NOISES]
        return np.clip(strip, 0, 255).astype(np.uint8)


@dataclass
class DiscClassifier:
    """How much light a disc takes says what it is."""

    class_names: tuple[str, ...] = ("dark", "pale")
    side_px: int = 24
    class_prior: tuple[float, ...] = (0.5, 0.5)
    look_correlation: float = 0.3
    um_per_px: tuple[float, float] | None = None
    description: str = "discs by their darkness"

    def prepare(self, height_px: int, width_px: int) -> None:
        """Nothing is needed."""

    def probabilities(self, crops: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
        middle = self.side_px // 2
        taken = crops[:, middle - 2 : middle + 2, middle - 2 : middle + 2].mean(axis=(1, 2)).astype(np.float64)
        dark = 1 / (1 + np.exp(-20 * (taken - (2 - WANTED - OTHER) / 2)))
        return np.stack((dark, 1 - dark), axis=1)
