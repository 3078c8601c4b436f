"""Record of a run → its row of figures. Pure."""

import msgspec
import numpy as np

from acquisition.clock import NS_PER_S
from acquisition.limits import Limits
from acquisition.simulated.history import TrueEvent
from realtime.scoring.captures import Footage, false_triggers, in_reach
from realtime.scoring.effects import Effect, effects_of, n_stale, outcomes_of
from realtime.scoring.record import Record, SignalBelow
from realtime.scoring.settings import ScoreSettings

ROUNDING = 1 + 1e-9
"""Sums of fractions of light are not exact."""


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """Figures of one run: one arm with one seed."""

    arm: str
    seed: int
    imaged_s: float
    n_frames: int
    events: int
    """Events in reach."""
    captured: int
    reactions_ms: tuple[float, ...]
    """From each event in reach until it was imaged as it should be; missed ones are left out."""
    reactions_frames: tuple[int, ...]
    false_triggers: int
    false_mj: float
    dose_mj: float
    cell_j_cm2: float
    """Mean dose of the cells that light has fallen on."""
    cell_j_cm2_p95: float
    harmed: int
    """Cells whose dose has passed biology.harm_j_cm2."""
    dead_harmed: int
    """Harmed cells that died."""
    links: int
    links_kept: int
    id_switches: int
    divisions: int
    divisions_found: int
    divisions_false: int
    outcomes: dict[str, dict[str, int]]
    stale: int
    overruns: int
    """Budgets (of the run, of a place) that were exceeded."""
    effects: dict[str, list[Effect]]
    snr_held_s: float | None
    """How long the median cell kept score.snr_target; None without a target."""


def judged(arm: str, seed: int, record: Record, settings: ScoreSettings, limits: Limits) -> Row:
    """The figures of one run."""
    footage = Footage(record, settings)
    events = [event for event in record.events if in_reach(event, record, settings)]
    reactions = [reaction for event in events if (reaction := footage.reaction(event)) is not None]
    false = false_triggers(footage, record.events) if record.outcomes else []  # nobody triggers who decides nothing
    frames = [look.header for look in record.looks]
    harmed = {event.cell_id for event in record.events if event.kind == "harmed"}
    cells, tracking = record.cells_j_cm2, record.tracking
    return Row(
        arm=arm, seed=seed, imaged_s=(record.ended_ns - record.opened_ns) / NS_PER_S, n_frames=len(frames),
        events=len(events), captured=sum(map(footage.captured, events)),
        reactions_ms=tuple(reaction.ms for reaction in reactions),
        reactions_frames=tuple(reaction.frames for reaction in reactions),
        false_triggers=len(false), false_mj=sum(trigger.dose_mj for trigger in false), dose_mj=record.dose_mj,
        cell_j_cm2=float(cells.mean()) if len(cells) else 0.0,
        cell_j_cm2_p95=float(np.percentile(cells, 95)) if len(cells) else 0.0,
        harmed=len(harmed), dead_harmed=_dead(record.events, harmed),
        links=tracking.links if tracking else 0, links_kept=tracking.links_kept if tracking else 0,
        id_switches=tracking.id_switches if tracking else 0, divisions=tracking.divisions if tracking else 0,
        divisions_found=tracking.divisions_found if tracking else 0,
        divisions_false=tracking.divisions_false if tracking else 0,
        outcomes=outcomes_of(record.outcomes), stale=n_stale(record.outcomes), overruns=_overruns(record, limits),
        effects=effects_of(record.outcomes, frames), snr_held_s=snr_held_s(record, settings),
    )  # fmt: skip


def snr_held_s(record: Record, settings: ScoreSettings) -> float | None:
    """From the start to the first of the frames in a row whose median cell is below the target; None without a target."""
    if settings.snr_target is None:
        return None
    below = SignalBelow(settings.snr_target)
    for look in record.looks:
        if below.count(look) == settings.snr_lost_after:
            return (below.since_ns - record.opened_ns) / NS_PER_S
    return (record.ended_ns - record.opened_ns) / NS_PER_S


def _dead(events: list[TrueEvent], harmed: set[int]) -> int:
    return sum(event.kind == "death" and event.cell_id in harmed for event in events)


def _overruns(record: Record, limits: Limits) -> int:
    return (record.dose_mj > limits.dose_mj * ROUNDING) + (record.place_j_cm2 > limits.place_j_cm2 * ROUNDING)
