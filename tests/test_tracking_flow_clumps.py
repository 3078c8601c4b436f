"""Cells that pass one another in view are not lost, nor taken for one another; and what the pass remembers stays small."""

import numpy as np
import pytest

from models.sightings import Sightings
from tracking.flow import FlowSettings, FlowTracker
from tracking.flow_cells import FlowCells

STRIP_NS, UM_PER_PX, SHAPE = 250_000, 0.5, (64, 256)
Look = tuple[float, float, float]
"""x and y of the centre, and radius, in pixels."""


def strip(looks: list[Look]) -> Sightings:
    """What a finder would say of one strip."""
    looks = sorted(looks)
    x, y, radius = np.array(looks).reshape(-1, 3).T
    low, high = np.stack([x, y], 1) - radius[:, None], np.stack([x, y], 1) + radius[:, None]
    box = np.concatenate([np.clip(low, 0, None), np.minimum(high + 1, SHAPE[::-1])], 1).astype(np.int32)
    return Sightings(
        strip=np.zeros(len(x), np.int32), t_ns=np.zeros(len(x), np.int64), xy_px=np.stack([x, y], 1), bbox_px=box,
        whole=(low[:, 0] > 0) & (high[:, 0] < SHAPE[1] - 1), area_um2=np.pi * (radius * UM_PER_PX) ** 2,
        contrast=np.full(len(x), 0.2), features=np.empty((len(x), 0)), feature_names=(),
    )  # fmt: skip


def told(strips: list[list[Look]], speed_um_s: float = 100_000.0) -> list[FlowCells]:
    """What a tracker says, strip by strip."""
    tracker = FlowTracker(FlowSettings(junction_um=2_000.0, speed_um_s=speed_um_s), UM_PER_PX, SHAPE[1])
    return [tracker.update(strip(looks), ((k + 1) * STRIP_NS,)) for k, looks in enumerate(strips)]


FAST = [(x, 28.0, 8.0) for x in (20.0, 71.0, 122.0, 173.0, 224.0)]
SLOW = [(x, 40.0, 8.0) for x in (60.0, 104.0, 148.0, 192.0, 236.0)]
"""The faster one catches up: without an accident they are side by side in the last strips."""


@pytest.mark.parametrize("clumped", [(), (3,), (2, 3)])
def test_two_cells_that_are_seen_as_one_for_a_while_stay_two(clumped: tuple[int, ...]) -> None:
    strips = [
        [((fast[0] + slow[0]) / 2, 34.0, 14.0)] if k in clumped else [fast, slow]
        for k, (fast, slow) in enumerate(zip(FAST, SLOW, strict=True))
    ]
    said = told([*strips, [], []])
    ids = [cells.cell_of.tolist() for k, cells in enumerate(said[:5]) if k not in clumped]
    assert ids == [[1, 2]] * len(ids)
    gone = {int(one) for cells in said for one in cells.id[cells.gone]}
    assert {1, 2} <= gone
    last = {int(one): float(v) for cells in said for one, v in zip(cells.id, cells.speed_um_s, strict=True)}
    assert last[1] == pytest.approx(102_000, rel=0.01)
    assert last[2] == pytest.approx(88_000, rel=0.01)


def test_a_clump_that_comes_apart_becomes_two_new_cells() -> None:
    together = [[(70.0, 34.0, 14.0)], [(117.0, 34.0, 14.0)]]
    apart = [[(171.0, 25.0, 8.0), (158.0, 43.0, 8.0)], [(222.0, 25.0, 8.0), (202.0, 43.0, 8.0)]]
    said = told([*together, *apart, [], []])
    assert said[2].cell_of.tolist() == said[3].cell_of.tolist()
    assert set(said[3].cell_of.tolist()).isdisjoint({1, -1})


def test_a_cell_that_is_overlooked_once_is_the_same_and_twice_is_lost() -> None:
    once = told([[FAST[0]], [FAST[1]], [], [FAST[3]], [FAST[4]]])
    assert once[3].cell_of.tolist() == [1]
    twice = told([[FAST[0]], [FAST[1]], [], [], [FAST[4]]])
    assert twice[3].id[twice[3].gone].tolist() == [1]


def test_a_look_that_is_spoilt_does_not_spoil_the_arrival() -> None:
    """In the second strip something else is seen with the cell, and moves its centre by three pixels: a line through
    all looks would be wrong by 0.12 ms, and one through the first two would lose the cell."""
    clean, spoilt = FAST.copy(), FAST.copy()
    spoilt[1] = (FAST[1][0] + 3, 28.0, 8.0)
    arrival_ns = [told([[each] for each in looks])[-1].arrival_ns[0] for looks in (clean, spoilt)]
    assert abs(arrival_ns[1] - arrival_ns[0]) < 90_000


def test_many_more_cells_than_can_be_followed_are_no_error() -> None:
    rng = np.random.default_rng(0)
    tracker = FlowTracker(FlowSettings(junction_um=2_000.0, speed_um_s=100_000.0), UM_PER_PX, SHAPE[1])
    for k in range(20):
        looks = [(x, y, 3.0) for x, y in zip(rng.uniform(5, 250, 400), rng.uniform(5, 58, 400), strict=True)]
        cells = tracker.update(strip(looks), ((k + 1) * STRIP_NS,))
        assert (~cells.gone).sum() <= 256
        assert len(cells.cell_of) == 400


def test_a_slow_flow_gives_many_looks_and_all_of_them_count() -> None:
    """Two pixels a strip: a hundred looks at one cell, of which some are kept."""
    x = np.arange(12.0, 243.0, 2.0)
    said = told([[(each, 30.0, 8.0)] for each in x], speed_um_s=4_000.0)
    assert {int(one) for cells in said for one in cells.cell_of} == {1}
    assert said[-1].looks.tolist() == [len(x)]
    assert said[-1].speed_um_s[0] == pytest.approx(4_000.0, rel=1e-6)
    first_ns = STRIP_NS
    assert said[-1].arrival_ns[0] - first_ns == pytest.approx(
        (2_000 - (12 - 127.5) * UM_PER_PX) / 4_000 * 1e9, rel=1e-6
    )
