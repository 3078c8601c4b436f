"""Cell cycle, light and chance in the simulated specimen: as the closed forms and the settings say."""

import math
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from acquisition.simulated import biology as bio
from acquisition.simulated.history import TrueEvent
from acquisition.simulated.nuclei import Nuclei
from acquisition.simulated.random_streams import random_stream
from acquisition.simulated.settings import Biology
from acquisition.simulated.specimen import STEP_MIN, Culture, Illumination, Specimen

CULTURE = Culture(
    n_cells=400, size_um=(2000.0, 2000.0), nucleus_um=9.0, speed_um_min=0.3, persistence_min=20.0,
    cycle_min=600.0, mitosis_min=40.0,
)  # fmt: skip
RESTING = replace(CULTURE, cycle_min=1e7)
MINUTE_NS = 60_000_000_000
EVERYWHERE = ((-1000.0, -1000.0), (1000.0, 1000.0))


def specimen(culture: Culture = CULTURE, seed: int = 1, **biology: float) -> Specimen:
    return Specimen(culture, random_stream(seed, "specimen"), Biology(**biology))


def lit(world: Specimen, t_min: float, j_cm2: float, low_high: tuple[tuple[float, float], ...] = EVERYWHERE) -> None:
    world.illuminate([Illumination(t_min, low_high[0], low_high[1], j_cm2)])


def told(world: Specimen, kind: str) -> list[TrueEvent]:
    return [event for event in world.history(0, MINUTE_NS) if event.kind == kind]


def alive(nuclei: Nuclei) -> int:
    return int(np.count_nonzero(nuclei.phase != bio.DEAD))


# --- the cycle ------------------------------------------------------------------------------------------------


def test_phases_follow_one_another_and_last_as_long_as_they_should() -> None:
    world, passed = specimen(replace(CULTURE, n_cells=200)), {}
    for t_min in np.arange(0.0, 660.0, 0.5):
        nuclei = world.nuclei_at(t_min)
        for cell, phase in zip(nuclei.id.tolist(), nuclei.phase.tolist(), strict=True):
            phases = passed.setdefault(cell, [])
            if not phases or phases[-1][0] != phase:
                phases.append((phase, t_min))
    order = [bio.ANAPHASE, bio.TELOPHASE, bio.G1, bio.S, bio.G2, bio.PROPHASE, bio.PROMETAPHASE, bio.METAPHASE]
    lasted: dict[int, list[float]] = {}
    for phases in passed.values():
        places = [order.index(phase) for phase, _ in phases]
        assert all(b == a + 1 for a, b in pairwise(places))
        for (phase, begins), (_, ends) in pairwise(phases[1:] if phases[0][1] == 0 else phases):
            lasted.setdefault(phase, []).append(ends - begins)
    shares = {
        bio.PROPHASE: bio.MITOTIC_SHARES[0],
        bio.PROMETAPHASE: bio.MITOTIC_SHARES[1],
    }  # metaphase ends with the cell
    for phase, share in (shares | {bio.ANAPHASE: bio.ANAPHASE_SHARE, bio.TELOPHASE: bio.TELOPHASE_SHARE}).items():
        assert np.mean(lasted[phase]) == pytest.approx(40 * share, abs=0.4)
    ratio = np.mean(lasted[bio.S]) / np.mean(lasted[bio.G2])
    assert ratio == pytest.approx(8 / 4, rel=0.1)


def test_dna_doubles_during_s_and_shows_as_light() -> None:
    nuclei = specimen(replace(CULTURE, n_cells=4000)).nuclei_at(0.0)
    light = {phase: np.mean(nuclei.light_um2[nuclei.phase == phase] / nuclei.radius_um[nuclei.phase == phase] ** 2)
             for phase in (bio.G1, bio.S, bio.G2)}  # fmt: skip
    assert light[bio.G2] / light[bio.G1] == pytest.approx(2.0, rel=0.03)
    assert light[bio.G1] < light[bio.S] < light[bio.G2]


def test_a_mitosis_is_told_from_prophase_to_the_daughters() -> None:
    world, seen = specimen(), {}
    for t_min in np.arange(0.0, 200.0, 1 / 6):
        nuclei = world.nuclei_at(t_min)
        for cell in nuclei.id[(nuclei.mitosis > 0) & (nuclei.mitosis < 1)].tolist():
            seen.setdefault(cell, []).append(t_min)
    mitoses = {event.cell_id: event for event in told(world, "mitosis")}
    assert mitoses.keys() == seen.keys()
    whole = [event for event in mitoses.values() if event.start_ns > 0 and event.end_ns is not None]
    assert len(whole) > 50
    for event in whole:
        assert event.start_ns / MINUTE_NS == pytest.approx(seen[event.cell_id][0], abs=0.2)
        assert event.end_ns is not None
        assert event.end_ns / MINUTE_NS == pytest.approx(seen[event.cell_id][-1], abs=0.4)
        assert (event.end_ns - event.start_ns) / MINUTE_NS == pytest.approx(40.0, abs=STEP_MIN)
    assert any(event.end_ns is None for event in mitoses.values())


