"""The judge on hand-made runs whose answers are known: what counts, what was captured, how soon, what it cost."""

import numpy as np
import pytest
from msgspec.structs import replace
from scored_runs import MJ_A_FRAME, event, header, look, looks, reached, record

from acquisition.clock import NS_PER_S
from acquisition.commands import AcquireBurst, MoveStage, PulseSorter, SetExposure, SetInterval, Stop
from acquisition.limits import Limits
from acquisition.simulated.history import TrueEvent
from realtime.scoring.captures import Footage, false_triggers, in_reach
from realtime.scoring.effects import Effect, effects_of, n_stale
from realtime.scoring.judge import judged, snr_held_s
from realtime.scoring.record import Look
from realtime.scoring.settings import ScoreSettings
from realtime.scoring.tables import decision_table

FAST = ScoreSettings(duration_s=100, fast_interval_ms=1000, start_within_ms=10_000, coverage=0.9)
LOOKS = ScoreSettings(duration_s=100, events="rare", looks=3, places_um=((0.0, 0.0), (200.0, 0.0), (400.0, 0.0)))
LIMITS = Limits(x_um=(0, 0), y_um=(0, 0), dose_mj=1000)
SLOW_S = [0.0, 10.0, 20.0, 30.0, 40.0, 50.0, 60.0, 70.0, 80.0, 90.0, 100.0]


def mixed(*fast_s: tuple[float, float]) -> list[float]:
    """A frame every 10 s, and every second within the given spans."""
    fast = [t for begin, end in fast_s for t in np.arange(begin, end + 0.5, 1.0).tolist()]
    return sorted({*SLOW_S, *fast})


# --- what counts ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("happened", "counts"),
    [
        pytest.param(event(10, 50), True, id="whole and in the middle"),
        pytest.param(event(-1, 50), False, id="began before the run"),
        pytest.param(event(60, 100.5), False, id="ends after the run"),
        pytest.param(event(60, None), False, id="not over"),
        pytest.param(event(10, 50, kind="rare"), False, id="of another kind"),
        pytest.param(event(10, 50, start_um=(45.0, 35.0)), True, id="as far from the edge as the margin"),
        pytest.param(event(10, 50, start_um=(45.5, 0.0)), False, id="too near to the edge in x"),
        pytest.param(event(10, 50, start_um=(0.0, -35.5)), False, id="too near to the edge in y"),
        pytest.param(event(10, 50, start_um=(200.0, 0.0)), False, id="elsewhere"),
    ],
)
def test_events_count_that_an_arm_could_have_seen(happened: TrueEvent, counts: bool) -> None:
    assert in_reach(happened, record(looks(SLOW_S[:3])), FAST) is counts


def test_with_many_places_events_in_any_of_them_count() -> None:
    happened = event(10, 50, kind="rare", start_um=(410.0, 10.0))
    assert in_reach(happened, record(looks(SLOW_S)), LOOKS)
    assert not in_reach(event(10, 50, kind="rare", start_um=(100.0, 0.0)), record(looks(SLOW_S)), LOOKS)


# --- captured -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("times_s", "share"),
    [
        pytest.param(SLOW_S, 0.0, id="slow all the time"),
        pytest.param(mixed((0, 100)), 1.0, id="fast all the time"),
        pytest.param(mixed((20, 50)), 1.0, id="fast from as late as allowed to the end"),
        pytest.param(mixed((30, 50)), 2 / 3, id="too late"),
        pytest.param(mixed((20, 35)), 0.5, id="not to the end"),
        pytest.param([t for t in mixed((0, 100)) if not 30 < t < 33], 0.9, id="a gap of three seconds"),
        pytest.param([t * 1.09 for t in range(100)], 1.0, id="a tenth of slack"),
        pytest.param([t * 1.11 for t in range(100)], 0.0, id="more than that"),
        pytest.param([], 0.0, id="no frame at all"),
    ],
)
def test_share_of_an_event_that_is_imaged_fast(times_s: list[float], share: float) -> None:
    """It lasts from 10 s to 50 s, of which the first ten may be missed."""
    footage = Footage(record(looks(times_s)), FAST)
    assert footage.fast_share(event(10, 50)) == pytest.approx(share, abs=0.02)


def test_a_cell_that_is_out_of_view_is_not_captured() -> None:
    times_s = mixed((0, 100))
    gone = [look(i, t, (1,) if t < 40 else (2,)) for i, t in enumerate(times_s)]
    assert Footage(record(gone), FAST).fast_share(event(10, 50)) == pytest.approx(19 / 30)


def test_the_last_frame_may_show_the_daughters() -> None:
    """After a division the mother's id is gone."""
    divided = [look(i, t, (1,) if t < 49.8 else (2, 3)) for i, t in enumerate(mixed((0, 100)))]
    assert Footage(record(divided), FAST).fast_share(event(10, 49.8)) == 1.0


