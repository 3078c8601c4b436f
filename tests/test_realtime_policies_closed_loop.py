"""The policies on the simulated microscope, one process and simulated time: what they are for really happens."""

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from realtime.config import config_from
from realtime.inference import Analysis
from realtime.inline import inline_run
from realtime.plugins import ConfigError
from realtime.replay import replay
from realtime.session.header import session_toml
from realtime.session.reader import SessionReader
from realtime.wire import FrameAnalysed

RIG: dict[str, Any] = {
    "rig": {"name": "closed loop"},
    "microscope": {
        "use": "simulated", "seed": 5, "height_px": 128, "width_px": 128, "specimen_um": [200.0, 200.0],
        "n_cells": 8, "speed_um_min": 0.5,
    },
    "imaging": {"interval_ms": 200.0, "exposure_ms": 10.0, "channel": "nuclei"},
    "limits": {"x_um": [-400.0, 400.0], "y_um": [-400.0, 400.0], "z_um": [-30.0, 30.0], "step_um": 300.0},
    "segmenter": {"use": "threshold"},
}  # fmt: skip


def film(duration_s: float, *policies: dict[str, Any], **sections: dict[str, Any]) -> list[Analysis]:
    """Every look of a run with these policies; a section is added to the rig's own, tables within it whole."""
    tables = {name: RIG.get(name, {}) | sections.get(name, {}) for name in {*RIG, *sections}}
    seen: list[Analysis] = []
    config = config_from(tables | {"policy": list(policies)}, Path())
    with inline_run(config, "run", None, "", duration_s, seen.append) as run:
        end = run.image()
    assert end.ok, end.reason
    return seen


def test_exposure_holds_signal_to_noise_while_cells_bleach() -> None:
    policy = {"use": "exposure", "target": 8.0, "least": 0.2, "most": 150.0}
    dish = {"microscope": RIG["microscope"] | {"brightness": 20.0, "biology": {"bleach_j_cm2": 10.0}}}
    perception = {"perception": {"features": ["snr"]}}
    held, fixed = film(24.0, policy, **dish, **perception), film(24.0, **dish, **perception)

    def low(analysis: Analysis) -> float:
        return float(np.quantile(analysis.scene.cells.feature("snr"), 0.25))

    late = [low(analysis) for analysis in held[20:]]
    assert np.mean(np.array(late) > 7.0) > 0.95
    assert held[-1].scene.frame.exposure_ms > 1.15 * held[20].scene.frame.exposure_ms
    assert low(fixed[-1]) < 0.6 * low(fixed[0])


def test_budget_makes_the_light_last() -> None:
    policy = {"use": "budget", "duration_s": 60.0, "least": 50.0, "most": 5000.0}
    seen = film(60.0, policy, limits={"dose_mj": 1.0})
    assert 0.9 < seen[-1].scene.dose.total_mj <= 1.0
    assert seen[-1].scene.t_s - seen[0].scene.t_s > 55
    assert film(60.0, limits={"dose_mj": 1.0})[-1].scene.t_s - seen[0].scene.t_s < 25, "without it the run ends early"


def test_a_run_whose_light_is_spent_ends_and_says_so() -> None:
    """Frames that the budget may not slow down."""
    policy = {"use": "budget", "duration_s": 60.0, "mj": 0.5, "least": 50.0, "most": 200.0}
    config = config_from(RIG | {"policy": [policy]}, Path())
    with inline_run(config, "run", None, "", 60.0) as run:
        end = run.image()
    assert (end.ok, run.loop.dose_mj <= 0.5) == (True, True)
    assert end.reason.startswith("stopped: budget: the light is spent")


def test_pace_spends_in_bursts_and_budget_pays_it_back() -> None:
    pace = {
        "use": "pace", "events": ["divided"], "dwell_s": 2.0, "fast_interval_ms": 50.0, "slow_interval_ms": 400.0,
    }  # fmt: skip
    budget = {
        "use": "budget", "duration_s": 60.0, "least": 400.0, "most": 9000.0, "burst_below_ms": 100.0, "priority": 1,
    }  # fmt: skip
    dish = RIG["microscope"] | {"time_factor": 60.0, "cycle_min": 90.0, "mitosis_min": 3.0}
    seen = film(60.0, pace, budget, limits={"dose_mj": 1.5}, microscope=dish)
    intervals = Counter(round(analysis.scene.frame.interval_ms) for analysis in seen)
    assert intervals[50] >= 20
    assert max(intervals) > 500
    assert seen[-1].scene.dose.total_mj <= 1.5
    assert seen[-1].scene.t_s > 54


