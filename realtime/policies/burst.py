"""burst: take frames at the camera's full rate for a moment, fired by what is seen."""

import math
from collections.abc import Iterable
from dataclasses import dataclass, field

from acquisition.clock import NS_PER_MS, NS_PER_S
from acquisition.commands import AcquireBurst, AtLeastOne, NotNegative, Positive
from acquisition.frame import FrameHeader
from realtime.decisions import Decision
from realtime.policy import Scene
from realtime.sought import Sought
from tracking.tracks import EventKind

SAME = 0.01
"""An interval counts as the burst's within 1 %: cameras round it."""
JITTER_FRAMES = 1.5
"""So far the number of frames may be off what their times say."""


@dataclass(kw_only=True)
class Burst(Sought):
    """A burst for a cell whose looks agree, or for an event; every track gets its own few.

    Nobody else changes how frames are taken while a burst lasts: its frames come as they were declared, and the next decision
    takes effect at its end. A burst of which there is no sign within `repeat_ms` was refused, and is not counted.
    """

    n_frames: AtLeastOne
    """Length of a burst."""
    interval_ms: Positive
    """Time between its frames."""
    events: tuple[EventKind, ...] = ()
    """Instead of class_name or feature: these events of a track fire at once, whatever its looks."""
    refractory_s: NotNegative = 10.0
    """Least time from the end of one burst to the next."""
    most: AtLeastOne = 1_000_000
    """No more bursts than this in a run."""
    most_per_track: AtLeastOne = 1
    repeat_ms: Positive = 2000.0
    """A burst that no frame shows by then did not take place."""

    _fired: dict[int, int] = field(default_factory=dict, init=False)
    """Living track → bursts it has had."""
    _n_fired: int = field(default=0, init=False)
    _free_ns: float = field(default=-math.inf, init=False)
    _asked: FrameHeader | None = field(default=None, init=False)
    """The frame on which a burst was decided that no frame has shown yet."""
    _asked_for: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        if bool(self.sought) == bool(self.events):
            raise ValueError("give class_name, feature or events: one condition decides")

    def decide(self, scene: Scene) -> Iterable[Decision]:
        """At most one burst, for the longest-known track that is due one."""
        self.remember(scene)
        alive = set(scene.tracks.id.tolist())
        self._fired = {track: n for track, n in self._fired.items() if track in alive}
        self._hear_of_last(scene.frame)
        track_id = next((t for t in self._wanted(scene) if self._fired.get(t, 0) < self.most_per_track), None)
        resting = self._asked is not None or scene.frame.t_ns < self._free_ns
        if track_id is None or resting or self._n_fired >= self.most or not scene.segmented:
            return ()
        self._count(scene.frame, track_id)
        burst = AcquireBurst(self.n_frames, self.interval_ms)
        about = track_id if track_id in alive else None  # a division has ended its mother's track
        return (Decision(command=burst, reason=self._why(scene, track_id), track_id=about),)

    def _wanted(self, scene: Scene) -> list[int]:
        if self.events:
            return [event.track_id for event in scene.tracks.events if event.kind in self.events]
        return self._looks.agreeing(self.looks)

    def _why(self, scene: Scene, track_id: int) -> str:
        if self.events:
            return f"track {track_id}: {next(e.kind for e in scene.tracks.events if e.track_id == track_id)}"
        return f"track {track_id}: {self.sought} in {self._looks.count(track_id)} of its last {self.of} frames"

    def _count(self, frame: FrameHeader, track_id: int) -> None:
        self._asked, self._asked_for = frame, track_id
        self._fired[track_id] = self._fired.get(track_id, 0) + 1
        self._n_fired += 1
        lasts_ms = self.n_frames * self.interval_ms
        self._free_ns = frame.t_ns + round(lasts_ms * NS_PER_MS + self.refractory_s * NS_PER_S)

    def _hear_of_last(self, frame: FrameHeader) -> None:
        """The burst that was asked for has begun, or it will not: then it is as if it had not been asked for."""
        if self._asked is None:
            return
        if self._is_shown(frame, self._asked) or self._is_missed(frame, self._asked):
            self._asked = None
        elif frame.t_ns - self._asked.t_ns >= self.repeat_ms * NS_PER_MS:
            self._asked, self._free_ns = None, -math.inf
            self._n_fired -= 1
            if self._asked_for in self._fired:
                self._fired[self._asked_for] -= 1

    def _is_shown(self, frame: FrameHeader, asked: FrameHeader) -> bool:
        is_fast = math.isclose(frame.interval_ms, self.interval_ms, rel_tol=SAME)
        return is_fast and frame.reason.startswith(f"{asked.index}.")

    def _is_missed(self, frame: FrameHeader, asked: FrameHeader) -> bool:
        """It took place between two looks: more frames have been taken than the interval, the same as before, allows."""
        if not math.isclose(frame.interval_ms, asked.interval_ms, rel_tol=SAME):
            return False
        n_slow = (frame.t_ns - asked.t_ns) / NS_PER_MS / asked.interval_ms
        n_more = self.n_frames * (1 - self.interval_ms / asked.interval_ms)
        return frame.index - asked.index - n_slow >= max(n_more / 2, JITTER_FRAMES)
