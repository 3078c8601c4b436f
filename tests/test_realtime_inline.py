"""A whole run in one process: the same input gives the same decisions, and decisions really change what is seen.

After a change that is meant to change decisions, `python tests/test_realtime_inline.py` writes the golden file anew;
look at its difference before you commit it.
"""

import shutil
import tempfile
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from tiny_config import write_tiny

from acquisition.clock import NS_PER_MS
from acquisition.commands import MoveStage, PulseSorter, SetInterval
from acquisition.desk import RunEnd
from realtime.config import RunConfig, load_config
from realtime.inference import Analysis
from realtime.inline import InlineRun, inline_run
from realtime.processes.supervisor import Supervisor
from realtime.replay import replay, replay_with
from realtime.session.header import session_toml
from realtime.session.reader import SessionReader
from realtime.wire import FrameReady, OutcomeReached

ROOT = Path(__file__).resolve().parents[1]
CONFIGS = ROOT / "hardware_configs"
GOLDEN = ROOT / "tests" / "golden" / "sessions" / "simulated.json"
GOLDEN_S = 8.0
LOOSE = 0.05
"""µm: libraries of other versions may round a cell's middle differently, but not so that it matters."""


def run_inline(config: RunConfig, folder: Path | None, duration_s: float | None) -> RunEnd:
    with inline_run(config, "run", folder, session_toml("run", config), duration_s) as inline:
        return inline.image()


def outcomes(folder: Path) -> list[OutcomeReached]:
    return [record for record in SessionReader(folder).records() if isinstance(record, OutcomeReached)]


def frames(folder: Path) -> list[FrameReady]:
    return [record for record in SessionReader(folder).records() if isinstance(record, FrameReady)]


# --- the same decisions ---------------------------------------------------------------------------------------


def decided(folder: Path) -> list[dict[str, Any]]:
    """What the golden file keeps of a session."""
    return [
        {
            "id": record.outcome.decision_id,
            "command": {
                key: round(value, 3) if isinstance(value, float) else value
                for key, value in msgspec.to_builtins(record.decision.command).items()
            },
            "status": record.outcome.status,
        }
        for record in outcomes(folder)
        if record.decision is not None
    ]


def golden_session(folder: Path) -> Path:
    run_inline(load_config(write_tiny(folder)), folder / "session", GOLDEN_S)
    return folder / "session"


def test_a_seeded_run_decides_as_it_always_did(tmp_path: Path) -> None:
    now, golden = decided(golden_session(tmp_path)), msgspec.json.decode(GOLDEN.read_bytes())
    assert [(d["id"], d["status"]) for d in now] == [(d["id"], d["status"]) for d in golden]
    for again, before in zip(now, golden, strict=True):
        assert again["command"] == pytest.approx(before["command"], abs=LOOSE), again["id"]


def test_the_golden_run_shows_every_policy_and_a_refusal() -> None:
    golden = msgspec.json.decode(GOLDEN.read_bytes())
    assert {decision["id"].split(".")[1] for decision in golden} == {"follow", "pace", "trigger"}
    assert {decision["status"] for decision in golden} == {"done", "refused"}
    intervals = [d["command"]["interval_ms"] for d in golden if d["command"]["command"] == "SetInterval"]
    assert {50.0, 100.0} <= set(intervals)


def test_the_same_seed_gives_the_same_bytes(tmp_path: Path) -> None:
    config = load_config(write_tiny(tmp_path))
    for name in ("first", "second"):
        run_inline(config, tmp_path / name, 3.0)
    first, second = (
        {path.relative_to(tmp_path / name).as_posix(): path for path in (tmp_path / name).rglob("*") if path.is_file()}
        for name in ("first", "second")
    )
    assert first.keys() == second.keys()
    differ = {name for name in first if first[name].read_bytes() != second[name].read_bytes()}
    assert differ <= {"session.toml"}  # which says when the run began


def test_another_seed_gives_another_run(tmp_path: Path) -> None:
    for seed in (3, 4):
        run_inline(load_config(write_tiny(tmp_path), [f"microscope.seed={seed}"]), tmp_path / f"{seed}", 2.0)
    assert (tmp_path / "3" / "journal.jsonl").read_bytes() != (tmp_path / "4" / "journal.jsonl").read_bytes()


# --- replay ---------------------------------------------------------------------------------------------------


def assert_replays(folder: Path, least_decisions: int = 1) -> None:
    result = replay(folder)
    assert result.first_difference is None
    assert result.n_frames > 0
    assert result.n_decisions >= least_decisions


def test_an_inline_session_replays(tmp_path: Path) -> None:
    run_inline(load_config(write_tiny(tmp_path)), tmp_path / "session", 4.0)
    assert_replays(tmp_path / "session", 4)


