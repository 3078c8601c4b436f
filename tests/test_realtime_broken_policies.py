"""A policy of one's own that does not work: said before a run where that can be known, and never passed over afterwards."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import pytest
from tiny_config import write_tiny as write_tiny_run
from tiny_scenario import tiny, write_tiny
from typer.testing import CliRunner

from acquisition.commands import Outcome
from realtime.cli import app
from realtime.config import load_config
from realtime.decisions import Decision
from realtime.inline import inline_run
from realtime.live import summary_tables
from realtime.plugins import ConfigError, find_class, load_policy
from realtime.policies.pace import Pace
from realtime.policy import Scene
from realtime.scoring.failure import ScoreFailed
from realtime.scoring.jobs import scored
from realtime.scoring.settings import Arm
from realtime.session.header import session_toml
from realtime.session.summary import Summary, summarise
from realtime.wire import OutcomeReached


@dataclass
class NoDecide:
    """Calls its one method by another name."""

    def decides(self, scene: Scene) -> Iterable[Decision]:
        return ()


@dataclass
class Once:
    """Raises on a single frame, which no run is suspended for."""

    at: int = 3

    def decide(self, scene: Scene) -> Iterable[Decision]:
        if scene.frame.index == self.at:
            raise ZeroDivisionError("once")
        return ()


@dataclass
class OwnTable:
    """Looks something up in a table of its own."""

    def decide(self, scene: Scene) -> Iterable[Decision]:
        return {"fast": ()}["oops"]


HERE, RAISING = "test_realtime_broken_policies", "rogue_policies:Raising"


# --- known before a run -----------------------------------------------------------------------------------------


def test_a_policy_without_decide_is_refused_wherever_policies_are_loaded(tmp_path: Path) -> None:
    refused = CliRunner().invoke(app, ["score", str(write_tiny(tmp_path)), "--policy", f"{HERE}:NoDecide"])
    assert isinstance(refused.exception, ConfigError)
    assert "NoDecide has no method decide, which every policy needs" in str(refused.exception)
    with pytest.raises(ConfigError, match="has no method decide"):
        load_policy({"use": f"{HERE}:NoDecide"}, "policy.x", tmp_path)


@pytest.mark.parametrize(
    ("kind", "method"),
    [("segmenter", "infer"), ("classifier", "classify"), ("tracker", "update"), ("microscope", "open")],
)
def test_other_kinds_need_their_methods_too(kind: str, method: str) -> None:
    with pytest.raises(ConfigError, match=f"NoDecide has no method {method}, which every {kind} needs"):
        find_class(kind, f"{HERE}:NoDecide", kind)


def test_a_key_of_a_policys_own_table_is_no_unknown_class(tmp_path: Path) -> None:
    path = write_tiny_run(tmp_path)
    text = path.read_text("utf-8") + f'\n[[policy]]\nuse = "{HERE}:OwnTable"\n'
    path.write_text(text, "utf-8")
    assert "owntable" in load_config(path).policies, "it may fail in the run, in its own words"


@pytest.mark.parametrize("key", ["prioriti", "shadwo", "nme"])
def test_the_keys_of_every_policy_are_among_those_that_may_be_meant(key: str) -> None:
    table = {"use": "pace", "fast_interval_ms": 1.0, "slow_interval_ms": 2.0, key: 3}
    with pytest.raises(ConfigError) as refused:
        load_policy(table, "policy.pace", Path())
    meant = {"prioriti": "priority", "shadwo": "shadow", "nme": "name"}[key]
    assert f"policy.pace.{key} is not a setting (did you mean {meant}?)" in str(refused.value)


# --- seen in a run ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("use", [RAISING, f"{HERE}:Once"])
def test_a_policy_that_raises_is_not_scored(tmp_path: Path, use: str) -> None:
    scenario = tiny(tmp_path, "score.duration_s=40")
    with pytest.raises(
        ScoreFailed, match=r'arm "mine", seed 7: policy .* raised ZeroDivisionError: .* \(.*\.py, line \d+'
    ):
        scored(scenario, [Arm(name="mine", policies=(use,))], [7])


def test_what_raises_in_a_replay_is_not_scored_either(tmp_path: Path) -> None:
    folder, _ = recorded(tmp_path, [])
    done = CliRunner().invoke(app, ["replay", str(folder), "--policy", RAISING, "--json", str(tmp_path / "score.json")])
    assert done.exit_code == 1
    assert "error: policy rogue_policies:Raising raised ZeroDivisionError: this policy is wrong" in done.output
    assert "rogue_policies.py, line" in done.output
    assert "suspended after 3 failures in a row" in done.output
    assert "false triggers" not in done.output, "no table"
    assert not (tmp_path / "score.json").exists()


def test_a_run_names_the_policies_that_it_suspended(tmp_path: Path) -> None:
    _, summary = recorded(tmp_path, [RAISING])
    assert summary["policies_suspended"] == "raising"
    assert summary["notices"] == {"warning": 3}


def recorded(folder: Path, uses: list[str]) -> tuple[Path, dict[str, object]]:
    path = write_tiny_run(folder)
    path.write_text(path.read_text("utf-8") + "".join(f'\n[[policy]]\nuse = "{use}"\n' for use in uses), "utf-8")
    config = load_config(path)
    with inline_run(config, "run", folder / "session", session_toml("run", config), 0.5) as inline:
        assert inline.image().ok
    return folder / "session", summarise(folder / "session")


# --- shadows and reasons ----------------------------------------------------------------------------------------


def test_shadow_decisions_stand_in_the_table() -> None:
    summary = {"decisions": {"pace": {"done": 3}}, "decisions_of_shadow_policies": {"follow": 7}}
    table = summary_tables(summary)[1]
    columns = [[str(cell) for cell in column.cells] for column in table.columns]
    assert columns[0] == ["pace", "follow (shadow)"]
    assert columns[-1][-1] == "7"
    assert [column.header for column in summary_tables({"decisions": {"pace": {}}})[1].columns][-1] == "unanswered"


def test_orders_of_the_run_itself_are_not_an_operators() -> None:
    summary = Summary()
    for order_id in ("watch.1", "supervisor.stop", "stop-7"):
        reached = Outcome(order_id, "done", "", 1)
        summary.add(OutcomeReached(run="r", outcome=reached, decision=None, exposed_ns=0, ends_ns=()))
    assert list(summary.as_dict()["decisions"]) == ["operator", "supervisor", "watch"]


def test_pace_says_that_it_dwells() -> None:
    policy = Pace(fast_interval_ms=50, slow_interval_ms=500, signal="class:mitotic", dwell_s=10)
    policy._turn(1, 5_000_000_000)
    assert policy._reason(1, 5_000_000_000) == "class:mitotic is 1: fast"
    policy._turn(0, 6_200_000_000)
    assert policy._reason(0, 6_200_000_000) == "class:mitotic is 0, was high 1.2 s ago: fast"
    policy._turn(0, 16_000_000_000)
    assert policy._reason(0, 16_000_000_000) == "class:mitotic is 0: slow"
