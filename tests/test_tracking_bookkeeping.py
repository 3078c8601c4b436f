"""Events, rows and what is remembered of clumps fit together, in eventful scenes at odd times."""

from collections import Counter
from dataclasses import replace

import msgspec
import numpy as np
import pytest

from models.cells import Cells
from tests.contracts.test_tracker_contract import check_rows
from tracking.scenario_recipes import SCENARIOS
from tracking.scenarios import make
from tracking.tracker import CausalTracker

EVENTFUL = msgspec.structs.replace(
    SCENARIOS["everything"], n_cells=40, field_um=180, n_frames=40, merge_rate=0.15, merge_frames=6,
    division_rate_per_hour=0.4, gap_rate=0.02,
)  # fmt: skip
ENDS, STARTS = ("left", "lost", "divided"), ("born", "entered")
KINDS = (*ENDS, *STARTS, "confirmed", "merged", "split")


def unsteady(seed: int) -> list[Cells]:
    """Frames of an eventful scene whose clock runs now too fast and now too slow."""
    rng, frames = np.random.default_rng(seed), make(EVENTFUL, seed).frames
    t_ns = np.cumsum(rng.choice([0.0, 0.1, 1.0, 1.0, 1.0, 1.0, 8.0], len(frames)) * EVENTFUL.interval_s * 1e9)
    return [replace(cells, t_ns=int(t)) for cells, t in zip(frames, t_ns, strict=True)]


def any_tracker(seed: int) -> CausalTracker:
    return CausalTracker(max_missed=seed % 6, confirm_after=1 + seed % 3)


@pytest.mark.parametrize("seed", range(12))
def test_what_is_told_fits_together(seed: int) -> None:
    tracker, hidden_in, told, believed = any_tracker(seed), dict[int, int](), Counter[int](), set[int]()
    alive, never_tentative = set[int](), set[int]()
    for cells in unsteady(seed):
        tracks = tracker.update(cells)
        check_rows(tracks, cells)
        now, of = set(tracks.id.tolist()), {kind: [e for e in tracks.events if e.kind == kind] for kind in KINDS}
        ended = Counter(e.track_id for kind in ENDS for e in of[kind])
        assert set(ended.values()) <= {1}
        assert set(ended) == alive - now
        fresh = {i for e in of["divided"] for i in e.others} - alive
        assert now - alive == {e.track_id for kind in STARTS for e in of[kind]} | fresh
        met = {i for e in of["merged"] for i in (e.track_id, *e.others)}
        assert not met & {i for e in of["divided"] for i in (e.track_id, *e.others)}
        for event in of["split"]:
            assert hidden_in.pop(event.track_id) == event.others[0]
        hidden_in |= {e.track_id: e.others[0] for e in of["merged"]}
        hidden_in = {i: host for i, host in hidden_in.items() if i in now}
        assert hidden_in.keys() == set(tracker.state.id[tracker.state.host > 0].tolist())
        told.update(e.track_id for e in of["confirmed"])
        believed |= set(tracks.id[tracks.confirmed].tolist())
        never_tentative |= fresh
        assert told == Counter(believed - never_tentative)
        alive = now


@pytest.mark.parametrize("seed", range(12))
def test_who_is_hidden_is_hidden_in_somebody_who_is_not(seed: int) -> None:
    tracker, dead, lonely, n_hidden = any_tracker(seed), set[int](), set[int](), 0
    for cells in unsteady(seed):
        tracker.update(cells)
        state = tracker.state
        hosts = state.host[state.host > 0]
        n_hidden += len(hosts)
        assert not np.isin(hosts, state.id[state.host > 0]).any()
        gone = set(hosts[~np.isin(hosts, state.id)].tolist())
        assert not gone & dead, "its host ended more than a frame ago"
        alone = set(state.id[state.host_of_clump & ~np.isin(state.id, hosts)].tolist())
        assert not alone & lonely, "nobody has been hidden in it for more than a frame"
        dead, lonely = gone, alone
    assert n_hidden > 5


def test_there_is_much_to_keep_account_of() -> None:
    """Otherwise these tests would be too easy."""
    told = Counter[str]()
    for seed in range(12):
        tracker = any_tracker(seed)
        told.update(event.kind for cells in unsteady(seed) for event in tracker.update(cells).events)
    assert set(told) == set(KINDS)
    assert min(told.values()) >= 20
