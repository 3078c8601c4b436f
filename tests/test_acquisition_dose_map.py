"""The dose map: no place says less than it has had, wherever the stage has been."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from acquisition.dose_map import TILE, Box, DoseMap, DoseSettings, LitField, j_cm2

near = st.floats(-900.0, 900.0)
sizes = st.floats(0.0, 1500.0)
rectangles = st.tuples(near, near, sizes, sizes, st.floats(0.0, 5.0))


def test_energy_by_area_is_in_the_units_of_the_literature() -> None:
    assert j_cm2(1000.0, 1e8) == 1.0, "1 J on 1 cm²"


@given(
    st.lists(rectangles, max_size=8),
    st.lists(st.tuples(near, near), min_size=1, max_size=8),
    st.sampled_from([3.0, 10.0]),
)
def test_no_place_says_less_than_it_has_had(
    lit: list[tuple[float, float, float, float, float]], places: list[tuple[float, float]], square_um: float
) -> None:
    dose_map = DoseMap(square_um)
    least, most = np.zeros(len(places)), np.zeros(len(places))
    x, y = np.array(places).T
    for low_x, low_y, width, height, dose in lit:
        dose_map.add((low_x, low_y), (low_x + width, low_y + height), dose)
        for account, margin in ((least, 0.0), (most, square_um)):
            inside = (x >= low_x - margin) & (x <= low_x + width + margin)
            inside &= (y >= low_y - margin) & (y <= low_y + height + margin)
            account[inside] += dose
    said = dose_map.at_all(np.array(places))
    assert said.tolist() == pytest.approx([dose_map.at(*place) for place in places])
    assert np.all(said >= least * (1 - 1e-9))
    assert np.all(said <= most * (1 + 1e-9)), "nor more than the squares that were lit in part explain"
    assert dose_map.most_j_cm2((x.min(), y.min()), (x.max(), y.max())) >= said.max()
    assert dose_map.highest_j_cm2 >= said.max()


def test_a_tile_that_is_lit_evenly_takes_no_room_until_it_is_not() -> None:
    dose_map, side_um = DoseMap(10.0), 10.0 * TILE
    dose_map.add((0.0, 0.0), (100 * side_um - 1, 100 * side_um - 1), 1.0)
    assert dose_map.arrays()["tile_values"].size == 100 * 100
    dose_map.add((5.0, 5.0), (5.0, 5.0), 2.0)
    assert dose_map.arrays()["tile_values"].size == 100 * 100 - 1 + TILE * TILE
    assert (dose_map.at(5.0, 5.0), dose_map.at(15.0, 5.0), dose_map.at(-1.0, 0.0)) == (3.0, 1.0, 0.0)


def test_a_map_goes_on_as_it_was_saved() -> None:
    one, other = DoseMap(), DoseMap()
    one.add((-700.0, -30.0), (900.0, 2000.0), 1.5)
    other.restore(one.arrays())
    for dose_map in (one, other):
        dose_map.add((0.0, 0.0), (50.0, 50.0), 0.25)
    image, corner_um, square_um = one.picture()
    again = other.picture()
    assert (corner_um, square_um) == again[1:]
    np.testing.assert_array_equal(image, again[0])


@pytest.mark.parametrize("most_px", [10**7, 10_000, 100])
def test_a_picture_shows_each_place_where_it_is(most_px: int) -> None:
    dose_map = DoseMap(10.0)
    dose_map.add((-650.0, 20.0), (-640.0, 30.0), 2.0)
    dose_map.add((100.0, 1300.0), (340.0, 1310.0), 1.0)
    image, (x_um, y_um), square_um = dose_map.picture(most_px)
    assert image[int((25.0 - y_um) // square_um), int((-645.0 - x_um) // square_um)] == 2.0
    assert image[int((1305.0 - y_um) // square_um), int((200.0 - x_um) // square_um)] == 1.0
    assert image.size <= max(most_px, 4 * 4)


def test_an_empty_map_is_dark() -> None:
    dose_map = DoseMap()
    assert (dose_map.at(3.0, 4.0), dose_map.highest_j_cm2, dose_map.picture()[0].tolist()) == (0.0, 0.0, [[0.0]])


FIELD = LitField.of(DoseSettings(), (100, 200), (0.5, 0.0, 7.0, 0.0, 0.5, 9.0))


def test_a_field_is_what_the_sensor_sees_unless_the_settings_say_otherwise() -> None:
    assert (FIELD.half_um, FIELD.area_um2) == ((50.0, 25.0), 5000.0)
    turned = LitField.of(DoseSettings(), (100, 200), (0.0, -0.5, 7.0, 0.5, 0.0, 9.0))
    assert (turned.half_um, turned.area_um2) == ((25.0, 50.0), 5000.0)
    wide = LitField.of(DoseSettings(lit_um=(400.0, 300.0)), (100, 200), (0.5, 0.0, 7.0, 0.0, 0.5, 9.0))
    assert (wide.half_um, wide.area_um2) == ((200.0, 150.0), 120_000.0)


@pytest.mark.parametrize(("stage", "between"), [((0.0, 0.0, 300.0, 100.0), 1.0), ((0.0, 0.0, 3e5, 0.0), 0.0)])
def test_light_of_a_move_counts_for_all_of_the_way_unless_it_is_absurd(stage: Box, between: float) -> None:
    dose_map = DoseMap()
    dose_map.add_lit(FIELD, stage, 5000 / 1e5)
    ends = [dose_map.at(*stage[:2]), dose_map.at(*stage[2:])]
    assert ends == pytest.approx([1.0, 1.0])
    assert dose_map.at((stage[0] + stage[2]) / 2, stage[3]) == pytest.approx(between)
