"""What a scenario asks of its policies: the section `[score]` of a config."""

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from acquisition.commands import AtLeastOne, NotNegative, Positive

Share = Annotated[float, Meta(gt=0, le=1)]
Name = Annotated[str, Meta(min_length=1, max_length=60)]
EventsOf = Literal["mitosis", "rare", "transient"]
PerceivedBy = Literal["own", "truth"]
"""Whether policies see through the config's own perception, with its errors, or see what is really there."""


class Arm(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One way to image the same specimen: some of the config's policies, or none, with settings of its own."""

    name: Name
    policies: tuple[str, ...] = ()
    """Names of `[[policy]]` tables; without any, imaging goes on as `[imaging]` begins it."""
    set: dict[str, Any] = {}
    """Settings that differ for this arm, by the same dotted names as with --set."""
    set_with_truth: dict[str, Any] = {}
    """The same, with `--perception truth` only: what was tuned to the errors of perception, tuned to their absence."""
    light_of: str = ""
    """Another arm: this one gets as much light as that one took with the same seed."""
    by: Literal["stopping", "interval"] = "stopping"
    """With `light_of`: stop when that light is spent, or choose the interval so that it lasts to the end."""


class ScoreSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How long a run lasts, which events count, and when one counts as captured."""

    duration_s: Positive
    """Of one run, on the run's clock; an arm may end sooner when its light is spent, events after that are missed."""
    events: EventsOf = "mitosis"
    """What the policies are after."""
    fast_interval_ms: Positive | None = None
    """Frames this close together, with 10 % slack, show an event as it should be seen."""
    start_within_ms: NotNegative = 0.0
    """So long after its start an event may still be imaged slowly."""
    coverage: Share = 0.95
    """From then to its end, at least this share of the time must be imaged fast."""
    looks: AtLeastOne | None = None
    """Instead of `fast_interval_ms`: an event is captured if its cell is in so many frames while it lasts."""
    margin_um: NotNegative = 5.0
    """Events count whose cell, when they start, is in view and at least this far from the view's edge."""
    places_um: tuple[tuple[float, float], ...] = ()
    """Middles of the views in which events count: where a policy that visits places could go. Empty: where the stage begins."""
    channel: str = ""
    """Only frames of this channel show the event; empty: those of any."""
    focus_um: Positive | None = None
    """Frames further out of focus than this do not show the event."""
    snr_target: Positive | None = None
    """Signal-to-noise ratio that the median cell should have …"""
    snr_lost_after: AtLeastOne = 5
    """… and after so many frames in a row below it, the experiment is over."""
    arm: tuple[Arm, ...] = ()
    """`[[score.arm]]`: what is compared."""

    def __post_init__(self) -> None:
        if self.fast_interval_ms is not None and self.looks is not None:
            raise ValueError(
                "give either fast_interval_ms or looks, not both: one of them says when an event is captured"
            )
        if self.fast_interval_ms is None and self.looks is None and self.snr_target is None:
            raise ValueError("give fast_interval_ms, looks or snr_target: without any of them nothing is asked for")
        names = [arm.name for arm in self.arm]
        for i, arm in enumerate(self.arm):
            if arm.name in names[:i]:
                raise ValueError(f'two arms are called "{arm.name}"; each needs a name of its own')
            if arm.light_of and (arm.light_of not in names or arm.light_of == arm.name):
                raise ValueError(f'arm "{arm.name}" takes the light of "{arm.light_of}", which must be another arm')
        self._require_no_circle()

    @property
    def judges_events(self) -> bool:
        """False where only a signal-to-noise ratio is to be held."""
        return self.fast_interval_ms is not None or self.looks is not None

    @property
    def places(self) -> tuple[tuple[float, float], ...]:
        """At least one, stage µm."""
        return self.places_um or ((0.0, 0.0),)

    def _require_no_circle(self) -> None:
        lender = {arm.name: arm.light_of for arm in self.arm}
        for name in lender:
            seen, at = {name}, lender[name]
            while at:
                if at in seen:
                    raise ValueError(f'arms take their light from one another in a circle, from "{name}" on')
                seen.add(at)
                at = lender[at]
