"""The `[sort]` section: which cells are wanted, where they are deflected, and when no pulse is better than one."""

from typing import Annotated

import msgspec
from msgspec import Meta

from acquisition.commands import AtLeastOne, NotNegative, Positive
from models.strips import FinderSettings
from tracking.flow import FlowSettings

Share = Annotated[float, Meta(ge=0, le=1)]
OpenShare = Annotated[float, Meta(gt=0, lt=1)]


class SortGate(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which cells are wanted, as a cytometrist draws a gate: classes by probability, features by ranges."""

    classes: Annotated[tuple[str, ...], Meta(min_length=1)]
    """A wanted cell is of one of these; their probabilities are added up."""
    false_triggers: OpenShare = 0.002
    """At most this share of the unwanted cells may be taken for wanted ones: sets the evidence that is asked for."""
    misses: OpenShare = 0.02
    """A cell that is wanted with less than about this probability is given up, and not looked at any more."""
    wanted_share: OpenShare = 0.05
    """Share of wanted cells in the sample, as far as it is known beforehand."""
    least_looks: AtLeastOne = 1
    """A cell that was classified in fewer strips is never sorted."""
    where: dict[str, tuple[float, float]] = {}
    """Feature → [low, high]: the mean over a cell's looks must lie within all of these."""


class PulseSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """When the gate opens for a cell, and when it rather stays shut."""

    window_ms: Positive = 0.3
    """The pulse is so long, and centred on the cell's arrival, unless a neighbour asks for less."""
    least_ms: Positive = 0.1
    """A pulse may be shortened and shifted to this to spare an unwanted neighbour; less deflects nothing."""
    delay_ms: NotNegative = 0.0
    """From the order to open until cells are deflected: the sorter's own delay, as calibrated."""
    coincidence_ms: NotNegative = 0.06
    """An unwanted cell is kept out of a pulse by at least so much, and by `sureness` standard errors."""
    sureness: Positive = 3.0
    """Standard errors of arrival times that are allowed for, of the cell and of its neighbours."""
    worst_sigma_ms: Positive = 0.08
    """A cell whose arrival is less certain than this is not sorted."""
    recovery_ms: NotNegative = 0.1
    """From the end of a pulse to the start of the next."""


class SortSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A run with this section sorts: frames are strips of a channel, all of them are looked at, in order."""

    gate: SortGate
    flow: FlowSettings
    finder: FinderSettings = FinderSettings()
    pulse: PulseSettings = PulseSettings()
    looks: AtLeastOne = 12
    """A cell is classified in at most so many strips; 1 is single-look sorting."""
    crops_kept: Share = 0.02
    """Share of the cells that are not sorted whose pictures are recorded; those of sorted ones always are."""
    dry: bool = False
    """Record the pulses that would be fired, fire none."""
