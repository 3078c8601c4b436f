"""The sort itself, with cells that are written down: every verdict occurs where it should, and nothing fires by default."""

import math
from dataclasses import replace
from itertools import pairwise
from typing import Any

import msgspec
import pytest
from scripted_sort import (
    OTHER,
    TRANSIT_MS,
    UNCLEAR,
    WANTED,
    Passing,
    Script,
    crowd,
    run,
    scripted,
    settings_for,
    stack_of,
    verdicts,
)

from acquisition.clock import NS_PER_MS, SimulatedClock
from acquisition.commands import PulseSorter
from acquisition.frame import Frame
from realtime.latency import SORT_STAGES
from realtime.plugins import ConfigError
from realtime.sort.verdicts import Verdict
from realtime.sort.words import pulses_made, sorted_words
from realtime.sorting import SortAnalysis


def pulses(analyses: list[SortAnalysis]) -> list[PulseSorter]:
    commands = [decision.command for analysis in analyses for decision in analysis.decisions]
    assert all(isinstance(command, PulseSorter) for command in commands)
    return commands  # type: ignore[return-value]


CASES: dict[str, tuple[list[Passing], dict[str, Any], list[str]]] = {
    "wanted and alone": ([Passing(5.0)], {}, ["sorted"]),
    "of another class": ([Passing(5.0, OTHER)], {}, ["unwanted"]),
    "looks that say nothing": ([Passing(5.0, UNCLEAR)], {}, ["undecided"]),
    "looks that are no numbers": ([Passing(5.0, math.nan)], {}, ["too_few_looks"]),
    "one bad look among good ones": ([Passing(5.0, (math.nan, WANTED))], {}, ["sorted"]),
    "looks that contradict each other": ([Passing(5.0, (0.9, 0.1, 0.5))], {}, ["undecided"]),
    "never seen whole": ([Passing(5.0, whole=False)], {}, ["too_few_looks"]),
    "fewer looks than asked for": ([Passing(5.0, view_ms=0.6)], {"gate__least_looks": 5}, ["too_few_looks"]),
    "as many looks as asked for": ([Passing(5.0)], {"gate__least_looks": 4}, ["sorted"]),
    "one look only": ([Passing(5.0)], {"looks": 1}, ["sorted"]),
    "too small for the gate": ([Passing(5.0)], {"gate__where": {"area_um2": (150.0, 900.0)}}, ["outside_gate"]),
    "of the right size": ([Passing(5.0)], {"gate__where": {"area_um2": (50.0, 150.0)}}, ["sorted"]),
    "a size that is no number": (
        [Passing(5.0, area_um2=math.nan)], {"gate__where": {"area_um2": (0.0, 1e9)}}, ["outside_gate"]
    ),
    "arrives nobody knows when": ([Passing(5.0, sigma_ms=0.2)], {}, ["uncertain_arrival"]),
    "arrival never": ([Passing(5.0, sigma_ms=math.inf)], {}, ["uncertain_arrival"]),
    "arrival no number": ([Passing(5.0, sigma_ms=math.nan)], {}, ["uncertain_arrival"]),
    "less certain than the window is long": (
        [Passing(5.0, sigma_ms=0.07)], {"pulse__least_sureness": 2.5}, ["uncertain_arrival"]
    ),
    "as certain as it must be": ([Passing(5.0, sigma_ms=0.07)], {}, ["sorted"]),
    "junction too near": ([Passing(5.0, transit_ms=0.2)], {"flow__junction_um": 84.0}, ["too_late"]),
    "the sorter too slow": ([Passing(5.0)], {"pulse__delay_ms": 25.0}, ["too_late"]),
    "with an unwanted cell": ([Passing(5.0), Passing(5.03, OTHER)], {}, ["coincidence", "unwanted"]),
    "with an undecided cell": ([Passing(5.0), Passing(5.03, UNCLEAR)], {}, ["coincidence", "undecided"]),
    "with a wanted one outside the gate": (
        [Passing(5.0, area_um2=200.0), Passing(5.03)], {"gate__where": {"area_um2": (150.0, 900.0)}},
        ["coincidence", "outside_gate"],
    ),
    "an unwanted cell at a distance": ([Passing(5.0), Passing(5.2, OTHER)], {}, ["sorted", "unwanted"]),
    "an unwanted cell on either side": (
        [Passing(4.93, OTHER), Passing(5.0), Passing(5.07, OTHER)], {}, ["unwanted", "coincidence", "unwanted"]
    ),
    "a neighbour that may be anywhere": ([Passing(5.0), Passing(6.5, OTHER, sigma_ms=9.0)], {}, ["coincidence", "unwanted"]),
    "an unwanted cell overtakes": (
        [Passing(5.0), Passing(7.5, OTHER, transit_ms=TRANSIT_MS - 2.5)], {}, ["coincidence", "unwanted"]
    ),
    "two wanted ones together": ([Passing(5.0), Passing(5.1)], {}, ["sorted", "with_another"]),
    "two wanted ones, one pulse shifted for both": ([Passing(5.0), Passing(5.23)], {}, ["sorted", "with_another"]),
    "two wanted ones just too far apart": ([Passing(5.0), Passing(5.25)], {}, ["sorted", "gate_busy"]),
    "two wanted ones far apart": ([Passing(5.0), Passing(5.6)], {}, ["sorted", "sorted"]),
}  # fmt: skip


