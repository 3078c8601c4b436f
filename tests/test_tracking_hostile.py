"""What microscopes do to trackers: odd clocks, flashes, stages that leap, numbers that are none, damaged memories."""

import tracemalloc
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from itertools import pairwise
from time import process_time
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import pytest

import tracking.division
import tracking.linking
from models.cells import Cells
from tests.contracts.test_tracker_contract import COLUMNS, check_rows
from tests.named_cells import AREA_UM2, DIAMETER_UM, Spot, Watch, bystanders, same_identities, seen, with_labels
from tests.scenes import cells_at, header
from tracking.linking import Links, link
from tracking.motion import JITTER
from tracking.saving import packed, unpacked
from tracking.scenario_recipes import SCENARIOS
from tracking.scenarios import make
from tracking.tracker import CausalTracker
from tracking.tracks import Ints, Tracks

PITCH_UM = 20.0
Changed = Callable[[Cells], Cells]


@pytest.mark.parametrize("first_s", [0.0, 0.001])
def test_a_very_short_first_interval_says_nothing(first_s: float) -> None:
    crowd = Crowd(200)
    crowd.see(0.0)
    kept = crowd.watch([first_s + 10.0 * n for n in range(15)])
    assert min(kept) > 0.97


@pytest.mark.parametrize("odd", [[0.001], [0.01 * k for k in range(1, 11)]], ids=["one frame", "a burst"])
def test_frames_in_quick_succession_spoil_nothing(odd: list[float]) -> None:
    """In which cells hardly move, between frames every 10 s."""
    crowd = Crowd(200)
    crowd.watch([10.0 * n for n in range(25)])
    for before_s, t_s in pairwise([0.0, *odd]):
        crowd.go((t_s - before_s) / 10)
        crowd.see(241.0 + t_s)
    kept = crowd.watch([250.0 + 10 * n for n in range(12)])
    assert min(kept[-10:]) >= 0.95
    assert crowd.tracker.learned.usual_dt_s > 1.0


@pytest.mark.parametrize("step_um", [0.5, 1.0])
def test_a_pause_spoils_nothing(step_um: float) -> None:
    crowd = Crowd(200, step_um)
    crowd.watch([float(n) for n in range(25)])
    kept = crowd.watch([624.0 + n for n in range(12)])
    assert min(kept[-9:]) >= 0.95


def test_a_flash_makes_no_divisions_and_little_work() -> None:
    crowd, costs, told = Crowd(2000), list[tuple[bool, float]](), list[str]()
    for frame in range(26):
        flash = frame in (15, 20)
        start_s = process_time()
        tracks = crowd.see(float(frame), white if flash else lambda cells: cells)
        costs.append((flash, process_time() - start_s))
        told += [event.kind for event in tracks.events]
        crowd.go()
    usual_s = np.median([cost for flash, cost in costs[8:] if not flash])
    assert max(cost for flash, cost in costs if flash) < 10 * usual_s
    assert max(cost for _, cost in costs[8:]) < 20 * usual_s
    assert "divided" not in told
    assert min(crowd.kept()[-5:]) > 0.95


def test_after_dark_and_flashes_cells_are_not_combined_beyond_measure(monkeypatch: pytest.MonkeyPatch) -> None:
    triples, combined = list[int](), tracking.division._combined

    def counted(*pairs: Ints) -> Ints:
        found = combined(*pairs)
        triples.append(len(pairs[0]) + len(found))
        return found

    monkeypatch.setattr(tracking.division, "_combined", counted)
    crowd = Crowd(1000)
    for frame, looked in enumerate([lambda cells: cells] * 12 + [empty] * 7 + [white] * 20 + [lambda cells: cells] * 6):
        crowd.see(float(frame), looked)
        crowd.go()
    assert triples
    assert max(triples) < 50 * 1000
    assert min(crowd.kept()[-4:]) > 0.95


def test_after_an_hour_a_track_is_not_linked_to_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    possible = list[int]()

    def counted(*known: Any) -> Links:
        links = link(*known)
        possible.append(len(links.track))
        return links

    monkeypatch.setattr(tracking.linking, "link", counted)
    crowd = Crowd(4000, step_um=0.5)
    kept = crowd.watch([*map(float, range(10)), *[3610.0 + n for n in range(4)]])
    assert max(possible) < 30 * 4000
    assert min(kept[-2:]) >= 0.95


