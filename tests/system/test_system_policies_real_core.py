"""All policies of micromanager_policies.toml at once, in real processes, on a real MMCore with its demonstration devices."""

import shutil
import tomllib
from collections import Counter
from pathlib import Path

import pytest
import tomli_w

from acquisition.commands import AcquireBurst
from realtime.wire import FrameReady, OutcomeReached
from tests.system.runs import ROOT, Recorded, Run, of_kind

pytest.importorskip("mm_test_adapters", reason="needs the device adapters of the extra `demo`")

ACTING = {"pace", "budget", "exposure", "revisit", "burst", "channel"}


def test_what_all_policies_decide_is_done_and_recorded(tmp_path: Path) -> None:
    with Run(quick_config(tmp_path), tmp_path / "session") as run:
        run.step_until(lambda: done_by(run) >= ACTING, "every policy has had its way")
        run.take_frames(5)
        result = run.finish()
    assert result.ok, result.reason
    recorded = Recorded(run.folder)
    recorded.assert_whole()
    headers = [message.header for message in of_kind(FrameReady, recorded.messages)]
    assert len({header.light_mw for header in headers}) >= 2
    assert len({header.interval_ms for header in headers}) >= 2
    assert len({(round(header.stage.x_um), round(header.stage.y_um)) for header in headers}) >= 2
    assert {header.channel for header in headers} == {"GFP", "RFP"}
    frames_of = Counter(header.reason for header in headers)
    for outcome in of_kind(OutcomeReached, recorded.messages):
        if outcome.decision and isinstance(outcome.decision.command, AcquireBurst) and outcome.outcome.status == "done":
            assert "20 of 20 frames taken by the camera itself" in outcome.outcome.detail
            assert frames_of[outcome.decision.id] == 20
    assert not any("follow" in reason for reason in frames_of), "a shadow does not act"


def quick_config(folder: Path) -> Path:
    """The shipped file on a rig of its own, so fast that all of it happens in seconds."""
    shutil.copy(ROOT / "hardware_configs" / "micromanager_demo.cfg", folder)
    tables = tomllib.loads((ROOT / "hardware_configs" / "micromanager_policies.toml").read_text("utf-8"))
    tables["imaging"]["interval_ms"] = 60.0
    tables["inference"]["deadline_ms"] = 2000.0
    policies = {table["use"]: table for table in tables["policy"]}
    policies["pace"] |= {"slow_interval_ms": 60.0, "dwell_s": 0.3}
    policies["budget"] |= {"least": 60.0, "most": 80.0}
    policies["channel"] |= {"looks": 1, "feature_min": 50.0}
    policies["revisit"] |= {"frames": 8}
    path = folder / "quick.toml"
    path.write_text(tomli_w.dumps(tables), "utf-8")
    return path


def done_by(run: Run) -> set[str]:
    """Policies of which something was done."""
    return {id.split(".")[1] for id, outcome in run.outcomes().items() if outcome.status == "done"}
