"""The dose ledger: no photon is forgotten, no cell and no place has had more than it says."""

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from acquisition.dose_map import Box, DoseSettings, j_cm2
from acquisition.frame import FrameHeader, affine_at
from acquisition.limits import Limits
from realtime.dose import DoseLedger
from realtime.policy import Dose
from tests.scenes import Points, cells_at, header, tracks_of
from tracking.tracks import TrackEvent

LIMITS = Limits(x_um=(-1e4, 1e4), y_um=(-1e4, 1e4), dose_mj=50.0, place_j_cm2=9.0)
SIDE_UM = 64.0
FRAME_J_CM2 = j_cm2(0.01, SIDE_UM**2)
"""A frame of `header` (1 mW for 10 ms) on a view of 64 × 64 µm."""


def view(index: int, x_um: float = 0.0, **others: object) -> FrameHeader:
    return header(index, (x_um, 0.0), size_px=128, um_per_px=0.5, **others)  # type: ignore[arg-type]


def ledger_of(**dose: object) -> DoseLedger:
    return DoseLedger(DoseSettings(**dose), LIMITS)  # type: ignore[arg-type]


class Bench:
    """A ledger that is shown cells by their ids, frame after frame, each of 0.01 mJ."""

    def __init__(self, ledger: DoseLedger | None = None) -> None:
        self.ledger = ledger or ledger_of()
        self.index, self.total_mj = 0, 0.0

    def look(
        self, ids: Sequence[int], xy_um: Points, x_um: float = 0.0, mj: float = 0.01, lit_from_um: Box | None = None,
        **tracks: object,
    ) -> Dose:  # fmt: skip
        frame = self._next(x_um, mj)
        alive = tracks_of(cells_at(frame, xy_um), ids, **tracks)  # type: ignore[arg-type]
        return self.ledger.add(frame, self.total_mj, alive, lit_from_um=lit_from_um)

    def skip(self, x_um: float = 0.0, mj: float = 0.01, lit_from_um: Box | None = None) -> None:
        self.ledger.skip(self._next(x_um, mj), self.total_mj, lit_from_um)

    def _next(self, x_um: float, mj: float) -> FrameHeader:
        self.total_mj += mj
        self.index += 1
        return view(self.index - 1, x_um)


def in_frames(dose: Dose) -> list[float]:
    return (dose.track_j_cm2 / FRAME_J_CM2).round(6).tolist()


def test_what_falls_on_the_field_falls_on_its_cells_and_places() -> None:
    bench = Bench()
    bench.look([1, 2], [(0.0, 0.0), (20.0, 5.0)])
    dose = bench.look([1, 2], [(0.0, 0.0), (20.0, 5.0)], mj=0.02)
    assert in_frames(dose) == [3.0, 3.0]
    assert (dose.total_mj, dose.frame_mj) == pytest.approx((0.03, 0.02))
    assert (dose.limit_mj, dose.limit_j_cm2) == (50.0, 9.0)
    assert dose.places is not None
    assert dose.places.at(-31.9, 31.9) == pytest.approx(3 * FRAME_J_CM2)
    assert dose.places.at(45.0, 0.0) == 0.0


def test_a_cell_begins_with_what_its_place_had_had() -> None:
    bench = Bench()
    for _ in range(4):
        bench.skip()
    assert in_frames(bench.look([1], [(5.0, 5.0)])) == [5.0]


def test_a_daughter_begins_with_what_her_mother_had_had() -> None:
    """Who has come from a dark place into one that was lit before has had less than it."""
    bench = Bench()
    for _ in range(4):
        bench.skip()
    bench.look([7], [(100.0, 0.0)])
    assert in_frames(bench.look([7], [(20.0, 0.0)])) == [1.0]
    divided = [TrackEvent("divided", 7, (8, 9))]
    dose = bench.look([8, 9], [(15.0, 0.0), (25.0, 0.0)], parent=[7, 7], events=divided)
    assert in_frames(dose) == [2.0, 2.0]
    assert bench.ledger.ended_j_cm2.tolist() == pytest.approx([FRAME_J_CM2])


def test_a_daughter_who_had_a_track_already_gets_her_mothers_dose_when_the_division_is_seen() -> None:
    bench = Bench()
    for _ in range(4):
        bench.skip()
    bench.look([7], [(100.0, 0.0)])
    bench.look([7, 8], [(20.0, 0.0), (28.0, 0.0)], parent=[0, 0])
    assert in_frames(bench.look([8, 9], [(28.0, 0.0), (18.0, 0.0)], parent=[7, 7])) == [2.0, 2.0]


def test_who_is_out_of_view_gets_nothing_and_who_is_hidden_does() -> None:
    bench = Bench()
    bench.look([1, 2, 3], [(0.0, 0.0), (10.0, 0.0), (200.0, 0.0)])
    dose = bench.look([1], [(0.0, 0.0)], unseen={2: ((10.0, 0.0), 1), 3: ((200.0, 0.0), 1)})
    assert in_frames(dose) == [2.0, 2.0, 0.0]


def test_light_of_frames_that_were_skipped_falls_where_they_were() -> None:
    bench = Bench()
    bench.look([1, 2], [(0.0, 0.0), (300.0, 0.0)])
    bench.skip()
    bench.skip(x_um=300.0, lit_from_um=(300.0, 0.0, 300.0, 0.0))
    dose = bench.look([1, 2], [(0.0, 0.0), (300.0, 0.0)])
    assert in_frames(dose) == [3.0, 1.0]
    assert dose.frame_mj == pytest.approx(0.03)


