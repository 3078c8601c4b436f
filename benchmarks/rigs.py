"""Microscopes for benchmarks: they make no images of their own, so that what is measured is the path behind them."""

from collections import deque
from dataclasses import dataclass, field

import numpy as np

from acquisition.clock import NS_PER_MS, NS_PER_S, Clock, SystemClock
from acquisition.commands import Command, MoveStage, SetExposure, SetInterval
from acquisition.frame import Frame, FrameHeader, StagePosition, affine_at
from acquisition.microscope import Capabilities, DeviceState, Imaging, MicroscopeError

LIGHT_MW = 1.0


@dataclass
class StillMicroscope:
    """A few frames of discs, made beforehand, delivered at the moment they are due. Commands take effect at once."""

    side_px: int = 512
    n_cells: int = 100
    n_images: int = 4
    busy_read: bool = False

    _clock: Clock = field(init=False, repr=False, default_factory=SystemClock)
    _gate: bool = field(init=False, default=False)

    @property
    def rig_id(self) -> str | None:
        return None

    def open(self, clock: Clock, imaging: Imaging) -> Capabilities:
        self._clock, self._imaging = clock, imaging
        self._interval_ms, self._exposure_ms = imaging.interval_ms, imaging.exposure_ms
        self._stage = StagePosition()
        self._images = [discs(self.side_px, self.n_cells, seed) for seed in range(self.n_images)]
        self._index, self._lost, self._due_ns, self._running, self._dose_mj = 0, 0, 0, False, 0.0
        self._sent: deque[int] = deque(maxlen=10)
        commands = frozenset({"MoveStage", "SetInterval", "SetExposure", "PulseSorter", "AcquireBurst"})
        return Capabilities("benchmark rig", self.side_px, self.side_px, "uint16", 0.65, commands)

    def start(self) -> None:
        self._running = True
        self._due_ns = self._clock.now_ns() + round(self._interval_ms * NS_PER_MS)

    def stop(self) -> None:
        self._running = False

    def ready_in_s(self) -> float:
        return max(0.0, (self._due_ns - self._clock.now_ns()) / NS_PER_S) if self._running else 1.0

    def poll_frame(self) -> Frame | None:
        now_ns = self._clock.now_ns()
        if not self._running or now_ns < self._due_ns:
            return None
        interval_ns = round(self._interval_ms * NS_PER_MS)
        late = (now_ns - self._due_ns) // (8 * interval_ns)  # a camera's own buffer of eight frames
        if late:
            self._lost += 8 * late
            self._index += 8 * late
            self._due_ns += 8 * late * interval_ns
        header = FrameHeader(
            index=self._index, t_ns=self._due_ns, t_read_ns=now_ns, height_px=self.side_px, width_px=self.side_px,
            dtype="uint16", channel="", exposure_ms=self._exposure_ms, interval_ms=self._interval_ms, light_mw=LIGHT_MW,
            stage=self._stage, stage_from_pixel=affine_at(self._stage, (0.65, 0, 0, 0.65), (self.side_px, self.side_px)),
            um_per_px=0.65,
        )  # fmt: skip
        self._index += 1
        self._dose_mj += (1 + 8 * late) * LIGHT_MW * self._exposure_ms / 1000
        self._due_ns += interval_ns
        return Frame(header, self._images[self._index % self.n_images])

    def lost_frames(self) -> int:
        return self._lost

    def dose_mj(self) -> float:
        return self._dose_mj

    def exhausted(self) -> bool:
        return False

    def apply(self, command: Command) -> None:
        match command:
            case MoveStage(x_um=x_um, y_um=y_um):
                self._stage = StagePosition(x_um or self._stage.x_um, y_um or self._stage.y_um, 0.0)
            case SetInterval(interval_ms=interval_ms):
                self._interval_ms = interval_ms
            case SetExposure(exposure_ms=exposure_ms):
                self._exposure_ms = exposure_ms
            case _:
                raise MicroscopeError(f"the benchmark rig cannot {type(command).__name__}")

    def busy(self) -> bool:
        return False

    def halt(self) -> None:
        pass

    def set_gate(self, opened: bool) -> None:
        self._gate = opened

    def state(self) -> DeviceState:
        return DeviceState(self._stage, self._exposure_ms, self._interval_ms, LIGHT_MW, "", self._running, self._gate)

    def make_safe(self) -> None:
        self.stop()
        self._gate = False

    def close(self) -> None:
        self.make_safe()


def discs(side_px: int, n_cells: int, seed: int) -> np.ndarray:
    """Bright discs on a dim, noisy ground, on a jittered grid so that few touch."""
    rng = np.random.default_rng(seed)
    image = rng.normal(200, 10, (side_px, side_px))
    per_row = int(np.ceil(np.sqrt(n_cells)))
    pitch = side_px / per_row
    y, x = np.mgrid[:side_px, :side_px]
    radius = pitch * 0.28
    for i in range(n_cells):
        cy, cx = (np.array(divmod(i, per_row)) + 0.5) * pitch + rng.uniform(-0.15, 0.15, 2) * pitch
        y0, y1, x0, x1 = (max(0, int(v)) for v in (cy - pitch, cy + pitch, cx - pitch, cx + pitch))
        part = np.hypot(y[y0:y1, x0:x1] - cy, x[y0:y1, x0:x1] - cx) < radius
        image[y0:y1, x0:x1][part] += 1000
    return image.clip(0, 65535).astype(np.uint16)