def test_frames_out_of_focus_or_of_another_channel_show_nothing() -> None:
    blurred = [look(i, t, defocus_um=3.0 if 20 < t < 40 else 0.0) for i, t in enumerate(mixed((0, 100)))]
    sharp_only = ScoreSettings(duration_s=100, fast_interval_ms=1000, start_within_ms=10_000, focus_um=2.0)
    assert Footage(record(blurred), sharp_only).fast_share(event(10, 50)) == pytest.approx(1 / 3)
    other = ScoreSettings(duration_s=100, fast_interval_ms=1000, channel="reporter")
    assert Footage(record(blurred), other).fast_share(event(10, 50)) == 0.0


@pytest.mark.parametrize(("n_looks", "captured"), [(2, False), (3, True), (4, True)])
def test_captured_by_looks(n_looks: int, captured: bool) -> None:
    footage = Footage(record(looks([5.0, *np.linspace(10, 50, n_looks), 60.0])), LOOKS)
    assert footage.captured(event(10, 50, kind="rare")) is captured


# --- how soon -------------------------------------------------------------------------------------------------


def test_reaction_is_from_the_start_to_the_first_fast_frame() -> None:
    """Slow frames at 20 s and 30 s; fast from there on, so that the frame at 31 s is the first fast one."""
    reaction = Footage(record(looks(mixed((30, 60)))), FAST).reaction(event(11, 50))
    assert reaction is not None
    assert (reaction.ms, reaction.frames) == (20_000, 3)


def test_reaction_to_looks_is_the_second_one() -> None:
    reaction = Footage(record(looks([12.0, 14.0, 30.0])), LOOKS).reaction(event(10, 50, kind="rare"))
    assert reaction is not None
    assert (reaction.ms, reaction.frames) == (4000, 2)


def test_no_reaction() -> None:
    assert Footage(record(looks(SLOW_S)), FAST).reaction(event(11, 50)) is None


# --- for nothing ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("events", "n_false", "mj"),
    [
        pytest.param([event(10, 50), event(70, 80, 2)], 0, 0.0, id="both episodes show an event"),
        pytest.param([event(10, 50)], 1, 10 * MJ_A_FRAME, id="the second shows none"),
        pytest.param(
            [event(10, 50), event(85, None, 2)], 1, 10 * MJ_A_FRAME, id="one that begins later does not count"
        ),
        pytest.param([event(10, 50), event(75, None, 2)], 0, 0.0, id="one that is not over does"),
        pytest.param([event(10, 50), event(70, 80, 9)], 1, 10 * MJ_A_FRAME, id="nor does one out of view"),
        pytest.param([event(10, 50), event(70, 80, 2, "rare")], 1, 10 * MJ_A_FRAME, id="nor one of another kind"),
    ],
)
def test_false_triggers(events: list[TrueEvent], n_false: int, mj: float) -> None:
    run = record(looks(mixed((20, 50), (70, 80)), (1, 2)))
    false = false_triggers(Footage(run, FAST), events)
    assert (len(false), sum(trigger.dose_mj for trigger in false)) == (n_false, pytest.approx(mj))


def visits(*places: int) -> list[Look]:
    return [look(i, 10.0 * i, (1 + place,), at_um=(200.0 * place, 0.0)) for i, place in enumerate(places)]


@pytest.mark.parametrize(
    ("run", "n_false"),
    [
        pytest.param(visits(0, 1, 2, 0, 1, 2, 0), 0, id="a round is never early"),
        pytest.param(visits(0, 1, 0, 2, 1, 0), 1, id="back after one, nothing there"),
        pytest.param(visits(1, 2, 1, 0, 2, 1), 0, id="back to where it happens"),
    ],
)
def test_false_returns(run: list[Look], n_false: int) -> None:
    assert len(false_triggers(Footage(record(run), LOOKS), [event(0, None, 2, "rare")])) == n_false


# --- decisions ------------------------------------------------------------------------------------------------


def test_effect_is_the_first_frame_that_names_the_decision() -> None:
    frames = [header(i, float(i), reason) for i, reason in enumerate(("start", "start", "0.pace.0", "0.pace.0"))]
    assert effects_of([reached(frames[0], SetInterval(500))], frames) == {"pace": [Effect(2, 2000.0)]}


def test_decisions_on_one_frame_take_effect_together() -> None:
    """A frame names only the last of them."""
    frames = [header(0, 0.0), header(1, 1.0, "0.exposure.0")]
    outcomes = [reached(frames[0], SetInterval(500)), reached(frames[0], SetInterval(500), policy="exposure")]
    assert effects_of(outcomes, frames) == {"pace": [Effect(1, 1000.0)], "exposure": [Effect(1, 1000.0)]}


def test_effect_of_an_exposure_shows_in_a_burst_that_names_itself_alone() -> None:
    frames = [header(0, 0.0), header(1, 1.0, reason="0.burst.0"), header(2, 2.0, reason="0.burst.0")]
    frames = [replace(frame, index=k + 5) for k, frame in enumerate(frames)]
    frames[2] = replace(frames[2], exposure_ms=20.2)  # as the device rounds it
    assert effects_of([reached(frames[0], SetExposure(20.0))], frames) == {"pace": [Effect(2, 2000.0)]}
    assert effects_of([reached(frames[0], SetExposure(10.0))], frames) == {}, "as it was: no frame can show it"


