"""Devices of the simulated microscope: a camera that keeps time and a stage that takes time."""

import math
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace

from acquisition.clock import NS_PER_MS, NS_PER_S, Clock
from acquisition.commands import MoveStage, SetRoi
from acquisition.frame import FrameHeader, StagePosition
from acquisition.microscope import MicroscopeError
from acquisition.simulated.rendering import Picture

KEPT_RECORDS = 10_000
LOOK_AGAIN_S = 0.0005
"""How soon to ask again for a frame that is still being rendered."""


@dataclass(frozen=True)
class _Shot:
    """An exposure that has begun: its frame's header, and its picture where a worker makes it."""

    header: FrameHeader
    picture: Future[Picture] | None


@dataclass(frozen=True)
class _Exposure:
    """Light on the specimen. One exposure ends before the next begins."""

    begins_ns: int
    ends_ns: int
    light_mw: float

    def dose_mj(self, now_ns: int) -> float:
        """The energy by now."""
        return self.light_mw * max(0, min(now_ns, self.ends_ns) - self.begins_ns) / NS_PER_S


class SimulatedCamera:
    """Exposes at its pace into a buffer; frames that find it full are lost, as in any camera that overruns.

    On a real clock a worker thread renders during the exposure, and a frame is late if that takes longer. On
    a simulated clock `poll` renders in the caller's thread.
    """

    def __init__(
        self,
        clock: Clock,
        describe: Callable[[int, int], FrameHeader],
        render: Callable[[FrameHeader], Picture],
        buffer_frames: int,
        stall_after: int,
    ) -> None:
        """`describe` is asked for the header (index, end of exposure) when an exposure begins."""
        self.n_lost = 0
        self.running = False
        self.lit: deque[tuple[int, int]] = deque(maxlen=KEPT_RECORDS)
        self._clock, self._describe, self._render = clock, describe, render
        self._buffer_frames, self._stall_after = buffer_frames, stall_after
        self._shots: deque[_Shot] = deque()
        self._latest = _Exposure(0, 0, 0.0)
        self._dose_before_mj = 0.0  # of all exposures before the latest
        self._next_index = self._next_end_ns = self._interval_ns = self._exposure_ns = 0
        self._worker = None if clock.simulated else ThreadPoolExecutor(1, "simulated-microscope")

    def set_pace(self, interval_ms: float, exposure_ms: float) -> None:
        """Interval and exposure of the exposures that have not begun yet."""
        last_end_ns = self._next_end_ns - self._interval_ns
        self._interval_ns, self._exposure_ns = round(interval_ms * NS_PER_MS), round(exposure_ms * NS_PER_MS)
        self._next_end_ns = max(last_end_ns + self._interval_ns, self._clock.now_ns() + self._exposure_ns)

    def start(self) -> None:
        """Begin the next exposure now."""
        if not self.running:
            self.running = True
            self._next_end_ns = self._clock.now_ns() + self._exposure_ns

    def stop(self) -> None:
        """Break off the exposure that is under way, and drop the frames that nobody has read by now."""
        now_ns = self.catch_up()
        self.running = False
        self._next_index -= len(self._shots)  # theirs go to the frames that are read next
        while self._shots:
            if (picture := self._shots.pop().picture) is not None:
                picture.cancel()
        self._latest = replace(self._latest, ends_ns=min(self._latest.ends_ns, now_ns))
        if self.lit and self.lit[-1][1] > now_ns:
            self.lit[-1] = (self.lit[-1][0], now_ns)

    def dose_mj(self) -> float:
        """Of all exposures until now, the part of one that is under way included."""
        now_ns = self.catch_up()
        return self._dose_before_mj + self._latest.dose_mj(now_ns)

    def catch_up(self) -> int:
        """Begin all exposures whose time has come, under the settings that held until now; returns now.

        To be called before any setting is changed.
        """
        now_ns = self._clock.now_ns()
        while self.running and not self._stalled and self._next_end_ns - self._exposure_ns <= now_ns:
            self._expose()
        return now_ns

    def amend(self, amended: Callable[[FrameHeader], FrameHeader]) -> None:
        """Something happened that the exposure under way will show: replace its header and picture."""
        if self._under_way(self._clock.now_ns()):
            self._shots.append(self._shot(amended(self._shots.pop().header)))

    def ready_in_s(self) -> float:
        """Time until the next frame is there or the next exposure begins; a guess where nothing is coming."""
        now_ns = self.catch_up()
        if self._shots:
            shot = self._shots[0]
            late = shot.header.t_ns <= now_ns and shot.picture is not None and not shot.picture.done()
            return LOOK_AGAIN_S if late else max(0, shot.header.t_ns - now_ns) / NS_PER_S
        if not self.running:
            return self._exposure_ns / NS_PER_S
        if self._stalled:  # nobody can tell, so the next frame is always expected one interval after the last
            return (self._interval_ns - (now_ns - self._next_end_ns) % self._interval_ns) / NS_PER_S
        return (self._next_end_ns - self._exposure_ns - now_ns) / NS_PER_S

    def poll(self) -> tuple[FrameHeader, Picture] | None:
        """The oldest frame in the buffer whose exposure has ended and whose picture is there."""
        now_ns = self.catch_up()
        if not self._shots or self._shots[0].header.t_ns > now_ns:
            return None
        header, picture = self._shots[0].header, self._shots[0].picture
        if picture is not None and not picture.done():
            return None
        self._shots.popleft()
        return header, picture.result() if picture is not None else self._render(header)

    def close(self) -> None:
        """Stop, and wait for the worker to end."""
        self.stop()
        if self._worker is not None:
            self._worker.shutdown(cancel_futures=True)

    @property
    def _stalled(self) -> bool:
        return 0 < self._stall_after <= self._next_index

    def _under_way(self, now_ns: int) -> bool:
        return bool(self._shots) and self._shots[-1].header.t_ns > now_ns

    def _expose(self) -> None:
        header = self._describe(self._next_index, self._next_end_ns)
        self._dose_before_mj += self._latest.dose_mj(self._latest.ends_ns)
        self._latest = _Exposure(header.t_ns - self._exposure_ns, header.t_ns, header.light_mw)
        if header.light_mw > 0:
            self.lit.append((header.t_ns - self._exposure_ns, header.t_ns))
        if len(self._shots) < self._buffer_frames:
            self._shots.append(self._shot(header))
        else:
            self.n_lost += 1
        self._next_index += 1
        self._next_end_ns += self._interval_ns

    def _shot(self, header: FrameHeader) -> _Shot:
        return _Shot(header, self._worker.submit(self._render, header) if self._worker is not None else None)


