"""A recording that was tracked: what its tables must look like, and what can be read from them."""

from dataclasses import replace

import numpy as np
import pytest

from tests.scenes import cells_at, header, tracks_of
from tracking.lineages import Lineages, LineagesWriter, live_lineages

# Track 1 has no cell in frame 1, and divides after frame 2 into 2 and 4; 3 is alone, and 5 has a mother only.
SIGHTINGS = [(0, 1), (0, 3), (2, 1), (3, 2), (3, 3), (3, 4), (4, 2), (5, 4), (5, 5)]
PARENTS = {2: 1, 4: 1, 5: 3}


def lineages() -> Lineages:
    frame, track = np.array(SIGHTINGS, dtype=np.int64).T
    ids, n = np.unique(track), len(frame)
    parent = np.array([PARENTS.get(int(i), 0) for i in ids])
    numbers = np.arange(n, dtype=np.float64)
    return Lineages(
        frame, 100 * frame, track, track, np.stack([numbers, -numbers], axis=1), numbers, numbers, ids, parent
    )


def test_spans_of_tracks() -> None:
    first, last = lineages().spans()
    assert first.tolist() == [0, 3, 0, 3, 5]
    assert last.tolist() == [2, 4, 3, 5, 5]
    assert lineages().n_frames == 6


def test_links_go_over_gaps() -> None:
    links = {(SIGHTINGS[one], SIGHTINGS[other]) for one, other in lineages().links().tolist()}
    assert links == {((0, 1), (2, 1)), ((3, 2), (4, 2)), ((0, 3), (3, 3)), ((3, 4), (5, 4))}


def test_births_lead_from_the_last_to_the_first_sighting() -> None:
    births = {(SIGHTINGS[one], SIGHTINGS[other]) for one, other in lineages().births().tolist()}
    assert births == {((2, 1), (3, 2)), ((2, 1), (3, 4)), ((3, 3), (5, 5))}


def test_a_division_has_two_daughters() -> None:
    assert lineages().divisions() == {1: [2, 4]}


def test_nothing_was_tracked() -> None:
    nothing = LineagesWriter().lineages()
    assert (len(nothing), nothing.n_frames, nothing.divisions()) == (0, 0, {})
    assert nothing.links().shape == nothing.births().shape == (0, 2)
    assert [column.shape for column in nothing.spans()] == [(0,), (0,)]


GOOD = lineages()
WRONG = {
    "a column too short": ({"label": GOOD.label[1:]}, r"label is \[8\], not \[9\]"),
    "places without y": ({"xy_um": GOOD.xy_um[:, :1]}, r"xy_um is \[9, 1\], not \[9, 2\]"),
    "parents of some": ({"parent": GOOD.parent[1:]}, "id and parent differ"),
    "frames in disorder": ({"frame": GOOD.frame[::-1]}, "order of frames"),
    "ids in disorder": ({"id": GOOD.id[::-1]}, "ascending"),
    "a track that is never sighted": (
        {"id": np.append(GOOD.id, 6), "parent": np.append(GOOD.parent, 0)}, "every track that is sighted",
    ),
    "a parent that is never sighted": ({"parent": np.where(GOOD.parent == 1, 7, GOOD.parent)}, r"parents \[7\]"),
}  # fmt: skip


@pytest.mark.parametrize(("change", "complaint"), WRONG.values(), ids=WRONG)
def test_tables_that_do_not_fit_are_refused(change: dict[str, np.ndarray], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        replace(GOOD, **change)


def test_the_live_answer_is_kept_as_it_was_told() -> None:
    """Track 7 coasts in the second frame and is not sighted; nobody ever saw the parent of 9."""
    first, second, third = (cells_at(header(i), [(i, 0.0), (i, 50.0)][: 1 + (i != 1)]) for i in range(3))
    kept = live_lineages(
        [
            (first, tracks_of(first, [8, 7])),
            (second, tracks_of(second, [8], unseen={7: ((1.0, 50.0), 1)})),
            (third, tracks_of(third, [9, 7], parent=[4, 8])),
        ]
    )
    assert list(zip(kept.frame.tolist(), kept.track.tolist(), strict=True)) == [(0, 7), (0, 8), (1, 8), (2, 7), (2, 9)]
    assert kept.label.tolist() == [2, 1, 1, 2, 1]
    assert kept.xy_um[:, 1].tolist() == [50.0, 0.0, 0.0, 50.0, 0.0]
    assert dict(zip(kept.id.tolist(), kept.parent.tolist(), strict=True)) == {7: 8, 8: 0, 9: 0}
    assert kept.t_ns.tolist() == [0, 0, second.t_ns, third.t_ns, third.t_ns]