def test_only_the_growth_fraction_divides() -> None:
    world = specimen(replace(CULTURE, cycle_min=200.0), growth_fraction=0.25)
    nuclei = world.nuclei_at(0.0)
    assert np.mean(nuclei.phase != bio.G0) == pytest.approx(0.25, abs=0.06)
    resting = set(nuclei.id[nuclei.phase == bio.G0].tolist())
    assert resting <= set(world.nuclei_at(250.0).id.tolist())


# --- light ----------------------------------------------------------------------------------------------------


def test_dose_falls_on_the_cells_in_the_lit_rectangle_only_and_adds_up() -> None:
    world, part = specimen(RESTING), ((-300.0, -200.0), (500.0, 100.0))
    lit(world, 1.0, 2.0, part)
    lit(world, 2.0, 0.5, part)
    nuclei = world.nuclei_at(2.0)
    inside = np.all((nuclei.xy_um > part[0]) & (nuclei.xy_um < part[1]), axis=1)
    assert set(nuclei.dose_j_cm2[~inside]) == {0.0}
    assert nuclei.dose_j_cm2[inside] == pytest.approx(2.0), "light up to and with 2 min has not yet had its effect"
    assert world.nuclei_at(2.1).dose_j_cm2.max() == 2.5


def test_light_bleaches_to_1_over_e_and_daughters_inherit_dose() -> None:
    world = specimen(bleach_j_cm2=3.0)
    before = set(world.nuclei_at(0.0).id.tolist())
    for t_min in (1.0, 2.0, 3.0):
        lit(world, t_min, 1.0)
    nuclei = world.nuclei_at(3.1)
    not_s = nuclei.phase != bio.S
    assert nuclei.unbleached[not_s] == pytest.approx(1 / math.e, rel=0.01)
    later = world.nuclei_at(500.0)
    born = ~np.isin(later.id, list(before))
    assert born.sum() > 100
    assert set(later.dose_j_cm2) == {3.0}
    fresh = (1 / math.e + 1) / 2
    assert later.unbleached.max() == pytest.approx(fresh, rel=0.02), "half of a doubled nucleus's fluorophores are new"


@pytest.mark.parametrize(("dose", "speed"), [(0.0, 1.0), (5.0, 0.8), (10.0, 0.5), (20.0, 0.2)])
def test_dose_slows_the_cycle_along_a_hill_curve(dose: float, speed: float) -> None:
    culture = replace(CULTURE, n_cells=1500, size_um=(4000.0, 4000.0))
    world = specimen(culture, harm_j_cm2=10.0, harm_slope=2.0, harm_death_per_h=0.0)
    lit(world, 0.0, dose, ((-1e5, -1e5), (1e5, 1e5)))
    world.nuclei_at(150.0)
    begun = [event for event in told(world, "mitosis") if event.start_ns > 0]
    undisturbed = specimen(culture)
    undisturbed.nuclei_at(150.0 * speed)
    expected = [event for event in told(undisturbed, "mitosis") if event.start_ns > 0]
    assert len(begun) == pytest.approx(len(expected), rel=0.05)
    assert bool(told(world, "harmed")) == (dose > 10.0)


def test_harm_and_death_follow_the_dose() -> None:
    world = specimen(replace(RESTING, n_cells=3000), harm_j_cm2=1.0, harm_slope=3.0, harm_death_per_h=0.5)
    lit(world, 0.0, 2.0)
    world.nuclei_at(120.0)
    risk = 0.5 * 8 / 9
    assert len(told(world, "death")) == pytest.approx(3000 * (1 - math.exp(-2 * risk)), rel=0.06)
    harmed = told(world, "harmed")
    assert len(harmed) == 3000
    assert {(event.start_ns, event.end_ns) for event in harmed} == {(0, 0)}


