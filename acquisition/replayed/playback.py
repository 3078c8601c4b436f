"""Playing a recorded movie: reading ahead, when each frame is due, and a view panned over the field."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np

from acquisition.clock import NS_PER_MS
from acquisition.commands import MoveStage
from acquisition.frame import Affine, StagePosition, affine_at, stage_um
from acquisition.microscope import Imaging, MicroscopeError
from acquisition.replayed.recorded import FrameFacts, Ints, Movie, Pixels

Recorded = tuple[Pixels, FrameFacts | None]


class ReadAhead:
    """The next frame, read while the loop does other things, or on the spot if the clock is simulated."""

    def __init__(self, movie: Movie, *, threaded: bool) -> None:
        self._movie = movie
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="movie-reader") if threaded else None
        self._reading: Future[Recorded] | None = None
        self._position = 0

    def want(self, position: int) -> None:
        """Begin to read this frame."""
        self._position = position
        self._reading = self._worker.submit(self._read, position) if self._worker else None

    def is_ready(self) -> bool:
        """Whether `take` will return at once."""
        return self._reading is None or self._reading.done()

    def take(self) -> Recorded:
        """The frame that was wanted; raises MovieError."""
        return self._reading.result() if self._reading else self._read(self._position)

    def close(self) -> None:
        """End the thread and close the file."""
        if self._worker is not None:
            self._worker.shutdown(wait=True, cancel_futures=True)
        self._movie.close()

    def _read(self, position: int) -> Recorded:
        facts = self._movie.facts
        return self._movie.pixels(position), facts(position) if facts else None


class Schedule:
    """When the next exposure ends: an interval after the last one, never before that frame was taken.

    So a disk or a loop that falls more than an interval behind makes the movie slip; frames do not bunch up.
    """

    def __init__(self) -> None:
        self._from_ns = 0
        self._first_ms: float | None = None
        self._not_before_ns = 0

    def start(self, now_ns: int, exposure_ms: float) -> None:
        """The first frame is exposed at once."""
        self._from_ns, self._first_ms = now_ns, exposure_ms
        self._not_before_ns = max(self._not_before_ns, now_ns + 1)

    def due_ns(self, interval_ms: float) -> int:
        """End of the next exposure, `interval_ms` after the last."""
        wait_ms = interval_ms if self._first_ms is None else self._first_ms
        return max(self._from_ns + round(wait_ms * NS_PER_MS), self._not_before_ns)

    def taken(self, t_ns: int, t_read_ns: int) -> None:
        """A frame left: the next follows it."""
        self._from_ns, self._first_ms, self._not_before_ns = t_ns, None, t_read_ns + 1


def own_intervals_ms(times_ns: Ints | None, n_frames: int, otherwise_ms: float) -> Callable[[int], float]:
    """Interval that leads to a frame, by its position in the movie; to the first frame it is the median."""
    if times_ns is None or n_frames < 2:
        return lambda position: otherwise_ms
    steps_ms = np.diff(times_ns) / NS_PER_MS
    around_ms = float(np.median(steps_ms))
    return lambda position: float(steps_ms[position - 1]) if position else around_ms


def longest_ms(times_ns: Ints | None, otherwise_ms: float) -> float:
    """The longest interval of a movie."""
    return otherwise_ms if times_ns is None or len(times_ns) < 2 else float(np.diff(times_ns).max()) / NS_PER_MS


def pixel_size(movie: Movie, setting_um: float | None) -> float:
    """Size of a pixel, µm: of our own sessions as recorded, of others as set, or else as the movie says."""
    um_per_px = movie.um_per_px if movie.facts else setting_um or movie.um_per_px
    if um_per_px is None:
        raise MicroscopeError(f"{movie.path}: the size of a pixel is not known; set microscope.um_per_px")
    return um_per_px


def usual_facts(imaging: Imaging, shape: tuple[int, int], um_per_px: float) -> FrameFacts:
    """Of a movie that knows only pixels: its middle is the stage's origin, the rest is the config's."""
    return FrameFacts(
        stage=StagePosition(),
        stage_from_pixel=affine_at(StagePosition(), (um_per_px, 0.0, 0.0, um_per_px), shape),
        exposure_ms=imaging.exposure_ms,
        interval_ms=imaging.interval_ms,
        light_mw=imaging.light_mw,
        dose_mj=0.0,
        channel=imaging.channel or "recorded",
        reason="start",
    )


@dataclass(frozen=True)
class Field:
    """What a frame shows: the stage's position, the pixel → stage µm map, height and width in pixels."""

    stage: StagePosition
    affine: Affine
    shape: tuple[int, int]

    def pixel_at(self, x_um: float, y_um: float) -> tuple[float, float]:
        """Pixel at a stage position, x first; it may be outside the frame."""
        matrix = np.asarray(self.affine).reshape(2, 3)
        x_px, y_px = np.linalg.solve(matrix[:, :2], np.array([x_um, y_um]) - matrix[:, 2])
        return float(x_px), float(y_px)

    def part(self, x0: int, y0: int, shape: tuple[int, int]) -> "Field":
        """A smaller field whose upper left pixel is (x0, y0); its stage position is its own middle."""
        a, b, c, d, e, f = self.affine
        affine = (a, b, c + a * x0 + b * y0, d, e, f + d * x0 + e * y0)
        middle_px = np.array([[(shape[1] - 1) / 2, (shape[0] - 1) / 2]])
        x_um, y_um = (float(value) for value in stage_um(affine, middle_px)[0])
        return Field(StagePosition(x_um, y_um, self.stage.z_um), affine, shape)


