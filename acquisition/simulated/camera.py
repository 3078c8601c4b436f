"""The camera of the simulated microscope: it keeps time, exposes into a buffer, and needs time to read a frame."""

from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from acquisition.clock import NS_PER_MS, NS_PER_S, Clock
from acquisition.commands import SetRoi
from acquisition.frame import FrameHeader
from acquisition.microscope import MicroscopeError
from acquisition.simulated.light import Lamp, Light
from acquisition.simulated.rendering import Picture
from acquisition.simulated.sensor import Sensor

LOOK_AGAIN_S = 0.0005
"""How soon to ask again for a frame that is still being rendered."""


@dataclass(frozen=True)
class _Shot:
    """An exposure that has begun: its frame's header, and its picture where a worker makes it."""

    header: FrameHeader
    begins_ns: int
    read_ns: int
    """When all its rows are read."""
    picture: Future[Picture] | None


class SimulatedCamera:
    """Exposes at its pace into a buffer; frames that find it full are lost, as in any camera that overruns.

    With mode `snap` an exposure begins only when the frame before it has been polled, so none is lost and all come later
    under a reader that is slow. On a real clock a worker thread renders during the exposure, and a frame is late if that
    takes longer. On a simulated clock `poll` renders in the caller's thread.
    """

    def __init__(
        self,
        clock: Clock,
        lamp: Lamp,
        sensor: Sensor,
        describe: Callable[[int, int], FrameHeader],
        render: Callable[[FrameHeader], Picture],
        illuminate: Callable[[Sequence[Light]], None],
    ) -> None:
        """`describe` is asked for the header (index, end of exposure) when an exposure begins.

        `illuminate` hears of all light before an exposure, once and in order, before `render` is asked for its picture.
        """
        self.n_lost = 0
        self.running = False
        self._clock, self._lamp, self._sensor = clock, lamp, sensor
        self._describe, self._render, self._illuminate = describe, render, illuminate
        self._shots: deque[_Shot] = deque()
        self._light: deque[Light] = deque()  # on a simulated clock: what `illuminate` has not heard of yet
        self._next_index = self._next_end_ns = self._interval_ns = self._exposure_ns = 0
        self._under_way_until_ns = 0
        self._worker = None if clock.simulated else ThreadPoolExecutor(1, "simulated-microscope")

    def set_pace(self, interval_ms: float, exposure_ms: float) -> None:
        """Interval and exposure of the exposures that have not begun yet."""
        last_end_ns = self._next_end_ns - self._interval_ns
        self._interval_ns, self._exposure_ns = round(interval_ms * NS_PER_MS), round(exposure_ms * NS_PER_MS)
        self._next_end_ns = max(last_end_ns + self._interval_ns, self._clock.now_ns() + self._exposure_ns)

    def set_light(self, light_mw: float) -> None:
        """A lamp that is on all the time changes when the exposure under way has ended."""
        self._lamp.set_power(light_mw, max(self._clock.now_ns(), self._under_way_until_ns))

    def start(self, light_mw: float) -> None:
        """Begin the next exposure now."""
        if not self.running:
            self.running = True
            self._next_end_ns = self._clock.now_ns() + self._exposure_ns
            self._lamp.start(self._clock.now_ns(), light_mw)

    def stop(self) -> None:
        """Break off the exposure that is under way, and drop the frames that nobody has read by now."""
        now_ns = self.catch_up()
        if self.running:
            self._lamp.stop(now_ns)
        self.running = False
        self._under_way_until_ns = now_ns
        self._next_index -= len(self._shots)  # theirs go to the frames that are read next
        while self._shots:
            if (picture := self._shots.pop().picture) is not None:
                picture.cancel()

    def dose_mj(self) -> float:
        """All light until now, the part of an exposure that is under way included."""
        return self._lamp.dose_mj(self.catch_up())

    def catch_up(self) -> int:
        """Begin all exposures whose time has come, under the settings that held until now; returns now.

        To be called before any setting is changed.
        """
        now_ns = self._clock.now_ns()
        while self._may_expose() and self._next_end_ns - self._exposure_ns <= now_ns:
            self._expose()
        return now_ns

    def amend(self, amended: Callable[[FrameHeader], FrameHeader]) -> None:
        """Something happened that the exposure under way will show: replace its header and picture."""
        if self._shots and self._shots[-1].header.t_ns > self._clock.now_ns():
            shot = self._shots.pop()
            if shot.picture is not None:
                shot.picture.cancel()
            self._shots.append(self._shot(amended(shot.header), shot.begins_ns))

    def ready_in_s(self) -> float:
        """Time until the next frame is there or the next exposure begins; a guess where nothing is coming."""
        now_ns = self.catch_up()
        if self._shots:
            shot = self._shots[0]
            late = shot.read_ns <= now_ns and shot.picture is not None and not shot.picture.done()
            return LOOK_AGAIN_S if late else max(0, shot.read_ns - now_ns) / NS_PER_S
        if not self.running:
            return self._exposure_ns / NS_PER_S
        return (self._next_end_ns - self._exposure_ns - now_ns) / NS_PER_S

    def poll(self) -> tuple[FrameHeader, Picture] | None:
        """The oldest frame in the buffer that is read from the sensor and whose picture is there."""
        now_ns = self.catch_up()
        if not self._shots or self._shots[0].read_ns > now_ns:
            return None
        shot = self._shots[0]
        if shot.picture is not None and not shot.picture.done():
            return None
        self._shots.popleft()
        if self._sensor.settings.mode == "snap":  # only now the next exposure may begin
            self._next_end_ns = max(self._next_end_ns, now_ns + self._exposure_ns)
        return shot.header, shot.picture.result() if shot.picture is not None else self._rendered(shot)

    def close(self) -> None:
        """Stop, and wait for the worker to end."""
        self.stop()
        if self._worker is not None:
            self._worker.shutdown(cancel_futures=True)

    def _may_expose(self) -> bool:
        return self.running and not (self._shots and self._sensor.settings.mode == "snap")

    def _expose(self) -> None:
        begins_ns, ends_ns = self._next_end_ns - self._exposure_ns, self._next_end_ns
        self._hand_on(self._lamp.take(begins_ns))
        header = self._describe(self._next_index, ends_ns)
        self._lamp.expose(begins_ns, ends_ns, header.light_mw)
        self._under_way_until_ns = ends_ns
        if len(self._shots) < self._sensor.settings.buffer_frames:
            self._shots.append(self._shot(header, begins_ns))
        else:
            self.n_lost += 1
        self._next_index += 1
        self._next_end_ns += self._interval_ns

    def _shot(self, header: FrameHeader, begins_ns: int) -> _Shot:
        read_ns = header.t_ns + round(self._sensor.read_ms(header.height_px) * NS_PER_MS)
        picture = self._worker.submit(self._render, header) if self._worker is not None else None
        return _Shot(header, begins_ns, read_ns, picture)

    def _hand_on(self, light: list[Light]) -> None:
        if self._worker is None:
            self._light += light
        elif light:
            self._worker.submit(self._illuminate, light)

    def _rendered(self, shot: _Shot) -> Picture:
        before = []
        while self._light and self._light[0].ends_ns <= shot.begins_ns:
            before.append(self._light.popleft())
        if before:
            self._illuminate(before)
        return self._render(shot.header)


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


def check_pace(sensor: Sensor, interval_ms: float, exposure_ms: float, n_rows: int) -> None:
    """Raise MicroscopeError for frames that would follow one another faster than the camera can."""
    if interval_ms >= sensor.shortest_interval_ms(exposure_ms, n_rows) * (1 - 1e-9):
        return
    read_ms, asked = sensor.read_ms(n_rows), f"simulated camera: interval {interval_ms:g} ms is too short:"
    if interval_ms < exposure_ms:
        why = f"exposure {exposure_ms:g} ms exceeds it; shorten the exposure or lengthen the interval"
    elif sensor.settings.mode == "snap":
        why = f"exposing {exposure_ms:g} ms and reading {n_rows} rows, {read_ms:g} ms, follow one another; lengthen it"
    else:
        why = f"{n_rows} rows take {read_ms:g} ms to read; lengthen it or read fewer rows (SetRoi)"
    raise MicroscopeError(f"{asked} {why}")
