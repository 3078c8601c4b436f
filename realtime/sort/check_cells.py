"""`reflexscope check` for a sort, on the cells that pass during it: are they seen, and can the evidence be enough?"""

import math
from collections.abc import Iterable
from dataclasses import dataclass

import msgspec
import numpy as np

from acquisition.clock import NS_PER_MS, NS_PER_S, Clock
from acquisition.frame import Frame, FrameHeader
from models.cells import Floats
from realtime.check import Finding, Remark
from realtime.config import RunConfig
from realtime.sort.evidence import SUREST, SequentialTest
from realtime.sort.settings import SortSettings
from realtime.sorting import Sorting

POLARITIES = ("dark", "bright")
FEW, MANY = 0.1, 1.5
"""Times `events_per_s`: below and above, the config and the rig do not say the same."""
LEAST_WANTED, SURE_SHARE = 10.0, 0.5
"""Where so many wanted cells are to be expected among those that were seen, this share of them should be sure enough."""


@dataclass(frozen=True)
class Looked:
    """Stacks that a sort has looked at."""

    times_ms: list[float]
    seconds: float
    """Of the strips in which cells could be found."""
    llr: Floats
    """Evidence of each cell for being wanted."""

    @property
    def n_events(self) -> int:
        return len(self.llr)


def looked(sorting: Sorting, frames: Iterable[Frame], strip_ms: float, clock: Clock) -> Looked:
    """What a fresh sort makes of these stacks."""
    times_ms, llr, n_strips = [], [np.empty(0)], 0
    for frame in frames:
        began_ns = clock.now_ns()
        analysis = sorting.look(frame)
        times_ms.append((clock.now_ns() - began_ns) / NS_PER_MS)
        if analysis is not None:
            llr.append(analysis.events.llr)
            n_strips += len(frame.header.strips_t_ns) - analysis.n_unseen
    return Looked(times_ms, n_strips * strip_ms / 1000, np.concatenate(llr))


def cell_remark(config: RunConfig, sorting: Sorting, frames: list[Frame], real: Looked, clock: Clock) -> Remark:
    """Whether as many cells pass as `events_per_s` says; of a channel that seems empty, whether others would see cells."""
    assert config.sort is not None
    settings, what = config.sort, "cells seen"
    if not real.seconds:
        n = settings.finder.background_strips
        text = f"none yet: the background ({n} strips, sort.finder.background_strips) was not learned while this looked"
        return Remark(what, text, ok=True)
    rate = real.n_events / real.seconds
    told = f"{rate:.3g} a second on the rig, where sort.events_per_s says {settings.events_per_s:g}"
    if rate > MANY * settings.events_per_s:
        return Remark(
            what,
            f"{told}: give it what really passes, for the rest of this check asks for that (or [sort.flow] is wrong, and cells "
            "are counted several times)",
            ok=True,
        )
    if rate >= FEW * settings.events_per_s:
        return Remark(what, told, ok=True)
    for polarity in POLARITIES:
        finder = msgspec.structs.replace(settings.finder, polarity=polarity)
        other = Sorting(msgspec.structs.replace(settings, finder=finder), sorting.classifier, clock)
        seen = looked(other, frames, config.imaging.interval_ms, clock)
        if polarity != settings.finder.polarity and seen.n_events >= FEW * settings.events_per_s * seen.seconds > 0:
            text = (
                f'{told}; with sort.finder.polarity = "{polarity}" instead of "{settings.finder.polarity}" there are '
                f"{seen.n_events / seen.seconds:.3g}: change it"
            )
            return Remark(what, text, ok=False)
    text = f"{told}: if the sample flows, see to light and focus, sort.finder.threshold and least_area_um2, sort.flow"
    return Remark(what, text, ok=True)


def evidence_findings(sorting: Sorting, header: FrameHeader, real: Looked) -> list[Finding | Remark]:
    """Whether any cell can be sure enough for `false_triggers`, and whether one of those that were seen was."""
    settings = sorting.settings
    test = SequentialTest.of(settings.gate, sorting.classifier)
    n_looks = most_looks(settings, header)
    asked = f"sort.gate.false_triggers {settings.gate.false_triggers:g} asks for evidence of {test.upper:.3g}"
    cure = "raise false_triggers, let cells be seen more often, or train a surer classifier"
    advice = f"no cell can be sorted: {asked}, and the classifier's surest answer in {n_looks} looks gives less; {cure}"
    findings: list[Finding | Remark] = [
        Finding("evidence", most_evidence(test, n_looks), test.upper, "nats", True, advice, usable=1.0)
    ]
    n_wanted, n_sure = real.n_events * settings.gate.wanted_share, int(np.count_nonzero(real.llr >= test.upper))
    if n_wanted >= LEAST_WANTED and n_sure < SURE_SHARE * n_wanted:
        text = (
            f"{n_sure} of the {real.n_events} cells that passed, though about {n_wanted:.0f} should be wanted: {asked}, and the "
            f"surest had {real.llr.max():.3g}. If that many wanted cells were among them, {cure}"
        )
        findings.append(Remark("sure enough", text, ok=True))
    return findings


def most_looks(settings: SortSettings, header: FrameHeader) -> int:
    """At a cell, before it has crossed the view."""
    step_um = settings.flow.speed_um_s * header.interval_ms * NS_PER_MS / NS_PER_S
    return max(1, min(settings.looks, math.ceil(header.width_px * header.um_per_px / step_um)))


def most_evidence(test: SequentialTest, n_looks: int) -> float:
    """Of a cell whose looks are all as sure as any may count."""
    share = float(test.prior @ test.wanted)
    of_a_look = math.log((1 - SUREST) / SUREST) - math.log(share / (1 - share))
    return float(test.joined(np.array([n_looks * of_a_look]), np.array([n_looks]))[0])
