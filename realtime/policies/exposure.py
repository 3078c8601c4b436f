"""exposure: hold a signal-to-noise ratio with as little light as that takes."""

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Annotated, Literal

import numpy as np
from msgspec import Meta

from acquisition.clock import NS_PER_MS
from acquisition.commands import Positive, SetExposure, SetLight
from realtime.decisions import Decision
from realtime.policy import Scene
from realtime.sought import cut_off
from tracking.tracks import COASTING

SAME = 0.01
"""Exposure and light count as obeyed within 1 %: devices round them."""


@dataclass(kw_only=True)
class Exposure:
    """Exposure time or light power from how well the tracked cells stand out of the noise.

    Where photons make the noise, signal-to-noise grows with the square root of the light, so the light that is needed is
    (target / seen)² times what was used. Cells that bleach are followed, and brighter ones spared.
    """

    target: Positive
    """Signal-to-noise of a pixel below which cells shall not fall."""
    setting: Literal["exposure_ms", "light_mw"] = "exposure_ms"
    """What is changed."""
    least: Positive
    """Of that setting, in its unit."""
    most: Positive
    quantile: Annotated[float, Meta(ge=0, le=1)] = 0.25
    """Which cells must have it: 0.25 leaves a quarter of them below the target."""
    feature: str = "snr"
    """The feature that says it; it must be measured (perception.features)."""
    deadband: Annotated[float, Meta(gt=0, lt=1)] = 0.1
    """So far above the target, as a share of it, signal-to-noise may be without an answer; the middle is aimed at."""
    gain: Annotated[float, Meta(gt=0, lt=1)] = 0.8
    """Share of the way (of the logarithm) that one change takes; below 1, so that read noise cannot make it swing."""
    step: Annotated[float, Meta(gt=1)] = 1.5
    """One change multiplies or divides the setting at most by this."""
    edge_um: Annotated[float, Meta(ge=0)] = 1.0
    """Cells nearer to the view's edge do not count; with 0 all do."""
    channel: str = ""
    """Look only at frames of this channel; empty: at all."""
    repeat_ms: Positive = 2000.0
    """Ask again if frames do not show by then what was asked for."""

    _asked: float | None = field(default=None, init=False)
    _asked_ns: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        if self.least > self.most:
            raise ValueError(f"least {self.least:g} must not be above most {self.most:g}")

    def decide(self, scene: Scene) -> Iterable[Decision]:
        """Another exposure or light, if signal-to-noise is off the target; nothing while an answer is awaited."""
        seen = self._seen(scene)
        if not scene.segmented or self.channel not in ("", scene.frame.channel):
            return ()
        now = scene.frame.exposure_ms if self.setting == "exposure_ms" else scene.frame.light_mw
        wish = self._wish(now, seen)
        if wish is None or self._awaited(now, scene.frame.t_ns):
            return ()
        self._asked, self._asked_ns = wish, scene.frame.t_ns
        command = SetExposure(wish) if self.setting == "exposure_ms" else SetLight(wish)
        return (Decision(command=command, reason=f"{self.feature} is {seen:.3g}, to be {self.target:g}"),)

    def _seen(self, scene: Scene) -> float:
        """Signal-to-noise that all but a share of the cells have; NaN if there is no cell to ask."""
        values = scene.cells.feature(self.feature)
        tracked = np.zeros(len(values), dtype=bool)
        rows = scene.tracks.cell_row[scene.tracks.confirmed]
        tracked[rows[rows != COASTING]] = True
        known = values[tracked & np.isfinite(values) & ~cut_off(scene.cells, scene.frame, self.edge_um)]
        return float(np.quantile(known, self.quantile)) if known.size else math.nan

    def _wish(self, now: float, seen: float) -> float | None:
        """The setting that is called for, or None if it is near enough."""
        if math.isnan(seen) or now <= 0:
            return None
        if self.target <= seen <= self.target * (1 + self.deadband):
            return None
        aim = self.target * math.sqrt(1 + self.deadband)
        factor = (aim / max(seen, 1e-3 * aim)) ** (2 * self.gain)  # no signal at all asks for the largest step
        wish = min(max(now * min(max(factor, 1 / self.step), self.step), self.least), self.most)
        return None if math.isclose(wish, now, rel_tol=SAME) else wish

    def _awaited(self, now: float, t_ns: int) -> bool:
        """True while frames may still be taken with what was in force before."""
        if self._asked is None or math.isclose(now, self._asked, rel_tol=SAME):
            return False
        return t_ns - self._asked_ns < self.repeat_ms * NS_PER_MS
