"""A whole sort in one process: deterministic, its pulses on time at the junction, and replayed to the last decision."""

import shutil
from pathlib import Path
from typing import Any

import msgspec
import pytest
from flow_rig import flow_config

from acquisition.commands import PulseSorter
from realtime.config import RunConfig, load_config
from realtime.inline import inline_run
from realtime.plugins import ConfigError
from realtime.replay import replay, replay_with
from realtime.session.header import session_toml
from realtime.session.reader import SessionReader
from realtime.wire import AnyMessage, InferenceStarted, OutcomeReached, StripsSorted

SECONDS = 0.4
DRY = {"dry": True}


def sort_config(folder: Path, **sections: dict[str, Any]) -> RunConfig:
    recorder = {"images": "all", "min_free_gb": 0.0} | sections.pop("recorder", {})
    return load_config(flow_config(folder, recorder=recorder, **sections))


def sort_inline(config: RunConfig, folder: Path, seconds: float = SECONDS) -> list[AnyMessage]:
    with inline_run(config, "run", folder, session_toml("run", config), seconds) as inline:
        end = inline.image()
    assert end.ok, end.reason
    return list(SessionReader(folder).records())


def sorted_stacks(records: list[AnyMessage]) -> list[StripsSorted]:
    return [record for record in records if isinstance(record, StripsSorted)]


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sort")
    sort_inline(sort_config(folder, microscope={"wanted_share": 0.2}), folder / "session")
    return folder / "session"


def test_it_sorts(session: Path) -> None:
    records = list(SessionReader(session).records())
    stacks, outcomes = sorted_stacks(records), [r.outcome for r in records if isinstance(r, OutcomeReached)]
    verdicts = [word for stack in stacks for word, n in stack.verdicts.items() for _ in range(n)]
    decisions = [decision for stack in stacks for decision in stack.decisions]
    assert len(stacks) == stacks[-1].frame_index + 1, "every stack, in order"
    assert verdicts.count("unwanted") > 30
    assert verdicts.count("sorted") == len(decisions) > 5
    assert {outcome.decision_id for outcome in outcomes} == {decision.id for decision in decisions}
    for decision in decisions:
        assert isinstance(decision.command, PulseSorter)
        assert decision.deadline_ns == decision.command.at_ns


def test_the_same_seed_gives_the_same_sort(session: Path, tmp_path: Path) -> None:
    again = sort_inline(sort_config(tmp_path, microscope={"wanted_share": 0.2}), tmp_path / "session")
    first = sorted_stacks(list(SessionReader(session).records()))
    assert sorted_stacks(again) == first


def test_it_replays(session: Path) -> None:
    result = replay(session)
    assert result.first_difference is None
    assert (result.n_unreadable, result.n_decisions > 5) == (0, True)
    assert result.verdict.startswith("identical: ")


def test_a_pulse_that_is_recorded_otherwise_is_the_first_difference(session: Path, tmp_path: Path) -> None:
    def moved(stack: StripsSorted) -> StripsSorted:
        first, *others = stack.decisions
        pulse = PulseSorter(first.command.at_ns + 1)  # type: ignore[union-attr]  # a sort decides nothing else
        return msgspec.structs.replace(stack, decisions=(msgspec.structs.replace(first, command=pulse), *others))

    def miscounted(stack: StripsSorted) -> StripsSorted:
        return msgspec.structs.replace(stack, verdicts={**stack.verdicts, "coincidence": 7})

    for change, words in ((moved, "decided again"), (miscounted, "sorted again")):
        folder = tmp_path / change.__name__
        result = replay(edited(session, folder, change))
        assert result.first_difference is not None
        assert words in result.first_difference


def edited(session: Path, folder: Path, change: Any) -> Path:
    """A copy of the session in which the first stack with pulses is another."""
    shutil.copytree(session, folder)
    journal, records = folder / "journal.jsonl", list(SessionReader(session).records())
    place = next(i for i, r in enumerate(records) if isinstance(r, StripsSorted) and r.decisions)
    lines = journal.read_bytes().splitlines(keepends=True)
    lines[place] = msgspec.json.encode(change(records[place])) + b"\n"
    journal.write_bytes(b"".join(lines))
    return folder


def test_a_dry_sort_decides_the_same_and_fires_nothing(session: Path, tmp_path: Path) -> None:
    config = sort_config(tmp_path, microscope={"wanted_share": 0.2}, sort=DRY)
    dry = sort_inline(config, tmp_path / "session")
    wet = sorted_stacks(list(SessionReader(session).records()))
    assert [s.shadow for s in sorted_stacks(dry)] == [s.decisions for s in wet]
    assert not [r for r in dry if isinstance(r, OutcomeReached)]
    assert replay(tmp_path / "session").first_difference is None


def test_a_sort_that_is_held_up_fires_nothing_late(tmp_path: Path) -> None:
    """Inference takes longer than the way to the junction: every pulse is refused as late, and counted."""
    config = sort_config(tmp_path, microscope={"wanted_share": 0.2}, faults={"slow_inference": {"delay_ms": 40.0}})
    records = sort_inline(config, tmp_path / "session", 2.0)
    outcomes = [r.outcome.status for r in records if isinstance(r, OutcomeReached)]
    assert outcomes
    assert set(outcomes) <= {"late", "refused"}
    assert replay(tmp_path / "session").first_difference is None


def test_without_strips_there_is_nothing_to_replay(tmp_path: Path) -> None:
    sort_inline(sort_config(tmp_path, recorder={"images": "none"}), tmp_path / "session")
    with pytest.raises(ConfigError, match='recorder.images = "none": there are no strips to sort again'):
        replay(tmp_path / "session")


def test_a_sort_asks_no_policies(session: Path) -> None:
    with pytest.raises(ConfigError, match="asks no policies: replay it without --policy"):
        replay_with(session, ["pace"])


def test_the_journal_says_what_classified(session: Path) -> None:
    (started,) = [r for r in SessionReader(session).records() if isinstance(r, InferenceStarted)]
    assert "disc" in started.perception.lower()
