"""`reflexscope score` as a user meets it: arms, light, determinism, tables, JSON, plot, mistakes; and the shipped scenarios."""

import math
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import msgspec
import pytest
from scored_runs import header
from tiny_scenario import TINY, tiny, write_tiny
from typer.testing import CliRunner

from acquisition.clock import NS_PER_S
from acquisition.commands import AcquireBurst
from realtime.cli import app
from realtime.config import load_config, read_tables
from realtime.decisions import Decision
from realtime.inline import inline_run
from realtime.plugins import ConfigError
from realtime.scoring.arms import arm_config, chosen_arms, scenario_of
from realtime.scoring.failure import ScoreFailed
from realtime.scoring.jobs import scored
from realtime.scoring.judge import Row
from realtime.scoring.recorded import Moment, score_of
from realtime.scoring.settings import Arm
from realtime.session.header import session_toml

SCENARIOS = sorted((Path(__file__).resolve().parents[1] / "hardware_configs" / "scenarios").glob("*.toml"))


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> list[Row]:
    scenario = tiny(tmp_path_factory.mktemp("score"))
    return scored(scenario, chosen_arms(scenario, []), [1, 2])


def of(rows: list[Row], arm: str) -> list[Row]:
    return [row for row in rows if row.arm == arm]


# --- arms -----------------------------------------------------------------------------------------------------


def test_each_arm_is_run_with_each_seed(rows: list[Row]) -> None:
    assert [(row.arm, row.seed) for row in rows] == [
        (a, s) for a in ("pace", "fast", "stopped", "spread") for s in (1, 2)
    ]


def test_policies_capture_what_slow_imaging_misses(rows: list[Row]) -> None:
    assert sum(row.events for row in of(rows, "fast")) >= 4
    assert [row.captured for row in of(rows, "fast")] == [row.events for row in of(rows, "fast")]
    assert sum(row.captured for row in of(rows, "pace")) > 0
    assert sum(row.captured for row in of(rows, "spread")) == 0
    assert all(row.outcomes["pace"]["done"] and not row.stale for row in of(rows, "pace"))
    assert {effect.frames for row in of(rows, "pace") for effect in row.effects["pace"]} == {1}


def test_without_harm_every_arm_is_judged_by_the_same_events(tmp_path: Path) -> None:
    scenario = tiny(tmp_path, "microscope.biology={}", "score.duration_s=30")
    same = scored(scenario, chosen_arms(scenario, []), [3])
    assert len({row.events for row in same}) == 1


@pytest.mark.parametrize("arm", ["stopped", "spread"])
def test_an_arm_gets_the_light_of_another(rows: list[Row], arm: str) -> None:
    for lender, borrower in zip(of(rows, "pace"), of(rows, arm), strict=True):
        frame_mj = 0.01
        assert lender.dose_mj - 1.5 * frame_mj <= borrower.dose_mj <= lender.dose_mj + 1e-9
        assert borrower.overruns == 0


def test_stopping_ends_early_and_spreading_does_not(rows: list[Row]) -> None:
    assert all(row.imaged_s < 85 for row in of(rows, "stopped"))
    assert all(row.imaged_s == pytest.approx(90, abs=0.1) for row in of(rows, "spread"))


def test_light_harms(tmp_path: Path) -> None:
    scenario = tiny(tmp_path, "microscope.biology={harm_j_cm2=4.0}", "score.duration_s=40")
    arms = [Arm(name="fast", set={"imaging.interval_ms": 500.0}), Arm(name="slow")]
    fast, slow = scored(scenario, arms, [1])
    assert slow.harmed == 0
    assert fast.harmed > 5
    assert fast.cell_j_cm2 == pytest.approx(8 * slow.cell_j_cm2, rel=0.1)
    assert fast.cell_j_cm2_p95 > fast.cell_j_cm2


def test_policies_can_be_judged_without_the_errors_of_perception(tmp_path: Path) -> None:
    scenario = tiny(tmp_path, "score.duration_s=30", "segmenter.threshold=60000")
    arms = chosen_arms(scenario, ["pace"])
    assert scored(scenario, arms, [1])[0].outcomes == {}, "this segmenter finds nothing"
    seen = scored(scenario, arms, [1], "truth")[0]
    assert seen.outcomes["pace"]["done"] > 0
    assert seen.links_kept / seen.links > 0.98


# --- which arms -----------------------------------------------------------------------------------------------


def test_arms_by_name_bring_their_lenders(tmp_path: Path) -> None:
    assert [arm.name for arm in chosen_arms(tiny(tmp_path), ["stopped", "fast"])] == ["pace", "stopped", "fast"]


def test_a_policy_becomes_an_arm(tmp_path: Path) -> None:
    arms = chosen_arms(tiny(tmp_path), ["rogue_policies:Steady", "fast"])
    assert arms[0] == Arm(name="rogue_policies:Steady", policies=("rogue_policies:Steady",))


def test_a_config_without_arms_compares_its_policies_with_none(tmp_path: Path) -> None:
    text = TINY[: TINY.index("[[score.arm]]")]
    scenario = scenario_of(tomllib.loads(text), tmp_path)
    assert chosen_arms(scenario, []) == [Arm(name="policies", policies=("pace",)), Arm(name="none")]