class DigitalStage:
    """A stage made of arithmetic: pans a window over recorded frames in whole pixels, up to their edges."""

    def __init__(self, window_px: tuple[int, int]) -> None:
        self.window_px = window_px
        self._target_um: tuple[float, float] | None = None

    def corner_px(self, field: Field) -> tuple[int, int]:
        """The window's upper left pixel, x first: as near to the target as the field allows."""
        (height, width), (field_height, field_width) = self.window_px, field.shape
        x_px, y_px = (field_width - 1) / 2, (field_height - 1) / 2
        if self._target_um is not None:
            x_px, y_px = field.pixel_at(*self._target_um)
        x0, y0 = round(x_px - (width - 1) / 2), round(y_px - (height - 1) / 2)
        return min(max(x0, 0), field_width - width), min(max(y0, 0), field_height - height)

    def view(self, field: Field) -> Field:
        """The part of the field that the window shows."""
        return field.part(*self.corner_px(field), self.window_px)

    def move(self, move: MoveStage, field: Field) -> None:
        """Aim at a position within the field; raises MicroscopeError, and then the stage stays."""
        if move.z_um is not None:
            raise MicroscopeError(f"z_um {move.z_um:g} asked for, but a recorded movie has no focus; leave z out")
        here = self.view(field).stage
        x_um = here.x_um if move.x_um is None else move.x_um
        y_um = here.y_um if move.y_um is None else move.y_um
        (x_px, y_px), (height, width) = field.pixel_at(x_um, y_um), field.shape
        if not (-0.5 <= x_px <= width - 0.5 and -0.5 <= y_px <= height - 0.5):
            raise MicroscopeError(
                f"x_um {x_um:g}, y_um {y_um:g} is pixel {x_px:.0f}, {y_px:.0f}, outside the recorded "
                f"field of {width}×{height} pixels; keep [limits] x_um and y_um within the field"
            )
        self._target_um = (x_um, y_um)


@dataclass
class OpenMovie:
    """What there is while a movie is open."""

    movie: Movie
    reader: ReadAhead
    um_per_px: float
    own_interval_ms: Callable[[int], float]
    """Interval that leads to a frame, by its position in the movie."""
    set_interval_ms: float
    stage: DigitalStage | None
    facts: FrameFacts
    """Of the frame taken last; at first, of the first frame."""
    shape: tuple[int, int]
    """Of the same frame, as recorded."""
    index: int = 0
    """Of the next frame."""
    dose_mj: float = 0.0
    """Of the frames played so far."""
    schedule: Schedule = field(default_factory=Schedule)

    @property
    def position(self) -> int:
        """Of the next frame in the movie."""
        return self.index % len(self.movie)

    @property
    def field(self) -> Field:
        """All that was recorded."""
        return Field(self.facts.stage, self.facts.stage_from_pixel, self.shape)

    @property
    def view(self) -> Field:
        """The part of it that is shown."""
        return self.field if self.stage is None else self.stage.view(self.field)

    def check_window(self) -> None:
        """Refuse a window that is larger than what was recorded."""
        field_height, field_width = self.shape
        height, width = self.stage.window_px if self.stage else self.shape
        if height > field_height or width > field_width:
            raise MicroscopeError(
                f"{self.movie.path}: microscope.window_px is [{height}, {width}], but frame {self.index} "
                f"is only {field_height}×{field_width} (height × width) pixels; choose a smaller window"
            )

    def cut(self, recorded: Pixels) -> Pixels:
        """The pixels of `view`."""
        if self.stage is None:
            return recorded
        self.check_window()
        height, width = self.stage.window_px
        x0, y0 = self.stage.corner_px(self.field)
        return np.ascontiguousarray(recorded[y0 : y0 + height, x0 : x0 + width])