@pytest.mark.parametrize(("cells", "changes", "expected"), CASES.values(), ids=CASES.keys())
def test_a_cell_gets_its_verdict(cells: list[Passing], changes: dict[str, Any], expected: list[str]) -> None:
    analyses = run(scripted(cells, settings_for(**changes)), 10)
    assert list(dict(sorted(verdicts(analyses).items())).values()) == expected
    assert len(pulses(analyses)) == expected.count("sorted")


def test_every_verdict_occurs_in_the_cases() -> None:
    assert {word for _, _, expected in CASES.values() for word in expected} == {verdict.word for verdict in Verdict}


def test_every_cell_gets_exactly_one_verdict() -> None:
    analyses = run(scripted(crowd(0)), 60)
    ids = [int(cell) for analysis in analyses for cell in analysis.events.event_id]
    assert len(ids) == len(set(ids)) > 100


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("strips", [1, 16])
def test_a_pulse_catches_its_cell_and_spares_all_that_could_be_seen(seed: int, strips: int) -> None:
    """In a crowd, whatever the stacks: margins of the settings hold for every cell that was in view by then."""
    cells = crowd(seed)
    settings = settings_for()
    fired = [
        (analysis, decision)
        for analysis in run(scripted(cells, settings), 960 // strips, strips)
        for decision in analysis.decisions
    ]
    assert fired
    for analysis, decision in fired:
        assert isinstance(decision.command, PulseSorter)
        opens, shuts = decision.command.at_ns, decision.command.at_ns + round(decision.command.width_ms * NS_PER_MS)
        target = cells[(decision.track_id or 0) - 1]
        assert target.p == WANTED
        margin = settings.pulse.least_sureness * target.sigma_ms * NS_PER_MS
        assert opens <= target.arrives_ns - margin + 1
        assert shuts >= target.arrives_ns + margin - 1
        assert settings.pulse.least_ms <= decision.command.width_ms <= settings.pulse.window_ms
        for other in cells:
            if other.p != WANTED and other.seen_ns()[0] <= analysis.header.t_ns:
                clear = max(settings.pulse.coincidence_ms, settings.pulse.least_sureness * other.sigma_ms) * NS_PER_MS
                assert other.arrives_ns + clear <= opens + 1 or other.arrives_ns - clear >= shuts - 1
    edges = sorted((d.command.at_ns, d.command.width_ms) for _, d in fired if isinstance(d.command, PulseSorter))
    for (at, width), (later, _) in pairwise(edges):
        assert at + (width + settings.pulse.recovery_ms) * NS_PER_MS <= later + 1


def test_the_pulse_goes_out_ahead_by_the_sorters_delay() -> None:
    for delay_ms in (0.0, 3.0):
        (pulse,) = pulses(run(scripted([Passing(5.0)], settings_for(pulse__delay_ms=delay_ms)), 10))
        assert pulse.at_ns == Passing(5.0).arrives_ns - round((0.15 + delay_ms) * NS_PER_MS)
        assert pulse.width_ms == 0.3


def test_a_decision_says_what_it_rests_on() -> None:
    analyses = run(scripted([Passing(5.0)]), 10)
    (analysis,) = [a for a in analyses if a.decisions]
    (decision,) = analysis.decisions
    assert decision.id == f"{analysis.header.index}.sort.0"
    assert (decision.policy, decision.frame_index, decision.track_id) == ("sort", analysis.header.index, 1)
    assert isinstance(decision.command, PulseSorter)
    assert decision.deadline_ns == decision.command.at_ns
    assert "after 5 looks; arrives 20.200 ± 0.010 ms" in decision.reason
    (made,) = pulses_made("run", analysis, SimulatedClock(5))
    assert made.exposed_ns == Passing(5.0).seen_ns()[-1]
    assert len(analysis.stamps.ends_ns) == len(SORT_STAGES)


def test_a_dry_sort_fires_nothing_and_records_everything() -> None:
    wet, dry = (run(scripted(crowd(1), settings_for(dry=dry)), 60) for dry in (False, True))
    assert not pulses(dry)
    assert [d for a in dry for d in a.shadow] == [d for a in wet for d in a.decisions] != []
    assert verdicts(dry) == verdicts(wet)


def test_nothing_fires_before_anything_is_known() -> None:
    """Without evidence, whatever the prior, and with a classifier that knows nothing."""
    sure = settings_for(gate__wanted_share=0.999, gate__false_triggers=0.3, gate__misses=0.3)
    assert not pulses(run(scripted([Passing(5.0, UNCLEAR)], sure), 10))
    assert not pulses(run(scripted([Passing(5.0, whole=False)], sure), 10))
    assert not pulses(run(scripted([]), 10))


def test_a_stack_that_was_overwritten_leaves_no_trace() -> None:
    cells = [Passing(5.0), Passing(13.0)]
    sorting, without = scripted(cells), scripted(cells)
    for index in range(10):
        if index == 2:
            assert sorting.look(stack_of(index), intact=lambda: False) is None
        else:
            again, plain = sorting.look(stack_of(index)), without.look(stack_of(index))
            assert again is not None
            assert plain is not None
            assert sorted_words("run", again, 0) == sorted_words("run", plain, 0)


def test_a_cell_that_left_the_view_in_a_skipped_stack_is_never_fired_at() -> None:
    sorting = scripted([Passing(5.0), Passing(20.0)])
    analyses = [sorting.look(stack_of(index)) for index in range(10) if index not in (1, 2)]
    assert [d.track_id for a in analyses if a for d in a.decisions] == [2]


@pytest.mark.parametrize("is_flooded", [False, True])
@pytest.mark.parametrize(("arrives_ms", "expected"), [(28.4, (28.25, 28.55)), (28.6, (28.45, 28.64)), (28.66, None)])
def test_whom_nobody_saw_is_not_deflected(
    arrives_ms: float, expected: tuple[float, float] | None, is_flooded: bool
) -> None:
    """A stack was lost, or its strips were flooded with light: cells that crossed the view at 0.1 m/s after the strip at
    8.0 ms and before the one at 12.25 ms will be at the junction from 28.64 ms on."""
    sorting = scripted([Passing(arrives_ms - 21.2)])
    script: Any = sorting._view.tracker if sorting._view else None
    script.blind_ms = (8.1, 12.1) if is_flooded else (0.0, 0.0)
    looked = [sorting.look(stack_of(index)) for index in range(5) if is_flooded or index != 2]
    analyses = [analysis for analysis in looked if analysis]
    assert sum(analysis.n_unseen for analysis in analyses) == (16 if is_flooded else 0)
    assert verdicts(analyses) == {1: "sorted" if expected else "coincidence"}
    for pulse in pulses(analyses):
        assert (pulse.at_ns, pulse.at_ns + round(pulse.width_ms * NS_PER_MS)) == tuple(
            round(t * NS_PER_MS) for t in expected or ()
        )


@pytest.mark.parametrize(("enters_ms", "verdict"), [(-1.03, "coincidence"), (-0.5, "sorted")])
def test_before_the_first_strip_anybody_may_have_passed(enters_ms: float, verdict: str) -> None:
    assert verdicts(run(scripted([Passing(enters_ms, view_ms=1.28, transit_ms=19.36)]), 4)) == {1: verdict}


def test_strips_of_another_size_are_refused() -> None:
    sorting = scripted([])
    sorting.look(stack_of(0))
    frame = stack_of(1)
    tall = Frame(msgspec.structs.replace(frame.header, strip_t_ns=frame.header.strip_t_ns[-8:]), frame.pixels)
    with pytest.raises(ConfigError, match="do not change the region of interest"):
        sorting.look(tall)


# --- waiting for a better view ----------------------------------------------------------------------------------------


def in_the_dark(transit_ms: float) -> tuple[Script, Any]:
    """A wanted cell that leaves the view with one stack, and one behind it that is seen well only with the next."""
    sorting = scripted([Passing(6.7, transit_ms=transit_ms), Passing(7.6, OTHER, sigma_ms=1.0, transit_ms=transit_ms)])
    script: Any = sorting._view.tracker if sorting._view else None
    return script, sorting


def test_a_cell_waits_for_a_better_view_of_the_one_behind_it() -> None:
    script, sorting = in_the_dark(TRANSIT_MS)
    assert verdicts(run(sorting, 2)) == {}
    script.cells[1] = replace(script.cells[1], sigma_ms=0.01)
    analysis = sorting.look(stack_of(2))
    assert verdicts([analysis]) == {1: "sorted", 2: "unwanted"}
    assert analysis.events.looks_classified.tolist() == [5, 2]
    assert len(analysis.events.crops) >= 1


def test_it_does_not_wait_if_the_view_gets_no_better_or_time_is_short() -> None:
    _, sorting = in_the_dark(TRANSIT_MS)
    assert verdicts(run(sorting, 4)) == {1: "coincidence", 2: "unwanted"}
    _, sorting = in_the_dark(6.0)
    assert verdicts(run(sorting, 2)) == {1: "coincidence"}


def test_a_cell_that_waited_through_a_gap_is_too_late() -> None:
    script, sorting = in_the_dark(TRANSIT_MS)
    run(sorting, 2)
    script.cells[1] = replace(script.cells[1], sigma_ms=0.01)
    assert verdicts([sorting.look(stack_of(9))])[1] == "too_late"