def test_effect_of_a_move_is_the_first_frame_at_its_target() -> None:
    frames = [header(0, 0.0), header(1, 1.0, at_um=(5.0, 0.0)), header(2, 2.0, at_um=(9.5, 0.0))]
    outcomes = [reached(frames[0], MoveStage(x_um=10.0)), reached(frames[1], MoveStage(x_um=-50.0))]
    assert effects_of(outcomes, frames) == {"pace": [Effect(2, 2000.0)]}


def test_what_was_not_done_and_pulses_have_no_effect_in_frames() -> None:
    frames = [header(0, 0.0), header(1, 1.0, "0.pace.0")]
    outcomes = [reached(frames[0], SetInterval(500), "refused"), reached(frames[0], PulseSorter(at_ns=5))]
    assert effects_of(outcomes, frames) == {}


@pytest.mark.parametrize(
    ("outcome", "stale"),
    [
        pytest.param(reached(header(0, 0.0), SetInterval(500), deadline_s=1.0, checked_s=0.5), 0, id="in time"),
        pytest.param(
            reached(header(0, 0.0), SetInterval(500), deadline_s=1.0, checked_s=0.5, done_s=1.5), 1, id="done too late"
        ),
        pytest.param(reached(header(0, 0.0), SetInterval(500), "late", deadline_s=1.0, done_s=1.5), 0, id="not done"),
        pytest.param(
            reached(header(0, 0.0), AcquireBurst(9, 50.0), deadline_s=1.0, checked_s=0.5, done_s=3.0), 0,
            id="a burst that began in time",
        ),
        pytest.param(
            reached(header(0, 0.0), AcquireBurst(9, 50.0), deadline_s=1.0, checked_s=1.5, done_s=3.0), 1,
            id="a burst that began too late",
        ),
        pytest.param(reached(header(0, 0.0), Stop(), deadline_s=1.0, checked_s=1.5), 0, id="never too late to stop"),
    ],
)  # fmt: skip
def test_stale_decisions(outcome: object, stale: int) -> None:
    assert n_stale([outcome]) == stale  # type: ignore[list-item]


# --- how long it was good -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("snr", "held_s"),
    [
        pytest.param([9, 9, 9, 9, 9, 9], 5, id="to the end"),
        pytest.param([9, 9, 4, 4, 4, 4], 2, id="lost"),
        pytest.param([9, 4, 4, 9, 4, 9], 5, id="it comes back"),
        pytest.param([9, 4, 4, None, 4, 9], 1, id="frames without a cell say nothing"),
    ],
)
def test_how_long_a_signal_to_noise_target_is_held(snr: list[float | None], held_s: float) -> None:
    settings = ScoreSettings(duration_s=100, fast_interval_ms=1000, snr_target=5.0, snr_lost_after=3)
    run = record([look(i, float(i), snr=value) for i, value in enumerate(snr)])
    assert snr_held_s(run, settings) == held_s


def test_a_row_has_it_all() -> None:
    happened = [
        event(10, 50),
        event(60, 90, 2),
        event(30, 30, 7, "harmed"),
        event(40, 40, 7, "death"),
        event(41, 41, 8, "death"),
    ]
    frames = looks(mixed((20, 50)), (1, 2))
    row = judged("pace", 3, record(frames, happened, [reached(frames[0].header, SetInterval(500))]), FAST, LIMITS)
    assert (row.events, row.captured, row.harmed, row.dead_harmed) == (2, 1, 1, 1)
    assert (row.arm, row.seed, row.imaged_s, row.n_frames) == ("pace", 3, 100.0, len(frames))
    assert (row.cell_j_cm2, row.overruns, row.outcomes) == (2.0, 0, {"pace": {"done": 1}})
    assert row.dose_mj == MJ_A_FRAME * len(frames)


def test_stale_decisions_of_an_arm_stand_once_in_its_table() -> None:
    late = reached(header(0, 0.0), SetInterval(500), deadline_s=1.0, done_s=1.5)
    outcomes = [late, reached(header(0, 0.0), AcquireBurst(9, 50.0), policy="burst")]
    row = judged("both", 1, record(looks(SLOW_S), outcomes=outcomes), FAST, LIMITS)
    table = decision_table([row])
    assert table is not None
    columns = {str(column.header): list(column.cells) for column in table.columns}
    assert columns["policy"] == ["burst", "pace"]
    assert columns["stale"] == ["1", ""]


def test_a_run_above_its_budget_is_an_overrun() -> None:
    spent = Limits(x_um=(0, 0), y_um=(0, 0), dose_mj=1.0)
    assert judged("pace", 3, record(looks(SLOW_S)), FAST, spent).overruns == 1


def test_times_are_in_the_runs_clock() -> None:
    assert header(0, 1.5).t_ns == 1.5 * NS_PER_S
