"""pace by tracks: mitoses in a crowd of cells that a classifier sometimes takes for mitotic."""

import math
from collections.abc import Sequence

import numpy as np
import pytest

from acquisition.commands import SetInterval
from realtime.policies.pace import Pace
from tests.scenes import cells_at, header, scene, tracks_of
from tracking.tracks import TrackEvent

FAST_MS, SLOW_MS = 100.0, 1000.0
Looks = Sequence[float | None]


def modes(policy: Pace, looks: Sequence[Looks], divides: int | None = None, x_um: float = 0.0) -> str:
    """`f` or `s` for every frame's wish; `looks[k][n]`: how mitotic track n + 1 is in frame k, None if missed.

    Frames come at the interval that was asked for; in frame `divides` the first track has ended in a division.
    """
    t_ms, interval_ms, seen = 0.0, SLOW_MS, ""
    for k, row in enumerate(looks):
        view = header(k, t_ms=t_ms, interval_ms=interval_ms)
        there = {n + 1: p for n, p in enumerate(row) if p is not None}
        missed = {n + 1: ((0.0, 0.0), 1) for n, p in enumerate(row) if p is None}
        p = np.array(list(there.values()))
        cells = cells_at(view, [(x_um, 20.0 * n) for n in range(len(there))], p_class={"mitotic": p, "other": 1 - p})
        events = [TrackEvent("divided", 1, (8, 9))] if k == divides else []
        tracks = tracks_of(
            cells, [i if divides is None or k < divides else i + 7 for i in there], unseen=missed, events=events
        )
        for decision in policy.decide(scene(view, cells, tracks)):
            assert isinstance(decision.command, SetInterval)
            interval_ms = decision.command.interval_ms
        seen += "f" if interval_ms == FAST_MS else "s"
        t_ms += interval_ms
    return seen


def pace(**settings: object) -> Pace:
    table = {"signal": "tracks:mitotic", "dwell_s": 0.0, "p_min": 0.8} | settings
    return Pace(FAST_MS, SLOW_MS, **table)  # type: ignore[arg-type]


def test_one_look_is_enough_if_one_is_asked_for() -> None:
    assert modes(pace(), [[0.1], [0.9], [0.9], [0.1]]) == "sffs"


def test_several_looks_of_the_same_track_are_needed_if_they_are_asked_for() -> None:
    assert modes(pace(looks=2, of=3), [[0.9, 0.1], [0.1, 0.9], [0.9, 0.1], [0.1, 0.1]]) == "ssfs"
    assert modes(pace(looks=2, of=2), [[0.9, 0.1], [0.1, 0.9]] * 4) == "s" * 8, "not two looks at two cells"


def test_a_missed_look_does_not_agree() -> None:
    assert modes(pace(looks=2, of=2), [[0.9], [None], [0.9], [0.9]]) == "sssf"


def test_the_division_is_seen_fast_and_the_dwell_begins_with_it() -> None:
    looks = [[0.1], [0.9], [0.9], *[[0.1]] * 9]
    assert modes(pace(dwell_s=0.5), looks, divides=3) == "sfffffff" + "s" * 4


def test_a_cell_that_is_cut_off_is_not_counted() -> None:
    edge_um = 512 * 0.5 / 2
    assert modes(pace(edge_um=1.0), [[0.9]] * 3, x_um=edge_um - 2.6) == "sss"
    assert modes(pace(edge_um=1.0), [[0.9]] * 3, x_um=edge_um - 9.0) == "fff"
    assert modes(pace(), [[0.9]] * 3, x_um=edge_um - 2.6) == "fff"


def test_a_cell_that_is_always_taken_for_mitotic_does_not_keep_it_fast() -> None:
    seen = modes(pace(most_s=0.5), [[0.9]] * 40)
    assert seen == "f" * 6 + "s" * 34
    assert modes(pace(), [[0.9]] * 40) == "f" * 40


def test_another_cell_counts_while_the_first_one_is_spent() -> None:
    looks = [[0.9, 0.1]] * 10 + [[0.9, 0.9]] * 3
    assert modes(pace(most_s=0.5), looks) == "ffffff" + "ssss" + "fff"


def test_a_spent_cell_counts_again_after_as_long_without() -> None:
    looks = [[0.9]] * 8 + [[0.1]] * 2 + [[0.9]] * 2
    assert modes(pace(most_s=0.5), looks) == "ffffff" + "ssss" + "ff"
    assert modes(pace(most_s=5.0), [[0.9]] * 60 + [[0.1]] * 2 + [[0.9]] * 2).endswith("s" * 4), (
        "two seconds are too short"
    )


def test_until_it_divides_later_looks_say_nothing() -> None:
    looks = [[0.1], [0.9], *[[0.1]] * 10]
    assert modes(pace(), looks) == "sf" + "s" * 10
    assert modes(pace(until_divided=True), looks, divides=6) == "sffffff" + "s" * 5
    assert modes(pace(until_divided=True, most_s=0.3), looks) == "sffff" + "s" * 7


def test_a_division_that_nobody_foresaw_is_no_signal() -> None:
    assert modes(pace(), [[0.1]] * 5, divides=2) == "sssss"


def test_slower_frames_of_another_policy_are_slow() -> None:
    view = header(0, interval_ms=3 * SLOW_MS)
    cells = cells_at(view, [(0.0, 0.0)], p_class={"mitotic": [0.1], "other": [0.9]})
    assert not list(pace().decide(scene(view, cells)))


def test_nothing_to_see_is_nothing_to_do() -> None:
    view = header(0, interval_ms=SLOW_MS)
    cells = cells_at(view, p_class={"mitotic": [], "other": []})
    assert not list(pace().decide(scene(view, cells)))
    cells = cells_at(view, [(0.0, 0.0)], p_class={"mitotic": [math.nan], "other": [math.nan]})
    assert not list(pace().decide(scene(view, cells)))


def test_more_looks_than_are_remembered_are_refused() -> None:
    with pytest.raises(ValueError, match="looks 3 must not be above of 2"):
        pace(looks=3, of=2)


def test_daughters_are_not_counted_until_they_have_rested() -> None:
    looks = [[0.1], [0.9], *[[0.9]] * 8, *[[0.1]] * 3]  # the first daughter looks as her mother did
    assert modes(pace(daughters_rest_s=0.5), looks, divides=2) == "sff" + "s" + "f" * 6 + "sss"
    assert modes(pace(daughters_rest_s=60.0), looks, divides=2) == "sff" + "s" * 10