def test_cells_repair_what_they_are_given_time_for() -> None:
    slowly, at_once = (
        specimen(replace(RESTING, n_cells=50), harm_j_cm2=1.0, repair_h=1.0, harm_death_per_h=0.0) for _ in range(2)
    )
    for hour in range(8):
        lit(slowly, 60.0 * hour, 0.45)
        lit(at_once, float(hour) / 60, 0.45)
    assert not slowly.nuclei_at(8 * 60.0).harmed.any()
    assert at_once.nuclei_at(1.0).harmed.all()
    assert slowly.nuclei_at(8 * 60.0).dose_j_cm2.min() == pytest.approx(3.6), "the dose itself is not forgotten"


def test_light_changes_nothing_where_nothing_can_be_harmed() -> None:
    dark, bright = specimen(), specimen()
    lit(bright, 5.0, 1e6)
    a, b = dark.nuclei_at(300.0), bright.nuclei_at(300.0)
    np.testing.assert_array_equal(a.id, b.id)
    np.testing.assert_array_equal(a.xy_um, b.xy_um)
    np.testing.assert_array_equal(a.unbleached, b.unbleached)


# --- chance ---------------------------------------------------------------------------------------------------


def test_the_dead_shrink_brighten_and_vanish() -> None:
    world = specimen(RESTING, death_per_h=1.0)
    world.nuclei_at(0.2)
    first = told(world, "death")[0]
    assert first.start_ns == first.end_ns
    row = {}
    for t_min in (0.2, 20.0, 50.0):
        nuclei = world.nuclei_at(first.start_ns / MINUTE_NS + t_min)
        i = int(np.flatnonzero(nuclei.id == first.cell_id)[0])
        assert nuclei.phase[i] == bio.DEAD
        row[t_min] = nuclei.brightness[i], nuclei.semi_um[i].prod(), nuclei.light_um2[i]
    assert row[20.0][0] > 2.5 * row[0.2][0]
    assert row[20.0][1] < 0.4 * row[0.2][1]
    assert row[50.0][2] == pytest.approx(row[20.0][2] / 2, rel=0.02), "it fades in the last third"
    assert first.cell_id not in world.nuclei_at(first.start_ns / MINUTE_NS + bio.APOPTOSIS_MIN + 1).id


def test_rare_phenotypes_come_as_often_and_last_as_long_as_set() -> None:
    world = specimen(replace(RESTING, n_cells=1000), rare_per_h=0.1, rare_min=30.0, rare_brightness=2.5)
    for t_min in range(0, 481, 20):
        nuclei = world.nuclei_at(float(t_min))
    events = told(world, "rare")
    free = 1 / (1 + 0.1 * 0.5)
    assert len(events) == pytest.approx(1000 * 8 * 0.1 * free, rel=0.1)
    ended = [(event.end_ns - event.start_ns) / MINUTE_NS for event in events[:500] if event.end_ns is not None]
    assert np.mean(ended) == pytest.approx(30.0, rel=0.12)
    now = {event.cell_id for event in events if event.end_ns is None}
    assert set(nuclei.id[nuclei.rare].tolist()) == now
    assert nuclei.brightness[nuclei.rare].mean() == pytest.approx(
        2.5 * nuclei.brightness[~nuclei.rare].mean(), rel=0.05
    )
    area_um2 = nuclei.semi_um.prod(axis=1)
    assert area_um2[nuclei.rare].mean() > 1.5 * area_um2[~nuclei.rare].mean()


def test_flashes_come_as_often_as_set_rise_fast_and_fade() -> None:
    settings = Biology(transient_per_h=6.0, transient_s=4.0, transient_brightness=5.0)
    world = Specimen(RESTING, random_stream(3, "specimen"), settings)
    world.nuclei_at(60.0)
    events = told(world, "transient")
    assert len(events) == pytest.approx(400 * 6 / (1 + 6 * bio.FLASH_ENDS * 4 / 3600), rel=0.06)
    again = Specimen(RESTING, random_stream(3, "specimen"), settings)
    event = next(event for event in events if event.start_ns > 3 * MINUTE_NS)
    for since_s, expected in ((0.0, 1.0), (0.2, 3.0), (0.4, 5.0), (4.4, 1 + 4 / math.e), (8.4, 1 + 4 / math.e**2)):
        nuclei = again.nuclei_at(event.start_ns / MINUTE_NS + since_s / 60)
        assert nuclei.reporter[nuclei.id == event.cell_id] == pytest.approx(expected, rel=1e-3)


def test_risks_do_not_change_how_cells_move() -> None:
    plain, eventful = specimen(RESTING), specimen(RESTING, rare_per_h=1.0, transient_per_h=5.0)
    np.testing.assert_array_equal(plain.nuclei_at(60.0).xy_um, eventful.nuclei_at(60.0).xy_um)
