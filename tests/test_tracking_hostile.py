"""What microscopes do to trackers: odd clocks, flashes, stages that leap, numbers that are none, damaged memories."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from time import process_time
from typing import Any

import numpy as np
import pytest

import tracking.division
import tracking.linking
from models.cells import Cells
from tests.contracts.test_tracker_contract import COLUMNS
from tests.named_cells import DIAMETER_UM, Spot, Watch, bystanders, same_identities, seen, with_labels
from tests.scenes import cells_at, header
from tests.walking_crowd import Changed, Crowd, as_it_is, empty, white
from tracking.linking import Links, link
from tracking.motion import JITTER
from tracking.saving import packed, unpacked
from tracking.tracker import CausalTracker
from tracking.tracks import Ints

SECONDS = [float(n) for n in range(8)]
PAIR = {"left": Spot(-4.5, 0, 1.1), "right": Spot(4.5, 0, 0.9)}
SETTINGS = CausalTracker()._settings()


@pytest.mark.parametrize("first_s", [0.0, 0.001, 0.1, 1.0])
def test_a_short_first_interval_says_nothing(first_s: float) -> None:
    crowd = Crowd(200)
    crowd.see(0.0)
    assert min(crowd.watch([first_s + 10.0 * n for n in range(15)])) > 0.97
    assert crowd.tracker.learned.n_frames > 5


@pytest.mark.parametrize("odd_s", [[0.001], [0.01 * k for k in range(1, 11)]], ids=["one frame", "a burst"])
def test_frames_in_quick_succession_spoil_nothing(odd_s: list[float]) -> None:
    """Amid frames every 10 s; cells hardly move between them."""
    crowd = Crowd(200)
    crowd.watch([10.0 * n for n in range(25)])
    for before_s, t_s in pairwise([0.0, *odd_s]):
        crowd.go((t_s - before_s) / 10)
        crowd.see(241.0 + t_s)
    kept = crowd.watch([250.0 + 10 * n for n in range(12)])
    assert min(kept[-12:]) >= 0.95


@pytest.mark.parametrize("step_um", [0.5, 1.0])
def test_a_pause_spoils_nothing(step_um: float) -> None:
    crowd = Crowd(200, step_um)
    crowd.watch([float(n) for n in range(25)])
    kept = crowd.watch([624.0 + n for n in range(12)])
    assert min(kept[-9:]) >= 0.95


def test_a_flash_makes_no_divisions_and_little_work() -> None:
    crowd, costs, told = Crowd(2000), list[tuple[bool, float]](), set[str]()
    for frame in range(26):
        flash = frame in (15, 20)
        start_s = process_time()
        tracks = crowd.see(float(frame), white if flash else as_it_is)
        costs.append((flash, process_time() - start_s))
        told |= {event.kind for event in tracks.events}
        crowd.go()
    usual_s = np.median([cost for flash, cost in costs[8:] if not flash])
    assert max(cost for _, cost in costs[8:]) < 20 * usual_s
    assert "divided" not in told
    assert min(crowd.kept()[-5:]) > 0.95


def test_after_darkness_and_flashes_only_neighbours_are_combined(monkeypatch: pytest.MonkeyPatch) -> None:
    triples, combined = list[int](), tracking.division._combined

    def counted(*pairs: Ints) -> Ints:
        found = combined(*pairs)
        triples.append(len(pairs[0]) + len(found))
        return found

    monkeypatch.setattr(tracking.division, "_combined", counted)
    crowd = Crowd(1000)
    for frame, looked in enumerate([as_it_is] * 12 + [empty] * 7 + [white] * 20 + [as_it_is] * 6):
        crowd.see(float(frame), looked)
        crowd.go()
    assert max(triples) < 20 * 1000
    assert min(crowd.kept()[-4:]) > 0.95


def test_after_an_hour_no_track_is_linked_to_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    possible = list[int]()

    def counted(*known: Any) -> Links:
        links = link(*known)
        possible.append(len(links.track))
        return links

    monkeypatch.setattr(tracking.linking, "link", counted)
    kept = Crowd(4000, step_um=0.5).watch([*SECONDS, *[3608.0 + n for n in range(4)]])
    assert max(possible) < 150 * 4000
    assert min(kept[-2:]) > 0.95


@pytest.mark.parametrize("flashes", [1, 2])
def test_after_first_flashes_places_are_as_exact_as_cells_are_small(flashes: int) -> None:
    crowd = Crowd(150)
    for frame in range(60):
        crowd.see(float(frame), white if frame < flashes else as_it_is)
        crowd.go()
        learned = crowd.tracker.learned
        if frame:
            assert learned.motion is not None
            assert learned.motion.jitter_um == pytest.approx(JITTER * learned.diameter_um)
    assert learned.diameter_um == pytest.approx(DIAMETER_UM, rel=0.3)
    assert min(crowd.kept()[10:]) > 0.97


@pytest.mark.parametrize("to_um", [200, 220, 240])
@pytest.mark.parametrize("looseness_um", [0.0, 1.0])
def test_when_the_stage_moves_no_well_takes_the_identity_of_another(to_um: int, looseness_um: float) -> None:
    """Half of the wells are other ones at the same places of the view."""
    wells, owner, rng = Crowd(1600, looseness_um=looseness_um), dict[int, int](), np.random.default_rng(3)
    for frame in range(12):
        stage = (-100.0 + (to_um if frame >= 10 else 0), 0.0)
        places = wells.xy_um + rng.normal(0, 0.3, wells.xy_um.shape)
        rows = np.flatnonzero((np.abs(places - stage) < 200).all(axis=1))
        view = header(frame, stage, t_ms=1000 * frame, size_px=400, um_per_px=1.0)
        cells = cells_at(view, places[rows], area_um2=wells.area[rows], mean_intensity=wells.counts[rows])
        tracks = wells.tracker.update(cells)
        for track, row in zip(tracks.id.tolist(), tracks.cell_row.tolist(), strict=True):
            assert row < 0 or owner.setdefault(track, int(rows[row])) == rows[row], f"frame {frame}"
    assert len(set(owner.values())) > len(rows), "others than before have come into view"


def together(watch: Watch, frames: int) -> None:
    for _ in range(frames):
        watch.see(bystanders(watch.frame + 1) | {"clump": Spot(-0.5, 0, 2.0)})


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
    rows = [(tracks, tracks.row(right)) for tracks in watch.tracks[20:]]
    assert [int(t.missed[row]) for t, row in rows if row is not None] == list(range(1, max_missed + 1))
    assert set(watch.kinds(right)[-2:]) == {"split", "lost"}


@pytest.mark.parametrize("step_um", [0.2, 1.0])
def test_the_speed_of_three_cells_is_learned(step_um: float) -> None:
    crowd = Crowd(3, step_um)
    crowd.watch([float(n) for n in range(150)])
    motion = crowd.tracker.learned.motion
    assert motion is not None
    assert step_um / 2 < motion.speed_um_s < step_um * 2


def test_the_answer_cannot_be_written_to() -> None:
    tracks = Crowd(20).see(0.0)
    for name in COLUMNS:
        with pytest.raises(ValueError, match="read-only"):
            getattr(tracks, name)[...] = 0


def drawn(frame: int, read_only: bool, factor: int = 1) -> Cells:
    """24 moving cells with their label image, labels so many times larger."""
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
        assert all(np.array_equal(getattr(ours, name), getattr(theirs, name)) for name in COLUMNS)
    assert one.saved() == other.saved()


def test_large_labels_need_no_room() -> None:
    tracker, frames = CausalTracker(), [drawn(frame, read_only=False, factor=16_666_666) for frame in range(8)]
    assert frames[0].label.max() == 399_999_984
    start_s = process_time()
    assert max(tracker.update(cells).id.max() for cells in frames) == 24
    assert process_time() - start_s < 2.0, "two columns with a row for each number: 6 GB a frame"


def spoilt(name: str, value: float) -> Changed:
    def change(cells: Cells) -> Cells:
        column = getattr(cells, name).copy()
        column[7] = value
        return replace(cells, **{name: column})

    return change


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("name", ["xy_um", "area_um2", "p_class"])
def test_numbers_that_are_none_are_refused_and_forgotten(name: str, value: float) -> None:
    crowd = Crowd(30)
    crowd.watch(SECONDS)
    before = crowd.tracker.saved()
    with pytest.raises(ValueError, match=rf"frame 8: {name} of the cell with label 8 is .*(nan|inf)"):
        crowd.see(8.0, spoilt(name, value))
    assert crowd.tracker.saved() == before
    assert min(crowd.watch([9.0, 10.0])) == 1.0


def test_a_first_frame_that_is_refused_leaves_no_trace() -> None:
    crowd = Crowd(30)
    with pytest.raises(ValueError, match="frame 0: area_um2 of the cell with label 8 is nan"):
        crowd.see(50.0, spoilt("area_um2", np.nan))
    assert crowd.tracker.saved() == CausalTracker().saved()
    assert min(crowd.watch(SECONDS)) == 1.0


def test_a_frame_without_a_width_is_refused() -> None:
    crowd = Crowd(30)
    crowd.watch(SECONDS)
    before = crowd.tracker.saved()
    with pytest.raises(ValueError, match=r"frame 8: stage_from_pixel .* line"):
        crowd.see(8.0, lambda cells: replace(cells, stage_from_pixel=(1.0, 2.0, 0.0, 2.0, 4.0, 0.0)))
    assert crowd.tracker.saved() == before
    assert min(crowd.watch([9.0, 10.0])) == 1.0


def with_embedding(cells: Cells, unknown: Sequence[int] = ()) -> Cells:
    embedding = np.random.default_rng(0).normal(size=(len(cells), 4)).astype(np.float32)
    embedding[list(unknown)] = np.nan
    return replace(cells, embedding=embedding)


CHANGES: dict[str, Changed] = {
    "one NaN": spoilt("mean_intensity", np.nan),
    "one inf": spoilt("mean_intensity", np.inf),
    "all -inf": lambda cells: replace(cells, mean_intensity=np.full(len(cells), -np.inf)),
    "an embedding": lambda cells: with_embedding(cells, [3]),
    "all embeddings": lambda cells: with_embedding(cells, range(30)),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_looks_that_are_not_known_do_no_harm(change: Changed) -> None:
    crowd = Crowd(30)
    for frame in range(16):
        crowd.see(float(frame), change if frame in (0, 6, 7) else with_embedding)
    cues = crowd.tracker.learned.cues
    assert np.isfinite(cues.within + cues.between).all()
    assert min(crowd.kept()) == 1.0


def test_cells_without_classes() -> None:
    crowd = Crowd(30)
    for frame in range(10):
        tracks = crowd.see(float(frame), lambda cells: replace(cells, p_class=cells.p_class[:, :0], class_names=()))
        crowd.go()
    assert min(crowd.kept()) == 1.0
    assert tracks.p_class.shape == (30, 0)


DAMAGES: dict[str, Any] = {
    "rates.missed": None, "motion.speed_um_s": None, "motion.jitter_um": np.nan, "next_id": 1, "t_ns": None,
    "diameter_um": np.nan, "usual_dt_s": None, "n_frames": np.inf,
}  # fmt: skip
WIDTHS = {
    "state.variance": 2, "state.past": 1, "state.p_class": 0, "state.looks": 1, "state.clump": 2, "state.xy_um": 1,
    "state.velocity_um_s": 1, "cues.within": 3, "cues.between": 3,
}  # fmt: skip


@pytest.mark.parametrize("name", [*DAMAGES, *WIDTHS])
def test_damaged_states_are_refused(name: str) -> None:
    crowd = Crowd(30)
    crowd.watch(SECONDS)
    before = crowd.tracker.saved()
    numbers, classes, arrays = unpacked(before, SETTINGS)
    if name in DAMAGES:
        numbers[name] = DAMAGES[name]
    else:
        arrays[name] = arrays[name].T[: WIDTHS[name]].T
    with pytest.raises(ValueError, match="start with a new tracker"):
        crowd.tracker.restore(packed(SETTINGS, numbers, classes, arrays))
    assert crowd.tracker.saved() == before
