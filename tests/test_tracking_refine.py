"""Hindsight, by hand-made recordings: what a live answer cannot know is mended, the rest stays."""

from collections.abc import Iterable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tracking.lineages import Lineages
from tracking.refine import refine

N_FRAMES, STEP_NS = 40, 300_000_000_000
AREA, COUNTS = 180.0, 1500.0
Sighting = tuple[int, int, float, float, float, float]
"""Frame, track, x and y in µm, area, intensity."""


def recording(sightings: Iterable[Sighting], parents: dict[int, int] | None = None) -> Lineages:
    """Labels are counted, so that every sighting can be found again."""
    columns = np.array(sorted(sightings)).T
    frame, track = columns[:2].astype(np.int64)
    ids = np.unique(track)
    parent = np.array([(parents or {}).get(one, 0) for one in ids.tolist()], dtype=np.int64)
    label = np.arange(len(frame)) + 1
    return Lineages(frame, frame * STEP_NS, track, label, columns[2:4].T.copy(), columns[4], columns[5], ids, parent)


def cell(
    track: int,
    frames: Iterable[int],
    x_um: float,
    y_um: float,
    area: float = AREA,
    counts: float = COUNTS,
    v_um: float = 0.0,
) -> list[Sighting]:
    """On a straight way along x, with a little noise of its own."""
    rng = np.random.default_rng(track)
    noise = rng.normal(size=(N_FRAMES, 4))
    return [
        (f, track, x_um + v_um * f + 0.4 * a, y_um + 0.4 * b, area * np.exp(0.03 * c), counts * np.exp(0.03 * d))
        for f in frames
        for a, b, c, d in [noise[f]]
    ]


def renamed(sighting: Sighting, track: int) -> Sighting:
    frame, _, x_um, y_um, area, counts = sighting
    return frame, track, x_um, y_um, area, counts


def crowd() -> list[Sighting]:
    """Fifty cells all the time, in five rows that glide past each other: from them is learned how cells are."""
    looks = np.exp(0.2 * np.random.default_rng(0).normal(size=(50, 2))) * [AREA, COUNTS]
    return [
        s
        for k, (area, counts) in enumerate(looks.tolist())
        for row, column in [divmod(k, 10)]
        for s in cell(1000 + k, range(N_FRAMES), 60 * column, 60 * row, area, counts, 0.6 * (row - 2))
    ]


def ids_of(refined: Lineages, live: Lineages, track: int, frames: Iterable[int]) -> set[int]:
    """Under which ids the sightings of a live track are now; without those that were dropped."""
    labels = live.label[(live.track == track) & np.isin(live.frame, list(frames))]
    return set(refined.track[np.isin(refined.label, labels)].tolist())


# --- gaps and exchanges ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("why", "missed", "aside_um", "area", "joined"),
    [
        ("longer than live dares", 8, 0.0, AREA, True),
        ("longer than is allowed", 11, 0.0, AREA, False),
        ("in the next frame, but not linked", 0, 3.0, AREA, True),
        ("another cell, by its place", 2, 25.0, AREA, False),
        ("another cell, by its looks", 8, 4.0, 2.2 * AREA, False),
    ],
)
def test_a_gap_is_closed_if_both_sides_agree(why: str, missed: int, aside_um: float, area: float, joined: bool) -> None:
    before = cell(1, range(15), 30, 30, v_um=0.5)
    after = cell(2, range(15 + missed, N_FRAMES), 30, 30 + aside_um, area, v_um=0.5)
    live = recording(crowd() + before + after)
    refined = refine(live)
    assert (len(ids_of(refined, live, 1, range(15)) | ids_of(refined, live, 2, range(N_FRAMES))) == 1) is joined, why


def test_identities_exchanged_at_a_contact_are_given_back() -> None:
    """A large dim and a small bright cell pass each other; live continued each with the other's sightings."""
    right = cell(1, range(N_FRAMES), 0, 30, 1.4 * AREA, 0.7 * COUNTS, v_um=1.5)
    left = cell(2, range(N_FRAMES), 60, 36, 0.7 * AREA, 1.4 * COUNTS, v_um=-1.5)
    exchanged = [renamed(s, s[1] if s[0] < 20 else 3 - s[1]) for s in right + left]
    live = recording(crowd() + exchanged)
    refined = refine(live)
    assert ids_of(refined, live, 1, range(20)) == ids_of(refined, live, 2, range(20, N_FRAMES))
    assert ids_of(refined, live, 2, range(20)) == ids_of(refined, live, 1, range(20, N_FRAMES))
    assert len(refined.id) == 52