def test_the_real_movie_runs_and_replays(tmp_path: Path) -> None:
    """All three policies act on real nuclei, and nothing they ask for fails."""
    end = run_inline(load_config(CONFIGS / "replay.toml"), tmp_path / "session", 6.0)
    assert end.ok
    done = [o.decision.policy for o in outcomes(tmp_path / "session") if o.decision and o.outcome.status == "done"]
    assert set(done) == {"follow", "pace", "trigger"}
    assert not [o for o in outcomes(tmp_path / "session") if o.outcome.status in ("failed", "late")]
    assert_replays(tmp_path / "session", 10)


def test_a_movie_that_ends_ends_the_run(tmp_path: Path) -> None:
    config = load_config(CONFIGS / "replay.toml", ["microscope.repeat=1"])
    end = run_inline(config, tmp_path / "session", None)
    assert (end.ok, end.reason) == (True, "the recorded movie has ended")
    assert len(frames(tmp_path / "session")) == 30
    assert_replays(tmp_path / "session")


def test_a_session_of_ours_is_a_movie_for_another_run(tmp_path: Path) -> None:
    config = load_config(write_tiny(tmp_path))
    run_inline(config, tmp_path / "session", 2.0)
    settings = {"use": "replayed", "path": str(tmp_path / "session"), "pace": "own"}
    simulated = (tmp_path / "tiny.toml").read_text("utf-8")
    table = "".join(f'{key} = "{value}"\n' for key, value in settings.items()).replace("\\", "/")
    start, end = simulated.index('use = "simulated"'), simulated.index("[imaging]")
    (tmp_path / "again.toml").write_text(simulated[:start] + table + simulated[end:], "utf-8")
    run_inline(load_config(tmp_path / "again.toml"), tmp_path / "again", None)
    assert len(frames(tmp_path / "again")) == len(frames(tmp_path / "session"))
    assert [f.header.stage for f in frames(tmp_path / "again")] == [
        f.header.stage for f in frames(tmp_path / "session")
    ]
    assert_replays(tmp_path / "again")


def test_a_session_of_real_processes_replays(tmp_path: Path) -> None:
    config = load_config(write_tiny(tmp_path), ["policy.pace.signal=feature:area_um2", "policy.pace.low=0.5"])
    with Supervisor(config, tmp_path / "session", 1.5) as supervisor:
        supervisor.start()
        result = supervisor.supervise()
    assert result.ok, result.reason
    assert_replays(tmp_path / "session")


@pytest.mark.skipif(find_spec("mm_test_adapters") is None, reason="mm-test-adapters is not installed")
def test_a_session_of_a_micromanager_core_replays(tmp_path: Path) -> None:
    rig = tmp_path / "rig.cfg"  # a rig of its own, whoever else uses the demonstration at the moment
    shutil.copy(CONFIGS / "micromanager_demo.cfg", rig)
    config = load_config(CONFIGS / "micromanager_demo.toml", [f"microscope.config_file='{rig}'"])
    end = run_inline(config, tmp_path / "session", 1.5)
    assert end.ok, end.reason
    assert_replays(tmp_path / "session")


