"""pace: image fast while something happens, slowly while nothing does."""

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Annotated

import numpy as np
from msgspec import Meta

from acquisition.clock import NS_PER_MS, NS_PER_S
from acquisition.commands import AtLeastOne, NotNegative, Positive, SetExposure, SetInterval
from acquisition.frame import FrameHeader
from realtime.decisions import Decision
from realtime.policy import Scene
from realtime.sought import Looks, cut_off
from tracking.tracks import EventKind, TrackEvent

SAME = 0.01
"""Interval and exposure count as obeyed within 1 %: cameras round them."""


@dataclass
class Watched:
    """A track that the signal counts, or did."""

    since_ns: int
    until_ns: int | None = None
    """When its looks no longer agreed; None: they do."""


@dataclass
class Pace:
    """Two frame intervals and a signal that chooses; two thresholds and a dwell keep it from flickering.

    Fast from the frame in which the signal reaches `high`; slow again once it is down to `low` and was last
    high `dwell_s` ago. With a shorter exposure in the fast mode a faster rate does not mean more light. Frames that
    another policy makes slower still, to save light, count as slow.
    """

    fast_interval_ms: Positive
    slow_interval_ms: Positive
    signal: str = "events"
    """`events`: how many of `events` this frame has. `class:<name>`: how many cells are of that class with
    at least `p_min`. `tracks:<name>`: how many tracks were so in `looks` of their last `of` frames, and their divisions.
    `feature:<name>`: the largest value of any cell."""
    high: float = 1.0
    """Fast from this value of the signal on."""
    low: float = 0.0
    """Slow at or below it."""
    dwell_s: NotNegative = 10.0
    """Stay fast at least so long after the signal was last high."""
    p_min: Annotated[float, Meta(ge=0, le=1)] = 0.5
    """For class:<name> and tracks:<name>."""
    events: tuple[EventKind, ...] = ("divided", "born")
    """Which events count. `born`, although tentative: what appears inside the field is often a daughter, and faster frames
    are how a doubt is settled. Where false cells flicker take `confirmed`, which comes some frames later, or `divided` alone.
    `entered` is no event of the sample: a moving stage makes them all the time."""
    fast_exposure_ms: Positive | None = None
    slow_exposure_ms: Positive | None = None
    """Leave both exposures out to keep the exposure as it is."""
    repeat_ms: Positive = 2000.0
    """Ask again if frames do not show by then what was asked for."""
    looks: AtLeastOne = 1
    """For tracks:<name>: so many frames must agree …"""
    of: AtLeastOne = 1
    """… of the track's last so many."""
    edge_um: NotNegative = 0.0
    """Cells nearer to the view's edge than this are not counted: a nucleus that is cut off looks like a plate. With 0 all are."""
    until_divided: bool = False
    """For tracks:<name>: a track that was counted once is counted until it has divided or ended, whatever later looks say."""
    most_s: Positive = math.inf
    """For tracks:<name>: no track is counted for longer: a cell that is always taken for what it is not must not keep the
    frames fast. It counts again after as long a time without being so."""
    daughters_rest_s: NotNegative = 0.0
    """For tracks:<name>: a cell that was born of a division is not counted for so long: until its chromatin has unfolded it
    looks as its mother did."""

    _watched: dict[int, Watched] = field(default_factory=dict, init=False)
    """Living tracks that are counted, or were."""
    _born_ns: dict[int, int] = field(default_factory=dict, init=False)
    """Daughters that rest: when their mother's division was told."""
    _looks: Looks = field(default_factory=lambda: Looks(1), init=False)
    _fast: bool = field(default=False, init=False)
    _high_ns: int = field(default=0, init=False)
    _asked_ns: int | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        kind, _, name = self.signal.partition(":")
        if self.signal != "events" and (kind not in ("class", "tracks", "feature") or not name):
            known = "events, class:<name>, tracks:<name> or feature:<name>"
            raise ValueError(f"signal must be {known}, not {self.signal!r}")
        if self.looks > self.of:
            raise ValueError(f"looks {self.looks} must not be above of {self.of}")
        if self.low > self.high:
            raise ValueError(f"low {self.low:g} must not be above high {self.high:g}")
        fast_ms, slow_ms = self.fast_interval_ms, self.slow_interval_ms
        if fast_ms > slow_ms:
            raise ValueError(f"fast_interval_ms {fast_ms:g} must not be above slow_interval_ms {slow_ms:g}")
        if (self.fast_exposure_ms is None) != (self.slow_exposure_ms is None):
            raise ValueError("fast_exposure_ms and slow_exposure_ms must be given together, or neither")
        self._looks = Looks(self.of)

    def decide(self, scene: Scene) -> Iterable[Decision]:
        """What must change for frames to be as the mode wants them; nothing while an answer is awaited."""
        if not scene.segmented:
            return ()
        value, now_ns = self._value(scene), scene.frame.t_ns
        if self._turn(value, now_ns):
            self._asked_ns = None
        commands = self._wishes(scene.frame)
        awaited = self._asked_ns is not None and now_ns - self._asked_ns < self.repeat_ms * NS_PER_MS
        if not commands or awaited:
            return ()
        self._asked_ns = now_ns
        return [Decision(command=command, reason=self._reason(value, now_ns)) for command in commands]

    def _reason(self, value: float, now_ns: int) -> str:
        """The signal, and while it is only the dwell that keeps frames fast, when it was last high."""
        dwells = self._fast and value < self.high
        since = f", was high {(now_ns - self._high_ns) / NS_PER_S:.1f} s ago" if dwells else ""
        return f"{self.signal} is {value:g}{since}: {'fast' if self._fast else 'slow'}"

    def _turn(self, value: float, now_ns: int) -> bool:
        """Change the mode if the signal calls for it; True if it changed."""
        was_fast = self._fast
        if value >= self.high:
            self._fast, self._high_ns = True, now_ns
        elif value <= self.low and now_ns - self._high_ns >= self.dwell_s * NS_PER_S:
            self._fast = False
        return self._fast != was_fast

    def _value(self, scene: Scene) -> float:
        """The signal; minus infinity where there is no cell to measure."""
        kind, _, name = self.signal.partition(":")
        whole = ~cut_off(scene.cells, scene.frame, self.edge_um)
        if kind == "class":
            return float(np.count_nonzero(whole & (scene.cells.probability(name) >= self.p_min)))
        if kind == "tracks":
            self._looks.add(scene.tracks, whole & (scene.cells.probability(name) >= self.p_min))
            return float(self._n_watched(scene))
        if kind == "feature":
            return float(np.fmax.reduce(scene.cells.feature(name)[whole], initial=-math.inf))
        return float(sum(event.kind in self.events for event in scene.tracks.events))

    def _n_watched(self, scene: Scene) -> int:
        """Tracks that count now, and divisions of tracks that did until this frame."""
        now_ns = scene.frame.t_ns
        divisions = [event for event in scene.tracks.events if event.kind == "divided"]
        n_divided = sum(event.track_id in self._watched for event in divisions)
        agreeing = set(self._looks.agreeing(self.looks)) - self._resting(divisions, now_ns)
        self._watched = {track: kept for track, kept in self._watched.items() if track in self._looks.bits}
        for track in agreeing | self._watched.keys():
            self._watch(track, track in agreeing, now_ns)
        counted = self._watched if self.until_divided else agreeing
        since_ns = now_ns - self.most_s * NS_PER_S
        return n_divided + sum(1 for track in counted if self._watched[track].since_ns >= since_ns)

    def _resting(self, divisions: list[TrackEvent], now_ns: int) -> set[int]:
        """Daughters whose rest is not over."""
        self._born_ns |= {daughter: now_ns for event in divisions for daughter in event.others}
        since_ns = now_ns - self.daughters_rest_s * NS_PER_S
        self._born_ns = {track: born_ns for track, born_ns in self._born_ns.items() if born_ns > since_ns}
        return set(self._born_ns)

    def _watch(self, track: int, agrees: bool, now_ns: int) -> None:
        """Begin to count a track, for the first time or again after it was something else for `most_s`."""
        watched = self._watched.setdefault(track, Watched(now_ns))
        if not agrees:
            watched.until_ns = now_ns if watched.until_ns is None else watched.until_ns
        elif watched.until_ns is not None:
            was_else_s = (now_ns - watched.until_ns) / NS_PER_S
            self._watched[track] = Watched(now_ns if was_else_s > self.most_s else watched.since_ns)

    def _wishes(self, frame: FrameHeader) -> list[SetInterval | SetExposure]:
        """From what is in force to the mode's values; in this order the duty cycle has no peak in between."""
        interval_ms = self.fast_interval_ms if self._fast else self.slow_interval_ms
        exposure_ms = self.fast_exposure_ms if self._fast else self.slow_exposure_ms
        wishes: list[SetInterval | SetExposure] = []
        slow_enough = not self._fast and frame.interval_ms >= interval_ms
        if not slow_enough and not math.isclose(interval_ms, frame.interval_ms, rel_tol=SAME):
            wishes.append(SetInterval(interval_ms))
        if exposure_ms is not None and not math.isclose(exposure_ms, frame.exposure_ms, rel_tol=SAME):
            wishes.insert(0 if exposure_ms < frame.exposure_ms else len(wishes), SetExposure(exposure_ms))
        return wishes