def test_light_during_a_move_counts_in_full_for_all_places_on_the_way() -> None:
    bench = Bench()
    bench.look([1, 2, 3], [(0.0, 0.0), (150.0, 0.0), (300.0, 0.0)])
    dose = bench.look(
        [1, 2, 3], [(0.0, 0.0), (150.0, 0.0), (300.0, 0.0)], x_um=300.0, lit_from_um=(0.0, 0.0, 300.0, 0.0)
    )
    assert in_frames(dose) == [2.0, 1.0, 1.0]
    later = bench.look([1, 2, 3], [(0.0, 0.0), (150.0, 0.0), (300.0, 0.0)], x_um=300.0)
    assert in_frames(later) == [2.0, 1.0, 2.0]


def test_light_of_frames_that_never_came_counts_at_both_ends() -> None:
    bench = Bench()
    bench.look([1, 2], [(0.0, 0.0), (300.0, 0.0)])
    bench.index += 5
    assert in_frames(bench.look([1, 2], [(0.0, 0.0), (300.0, 0.0)], x_um=300.0, mj=0.06)) == [7.0, 6.0]


def test_a_part_of_the_sensor_lights_the_whole_field() -> None:
    ledger = ledger_of()
    ledger.prepare((128, 128))
    part = view(0, height_px=16, width_px=16)
    part_affine = affine_at(part.stage, (0.5, 0.0, 0.0, 0.5), (16, 16))
    ledger.skip(view(0, height_px=16, width_px=16, stage_from_pixel=part_affine), 0.01)
    dose = ledger.add(view(1), 0.01, tracks_of(cells_at(view(1), [(30.0, 30.0)])))
    assert in_frames(dose) == [1.0]


def test_the_lit_field_may_be_larger_or_smaller_than_the_view() -> None:
    bench = Bench(ledger_of(lit_um=(20.0, 10.0), square_um=1.0))
    dose = bench.look([1, 2, 3], [(9.0, 4.0), (11.5, 0.0), (0.0, 6.5)])
    assert dose.track_j_cm2.tolist() == [j_cm2(0.01, 200.0), 0.0, 0.0]


def test_a_sensor_that_is_turned_lights_what_it_sees() -> None:
    ledger = ledger_of(square_um=1.0)
    frame = header(0, size_px=100, um_per_px=0.5, width_px=200, height_px=40)
    turned = affine_at(frame.stage, (0.0, 0.5, -0.5, 0.0), (40, 200))
    frame = header(0, um_per_px=0.5, width_px=200, height_px=40, stage_from_pixel=turned)
    dose = ledger.add(frame, 0.01, tracks_of(cells_at(frame, [(0.0, 45.0), (45.0, 0.0)])))
    assert dose.track_j_cm2.tolist() == pytest.approx([j_cm2(0.01, 100 * 20), 0.0])


def test_the_light_count_never_goes_back() -> None:
    bench = Bench()
    bench.look([1], [(0.0, 0.0)])
    assert bench.look([1], [(0.0, 0.0)], mj=-0.005).frame_mj == 0.0
    assert in_frames(bench.look([1], [(0.0, 0.0)], mj=0.015)) == [2.0]


def test_cells_whose_tracks_have_ended_are_forgotten() -> None:
    bench = Bench()
    for n in range(50):
        bench.look(range(10 * n + 1, 10 * n + 11), np.zeros((10, 2)))
    size = len(bench.ledger.saved())
    for n in range(50, 500):
        bench.look(range(10 * n + 1, 10 * n + 11), np.zeros((10, 2)))
    assert len(bench.ledger.saved()) == pytest.approx(size, abs=50)


steps = st.lists(
    st.tuples(
        st.booleans(), st.sampled_from([0.0, 40.0, 300.0]), st.floats(0.0, 1.0), st.lists(st.integers(1, 6), unique=True)
    ),
    max_size=12,
)  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(steps, steps)
def test_a_ledger_that_was_saved_goes_on_as_if_nothing_had_been(
    before: list[tuple[bool, float, float, list[int]]], after: list[tuple[bool, float, float, list[int]]]
) -> None:
    one = Bench()
    walk(one, before)
    other = Bench()
    other.index, other.total_mj = one.index, one.total_mj
    other.ledger.restore(one.ledger.saved())
    assert other.ledger.saved() == one.ledger.saved()
    for first, second in zip(walk(one, after), walk(other, after), strict=True):
        np.testing.assert_array_equal(first.track_j_cm2, second.track_j_cm2)
        assert (first.total_mj, first.frame_mj, first.unbleached) == (
            second.total_mj,
            second.frame_mj,
            second.unbleached,
        )
    assert one.ledger.saved() == other.ledger.saved()


def walk(bench: Bench, moves: list[tuple[bool, float, float, list[int]]]) -> list[Dose]:
    doses = []
    for skips, x_um, mj, ids in moves:
        if skips:
            bench.skip(x_um, mj)
        else:
            doses.append(bench.look(ids, [(i * 10.0, i * 20.0) for i in ids], x_um, mj))
    return doses


@pytest.mark.parametrize(
    "state", [b"", b"nonsense", ledger_of(square_um=5.0).saved()], ids=["none", "other", "settings"]
)
def test_what_is_not_its_own_is_refused(state: bytes) -> None:
    with pytest.raises(ValueError, match="state|settings"):
        ledger_of().restore(state)