def test_a_session_whose_journal_was_cut_off_replays(tmp_path: Path) -> None:
    """As a kill leaves it: the last line is not whole."""
    run_inline(load_config(write_tiny(tmp_path)), tmp_path / "session", 2.0)
    journal = tmp_path / "session" / "journal.jsonl"
    lines = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(b"".join(lines[: len(lines) // 2]) + lines[len(lines) // 2][:-20])
    assert_replays(tmp_path / "session")


def test_other_policies_can_be_tried_on_a_session(tmp_path: Path) -> None:
    run_inline(load_config(write_tiny(tmp_path)), tmp_path / "session", 2.0)
    own = [o.decision.id for o in outcomes(tmp_path / "session") if o.decision and o.decision.policy == "follow"]
    assert [d.id for d in replay_with(tmp_path / "session", ["follow"]).decisions] == own
    assert {d.policy for d in replay_with(tmp_path / "session", ["trigger", "pace"]).decisions} <= {"trigger", "pace"}


# --- the loop is closed ---------------------------------------------------------------------------------------


@dataclass
class Watch:
    """Where a followed cell really was while a run went on, and where the stage stood."""

    inline: InlineRun | None = None
    track_id: int | None = None
    cell_id: int | None = None
    cell_um: list[tuple[float, float]] = field(default_factory=list)
    off_um: list[float] = field(default_factory=list)

    def see(self, analysis: Analysis) -> None:
        assert self.inline is not None
        nuclei = self.inline.microscope.truth().nuclei  # type: ignore[attr-defined]  # the simulated microscope's own
        scene = analysis.scene
        if self.cell_id is None:
            moves = [d for d in analysis.decisions if isinstance(d.command, MoveStage)]
            if moves and moves[0].track_id is not None:
                at_um = scene.tracks.xy_um[scene.tracks.row(moves[0].track_id)]
                self.cell_id = int(nuclei.id[np.argmin(np.hypot(*(nuclei.xy_um - at_um).T))])
        if self.cell_id is not None:
            rows = np.flatnonzero(nuclei.id == self.cell_id)
            assert rows.size, "the followed cell has left the view"
            cell, stage = nuclei.xy_um[rows[0]], scene.frame.stage
            self.cell_um.append((float(cell[0]), float(cell[1])))
            self.off_um.append(float(np.hypot(cell[0] - stage.x_um, cell[1] - stage.y_um)))


def watched(config: RunConfig, duration_s: float) -> Watch:
    watch = Watch()
    with inline_run(config, "run", None, "", duration_s, watch.see) as inline:
        watch.inline = inline
        inline.image()
    return watch


def following(folder: Path, *overrides: str) -> RunConfig:
    """Cells that wander at 2 µm/s and do not divide; only `follow` acts."""
    quiet = ["policy.pace.signal=feature:area_um2", "policy.pace.high=inf", "policy.pace.low=inf"]
    world = ["microscope.cycle_min=100000", "microscope.speed_um_min=2", "limits.moves_per_s=10", "microscope.seed=5"]
    return load_config(write_tiny(folder), [*world, *quiet, "policy.trigger.p_min=1.0", *overrides])


def test_follow_keeps_a_wandering_cell_in_the_middle(tmp_path: Path) -> None:
    watch = watched(following(tmp_path), 20.0)
    way_um = float(np.hypot(*np.subtract(watch.cell_um[-1], watch.cell_um[0])))
    settled = watch.off_um[10:]
    assert way_um > 15, "the cell must really have gone somewhere"
    assert max(settled) < 5.0
    assert np.median(settled) < 2.5


def test_without_follow_the_cell_walks_away(tmp_path: Path) -> None:
    """The same cell under a stage that may not move: what the test above would see if nothing was closed."""
    watch = watched(following(tmp_path, "limits.moves_per_s=0.001"), 20.0)
    assert max(watch.off_um) > 10


def test_frames_come_as_pace_decided_and_say_why(tmp_path: Path) -> None:
    folder = golden_session(tmp_path)
    turns = [o for o in outcomes(folder) if o.decision and isinstance(o.decision.command, SetInterval)]
    seen = frames(folder)
    assert len(turns) >= 2
    for turn in turns:
        assert turn.decision is not None
        assert isinstance(turn.decision.command, SetInterval)
        because = [f.header for f in seen if f.header.reason == turn.outcome.decision_id]
        assert because, "no frame names this decision as its reason"
        assert {header.interval_ms for header in because} == {turn.decision.command.interval_ms}
        spacing_ms = np.diff([header.t_ns for header in because]) / NS_PER_MS
        assert spacing_ms == pytest.approx(turn.decision.command.interval_ms)


def test_the_output_fires_at_the_decided_moments(tmp_path: Path) -> None:
    config = load_config(write_tiny(tmp_path))
    with inline_run(config, "run", tmp_path / "session", session_toml("run", config), GOLDEN_S) as inline:
        inline.image()
        pulses = list(inline.microscope.pulses)  # type: ignore[attr-defined]  # the simulated microscope's own
    asked = [o.decision.command for o in outcomes(tmp_path / "session") if o.decision]
    fired = [command for command in asked if isinstance(command, PulseSorter)]
    assert fired
    assert [on_ns for on_ns, _ in pulses] == [command.at_ns for command in fired]
    assert [off - on for on, off in pulses] == [round(command.width_ms * NS_PER_MS) for command in fired]


def test_the_shipped_simulation_shows_all_three_policies(tmp_path: Path) -> None:
    """`make demo` rests on it: within ten seconds each policy has acted, `pace` in both directions."""
    run_inline(load_config(CONFIGS / "simulated.toml"), tmp_path / "session", 10.0)
    done = [o.decision for o in outcomes(tmp_path / "session") if o.decision and o.outcome.status == "done"]
    assert {decision.policy for decision in done} == {"follow", "pace", "trigger"}
    assert len({d.command.interval_ms for d in done if isinstance(d.command, SetInterval)}) == 2


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as scratch:
        text = msgspec.json.format(msgspec.json.encode(decided(golden_session(Path(scratch)))), indent=1)
    GOLDEN.write_bytes(text + b"\n")
