"""A recorded movie as a camera. Its pixels are given; time and the place of the view can be changed."""

from dataclasses import dataclass, field
from typing import Annotated, Literal

import numpy as np
from msgspec import Meta

from acquisition.clock import NS_PER_S, Clock, SystemClock
from acquisition.commands import Command, MoveStage, Positive, SetInterval
from acquisition.frame import Frame, FrameHeader
from acquisition.microscope import Capabilities, DeviceState, FilePath, Imaging, MicroscopeError
from acquisition.replayed.movies import open_movie
from acquisition.replayed.playback import (
    DigitalStage,
    OpenMovie,
    ReadAhead,
    longest_ms,
    own_intervals_ms,
    pixel_size,
    usual_facts,
)
from acquisition.replayed.recorded import Movie, MovieError, Pixels

SidePx = Annotated[int, Meta(ge=1)]
LOOK_AGAIN_S = 0.0005
"""How soon to ask again for a frame that is due but still being read from the disk."""
STOPPED_S = 3600.0


@dataclass
class ReplayedMicroscope:
    """Plays an OME-TIFF, TIFF stack, folder of TIFFs, OME-Zarr or session, every frame of it, in order.

    Frames of our own sessions keep their recorded stage, affine, exposure, light and channel. Exposure and
    light cannot be asked for: nothing could obey.
    """

    path: FilePath
    """The movie: a file or folder."""
    pace: Literal["own", "fixed", "fast"] = "own"
    """`own`: as recorded; `fixed`: imaging.interval_ms; `fast`: no waiting (`own` if simulated)."""
    repeat: Annotated[int, Meta(ge=0)] = 1
    """How many times the movie is played, 0 for ever; time and frame index go on."""
    um_per_px: Positive | None = None
    """Size of a pixel, if the movie does not say it or says it wrong; our own sessions always say."""
    own_interval_ms: Positive = 1000.0
    """Interval at the own pace of a movie that does not know its times."""
    window_px: tuple[SidePx, SidePx] | None = None
    """Height and width of a view smaller than the movie, which MoveStage pans over it in whole pixels."""

    _clock: Clock = field(init=False, repr=False, default_factory=SystemClock)
    _imaging: Imaging = field(init=False, repr=False, default_factory=Imaging)
    _open: OpenMovie | None = field(init=False, repr=False, default=None)
    _running: bool = field(init=False, repr=False, default=False)
    _gate_open: bool = field(init=False, repr=False, default=False)

    # --- life -----------------------------------------------------------------------------------------------

    @property
    def rig_id(self) -> str | None:
        """Nothing to protect: any number of runs may play one movie."""
        return None

    def open(self, clock: Clock, imaging: Imaging) -> Capabilities:
        """Open the movie and begin to read its first frame."""
        self.close()
        self._clock, self._imaging = clock, imaging
        try:
            movie = open_movie(self.path)
        except MovieError as error:
            raise MicroscopeError(str(error)) from error
        try:
            self._open = self._prepared(movie)
            self._open.check_window()
        except BaseException:
            movie.close()
            self._open = None
            raise
        self._open.reader.want(0)
        height, width = self.window_px or movie.largest_shape or movie.shape
        return Capabilities(
            name=f"recorded movie {movie.path.name}",
            height_px=height,
            width_px=width,
            dtype=movie.dtype,
            um_per_px=self._open.um_per_px,
            commands=self._commands(),
        )

    def start(self) -> None:
        """Play on from where the movie stands; the next frame is exposed at once."""
        playing = self._opened()
        if not self._running:
            self._running = True
            playing.schedule.start(self._clock.now_ns(), self._imaging.exposure_ms)

    def stop(self) -> None:
        """Hold the movie."""
        self._running = False

    def make_safe(self) -> None:
        """Hold the movie, shut the gate."""
        self._running = self._gate_open = False

    def close(self) -> None:
        """Let go of the file and end the reading thread."""
        self.make_safe()
        playing, self._open = self._open, None
        if playing is not None:
            playing.reader.close()

    def _opened(self) -> OpenMovie:
        if self._open is None:
            raise MicroscopeError(f"{self.path}: the movie is not open; call open() first")
        return self._open

    def _prepared(self, movie: Movie) -> OpenMovie:
        um_per_px = pixel_size(movie, self.um_per_px)
        return OpenMovie(
            movie=movie,
            reader=ReadAhead(movie, threaded=not self._clock.simulated),
            um_per_px=um_per_px,
            own_interval_ms=own_intervals_ms(movie.times_ns, len(movie), self.own_interval_ms),
            set_interval_ms=self._imaging.interval_ms,
            stage=DigitalStage(self.window_px) if self.window_px else None,
            facts=movie.facts(0) if movie.facts else usual_facts(self._imaging, movie.shape, um_per_px),
            shape=movie.shape,
        )

    # --- frames ---------------------------------------------------------------------------------------------

    def ready_in_s(self) -> float:
        """Time until the next frame is due; a movie at its end wants attention now."""
        if not self._running:
            return STOPPED_S
        wait_s = 0.0 if self.exhausted() else (self._due_ns() - self._clock.now_ns()) / NS_PER_S
        if wait_s > 0:
            return wait_s
        return 0.0 if self._opened().reader.is_ready() else LOOK_AGAIN_S

    def poll_frame(self) -> Frame | None:
        """The next frame once it is due and read."""
        if not self._running or self.exhausted():
            return None
        playing, due_ns, now_ns = self._opened(), self._due_ns(), self._clock.now_ns()
        if now_ns < due_ns or not playing.reader.is_ready():
            return None
        try:
            recorded, facts = playing.reader.take()
        except MovieError as error:
            raise MicroscopeError(str(error)) from error
        playing.shape = (recorded.shape[0], recorded.shape[1])
        playing.facts = facts or playing.facts
        frame = self._frame(playing, recorded, now_ns if self._is_fast else due_ns)
        playing.schedule.taken(frame.header.t_ns, frame.header.t_read_ns)
        playing.index += 1
        playing.dose_mj += frame.header.light_mw * frame.header.exposure_ms / 1000
        if not self.exhausted():
            playing.reader.want(playing.position)
        return frame

    def lost_frames(self) -> int:
        """A file loses none."""
        return 0

    def dose_mj(self) -> float:
        """What the frames played so far cost when they were taken."""
        return self._opened().dose_mj

    def exhausted(self) -> bool:
        """True once the last frame of the last repeat was taken."""
        playing = self._opened()
        return self.repeat > 0 and playing.index >= self.repeat * len(playing.movie)

    @property
    def _is_fast(self) -> bool:
        return self.pace == "fast" and not self._clock.simulated

    def _due_ns(self) -> int:
        interval_ms = 0.0 if self._is_fast else self._next_interval_ms()
        return self._opened().schedule.due_ns(interval_ms)

    def _next_interval_ms(self) -> float:
        """The interval that leads to the next frame, as set or as recorded."""
        playing = self._opened()
        return playing.set_interval_ms if self.pace == "fixed" else playing.own_interval_ms(playing.position)

    def _frame(self, playing: OpenMovie, recorded: Pixels, t_ns: int) -> Frame:
        pixels, view, facts = playing.cut(recorded), playing.view, playing.facts
        header = FrameHeader(
            index=playing.index,
            t_ns=t_ns,
            t_read_ns=self._clock.now_ns(),
            height_px=view.shape[0],
            width_px=view.shape[1],
            dtype="uint8" if pixels.dtype == np.uint8 else "uint16",
            channel=facts.channel,
            exposure_ms=facts.exposure_ms,
            interval_ms=self._next_interval_ms(),
            light_mw=facts.light_mw,
            stage=view.stage,
            stage_from_pixel=view.affine,
            um_per_px=playing.um_per_px,
        )
        return Frame(header, pixels)

    # --- commands and state ---------------------------------------------------------------------------------

    def apply(self, command: Command) -> None:
        """SetInterval at fixed pace, MoveStage with a window; pulses and bursts are served by the loop."""
        playing = self._opened()
        if type(command).__name__ not in self._commands():
            raise MicroscopeError(
                f"{self.path}: a recorded movie cannot {type(command).__name__}; "
                f"with these settings it can {', '.join(sorted(self._commands()))}"
            )
        if isinstance(command, SetInterval):
            playing.set_interval_ms = command.interval_ms
        elif isinstance(command, MoveStage) and playing.stage is not None:
            playing.stage.move(command, playing.field)

    def _commands(self) -> frozenset[str]:
        paced = ("SetInterval", "AcquireBurst") if self.pace == "fixed" else ()
        movable = ("MoveStage",) if self.window_px is not None else ()
        return frozenset(("PulseSorter", *paced, *movable))

    def busy(self) -> bool:
        """A window moves at once."""
        return False

    def halt(self) -> None:
        """Nothing to stop: a window stands where it was sent."""

    def set_gate(self, opened: bool) -> None:
        """Nothing is connected; the state can be read back."""
        self._gate_open = opened

    def state(self) -> DeviceState:
        """As of the last frame; at its own pace the longest interval, so that no gap counts as a stall."""
        playing = self._opened()
        own_ms = longest_ms(playing.movie.times_ns, self.own_interval_ms)
        return DeviceState(
            stage=playing.view.stage,
            exposure_ms=playing.facts.exposure_ms,
            interval_ms=playing.set_interval_ms if self.pace == "fixed" else own_ms,
            light_mw=playing.facts.light_mw if self._running else 0.0,
            channel=playing.facts.channel,
            shutter_open=self._running,
            gate_open=self._gate_open,
        )