@pytest.mark.parametrize("flashes", [1, 2])
def test_places_of_cells_are_as_exact_as_they_are_small_after_first_flashes(flashes: int) -> None:
    crowd = Crowd(150)
    for frame in range(60):
        crowd.see(float(frame), white if frame < flashes else lambda cells: cells)
        crowd.go()
    learned = crowd.tracker.learned
    assert learned.motion is not None
    assert learned.diameter_um == pytest.approx(DIAMETER_UM, rel=0.1)
    assert learned.motion.jitter_um == pytest.approx(JITTER * learned.diameter_um, rel=0.01)
    assert np.mean(crowd.kept()[10:]) > 0.99


@pytest.mark.parametrize("to_um", [200, 220, 240])
@pytest.mark.parametrize("looseness_um", [0.0, 1.0])
def test_when_the_stage_moves_no_well_takes_the_identity_of_another(to_um: int, looseness_um: float) -> None:
    """Half of the wells are another ones in the same places."""
    wells, owner, tracker, rng = Crowd(1600, 0.3, looseness_um), dict[int, int](), CausalTracker(), np.random.default_rng(3)
    for frame in range(12):
        stage = (-100.0 + (to_um if frame >= 10 else 0), 0.0)
        places = wells.xy_um + rng.normal(0, 0.3, wells.xy_um.shape)
        rows = np.flatnonzero((np.abs(places - stage) < 200).all(axis=1))
        view = header(frame, stage, t_ms=1000 * frame, size_px=400, um_per_px=1.0)
        cells = cells_at(view, places[rows], area_um2=wells.area[rows], mean_intensity=wells.counts[rows])
        tracks = tracker.update(cells)
        for track, row in zip(tracks.id.tolist(), tracks.cell_row.tolist(), strict=True):
            if row >= 0:
                assert owner.setdefault(track, int(rows[row])) == rows[row], f"frame {frame}"


EVENTFUL = msgspec.structs.replace(
    SCENARIOS["everything"], n_cells=40, field_um=180, n_frames=40, merge_rate=0.15, merge_frames=6,
    division_rate_per_hour=0.4, gap_rate=0.02,
)  # fmt: skip
ENDS, STARTS = ("left", "lost", "divided"), ("born", "entered")


def unsteady(seed: int) -> list[Cells]:
    """Frames of an eventful scene whose clock runs now too fast and now too slow."""
    rng, frames = np.random.default_rng(seed), make(EVENTFUL, seed).frames
    t_ns = np.cumsum(rng.choice([0.0, 0.1, 1.0, 1.0, 1.0, 1.0, 8.0], len(frames)) * EVENTFUL.interval_s * 1e9)
    return [replace(cells, t_ns=int(t)) for cells, t in zip(frames, t_ns, strict=True)]


def any_tracker(seed: int) -> CausalTracker:
    return CausalTracker(max_missed=seed % 6, confirm_after=1 + seed % 3)


@pytest.mark.parametrize("seed", range(12))
def test_what_is_told_fits_together(seed: int) -> None:
    tracker, hidden_in, told, believed = any_tracker(seed), dict[int, int](), Counter[int](), Counter[int]()
    alive = set[int]()
    for cells in unsteady(seed):
        tracks = tracker.update(cells)
        check_rows(tracks, cells)
        now, of = set(tracks.id.tolist()), {kind: [e for e in tracks.events if e.kind == kind] for kind in KINDS}
        ended = Counter(e.track_id for kind in ENDS for e in of[kind])
        assert set(ended.values()) <= {1}
        assert set(ended) == alive - now
        daughters = {i for e in of["divided"] for i in e.others}
        assert now - alive == {e.track_id for kind in STARTS for e in of[kind]} | daughters - alive
        met = {i for e in of["merged"] for i in (e.track_id, *e.others)}
        assert not met & ({e.track_id for e in of["divided"]} | daughters)
        for event in of["split"]:
            assert hidden_in.pop(event.track_id) == event.others[0]
        hidden_in |= {e.track_id: e.others[0] for e in of["merged"]}
        hidden_in = {i: host for i, host in hidden_in.items() if i in now}
        assert hidden_in.keys() == set(tracker.state.id[tracker.state.host > 0].tolist())
        told.update(e.track_id for e in of["confirmed"])
        believed.update(set(tracks.id[tracks.confirmed].tolist()) - (daughters - alive) - set(believed))
        believed.update({i: 0 for i in daughters - alive})
        assert +believed == told
        alive = now


KINDS = (*ENDS, *STARTS, "confirmed", "merged", "split")


