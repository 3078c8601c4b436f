"""`reflexscope score`: what it asks for before anything runs, and what its tables and its plot say."""

import math
import os
from pathlib import Path

import pytest
from msgspec.structs import replace
from rich.console import Console
from tiny_scenario import tiny, write_tiny
from typer.testing import CliRunner

from realtime.cli import app
from realtime.config import read_tables
from realtime.plugins import ConfigError
from realtime.scoring.arms import arm_config, chosen_arms, lenders_of, scenario_of, with_asked_policies
from realtime.scoring.jobs import scored
from realtime.scoring.pareto import frontier, write_pareto
from realtime.scoring.report import require_writable, show
from realtime.scoring.settings import Arm
from realtime.scoring.statistics import Estimate, estimates
from realtime.scoring.tables import words

BLEACHING = Path(__file__).resolve().parents[1] / "hardware_configs" / "scenarios" / "bleaching-limited.toml"


# --- before anything runs ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("option", "name", "complaint"),
    [
        ("--json", "nope/x.json", "there is no folder"),
        ("--plot", "nope/a.png", "there is no folder"),
        ("--plot", "a.pdf", "only .png files can be made; name it a.png"),
        ("--json", ".", "that is a folder"),
    ],
)  # fmt: skip
def test_files_that_cannot_be_written_are_found_first(tmp_path: Path, option: str, name: str, complaint: str) -> None:
    refused = CliRunner().invoke(app, ["score", str(write_tiny(tmp_path)), option, str(tmp_path / name)])
    assert isinstance(refused.exception, ConfigError)
    assert str(refused.exception).startswith(f"{option} {tmp_path / name}: ")
    assert complaint in str(refused.exception)
    assert refused.output == "", "nothing has run"


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="an administrator may write everywhere")
def test_a_folder_that_must_not_be_written(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(ConfigError, match="must not be written"):
        require_writable("--json", tmp_path / "x.json")


def test_settings_of_a_policy_that_the_config_does_not_have(tmp_path: Path) -> None:
    asked, overrides = ["rogue_policies:Steady"], ["policy.steady.every=5"]
    tables = read_tables(write_tiny(tmp_path))
    with_asked_policies(tables, asked, overrides)
    tables["policy"][-1]["every"] = 5
    scenario = scenario_of(tables, tmp_path)
    (arm,) = chosen_arms(scenario, asked)
    (policy,) = arm_config(scenario, arm, seed=1).policies.values()
    assert policy.settings == {"every": 5}
    again = read_tables(write_tiny(tmp_path))
    with_asked_policies(again, asked, [])
    assert [table["use"] for table in again["policy"]] == ["pace"], "without settings nothing is added"


def test_settings_of_an_asked_policy_reach_it_from_the_command(tmp_path: Path) -> None:
    """One more than there are: the command knows the policy by then, and its settings."""
    asked = ["score", str(write_tiny(tmp_path)), "--policy", "rogue_policies:Steady"]
    refused = CliRunner().invoke(app, [*asked, "--set", "policy.steady.evry=5"])
    assert str(refused.exception).startswith("policy.steady.evry is not a setting (did you mean every?)")


def test_a_policy_that_lacks_settings_says_where_they_are_given(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as refused:
        chosen_arms(tiny(tmp_path), ["exposure"])
    assert 'there are "pace", "fast", "stopped", "spread"' in str(refused.value)
    assert "in a [[policy]] table of the config, or with --set policy.exposure.key=value" in str(refused.value)


def test_an_arm_that_runs_for_its_light_is_named(tmp_path: Path) -> None:
    asked = ["stopped", "fast"]
    assert lenders_of(chosen_arms(tiny(tmp_path), asked), asked) == {"pace": "stopped"}
    assert lenders_of(chosen_arms(tiny(tmp_path), []), []) == {}


# --- tables -----------------------------------------------------------------------------------------------------


def test_what_was_not_measured_is_a_dash(tmp_path: Path) -> None:
    """Nobody looks where no policy acts: neither links nor identity switches are known."""
    rows = scored(tiny(tmp_path, "score.duration_s=8"), [Arm(name="fast")], [1])
    figures = estimates(rows)
    for name in ("links_kept_share", "id_switches", "divisions_found_share", "divisions_false"):
        assert words(figures[name]) == "–"


@pytest.mark.parametrize(
    ("seeds", "said"), [([1], "no interval can be had from one seed"), ([1, 2], "intervals from 2 seeds mean little")]
)
def test_few_seeds_mean_little(tmp_path: Path, capsys: pytest.CaptureFixture[str], seeds: list[int], said: str) -> None:
    rows = scored(tiny(tmp_path, "score.duration_s=4"), [Arm(name="fast")], seeds)
    show(Console(force_terminal=True, width=200), rows)
    out = capsys.readouterr().out
    assert said in out
    assert "– : not measured, or nothing to average" in out
    five = [replace(rows[0], seed=seed) for seed in range(5)]
    show(Console(force_terminal=True, width=200), five)
    assert "mean little" not in capsys.readouterr().out


# --- the plot ---------------------------------------------------------------------------------------------------


def test_markers_at_the_edges_are_whole(tmp_path: Path) -> None:
    import matplotlib.axes

    limits: list[tuple[tuple[float, float], tuple[float, float]]] = []
    kept = matplotlib.axes.Axes.legend

    def legend(axes: matplotlib.axes.Axes, *args: object, **options: object) -> object:
        limits.append((axes.get_xlim(), axes.get_ylim()))
        labels.extend(axes.get_legend_handles_labels()[1])
        return kept(axes, *args, **options)

    labels: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(matplotlib.axes.Axes, "legend", legend)
        write_pareto(tmp_path / "plot.png", {"a": point(2.0, 0.0), "b": point(2.1, 300.0)}, "snr_held_s", "two")
        (x, y) = limits.pop()
        assert x[0] < 0 < 2.1 * 1.04 < x[1]
        assert y[0] < 0 < 300 * 1.04 < y[1]
        assert labels == ["frontier", "a", "b"]
        labels.clear()
        write_pareto(tmp_path / "plot.png", {"a": point(2.0, 5.0), "none": point(1.0, math.nan)}, "snr_held_s", "one")
        assert labels == ["a", "none"], "a frontier of one point is no line"


def point(light: float, gain: float) -> dict[str, Estimate]:
    return {"cell_j_cm2": Estimate(light, light, light), "snr_held_s": Estimate(gain, math.nan, math.nan)}


def test_the_frontier_leaves_out_who_is_beaten() -> None:
    assert frontier([(2.0, 1.0), (1.0, 1.0), (3.0, 2.0)]) == [(1.0, 1.0), (3.0, 2.0)]


# --- true perception --------------------------------------------------------------------------------------------


def test_exposure_holds_its_target_under_true_perception_too(tmp_path: Path) -> None:
    """True outlines are tighter than the threshold's, so the same cells are measured a little brighter in them."""
    scenario = scenario_of(read_tables(BLEACHING, ["score.duration_s=60"]), BLEACHING.parent)
    arms = chosen_arms(scenario, ["exposure"])
    assert arm_config(scenario, arms[0], 2).policies["exposure"].settings["target"] == 9.4
    rows = scored(scenario, arms, [1, 2], "truth")
    assert [row.snr_held_s for row in rows] == [pytest.approx(60, abs=1)] * 2
    untold = [Arm(name="exposure", policies=("exposure",))]
    held = [row.snr_held_s for row in scored(scenario, untold, [1, 2, 3], "truth")]
    assert min(s for s in held if s is not None) < 50, "which is why the scenario says it"


def test_who_scores_with_true_perception_is_warned_where_the_signal_is_judged(tmp_path: Path) -> None:
    asked = ["score", str(BLEACHING), "--perception", "truth", "--seeds", "1", "--set", "score.duration_s=3"]
    quiet = CliRunner().invoke(app, [*asked, "--policy", "exposure"])
    assert "take care" not in quiet.output
    loud = CliRunner().invoke(app, [*asked, "--policy", "rogue_policies:Steady"])
    assert "take care: features are measured within the outlines" in loud.output
    assert '("rogue_policies:Steady") need set_with_truth' in loud.output