def test_who_is_who_after_a_gap_is_told_by_the_ways_before_and_after() -> None:
    """Two cells pass each other unseen: each is nearest to where the other one was lost."""
    before = cell(1, range(19), 0, 30, v_um=1.5) + cell(2, range(19), 60, 30, v_um=-1.5)
    after = cell(3, range(22, N_FRAMES), 0, 30, v_um=1.5) + cell(4, range(22, N_FRAMES), 60, 30, v_um=-1.5)
    live = recording(crowd() + before + after)
    refined = refine(live)
    assert ids_of(refined, live, 1, range(19)) == ids_of(refined, live, 3, range(N_FRAMES))
    assert ids_of(refined, live, 2, range(19)) == ids_of(refined, live, 4, range(N_FRAMES))


def test_a_gap_is_closed_although_the_whole_specimen_was_moved() -> None:
    sightings = crowd() + cell(1, range(18), 30, 30) + cell(2, range(21, N_FRAMES), 30, 30)
    live = recording([(f, track, x + 20 * (f > 19), y, area, counts) for f, track, x, y, area, counts in sightings])
    assert len(refine(live).id) == 51


# --- divisions ---------------------------------------------------------------------------------------------------------

APART_UM = 6.0


def family(at: int, daughters: Iterable[int] = (2, 3), first_seen: int = 0) -> list[Sighting]:
    """Track 1 until a frame, then two halves; the second one is seen some frames later."""
    one, other = daughters
    return [
        *cell(1, range(at), 30, 30),
        *cell(one, range(at, N_FRAMES), 30 - APART_UM, 30, AREA / 2),
        *cell(other, range(at + first_seen, N_FRAMES), 30 + APART_UM, 30, AREA / 2),
    ]


def test_a_division_that_was_told_late_lies_on_its_true_frame() -> None:
    """For two frames live had the mother's id on one daughter and a tentative one on the other."""
    at = 20
    told = [renamed(s, 1 if s[1] == 2 and s[0] < at + 2 else s[1]) for s in family(at)]
    live = recording(crowd() + told, {2: 1, 3: 1})
    refined = refine(live)
    assert live.spans()[1][0] == at + 1
    [(mother, daughters)] = refined.divisions().items()
    first, last = (dict(zip(refined.id.tolist(), span.tolist(), strict=True)) for span in refined.spans())
    assert (last[mother], [first[d] for d in daughters]) == (at - 1, [at, at])
    assert ids_of(refined, live, 1, [at, at + 1]) == ids_of(refined, live, 2, range(N_FRAMES))


@pytest.mark.parametrize(
    ("why", "sightings"),
    [
        ("one daughter taken for the mother", family(20, (1, 3))),
        ("and the other seen two frames later", family(20, (1, 3), first_seen=2)),
        ("the mother lost, two cells found", family(20)),
    ],
)
def test_a_missed_division_is_found(why: str, sightings: list[Sighting]) -> None:
    refined = refine(recording(crowd() + sightings))
    [daughters] = refined.divisions().values()
    first, last = refined.spans()
    born = first[np.isin(refined.id, daughters)]
    assert born.min() == 20, why
    assert last[refined.id == refined.parent[refined.id == daughters[0]]] == 19


@pytest.mark.parametrize(
    ("why", "other"),
    [
        ("the second daughter is gone at once", cell(3, [20], 30 + APART_UM, 30, AREA / 2)),
        ("the first one is a whole cell", cell(3, range(20, N_FRAMES), 48, 30, AREA)),
    ],
)
def test_a_false_division_is_undone(why: str, other: list[Sighting]) -> None:
    live = recording(crowd() + cell(1, range(20), 30, 30) + cell(2, range(20, N_FRAMES), 30, 30) + other, {2: 1, 3: 1})
    refined = refine(live)
    assert not refined.divisions(), why
    assert ids_of(refined, live, 1, range(20)) == ids_of(refined, live, 2, range(20, N_FRAMES)), why


def test_an_only_daughter_is_the_same_cell() -> None:
    live = recording(crowd() + cell(1, range(20), 30, 30) + cell(2, range(20, N_FRAMES), 30, 30), {2: 1})
    refined = refine(live)
    assert ids_of(refined, live, 1, range(20)) == ids_of(refined, live, 2, range(20, N_FRAMES))


# --- clumps, pieces, false tracks --------------------------------------------------------------------------------------


def test_a_clump_is_the_larger_ones() -> None:
    """For three frames two cells were one; live left the larger one without a sighting."""
    clump = [(f, 2, 33.0, 30.0, 2.4 * AREA, COUNTS) for f in (20, 21, 22)]
    apart = [f for f in range(N_FRAMES) if f not in (20, 21, 22)]
    large, small = cell(1, apart, 28, 30, 1.4 * AREA), cell(2, apart, 43, 30, AREA)
    live = recording(crowd() + large + small + clump)
    refined = refine(live)
    assert ids_of(refined, live, 2, (20, 21, 22)) == ids_of(refined, live, 1, apart)
    assert ids_of(refined, live, 2, apart).isdisjoint(ids_of(refined, live, 1, apart))