@pytest.mark.parametrize("seed", range(12))
def test_who_is_hidden_is_hidden_in_somebody_who_is_seen(seed: int) -> None:
    tracker, dead, lonely = any_tracker(seed), set[int](), set[int]()
    for cells in unsteady(seed):
        tracker.update(cells)
        state = tracker.state
        hosts = state.host[state.host > 0]
        assert not np.isin(hosts, state.id[state.host > 0]).any()
        gone = set(hosts[~np.isin(hosts, state.id)].tolist())
        assert not gone & dead, "its host ended more than a frame ago"
        alone = set(state.id[state.host_of_clump & ~np.isin(state.id, hosts)].tolist())
        assert not alone & lonely, "nobody has been hidden in it for more than a frame"
        dead, lonely = gone, alone


def together(watch: Watch, frames: int) -> None:
    for _ in range(frames):
        watch.see(bystanders(watch.frame + 1) | {"clump": Spot(-0.5, 0, 2.0)})


PAIR = {"left": Spot(-4.5, 0, 1.1), "right": Spot(4.5, 0, 0.9)}


def test_a_clump_of_sixty_frames_parts_as_the_two_it_was() -> None:
    watch = Watch()
    watch.wait(PAIR)
    together(watch, 60)
    watch.wait(PAIR, frames=6)
    assert same_identities(watch, ["left", "right"])
    assert not watch.told("divided", "lost", "left")


@pytest.mark.parametrize("max_missed", [0, 1, 3, 5])
def test_the_released_without_a_cell_is_waited_for_like_any_other(max_missed: int) -> None:
    watch = Watch(CausalTracker(max_missed=max_missed))
    watch.wait(PAIR)
    together(watch, 12)
    watch.wait({"left": PAIR["left"]}, frames=10)
    right = watch.ids[0]["right"]
    alone = [tracks.row(right) for tracks in watch.tracks[20:]]
    missed = [int(t.missed[row]) for t, row in zip(watch.tracks[20:], alone, strict=True) if row is not None]
    assert missed == list(range(1, max_missed + 1))
    assert watch.kinds(right)[-2:] == ["split", "lost"]


@pytest.mark.parametrize("step_um", [0.2, 1.0])
def test_the_speed_of_three_cells_is_learned(step_um: float) -> None:
    crowd = Crowd(3, step_um)
    crowd.watch([float(n) for n in range(150)])
    motion = crowd.tracker.learned.motion
    assert motion is not None
    assert 0.5 * step_um < motion.speed_um_s < 2 * step_um
    assert crowd.tracker.learned.n_frames > 100


def test_the_answer_cannot_be_written_to() -> None:
    tracks = Crowd(20).see(0.0)
    for name in COLUMNS:
        column = getattr(tracks, name)
        with pytest.raises(ValueError, match="read-only"):
            column[...] = 0


def drawn(frame: int, read_only: bool, factor: int = 1) -> Cells:
    """Bystanders with their label image, labels so many times larger."""
    spots = bystanders(frame, (1.5 * frame, 0.0), columns=4)
    cells = with_labels(seen(spots, frame, 60.0 * frame), spots)
    assert cells.labels is not None
    labels = cells.labels * np.int32(factor)
    labels.flags.writeable = not read_only
    return replace(cells, labels=labels, label=cells.label * np.int32(factor))


def test_label_images_may_be_read_only() -> None:
    one, other = CausalTracker(), CausalTracker()
    for frame in range(8):
        ours, theirs = one.update(drawn(frame, read_only=True)), other.update(drawn(frame, read_only=False))
        assert ours.events == theirs.events
        for name in COLUMNS:
            assert np.array_equal(getattr(ours, name), getattr(theirs, name)), name
    assert one.saved() == other.saved()


