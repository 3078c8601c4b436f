"""Frame to decisions: complete decisions, a ledger that closes, and policies that cannot stop the run."""

import inspect
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from acquisition.clock import NS_PER_MS, SimulatedClock
from acquisition.commands import MoveStage, SetLight
from acquisition.frame import Frame
from models.perception import Perception
from models.segmenter import NetworkSegmenter
from models.threshold import ThresholdSegmenter
from realtime.config import InferenceSettings, load_config
from realtime.decisions import Decision
from realtime.inference import Inference, perception_from
from realtime.latency import ANALYSIS_STAGES
from realtime.policy import Policy, Scene
from realtime.policy_runner import PolicyRunner
from tests.scenes import header
from tests.tiny_config import write_tiny
from tracking.tracker import CausalTracker

SETTINGS = InferenceSettings(deadline_ms=80, policy_budget_ms=5, policy_failures=3)


@dataclass
class Asks:
    """Asks for the same thing on every frame."""

    decision: Decision

    def decide(self, scene: Scene) -> Iterable[Decision]:
        yield self.decision


@dataclass
class Raises:
    """Raises on the frames whose index is in `on`."""

    on: range

    def decide(self, scene: Scene) -> Iterable[Decision]:
        if scene.frame.index in self.on:
            raise RuntimeError("a bug in my lab")
        return []


@dataclass
class Stumbles:
    """Its mistake shows far away from it."""

    def decide(self, scene: Scene) -> Iterable[Decision]:
        return [Decision(command=MoveStage(x_um=1.0), reason=str(np.linalg.inv(np.zeros((2, 2)) @ np.zeros((2, 2)))))]


@dataclass
class Slow:
    """Lets time pass."""

    clock: SimulatedClock

    def decide(self, scene: Scene) -> Iterable[Decision]:
        self.clock.sleep_s(0.05)
        return []


class Bench:
    """An inference with some policies, on blank frames with one disc."""

    def __init__(self, **policies: Policy) -> None:
        self.clock = SimulatedClock(10**9)
        runners = {name: PolicyRunner(name, policy, SETTINGS, self.clock) for name, policy in policies.items()}
        perception = Perception(ThresholdSegmenter(), None, ())
        self.inference = Inference(perception, CausalTracker(), runners, self.clock)

    def frame(self, index: int) -> Frame:
        pixels = np.full((64, 64), 100, dtype=np.uint16)
        pixels[20:40, 20:40] = 2000
        return Frame(header(index, t_ms=1000 + 50 * index, size_px=64), pixels)


MOVE = Decision(command=MoveStage(x_um=1.0), reason="why not")


def test_a_decision_is_completed_with_source_and_deadline() -> None:
    bench = Bench(first=Asks(MOVE))
    frame = bench.frame(7)
    analysis = bench.inference.look(frame, 0.5)
    assert analysis is not None
    (decision,) = analysis.decisions
    assert (decision.id, decision.frame_index, decision.policy) == ("7.first.0", 7, "first")
    assert decision.deadline_ns == frame.header.t_ns + 80 * NS_PER_MS
    assert (len(analysis.scene.cells), len(analysis.scene.tracks), analysis.scene.dose.total_mj) == (1, 1, 0.5)


def test_the_first_policy_wins_an_actuator() -> None:
    bench = Bench(first=Asks(MOVE), second=Asks(MOVE), third=Asks(Decision(command=SetLight(1.0), reason="dark")))
    analysis = bench.inference.look(bench.frame(0), 0.0)
    assert analysis is not None
    assert [decision.policy for decision in analysis.decisions] == ["first", "third"]
    assert "second" in analysis.dropped[0]


def test_every_stage_is_marked_in_order() -> None:
    bench = Bench()
    analysis = bench.inference.look(bench.frame(0), 0.0)
    assert analysis is not None
    assert len(analysis.stamps.ends_ns) == len(ANALYSIS_STAGES)


def test_overwritten_pixels_lead_to_no_decision_and_no_track() -> None:
    bench = Bench(first=Asks(MOVE))
    assert bench.inference.look(bench.frame(0), 0.0, intact=lambda: False) is None
    analysis = bench.inference.look(bench.frame(1), 0.0)
    assert analysis is not None
    assert analysis.scene.tracks.age.tolist() == [0], "the torn frame left no trace in the tracker"


