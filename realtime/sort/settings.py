"""The `[sort]` section: which cells are wanted, where they are deflected, and when no pulse is better than one."""

from typing import Annotated

import msgspec
from msgspec import Meta

from acquisition.commands import AtLeastOne, NotNegative, Positive
from models.strip_settings import FinderSettings
from tracking.flow_settings import FlowSettings

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
    shares: dict[str, NotNegative] = {}
    """Class → how often it comes in the sample, in any unit, as far as it is known; else classes are believed to mix among
    the wanted and among the others as they did when the model was trained, which false_triggers then refers to."""
    least_looks: AtLeastOne = 1
    """A cell that was classified in fewer strips is never sorted."""
    where: dict[str, tuple[float, float]] = {}
    """Feature → [low, high]: the mean over a cell's looks must lie within all of these."""

    def __post_init__(self) -> None:
        if self.false_triggers + self.misses >= 1:
            raise ValueError(
                f"false_triggers {self.false_triggers:g} and misses {self.misses:g} must add up to less than 1, or no "
                "evidence could tell wanted cells from others"
            )
        for name, (low, high) in self.where.items():
            if low > high:
                raise ValueError(f"where.{name} = [{low:g}, {high:g}] is empty: write the lower end first")


class PulseSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """When the gate opens for a cell, and when it rather stays shut."""

    window_ms: Positive = 0.3
    """The pulse is so long, and centred on the cell's arrival, unless a neighbour asks for less."""
    least_ms: Positive = 0.1
    """A pulse may be shortened and shifted to this to spare an unwanted neighbour; less deflects nothing."""
    delay_ms: NotNegative = 0.0
    """From the order to open until cells are deflected: the sorter's own delay, as calibrated."""
    coincidence_ms: NotNegative = 0.03
    """An unwanted cell is kept out of a pulse by at least so much, however certain its arrival is."""
    sureness: Positive = 3.0
    """Standard errors of arrival times that are allowed for, of the cell and of its neighbours, if there is room."""
    least_sureness: Positive = 1.0
    """Between close neighbours a pulse's edge may be this near to either, in standard errors; nearer is a coincidence."""
    lead_ms: NotNegative = 8.0
    """A cell waits for a better view of those behind it, but so long before its order it must be decided."""
    worst_sigma_ms: Positive = 0.08
    """A cell whose arrival is less certain than this is not sorted."""
    recovery_ms: NotNegative = 0.1
    """From the end of a pulse to the start of the next."""

    def __post_init__(self) -> None:
        if self.least_ms > self.window_ms:
            raise ValueError(
                f"least_ms {self.least_ms:g} is longer than window_ms {self.window_ms:g}: a pulse is at most as long as "
                "the window"
            )
        if self.least_sureness > self.sureness:
            raise ValueError(f"least_sureness {self.least_sureness:g} is more than sureness {self.sureness:g}")


class SortSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A run with this section sorts: frames are strips of a channel, all of them are looked at, in order."""

    gate: SortGate
    flow: FlowSettings
    finder: FinderSettings = FinderSettings()
    pulse: PulseSettings = PulseSettings()
    events_per_s: Positive = 500.0
    """About how many cells pass in a second; only `reflexscope check` asks: does this machine keep up with so many?"""
    looks: AtLeastOne = 12
    """A cell is classified in at most so many strips; 1 is single-look sorting."""
    crops_per_stack: AtLeastOne = 256
    """The network looks at no more cells in one stack, so that a crowd cannot make it late; first looks go first."""
    crops_kept: Share = 0.02
    """Share of the other cells whose pictures are recorded; those that were or might have been sorted always are."""
    dry: bool = False
    """Record the pulses that would be fired, fire none."""

    def __post_init__(self) -> None:
        if self.gate.least_looks > self.looks:
            raise ValueError(
                f"gate.least_looks {self.gate.least_looks} is more than looks {self.looks}: a cell is classified no more "
                "often than that, so none would ever be sorted"
            )