def test_channel_looks_at_the_cytoplasm_now_and_then() -> None:
    policy = {
        "use": "channel", "feature": "area_um2", "feature_min": 10.0, "looks": 1, "of": 1, "channel": "cytoplasm",
        "base": "nuclei", "every_s": 4.0, "exposure_ms": 40.0,
    }  # fmt: skip
    seen = film(20.0, policy, perception={"channel": "nuclei"})
    channels = [analysis.scene.frame.channel for analysis in seen]
    n_looks = channels.count("cytoplasm")
    assert 4 <= n_looks <= 12
    assert "cytoplasm cytoplasm cytoplasm" not in " ".join(channels)
    for analysis in seen:
        frame = analysis.scene.frame
        assert analysis.scene.segmented == (frame.channel == "nuclei")
        assert frame.exposure_ms == (10.0 if frame.channel == "nuclei" else 40.0)
    ids = [set(analysis.scene.tracks.id.tolist()) for analysis in seen]
    assert ids[5] & ids[-1], "the same cells all the way"


def test_channel_needs_perception_to_know_its_base() -> None:
    policy = {"use": "channel", "feature": "area_um2", "feature_min": 10.0, "channel": "cytoplasm", "base": "nuclei"}
    with pytest.raises(ConfigError, match='policy.channel: base is "nuclei", but perception.channel is ""'):
        film(1.0, policy)


@pytest.mark.parametrize("frames", [1, 2])
def test_revisit_scans_a_dish_larger_than_the_view(frames: int) -> None:
    policy = {
        "use": "revisit", "columns": 3, "rows": 2, "origin_um": [-150.0, -100.0], "pitch_um": [150.0, 150.0],
        "feature": "area_um2", "feature_min": 1e6, "frames": frames,
    }  # fmt: skip
    seen = film(20.0, policy, microscope=RIG["microscope"] | {"specimen_um": [700.0, 700.0]})
    stood = Counter((round(a.scene.frame.stage.x_um), round(a.scene.frame.stage.y_um)) for a in seen)
    places = [stood[x, y] for x in (-150, 0, 150) for y in (-100, 50)]
    assert min(places) >= 0.7 * max(places)
    assert sum(places) > 0.8 * len(seen)


def test_burst_really_takes_its_frames() -> None:
    policy = {
        "use": "burst", "feature": "area_um2", "feature_min": 10.0, "looks": 2, "of": 2, "n_frames": 20,
        "interval_ms": 15.0, "most": 2, "refractory_s": 3.0,
    }  # fmt: skip
    seen = film(12.0, policy)
    intervals = [round(analysis.scene.frame.interval_ms) for analysis in seen]
    assert intervals.count(15) == 40
    assert intervals[-1] == 200


def test_follow_keeps_the_focus() -> None:
    dish = RIG["microscope"] | {"optics": {"focus_drift_um_h": 540.0}}
    policy = {"use": "follow", "focus_every_s": 6.0, "focus_step_um": 1.5}
    perception = {"features": ["sharpness"]}

    def sharpness(seen: list[Analysis]) -> float:
        return float(np.median([np.median(a.scene.cells.feature("sharpness")) for a in seen[-40:]]))

    held = film(30.0, policy, microscope=dish, perception=perception)
    assert held[-1].scene.frame.stage.z_um == pytest.approx(4.5, abs=1.5)
    lost = film(30.0, microscope=dish, perception=perception)
    assert sharpness(held) > 1.5 * sharpness(lost)


ALL: list[dict[str, Any]] = [
    {"use": "pace", "events": ["born", "entered"], "dwell_s": 0.5, "fast_interval_ms": 50.0, "slow_interval_ms": 200.0},
    {"use": "budget", "duration_s": 60.0, "mj": 3.0, "least": 200.0, "most": 900.0, "burst_below_ms": 60.0, "priority": 1},
    {"use": "exposure", "target": 30.0, "least": 2.0, "most": 40.0},
    {"use": "follow", "focus_every_s": 4.0, "shadow": True},
    {"use": "revisit", "positions_um": [[0.0, 0.0], [60.0, 0.0]], "events": ["divided"], "frames": 5},
    {"use": "burst", "feature": "area_um2", "feature_min": 10.0, "n_frames": 6, "interval_ms": 20.0, "refractory_s": 2.0},
    {
        "use": "channel", "feature": "area_um2", "feature_min": 10.0, "channel": "cytoplasm", "base": "nuclei",
        "every_s": 2.0, "exposure_ms": 40.0,
    },
    {"use": "trigger", "feature": "area_um2", "feature_min": 10.0, "refractory_ms": 500.0},
]  # fmt: skip


def test_all_of_them_at_once_replay_to_the_same_decisions(tmp_path: Path) -> None:
    perception = {"channel": "nuclei", "features": ["snr", "sharpness"]}
    config = config_from(RIG | {"perception": perception, "recorder": {"min_free_gb": 0.0}, "policy": ALL}, Path())
    with inline_run(config, "run", tmp_path / "session", session_toml("run", config), 10.0) as run:
        end = run.image()
    assert end.ok, end.reason
    again = replay(tmp_path / "session")
    assert again.first_difference is None
    assert again.n_frames > 40
    decided = Counter(
        decision.policy
        for record in SessionReader(tmp_path / "session").records()
        if isinstance(record, FrameAnalysed)
        for decision in (*record.decisions, *record.shadow)
    )
    assert decided.keys() == {policy["use"] for policy in ALL}
    assert max(decided.values()) < again.n_frames / 2, "nobody decides all the time"
