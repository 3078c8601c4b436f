"""budget: make a fixed dose of light last for the whole experiment."""

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Annotated, Literal

from msgspec import Meta

from acquisition.clock import NS_PER_MS, NS_PER_S
from acquisition.commands import Command, NotNegative, Positive, SetExposure, SetInterval, SetLight, Stop
from acquisition.frame import FrameHeader
from realtime.decisions import Decision
from realtime.policy import Scene

FORESEEN_FRAMES = 3
"""Frames that may be taken before a decision acts: their light must be there."""


@dataclass(kw_only=True)
class Budget:
    """What is left of the light, spread evenly over what is left of the time.

    Reckoned anew in every frame: what another policy spends in a burst is paid back by slower imaging, what it spares may
    be spent later. Faster frames than `burst_below_ms` are such a burst and are left alone, as long as the slowest imaging
    allowed could still make good for it. When there is no light left for another frame the experiment is over and the run
    ends: a pause would last for ever, since no policy sees a frame in it.
    """

    duration_s: Positive
    """How long the light must last, from the first frame that this policy sees."""
    mj: Positive = math.inf
    """The light for that time; `inf` takes limits.dose_mj."""
    setting: Literal["interval_ms", "exposure_ms", "light_mw"] = "interval_ms"
    """What is changed: slower frames, shorter ones or dimmer ones."""
    least: Positive
    """Of that setting, in its unit."""
    most: Positive
    burst_below_ms: NotNegative = 0.0
    """With interval_ms: frames that another policy takes faster than this are left alone."""
    deadband: Annotated[float, Meta(gt=0, lt=1)] = 0.05
    """The setting is left as it is while it is this near to what is called for, as a share."""
    repeat_ms: Positive = 2000.0
    """Ask again if frames do not show by then what was asked for."""

    _began_ns: int | None = field(default=None, init=False)
    _asked: float | None = field(default=None, init=False)
    _asked_ns: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        if self.burst_below_ms and self.setting != "interval_ms":
            raise ValueError(f'burst_below_ms is for setting = "interval_ms", not for "{self.setting}"')
        if self.least > self.most:
            raise ValueError(f"least {self.least:g} must not be above most {self.most:g}")

    def decide(self, scene: Scene) -> Iterable[Decision]:
        """The interval, exposure or light with which the rest of the light lasts for the rest of the time."""
        frame = scene.frame
        self._began_ns = frame.t_ns if self._began_ns is None else self._began_ns
        reserve_mj = FORESEEN_FRAMES * frame_mj(frame)
        left_mj = min(self.mj, scene.dose.limit_mj) - scene.dose.total_mj - reserve_mj
        left_s = self.duration_s - (frame.t_ns - self._began_ns) / NS_PER_S
        if math.isinf(left_mj) or frame.light_mw <= 0:
            return ()
        if left_mj <= 0:
            reason = f"the light is spent: less than {reserve_mj:.3g} mJ are left, a frame or two"
            return (Decision(command=Stop(), reason=reason),)
        if left_s <= 0 or not scene.segmented or self._is_burst(frame, left_mj, left_s):
            return ()
        return self._spread(frame, left_mj, left_s)

    def _spread(self, frame: FrameHeader, left_mj: float, left_s: float) -> Iterable[Decision]:
        now = float(getattr(frame, self.setting))
        wish = min(max(self._lasting(frame, left_mj / left_s), self.least), self.most)
        if abs(wish / now - 1) <= self.deadband or self._awaited(now, frame.t_ns):
            return ()
        self._asked, self._asked_ns = wish, frame.t_ns
        return (Decision(command=self._command(wish), reason=f"{left_mj:.3g} mJ for {left_s:.0f} s"),)

    def _lasting(self, frame: FrameHeader, mj_s: float) -> float:
        """The setting that spends so much light in a second."""
        if self.setting == "interval_ms":
            return 1000 * frame_mj(frame) / mj_s
        return float(getattr(frame, self.setting)) * mj_s * frame.interval_ms / 1000 / frame_mj(frame)

    def _is_burst(self, frame: FrameHeader, left_mj: float, left_s: float) -> bool:
        """Faster than this policy images, and slow frames could still pay for it."""
        is_fast = frame.interval_ms < self.burst_below_ms
        return is_fast and left_mj >= frame_mj(frame) * (1000 * left_s / self.most)

    def _command(self, value: float) -> Command:
        match self.setting:
            case "interval_ms":
                return SetInterval(value)
            case "exposure_ms":
                return SetExposure(value)
            case _:
                return SetLight(value)

    def _awaited(self, now: float, t_ns: int) -> bool:
        """True while frames may still be taken with what was in force before."""
        if self._asked is None or abs(now / self._asked - 1) <= self.deadband:
            return False
        return t_ns - self._asked_ns < self.repeat_ms * NS_PER_MS


def frame_mj(frame: FrameHeader) -> float:
    """The light of one frame."""
    return frame.light_mw * frame.exposure_ms / 1000