def test_large_labels_need_no_room() -> None:
    tracker = CausalTracker()
    frames = [drawn(frame, read_only=False, factor=400_000_000 // 24) for frame in range(8)]
    assert frames[0].label.max() == 400_000_000 // 24 * 24
    start_s = process_time()
    for cells in frames:
        tracks = tracker.update(cells)
    assert process_time() - start_s < 2.0, "a row for each of them would take minutes"
    assert tracks.id.max() == 24


def spoilt(name: str, value: float, row: int = 7) -> Changed:
    def change(cells: Cells) -> Cells:
        column = getattr(cells, name).copy()
        column[row] = value
        return replace(cells, **{name: column})

    return change


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("name", ["xy_um", "area_um2", "p_class"])
def test_numbers_that_are_none_are_refused_and_forgotten(name: str, value: float) -> None:
    crowd, quiet = Crowd(30), Crowd(30)
    crowd.watch([float(n) for n in range(8)])
    quiet.watch([float(n) for n in range(8)])
    before = crowd.tracker.saved()
    with pytest.raises(ValueError, match=rf"frame 8: {name} of the cell with label 8 is .*(nan|inf)"):
        crowd.see(8.0, spoilt(name, value))
    quiet.frame += 1
    quiet.cells(8.0)
    assert crowd.tracker.saved() == before
    assert crowd.watch([9.0, 10.0]) == quiet.watch([9.0, 10.0])
    assert crowd.tracker.saved() == quiet.tracker.saved()


def test_a_frame_without_a_width_is_refused() -> None:
    crowd = Crowd(30)
    crowd.watch([float(n) for n in range(8)])
    before = crowd.tracker.saved()
    with pytest.raises(ValueError, match=r"frame 8: stage_from_pixel .* line"):
        crowd.see(8.0, lambda cells: replace(cells, stage_from_pixel=(1.0, 2.0, 0.0, 2.0, 4.0, 0.0)))
    assert crowd.tracker.saved() == before
    assert min(crowd.watch([9.0, 10.0])) == 1.0


def with_embedding(cells: Cells, unknown: Sequence[int] = ()) -> Cells:
    embedding = np.random.default_rng(0).normal(size=(len(cells), 4)).astype(np.float32)
    embedding[list(unknown)] = np.nan
    return replace(cells, embedding=embedding)


@pytest.mark.parametrize(
    "change",
    [
        spoilt("mean_intensity", np.nan), spoilt("mean_intensity", np.inf), spoilt("mean_intensity", -np.inf),
        lambda cells: replace(cells, mean_intensity=np.full(len(cells), np.inf)),
        lambda cells: with_embedding(cells, [3]), lambda cells: with_embedding(cells, range(30)),
    ],
)  # fmt: skip
def test_looks_that_are_not_known_do_no_harm(change: Changed) -> None:
    crowd = Crowd(30)
    for frame in range(16):
        crowd.see(float(frame), lambda cells, odd=frame in (0, 6, 7): (change if odd else with_embedding)(cells))
    cues = crowd.tracker.learned.cues
    assert np.isfinite(cues.within).all()
    assert np.isfinite(cues.between).all()
    assert np.isfinite(crowd.tracker.state.embedding).all()
    assert min(crowd.kept()) == 1.0


def test_cells_without_classes() -> None:
    crowd = Crowd(30)
    for frame in range(10):
        tracks = crowd.see(float(frame), lambda cells: replace(cells, p_class=cells.p_class[:, :0], class_names=()))
        crowd.go()
    assert min(crowd.kept()) == 1.0
    assert tracks.p_class.shape == (30, 0)


def damages() -> dict[str, bytes]:
    """States of the right settings and check sum that no tracker has ever been in."""
    crowd = Crowd(30)
    crowd.watch([float(n) for n in range(8)])
    settings = crowd.tracker._settings()
    numbers, names, arrays = unpacked(crowd.tracker.saved(), settings)
    odd_numbers: list[tuple[str, Any]] = [
        ("rates.missed", None), ("motion.speed_um_s", None), ("motion.speed_um_s", np.nan), ("next_id", 1),
        ("next_id", None), ("diameter_um", np.nan), ("usual_dt_s", None), ("n_frames", np.inf), ("t_ns", None),
    ]  # fmt: skip
    narrow = [("variance", 2), ("past", 1), ("p_class", 0), ("looks", 1), ("clump", 2), ("xy_um", 1), ("velocity_um_s", 1)]
    states = {f"{k} = {v}": packed(settings, numbers | {k: v}, names, arrays) for k, v in odd_numbers}
    for name, width in narrow:
        cut = arrays | {f"state.{name}": arrays[f"state.{name}"][:, :width]}
        states[f"{name} of width {width}"] = packed(settings, numbers, names, cut)
    for name in ("cues.within", "cues.between"):
        states[f"{name} too short"] = packed(settings, numbers, names, arrays | {name: arrays[name][:3]})
    return states


DAMAGES = damages()


@pytest.mark.parametrize("state", DAMAGES.values(), ids=DAMAGES)
def test_damaged_states_are_refused(state: bytes) -> None:
    for tracker in (CausalTracker(), Crowd(5).tracker):
        before = tracker.saved()
        with pytest.raises(ValueError, match="start with a new tracker"):
            tracker.restore(state)
        assert tracker.saved() == before