@dataclass(frozen=True)
class _Trip:
    start: StagePosition
    target: StagePosition
    begins_ns: int
    arrives_ns: int
    settled_ns: int


class SimulatedStage:
    """Travels in a straight line at one speed, then settles; reaches ± half of `travel_um` in x and y."""

    def __init__(self, travel_um: tuple[float, float], speed_um_s: float, settle_ms: float) -> None:
        self._travel_um = travel_um
        self._speed_um_s, self._settle_ns = speed_um_s, round(settle_ms * NS_PER_MS)
        self._trip = _Trip(StagePosition(), StagePosition(), 0, 0, 0)

    def at(self, t_ns: int) -> StagePosition:
        """Where the stage is at `t_ns`, past or future, if nobody sends it elsewhere."""
        trip = self._trip
        if t_ns >= trip.arrives_ns:
            return trip.target
        way = max(0, t_ns - trip.begins_ns) / max(1, trip.arrives_ns - trip.begins_ns)
        return StagePosition(*(a + way * (b - a) for a, b in _axes(trip.start, trip.target)))

    def go(self, move: MoveStage, now_ns: int) -> None:
        """Set off at once, from wherever the stage is. Raises MicroscopeError if that is out of reach."""
        start = self.at(now_ns)
        target = StagePosition(
            self._within_reach("x_um", move.x_um, start.x_um, self._travel_um[0] / 2),
            self._within_reach("y_um", move.y_um, start.y_um, self._travel_um[1] / 2),
            start.z_um if move.z_um is None else move.z_um,
        )
        distance_um = math.hypot(*(b - a for a, b in _axes(start, target)))
        arrives_ns = now_ns + round(distance_um / self._speed_um_s * NS_PER_S)
        self._trip = _Trip(start, target, now_ns, arrives_ns, arrives_ns + self._settle_ns * (distance_um > 0))

    def halt(self, now_ns: int) -> None:
        """Stop where it is, at once."""
        here = self.at(now_ns)
        self._trip = _Trip(here, here, now_ns, now_ns, now_ns)

    def busy(self, now_ns: int) -> bool:
        """True while moving or settling."""
        return now_ns < self._trip.settled_ns

    @staticmethod
    def _within_reach(name: str, target_um: float | None, here_um: float, reach_um: float) -> float:
        if target_um is None:
            return here_um
        if abs(target_um) > reach_um:
            raise MicroscopeError(f"simulated stage: {name} {target_um:g} is out of reach, it travels ±{reach_um:g} µm")
        return target_um


def _axes(a: StagePosition, b: StagePosition) -> list[tuple[float, float]]:
    return [(a.x_um, b.x_um), (a.y_um, b.y_um), (a.z_um, b.z_um)]


def roi_on(sensor_shape: tuple[int, int], roi: SetRoi) -> SetRoi:
    """The part of the sensor that a command means; raises MicroscopeError if it is not a part of it."""
    height_px, width_px = sensor_shape
    if roi == SetRoi(0, 0, 0, 0):
        return SetRoi(0, 0, width_px, height_px)
    fits = roi.x_px + roi.width_px <= width_px and roi.y_px + roi.height_px <= height_px
    if not (fits and roi.width_px and roi.height_px):
        part = f"{roi.width_px} × {roi.height_px} px from x {roi.x_px}, y {roi.y_px}"
        raise MicroscopeError(f"simulated camera: no part of {part}; the sensor has {width_px} × {height_px} px")
    return roi