def test_settings_of_an_arm_reach_its_policies(tmp_path: Path) -> None:
    arm = Arm(name="x", policies=("pace",), set={"policy.pace.dwell_s": 7.0, "limits.dose_mj": 3.0})
    config = arm_config(tiny(tmp_path), arm, seed=5)
    assert (config.policies["pace"].settings["dwell_s"], config.limits.dose_mj) == (7.0, 3.0)
    assert config.microscope.settings["seed"] == 5


# --- mistakes -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('use = "simulated"', 'use = "replayed"\npath = "x"', "nobody knows what it really saw"),
        ("[score]", "[rig2]", "rig2 is not a section"),
        ('light_of = "pace"', 'light_of = "paces"', 'takes the light of "paces", which must be another arm'),
        ('light_of = "pace"', 'light_of = "spread"\nlight_of2 = 1', "score.arm[2].light_of2 is not a setting"),
        ('policies = ["pace"]', 'policies = ["paze"]', "no policy is called paze (did you mean pace?)"),
        ('name = "fast"', 'name = "pace"', 'two arms are called "pace"'),
        ('"imaging.interval_ms" = 500.0', '"imaging.interval" = 500.0', "imaging.interval is not a setting"),
        ("fast_interval_ms = 500.0\nstart", "looks = 2\nfast_interval_ms = 500.0\nstart", "not both"),
        ("fast_interval_ms = 500.0\nstart", "start", "give fast_interval_ms, looks or snr_target"),
        ("duration_s = 90.0\n", "", "score.duration_s is missing"),
        ("[segmenter]", "[faults]\nslow_stage = {}\n\n[segmenter]", "[faults] cannot be scored"),
        ('events = "mitosis"' if 'events = "mitosis"' in TINY else "coverage = 0.8", "coverage = 1.8", "at most"),
    ],
)  # fmt: skip
def test_mistakes_are_explained(tmp_path: Path, old: str, new: str, words: str) -> None:
    if words == "at most":
        words = "score.coverage must be a number > 0 and ≤ 1, not 1.8"
    path = write_tiny(tmp_path, old, new) if "replayed" not in new else _replayed(tmp_path)
    with pytest.raises(ConfigError) as refused:
        scenario_of(read_tables(path), tmp_path)
    assert words in str(refused.value)


def _replayed(folder: Path) -> Path:
    start, end = TINY.index('use = "simulated"'), TINY.index("[imaging]")
    path = folder / "tiny.toml"
    path.write_text(TINY[:start] + 'use = "replayed"\npath = "x"\n\n' + TINY[end:], "utf-8")
    return path


def test_arms_that_lend_each_other_light(tmp_path: Path) -> None:
    path = write_tiny(tmp_path, 'name = "pace"\npolicies', 'name = "pace"\nlight_of = "stopped"\npolicies')
    with pytest.raises(ConfigError, match="in a circle"):
        scenario_of(read_tables(path), tmp_path)


def test_a_config_without_score(tmp_path: Path) -> None:
    tables = tomllib.loads(TINY[: TINY.index("[score]")])
    with pytest.raises(ConfigError, match=r"the section \[score\] is missing"):
        scenario_of(tables, tmp_path)


def test_an_unknown_arm(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"neither an arm \(did you mean fast\?\)"):
        chosen_arms(tiny(tmp_path), ["fats"])


def test_a_run_that_fails_says_which(tmp_path: Path) -> None:
    """A channel that the simulated microscope does not have."""
    scenario = tiny(tmp_path, "imaging.channel=ultraviolet")
    with pytest.raises(ScoreFailed, match='arm "fast", seed 7: .*ultraviolet'):
        scored(scenario, chosen_arms(scenario, ["fast"]), [7])


# --- the command ----------------------------------------------------------------------------------------------


def test_the_command_makes_tables_json_and_plot(tmp_path: Path) -> None:
    path, report, plot = write_tiny(tmp_path), tmp_path / "score.json", tmp_path / "plot.png"
    options = [
        "--policy",
        "pace",
        "--policy",
        "fast",
        "--seeds",
        "2",
        "--set",
        "score.duration_s=60",
        "--json",
        str(report),
        "--plot",
        str(plot),
    ]
    done = CliRunner().invoke(app, ["score", str(path), *options])
    assert done.exit_code == 0, done.output
    for words in ("tiny crowd: 2 seeds from 1", "captured", "per cell", "links kept", "pace against", "decisions"):
        assert words in done.output
    told: dict[str, Any] = msgspec.json.decode(report.read_bytes())
    assert [(row["arm"], row["seed"]) for row in told["rows"]][:3] == [("pace", 1), ("pace", 2), ("fast", 1)]
    light = told["figures"]["fast"]["dose_mj"]
    assert light["low"] <= light["mean"] <= light["high"]
    assert told["compared"]["pace"]["fast"]["dose_mj"]["ratio"]["mean"] < 1
    assert told["config"]["score"]["duration_s"] == 60
    assert plot.read_bytes().startswith(b"\x89PNG")
    assert plot.stat().st_size > 10_000