def test_of_a_cut_cell_the_larger_piece_is_the_cell() -> None:
    whole = [s for s in cell(1, range(N_FRAMES), 30, 30) if s[0] != 20]
    pieces = [(20, 1, 34.0, 30.0, 0.38 * AREA, COUNTS), (20, 2, 27.5, 30.0, 0.6 * AREA, COUNTS)]
    live = recording(crowd() + whole + pieces)
    refined = refine(live)
    assert ids_of(refined, live, 2, [20]) == ids_of(refined, live, 1, range(20))


def dirt(n: int) -> list[Sighting]:
    """Small dim things, seen once each, between the cells."""
    rng = np.random.default_rng(1)
    return [
        (int(rng.integers(2, N_FRAMES - 2)), 2000 + k, 30 + 60 * (k % 9), 30 + 60 * (k % 4), 0.3 * AREA, 0.5 * COUNTS)
        for k in range(n)
    ]


@pytest.mark.parametrize(("n", "kept"), [(60, 0), (1, 1)])
def test_brief_tracks_are_dropped_where_they_are_many(n: int, kept: int) -> None:
    """A single one is not enough to know that there is dirt."""
    live = recording(crowd() + dirt(n))
    refined = refine(live)
    assert len(refined.id) == 50 + kept
    assert len(refined) == 50 * N_FRAMES + kept


def test_brief_tracks_at_the_edge_stay_if_cells_come_and_go_there() -> None:
    """As many are seen once in a rim as everywhere inside: more than dirt can be."""
    edge = [s for k in range(60) for s in cell(3000 + k, [1 + k % (N_FRAMES - 2)], -15 + 600 * (k % 2), 4.0 * k)]
    live = recording(crowd() + dirt(60) + edge)
    refined = refine(live)
    assert refined.live_id is not None
    kept = set(refined.live_id.tolist())
    assert not kept & set(range(2000, 2060))
    assert len(kept & set(range(3000, 3060))) == 60


def test_daughters_born_at_the_end_are_no_dirt() -> None:
    live = recording(crowd() + dirt(60) + family(N_FRAMES - 1), {2: 1, 3: 1})
    refined = refine(live)
    assert len(refined.id) == 53
    assert len(refined.divisions()) == 1


# --- whatever comes ----------------------------------------------------------------------------------------------------


def check_same_sightings(live: Lineages, refined: Lineages) -> None:
    """Rows are kept but for whole tracks, new ids are counted, and every mother ends before her daughters begin."""
    live_row = np.searchsorted(live.label, refined.label[np.argsort(refined.label)])
    row = np.argsort(refined.label)
    assert np.array_equal(live.label[live_row], refined.label[row])
    assert refined.live_id is not None
    assert np.array_equal(live.track[live_row], refined.live_id[row])
    for column in ("frame", "t_ns", "xy_um", "area_um2", "mean_intensity"):
        assert np.array_equal(getattr(live, column)[live_row], getattr(refined, column)[row], equal_nan=True)
    assert refined.id.tolist() == list(range(1, len(refined.id) + 1))
    assert len(np.unique(np.stack([refined.frame, refined.track]), axis=1).T) == len(refined)
    births = refined.births()
    assert (refined.frame[births[:, 0]] < refined.frame[births[:, 1]]).all()


numbers = st.integers(0, 6)
sightings = st.lists(st.tuples(numbers, numbers, numbers, numbers, st.floats(1, 400)), min_size=1, max_size=40)


@settings(deadline=None, max_examples=60)
@given(sightings, st.dictionaries(numbers, numbers, max_size=4), st.booleans())
def test_any_recording_can_be_solved_again(
    found: list[tuple[int, int, int, int, float]], parents: dict[int, int], known: bool
) -> None:
    """Also tracks that touch, stand still, are seen once, or have mothers that came later."""
    once = {(f, track): (9.0 * x, 9.0 * y, area) for f, track, x, y, area in found}
    there = {track + 1 for _, track in once}
    rows = [(f, t + 1, x, y, a if known else np.nan, COUNTS if known else np.nan) for (f, t), (x, y, a) in once.items()]
    mothers = {d + 1: m + 1 for d, m in parents.items() if d != m and {d + 1, m + 1} <= there}
    live = recording(rows, mothers)
    check_same_sightings(live, refine(live))


def test_nothing_to_solve() -> None:
    none, nothing = np.empty(0, np.int64), np.empty(0)
    empty = Lineages(none, none, none, none, np.empty((0, 2)), nothing, nothing, none, none)
    assert len(refine(empty)) == 0
    still = recording(cell(7, [0], 0, 0))
    assert refine(still).live_id is not None
    assert refine(still).id.tolist() == [1]


def test_live_ids_stay_those_of_the_live_answer() -> None:
    live = recording(crowd() + cell(1, range(15), 30, 30) + cell(2, range(20, N_FRAMES), 30, 30))
    once = refine(live)
    again = refine(once)
    assert once.live_id is not None
    assert again.live_id is not None
    assert np.array_equal(once.live_id, again.live_id)
    assert np.array_equal(once.track, again.track)