def test_a_policy_that_raises_is_reported_and_the_others_decide() -> None:
    bench = Bench(bad=Raises(range(0, 1)), good=Asks(MOVE))
    analysis = bench.inference.look(bench.frame(0), 0.0)
    assert analysis is not None
    assert [decision.policy for decision in analysis.decisions] == ["good"]
    (complaint,) = analysis.complaints
    assert "policy bad raised RuntimeError: a bug in my lab" in complaint
    assert bench.inference.look(bench.frame(1), 0.0).complaints == []  # type: ignore[union-attr]


def test_the_authors_line_is_named_and_the_whole_traceback_is_in_the_log_once(
    capsys: pytest.CaptureFixture[str],
) -> None:
    bench = Bench(bad=Stumbles())
    complaints = [bench.inference.look(bench.frame(i), 0.0).complaints[0] for i in range(2)]  # type: ignore[union-attr]
    line = inspect.getsourcelines(Stumbles.decide)[1] + 1
    assert f"({__file__}, line {line} in decide, frame 0)" in complaints[0], "not numpy's, where it was raised"
    assert f"({__file__}, line {line} in decide, frame 1)" in complaints[1]
    log = capsys.readouterr().err
    assert log.count("Traceback (most recent call last)") == 1
    assert "np.linalg.inv" in log
    assert "LinAlgError: Singular matrix" in log


def test_a_bug_that_is_not_in_the_policys_file_is_named_where_it_is() -> None:
    bench = Bench(bad=Asks(BAD["a command out of its range"]))
    (complaint,) = bench.inference.look(bench.frame(0), 0.0).complaints  # type: ignore[union-attr]
    assert "policy_runner.py, line" in complaint


def test_a_policy_that_only_raises_is_suspended() -> None:
    bench = Bench(bad=Raises(range(100)))
    complaints = [bench.inference.look(bench.frame(i), 0.0).complaints for i in range(5)]  # type: ignore[union-attr]
    assert [len(c) for c in complaints] == [1, 1, 1, 0, 0]
    assert "suspended after 3 failures in a row" in complaints[2][0]


def test_failures_that_are_not_in_a_row_do_not_suspend() -> None:
    bench = Bench(bad=Raises(range(0, 100, 2)))
    complaints = [bench.inference.look(bench.frame(i), 0.0).complaints for i in range(10)]  # type: ignore[union-attr]
    assert sum(len(c) for c in complaints) == 5


def test_failures_now_and_then_are_reported_less_and_less_often() -> None:
    bench = Bench(bad=Raises(range(0, 1000, 2)))
    complaints = [c for i in range(400) for c in bench.inference.look(bench.frame(i), 0.0).complaints]  # type: ignore[union-attr]
    assert len(complaints) == 10 + 4, "all of the first ten, then the 16th, 32nd, 64th and 128th"
    assert complaints[-1].endswith("(128 times so far)")
    assert not bench.inference.policies["bad"].suspended


def test_a_slow_policy_is_reported_less_and_less_often() -> None:
    bench = Bench()
    bench.inference.policies = {"slow": PolicyRunner("slow", Slow(bench.clock), SETTINGS, bench.clock)}
    complaints = [bench.inference.look(bench.frame(i), 0.0).complaints for i in range(9)]  # type: ignore[union-attr]
    assert [len(c) for c in complaints] == [1, 1, 0, 1, 0, 0, 0, 1, 0]
    assert "took 50.0 ms" in complaints[0][0]


BAD = {
    "a command out of its range": Decision(command=SetLight(-1.0), reason="r"),
    "no command at all": Decision(command=None, reason="r"),  # type: ignore[arg-type]
}


@pytest.mark.parametrize("name", BAD)
def test_a_decision_that_the_wire_would_refuse_fails_at_its_policy(name: str) -> None:
    bench = Bench(bad=Asks(BAD[name]))
    analysis = bench.inference.look(bench.frame(0), 0.0)
    assert analysis is not None
    assert analysis.decisions == []
    assert "policy bad raised ValidationError" in analysis.complaints[0]


@pytest.mark.parametrize(("threads", "expected"), [(0, 3), (2, 2)])
def test_the_runs_threads_are_the_engines_unless_it_names_its_own(tmp_path: Path, threads: int, expected: int) -> None:
    overrides = ["segmenter.use=network", f"segmenter.engine.threads={threads}", "inference.threads=3"]
    path = write_tiny(tmp_path)
    path.write_text(path.read_text("utf-8").replace('use = "threshold"', 'use = "network"'), "utf-8")
    perception = perception_from(load_config(path, overrides))
    assert isinstance(perception.segmenter, NetworkSegmenter)
    assert perception.segmenter.engine.threads == expected