def test_worker_processes_give_the_same_numbers(tmp_path: Path) -> None:
    """A process of its own, since Python leaves a helper of its worker processes behind until it ends."""
    report, short = tmp_path / "score.json", "score.duration_s=10"
    asked = ["--policy", "stopped", "--seeds", "2", "--jobs", "2", "--set", short, "--json", str(report)]
    command = [
        sys.executable,
        "-c",
        "from realtime.cli import main; main()",
        "score",
        str(write_tiny(tmp_path)),
        *asked,
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    scenario = tiny(tmp_path, short)
    here = scored(scenario, chosen_arms(scenario, ["stopped"]), [1, 2])
    assert {row.arm for row in here} == {"pace", "stopped"}
    assert msgspec.json.decode(report.read_bytes())["rows"] == msgspec.json.decode(msgspec.json.encode(here))


# --- shipped scenarios ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", SCENARIOS, ids=lambda path: path.stem)
def test_every_scenario_is_an_ordinary_config_and_its_arms_run(path: Path) -> None:
    """A few frames of each arm."""
    load_config(path)
    frames_s = 1.5 * load_config(path).imaging.interval_ms / 1000
    scenario = scenario_of(read_tables(path, [f"score.duration_s={frames_s}"]), path.parent)
    rows = scored(scenario, chosen_arms(scenario, []), [1])
    assert {row.arm for row in rows} == {arm.name for arm in scenario.settings.arm}
    assert all(row.n_frames > 0 and row.dose_mj > 0 and math.isfinite(row.cell_j_cm2) for row in rows)


def test_the_scenario_of_places_counts_events_where_its_policy_goes() -> None:
    config = load_config(next(path for path in SCENARIOS if "positions" in path.stem))
    assert config.score is not None
    assert config.score.places == config.policies["revisit"].build().positions_um
    assert len(config.score.places) == 20


# --- recordings -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Recorded slowly and by nobody's decisions, with mitoses in it."""
    folder = tmp_path_factory.mktemp("recording")
    text = TINY[: TINY.index("[[policy]]")] + TINY[TINY.index("[score]") : TINY.index("[[score.arm]]")]
    (folder / "tiny.toml").write_text(text + "\n[recorder]\nmin_free_gb = 0.0\n", "utf-8")
    config = load_config(folder / "tiny.toml", ["microscope.seed=2"])
    with inline_run(config, "run", folder / "session", session_toml("run", config), 90.0) as inline:
        assert inline.image().ok
    return folder / "session"


def test_a_policy_is_scored_on_a_recording(session: Path, tmp_path: Path) -> None:
    report = tmp_path / "score.json"
    own = tmp_path / "lab_policy_of_a_test.py"
    own.write_text(LAB_POLICY, "utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(tmp_path))
        asked = ["replay", str(session), "--policy", "lab_policy_of_a_test:Eager", "--json", str(report)]
        done = CliRunner().invoke(app, asked)
    assert done.exit_code == 0, done.output
    assert "nothing acted" in done.output
    (score,) = msgspec.json.decode(report.read_bytes())["policies"]
    assert score["events_from"] == "truth: mitosis"
    assert score["events"] >= 3
    assert score["caught"] == score["events"], "it asks on every frame with a mitotic cell"
    assert score["commands"] == {"SetInterval": score["decisions"]}
    assert score["within_ms"] == 9000
    assert all(0 <= ms <= 9000 for ms in score["reactions_ms"])


LAB_POLICY = """
from dataclasses import dataclass

from acquisition.commands import SetInterval
from realtime.decisions import Decision


@dataclass
class Eager:
    def decide(self, scene):
        if (scene.cells.probability("mitotic") > 0.5).any():
            yield Decision(command=SetInterval(500.0), reason="mitotic")
"""


@pytest.mark.parametrize(
    ("asked_s", "caught", "false"),
    [
        pytest.param([12.0], 1, 0, id="in time"),
        pytest.param([21.0], 0, 0, id="during it, but too late"),
        pytest.param([5.0], 0, 1, id="before it"),
        pytest.param([60.0, 62.0, 64.0, 80.0], 0, 2, id="twice for nothing, once repeatedly"),
        pytest.param([101.0, 95.0, 12.0], 2, 0, id="a division may be seen to come"),
    ],
)
def test_answers_to_events_of_a_recording(asked_s: list[float], caught: int, false: int) -> None:
    """A mitosis from 10 s to 40 s and a division told at 100 s; ten seconds are allowed."""
    frames = {i: header(i, t_s) for i, t_s in enumerate(asked_s)}
    decisions = [
        Decision(command=AcquireBurst(9, 50.0), reason="", frame_index=i, policy="burst") for i in range(len(asked_s))
    ]
    moments = [Moment(10 * NS_PER_S, 40 * NS_PER_S), Moment(100 * NS_PER_S, 100 * NS_PER_S)]
    score = score_of("burst", decisions, frames, moments, 10_000, "somebody")
    assert (score.caught, score.false_triggers) == (caught, false)
