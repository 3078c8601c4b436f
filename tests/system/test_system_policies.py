"""Policies that raise, are slow, talk nonsense or ask for too much: the run goes on, says so, and the others decide."""

from pathlib import Path

import pytest

from realtime.wire import FrameAnalysed, OutcomeReached
from tests.system.runs import STEADY, Recorded, Run, Table, of_kind, simulated_config

ROGUES: dict[str, tuple[Table, str]] = {
    "raises": ({"use": "Raising"}, "policy rogue raised ZeroDivisionError: this policy is wrong"),
    "raises and rambles": (
        {"use": "Raising", "words": 10_000},
        "policy rogue raised ZeroDivisionError: this policy is",
    ),
    "is slow": ({"use": "Slow"}, "inference.policy_budget_ms is 5"),
    "talks nonsense": ({"use": "Nonsense"}, "policy rogue raised "),
    "is not a number": ({"use": "NotANumber"}, "MoveStage.x_um must be a finite number, not nan"),
    "never ends": ({"use": "Torrent"}, "policy rogue made more than 100 decisions on frame"),
}


@pytest.mark.parametrize("name", ROGUES)
def test_the_run_goes_on(tmp_path: Path, name: str) -> None:
    table, words = ROGUES[name]
    rogue = table | {"use": f"tests.rogue_policies:{table['use']}", "name": "rogue"}
    with Run(simulated_config(tmp_path, policies=(rogue, STEADY)), tmp_path / "session") as run:
        run.take_frames(30)
        result = run.finish()
    assert result.ok, result.reason
    recorded = Recorded(run.folder)
    recorded.assert_whole()
    assert words in recorded.notices()
    done = [o for o in of_kind(OutcomeReached, recorded.messages) if o.decision and o.decision.policy == "steady"]
    assert len([o for o in done if o.outcome.status == "done"]) >= 5
    assert len(of_kind(FrameAnalysed, recorded.messages)) >= 15


def test_whoever_asks_for_too_much_is_answered_every_time(tmp_path: Path) -> None:
    greedy = {"use": "tests.rogue_policies:Greedy", "name": "greedy"}
    with Run(simulated_config(tmp_path, policies=(greedy,)), tmp_path / "session") as run:
        run.take_frames(20)
        result = run.finish()
    assert result.ok, result.reason
    recorded = Recorded(run.folder)
    recorded.assert_whole()
    decided = [d.id for analysed in of_kind(FrameAnalysed, recorded.messages) for d in analysed.decisions]
    outcomes = [o.outcome for o in of_kind(OutcomeReached, recorded.messages) if o.decision is not None]
    assert sorted(outcome.decision_id for outcome in outcomes) == sorted(decided)
    assert len(decided) >= 5 * 15
    assert {outcome.status for outcome in outcomes} == {"refused", "late"}
    assert {header.stage.x_um for header in recorded.reader.headers()} == {0.0}
