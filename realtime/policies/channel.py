"""channel: look at cells in a second, dearer channel only when there is a reason to."""

import math
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from acquisition.clock import NS_PER_MS, NS_PER_S
from acquisition.commands import AtLeastOne, Command, NotNegative, Positive, SetChannel, SetExposure, SetLight
from acquisition.frame import FrameHeader
from realtime.decisions import Decision
from realtime.policy import Scene
from realtime.sought import Sought
from tracking.tracks import COASTING

PATIENCE_FRAMES = 5
"""So many frames of a look may not be as asked, for example before the exposure follows the channel; then it is over."""
SAME = 0.01
"""Exposure and light count as obeyed within 1 %: devices round them."""


@dataclass(kw_only=True)
class Channel(Sought):
    """A look of some frames in `channel` for tracks that meet the condition, then back to `base`.

    One look serves every cell in view. The way back is asked for in every frame of the channel once the look is over,
    also after a restart and where somebody else has switched: it cannot stick in the dearer channel.
    """

    channel: str
    """The dearer channel; a name that the microscope knows."""
    base: str
    """The channel in which cells are found: perception.channel."""
    frames: AtLeastOne = 1
    """Length of a look."""
    every_s: NotNegative = 60.0
    """A track is looked at again no sooner than this."""
    exposure_ms: Positive | None = None
    """Exposure of a look; left out, it stays."""
    light_mw: Positive | None = None
    """Light of a look; left out, it stays."""
    base_exposure_ms: Positive | None = None
    """Exposure afterwards; left out, what it was before the look (after a restart of inference nobody knows that)."""
    base_light_mw: Positive | None = None
    """Light afterwards, likewise."""
    repeat_ms: Positive = 2000.0
    """Ask again if frames do not show by then what was asked for."""

    _seen_ns: dict[int, int] = field(default_factory=dict, init=False)
    """Living track → its last look."""
    _looking: bool = field(default=False, init=False)
    """A look was asked for and is not over."""
    _n_frames: int = field(default=0, init=False)
    """Frames of the channel since the last one of the base …"""
    _n_good: int = field(default=0, init=False)
    """… and those of them that were taken as asked."""
    _asked_ns: float = field(default=-math.inf, init=False)
    _before: tuple[float | None, float | None] = field(default=(None, None), init=False)
    """Exposure and light of the base channel, as they were or are to be."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.sought:
            raise ValueError("give either class_name or feature: one condition decides")
        if self.channel == self.base:
            raise ValueError(f"channel and base must be two channels, not both {self.base!r}")
        self._before = self.base_exposure_ms, self.base_light_mw

    def decide(self, scene: Scene) -> Iterable[Decision]:
        """In the base channel: go and look if a cell needs it. In the other one: come back once it was seen."""
        self.remember(scene)
        alive = set(scene.tracks.id.tolist())
        self._seen_ns = {track: t_ns for track, t_ns in self._seen_ns.items() if track in alive}
        if scene.frame.channel == self.channel:
            return self._look(scene)
        self._n_frames = self._n_good = 0
        awaited = scene.frame.t_ns - self._asked_ns < self.repeat_ms * NS_PER_MS
        if scene.frame.channel != self.base or awaited:
            return ()
        return self._restore(scene.frame) or self._go(scene)

    def _go(self, scene: Scene) -> list[Decision]:
        """Switch for the longest-known track that needs a look."""
        frame = scene.frame
        waiting = set(self._looks.agreeing(self.looks)) & set(_in_view(scene))
        track = next((t for t in sorted(waiting) if self._is_due(t, frame.t_ns)), None)
        if track is None:
            return []
        self._looking, self._asked_ns = True, frame.t_ns
        self._before = self.base_exposure_ms or frame.exposure_ms, self.base_light_mw or frame.light_mw
        reason = f"track {track}: {self.sought} in {self._looks.count(track)} of its last {self.of} frames"
        commands = [SetChannel(self.channel), *_changes(frame, self.exposure_ms, self.light_mw)]
        return [Decision(command=command, reason=reason, track_id=track) for command in commands]

    def _is_due(self, track: int, t_ns: int) -> bool:
        return track not in self._seen_ns or t_ns - self._seen_ns[track] >= self.every_s * NS_PER_S

    def _look(self, scene: Scene) -> list[Decision]:
        """Count a frame of the channel, and come back when there were enough."""
        frame = scene.frame
        self._n_frames += 1
        if not _changes(frame, self.exposure_ms, self.light_mw):  # what was asked for with the channel is there, too
            self._n_good += 1
            self._seen_ns |= dict.fromkeys(_in_view(scene), frame.t_ns)
        if self._looking and self._n_good < self.frames and self._n_frames < self.frames + PATIENCE_FRAMES:
            return []
        if self._looking and self._n_good < self.frames:  # never as asked: another try at once would end no better
            self._seen_ns |= dict.fromkeys([*self._looks.agreeing(self.looks), *_in_view(scene)], frame.t_ns)
        self._looking, self._asked_ns = False, -math.inf
        reason = f"{self._n_good} frames in {self.channel} are enough"
        commands = [SetChannel(self.base), *_changes(frame, *self._before)]
        return [Decision(command=command, reason=reason) for command in commands]

    def _restore(self, frame: FrameHeader) -> list[Decision]:
        """Exposure and light of before, if a frame of the base channel still shows those of the look."""
        own = [
            before if look is not None and math.isclose(now, look, rel_tol=SAME) else None
            for now, look, before in zip(
                (frame.exposure_ms, frame.light_mw), (self.exposure_ms, self.light_mw), self._before, strict=True
            )
        ]
        commands = _changes(frame, *own)
        if commands:
            self._asked_ns = frame.t_ns
        return [Decision(command=command, reason=f"{self.base} as it was before the look") for command in commands]


def _changes(frame: FrameHeader, exposure_ms: float | None, light_mw: float | None) -> list[Command]:
    """What must be asked for so that frames have this exposure and this light; None leaves one as it is."""
    commands: list[Command] = []
    if exposure_ms is not None and not math.isclose(exposure_ms, frame.exposure_ms, rel_tol=SAME):
        commands.append(SetExposure(exposure_ms))
    if light_mw is not None and not math.isclose(light_mw, frame.light_mw, rel_tol=SAME):
        commands.append(SetLight(light_mw))
    return commands


def _in_view(scene: Scene) -> list[int]:
    """Tracks whose cell is measured in this frame."""
    rows = np.flatnonzero(scene.tracks.cell_row != COASTING)
    measured = np.isfinite(scene.cells.mean_intensity[scene.tracks.cell_row[rows]])
    ids: list[int] = scene.tracks.id[rows[measured]].tolist()
    return ids
