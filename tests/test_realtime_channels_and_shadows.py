"""Frames of another channel in the reflex, and policies that only pretend to act; inline, recorded and replayed."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
import pytest

from acquisition.clock import SimulatedClock
from acquisition.commands import AcquireBurst, SetChannel, SetInterval, SetLight
from acquisition.frame import Frame
from models.perception import Perception
from models.threshold import ThresholdSegmenter
from realtime.config import InferenceSettings, load_config
from realtime.decisions import Decision
from realtime.inference import Analysis, Inference
from realtime.inline import inline_run
from realtime.latency import ANALYSIS_STAGES
from realtime.policy import Policy, Scene
from realtime.policy_runner import PolicyRunner
from realtime.replay import replay, replay_with
from realtime.session.header import session_toml
from realtime.session.reader import SessionReader
from realtime.wire import FrameAnalysed
from tests.scenes import header
from tests.tiny_config import write_tiny
from tracking.tracker import CausalTracker

SETTINGS = InferenceSettings()


@dataclass
class Asks:
    """The same on every frame."""

    decision: Decision

    def decide(self, scene: Scene) -> Iterable[Decision]:
        return [self.decision]


@dataclass
class Raises:
    def decide(self, scene: Scene) -> Iterable[Decision]:
        raise RuntimeError("a bug in a shadow")


def bench(channel: str = "", features: tuple[str, ...] = (), **policies: tuple[Policy, float, bool]) -> Inference:
    """Policies with their priority and whether they are shadows."""
    clock = SimulatedClock(10**9)
    runners = {name: PolicyRunner(name, *of[:1], SETTINGS, clock, *of[1:]) for name, of in policies.items()}
    return Inference(Perception(ThresholdSegmenter(), None, features, channel), CausalTracker(), runners, clock)


def frame(index: int, channel: str, shift_px: int = 0, level: int = 1000) -> Frame:
    pixels = np.full((96, 96), 100, np.uint16)
    for x, y in ((20, 20), (60, 30), (40, 70)):
        pixels[y : y + 14, x + shift_px : x + shift_px + 14] = level + 10 * x
    return Frame(header(index, size_px=96, channel=channel), pixels)


def looked(inference: Inference, frame: Frame) -> Analysis:
    analysis = inference.look(frame, 0.0)
    assert analysis is not None
    return inference.with_shadow(analysis)


# --- frames of another channel --------------------------------------------------------------------------------


def test_a_frame_of_another_channel_is_measured_in_the_cells_found_last() -> None:
    inference = bench("nuclei", ("max_intensity",))
    before = [looked(inference, frame(k, "nuclei")).scene for k in range(3)][-1]
    other = looked(inference, frame(3, "red", level=300)).scene
    assert before.segmented
    assert not other.segmented
    assert len(other.cells) == 3
    assert np.array_equal(other.cells.label, before.cells.label)
    assert sorted(other.cells.mean_intensity) == pytest.approx([500, 700, 900], rel=0.05)
    assert sorted(before.cells.mean_intensity) == pytest.approx([1200, 1400, 1600], rel=0.05)
    assert other.cells.feature("max_intensity").max() == 900


def test_nothing_happens_to_tracks_in_a_frame_of_another_channel() -> None:
    inference, untouched = bench("nuclei"), bench("nuclei")
    for k in range(3):
        before = looked(inference, frame(k, "nuclei")).scene.tracks
        looked(untouched, frame(k, "nuclei"))
    others = [looked(inference, frame(k, "red", level=300 * k)).scene.tracks for k in (3, 4)]
    for tracks in others:
        assert np.array_equal(tracks.id, before.id)
        assert np.array_equal(tracks.cell_row, before.cell_row)
        assert np.array_equal(tracks.age, before.age)
        assert tracks.events == ()
    assert inference.tracker.saved() == untouched.tracker.saved()  # type: ignore[attr-defined]
    after = looked(inference, frame(5, "nuclei")).scene.tracks
    assert np.array_equal(after.id, before.id)


def test_events_are_told_once() -> None:
    inference = bench("nuclei")
    first = looked(inference, frame(0, "nuclei")).scene.tracks
    assert first.events
    assert not looked(inference, frame(1, "red")).scene.tracks.events


def test_without_a_channel_every_frame_is_segmented() -> None:
    inference = bench()
    looked(inference, frame(0, "nuclei"))
    assert looked(inference, frame(1, "red", level=0)).scene.segmented


def test_a_fresh_process_that_begins_in_another_channel_sees_no_cells() -> None:
    inference = bench("nuclei")
    analysis = looked(inference, frame(0, "red"))
    assert (len(analysis.scene.cells), len(analysis.scene.tracks), analysis.scene.segmented) == (0, 0, False)
    assert len(analysis.stamps.ends_ns) == len(ANALYSIS_STAGES)
    assert len(looked(inference, frame(1, "nuclei")).scene.cells) == 3


def test_a_process_that_goes_on_in_another_channel_forgets_no_cells_dose() -> None:
    """Its tracker knows the tracks, but tells them with the next frame in which cells are sought."""
    film = [frame(k, channel) for k, channel in enumerate(["nuclei", "nuclei", "red", "red", "nuclei"])]
    alone, before, after = bench("nuclei"), bench("nuclei"), bench("nuclei")
    for k, seen in enumerate(film[:2]):
        for inference in (alone, before):
            inference.look(seen, 1.0 + k)
    after.tracker.restore(before.tracker.saved())  # type: ignore[attr-defined]
    after.ledger.restore(before.ledger.saved())
    for k, seen in enumerate(film[2:], 2):
        there, here = alone.look(seen, 1.0 + k), after.look(seen, 1.0 + k)
        assert there is not None
        assert here is not None
        assert there.ended_j_cm2 == here.ended_j_cm2 == ()
    assert here.scene.dose.track_j_cm2 == pytest.approx(there.scene.dose.track_j_cm2)
    assert len(after.ledger.cell_j_cm2) == 3


def test_nobody_changes_the_light_of_another_channels_look() -> None:
    light = Asks(Decision(command=SetLight(2.0), reason="test"))
    inference = bench("nuclei", light=(light, 0.0, False))
    assert looked(inference, frame(0, "nuclei")).decisions
    other = looked(inference, frame(1, "red"))
    assert other.decisions == []
    assert other.dropped == ["1.light.0 (SetLight) lost the light to the look in channel red"]


@dataclass
class Switches:
    """Once, on the first frame."""

    to: str
    asked: bool = False

    def decide(self, scene: Scene) -> Iterable[Decision]:
        wishes = [] if self.asked else [Decision(command=SetChannel(self.to), reason="test")]
        self.asked = True
        return wishes


def test_between_a_switch_of_channel_and_the_first_frame_of_it_nothing_is_begun_that_would_hit_it() -> None:
    """A burst that was decided on the last frame of the base channel would be a whole burst of the dearer one."""
    burst = Asks(Decision(command=AcquireBurst(50, 5.0), reason="test"))
    light = Asks(Decision(command=SetLight(2.0), reason="test"))
    inference = bench("nuclei", a=(Switches("red"), 1.0, False), b=(burst, 0.0, False), c=(light, 0.0, False))
    film = [frame(0, "nuclei"), frame(1, "nuclei"), frame(2, "red"), frame(3, "nuclei")]
    kept = [[type(decision.command) for decision in looked(inference, seen).decisions] for seen in film]
    assert kept == [[SetChannel], [], [AcquireBurst], [AcquireBurst, SetLight]]


def test_a_switch_that_was_refused_is_waited_for_until_its_deadline() -> None:
    burst = Asks(Decision(command=AcquireBurst(50, 5.0), reason="test"))
    inference = bench("nuclei", a=(Switches("red"), 1.0, False), b=(burst, 0.0, False))
    kept = [looked(inference, frame(k, "nuclei")).decisions for k in range(60)]
    deadline_ns = kept[0][0].deadline_ns
    assert deadline_ns is not None
    for k, decisions in enumerate(kept[1:], 1):
        view = frame(k, "nuclei").header
        assert bool(decisions) == (view.t_ns - view.exposure_ms * 1e6 > deadline_ns)
    assert kept[-1]


# --- shadows --------------------------------------------------------------------------------------------------


def asks(interval_ms: float) -> Asks:
    return Asks(Decision(command=SetInterval(interval_ms), reason="test"))


def test_a_shadow_decides_but_takes_nothing_from_anyone() -> None:
    inference = bench(shadow=(asks(5.0), 9.0, True), real=(asks(50.0), 0.0, False))
    analysis = looked(inference, frame(0, ""))
    assert [decision.id for decision in analysis.decisions] == ["0.real.0"]
    assert [decision.id for decision in analysis.shadow] == ["0.shadow.0"]
    assert analysis.dropped == []
    assert all(decision.deadline_ns for decision in analysis.shadow)


def test_two_shadows_do_not_meet_in_the_arbiter() -> None:
    analysis = looked(bench(a=(asks(5.0), 0.0, True), b=(asks(6.0), 0.0, True)), frame(0, ""))
    assert [decision.policy for decision in analysis.shadow] == ["a", "b"]
    assert analysis.dropped == []


def test_a_shadow_that_raises_is_heard_and_disturbs_nobody() -> None:
    inference = bench(bad=(Raises(), 0.0, True), real=(asks(50.0), 0.0, False))
    analyses = [looked(inference, frame(k, "")) for k in range(5)]
    assert all(len(analysis.decisions) == 1 for analysis in analyses)
    assert sum(len(analysis.complaints) for analysis in analyses) == SETTINGS.policy_failures
    assert inference.policies["bad"].suspended


def test_the_higher_priority_of_the_config_wins() -> None:
    analysis = looked(bench(first=(asks(50.0), 0.0, False), second=(asks(5.0), 1.0, False)), frame(0, ""))
    assert [decision.policy for decision in analysis.decisions] == ["second"]
    assert analysis.dropped[0].endswith("priority 1 against 0")


def test_a_session_with_a_shadow_counts_it_and_replays(tmp_path: Path) -> None:
    config_file = write_tiny(tmp_path, {'use = "pace"': 'use = "pace"\nshadow = true\npriority = 3'})
    config = load_config(config_file)
    assert config.policies["pace"].shadow
    assert config.policies["pace"].priority == 3
    folder = tmp_path / "session"
    with inline_run(config, "run", folder, session_toml("run", config), 8.0) as inline:
        assert inline.image().ok
    summary = msgspec.json.decode((folder / "summary.json").read_bytes())
    analyses = [record for record in SessionReader(folder).records() if isinstance(record, FrameAnalysed)]
    n_shadow = sum(len(analysis.shadow) for analysis in analyses)
    assert summary["decisions_of_shadow_policies"] == {"pace": n_shadow}
    assert n_shadow > 0
    assert "pace" not in summary["decisions"], "nothing of it was done"
    assert replay(folder).first_difference is None
    assert replay_with(folder, ["pace"]).n_decisions == n_shadow
    damaged(folder)
    assert "pace" in (replay(folder).first_difference or "")


def damaged(folder: Path) -> None:
    """The journal as if the shadow had decided something else."""
    journal = folder / "journal.jsonl"
    text = journal.read_text("utf-8")
    position = text.index('"shadow":[{')
    journal.write_text(text[:position] + text[position:].replace('"interval_ms":', '"interval_ms":1', 1), "utf-8")
