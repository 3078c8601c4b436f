"""What flows in the simulated channel: how many, where, how fast, and that pictures and truth tell the same."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from acquisition.clock import NS_PER_S
from acquisition.commands import SetExposure, SetLight
from acquisition.microscope import PassedCell
from acquisition.simulated.flow_settings import Flow
from acquisition.simulated.flow_world import Pump
from acquisition.simulated.random_streams import random_stream
from tests.flowing import Floats, darkness, opened, stacks

LONE = {"shares": {"rbc": 1.0}, "flow": {"focusing_um": 4.0, "pulsation": 0.0, "slip": 0.0, "unseen_slip": 0.0}}


def flowed(seconds: float, **keys: object) -> list[PassedCell]:
    """All that passes the junction in so many seconds with the camera off."""
    cell, clock = opened(**keys)  # type: ignore[arg-type]
    clock.sleep_s(seconds)
    return cell.passed()


def test_arrivals_are_a_poisson_process_at_the_rate_asked_for() -> None:
    cells = flowed(8.0, events_per_s=1000.0)
    arrivals_s = np.sort([cell.arrival_ns for cell in cells]) / NS_PER_S
    assert len(cells) == pytest.approx(8_000, abs=5 * np.sqrt(8_000))
    gaps_s = np.diff(arrivals_s)
    assert gaps_s.mean() == pytest.approx(0.001, rel=0.05)
    assert gaps_s.std() == pytest.approx(0.001, rel=0.05)
    per_window = np.histogram(arrivals_s, np.arange(0.1, 7.9, 0.01))[0]
    assert per_window.var() == pytest.approx(per_window.mean(), rel=0.25)


def test_every_cell_is_told_once_and_only_after_it_has_passed() -> None:
    cell, clock = opened(events_per_s=2000.0)
    told: list[PassedCell] = []
    for _ in range(40):
        clock.sleep_s(0.05)
        now = cell.passed()
        assert all(c.arrival_ns < clock.now_ns() for c in now)
        told += now
    whole = flowed(2.0, events_per_s=2000.0)
    assert sorted(c.id for c in told) == sorted(c.id for c in whole)
    assert len({c.id for c in told}) == len(told) > 3000


def test_classes_come_in_their_shares() -> None:
    cells = flowed(5.0, events_per_s=1000.0, shares={"wbc": 1.0, "rbc": 3.0})
    share = np.mean([cell.kind == "wbc" for cell in cells])
    assert {cell.kind for cell in cells} == {"wbc", "rbc"}
    assert share == pytest.approx(0.25, abs=0.03)


def test_speed_falls_towards_the_walls_as_a_parabola() -> None:
    cells = flowed(5.0, **LONE)
    y_um, speed_um_s = np.array([(cell.y_um, cell.speed_um_s) for cell in cells]).T
    np.testing.assert_allclose(speed_um_s, 100_000 * (1 - (y_um / 16) ** 2), rtol=1e-9)
    assert y_um.std() == pytest.approx(4.0, rel=0.1)
    assert np.abs(y_um).max() <= 16 - 3


def test_slip_scatters_speeds() -> None:
    cells = flowed(
        5.0, shares={"rbc": 1.0}, flow={"focusing_um": 0.0, "slip": 0.01, "unseen_slip": 0.0, "pulsation": 0.0}
    )
    speeds_um_s = np.array([cell.speed_um_s for cell in cells])
    assert speeds_um_s.std() / 100_000 == pytest.approx(0.01, rel=0.1)


def test_transit_takes_distance_by_speed() -> None:
    for cell in flowed(1.0, **LONE)[::50]:
        way_um = 2000 + 64  # from the view's edge to its middle, and on to the junction
        assert (cell.arrival_ns - cell.entered_ns) / NS_PER_S == pytest.approx(way_um / cell.speed_um_s, rel=1e-6)


@settings(max_examples=50, deadline=None)
@given(share=st.floats(0, 0.5), hz=st.floats(0.1, 200), t_s=st.floats(0, 3600))
def test_flow_time_and_the_clock_are_one_anothers_inverse(share: float, hz: float, t_s: float) -> None:
    pump = Pump(Flow(pulsation=share, pulsation_hz=hz), 12345, phase_rad=1.0)
    t_ns = np.array([round(t_s * NS_PER_S)])
    assert pump.t_ns(pump.flow_s(t_ns))[0] == pytest.approx(t_ns[0], abs=3_000)


def test_pulsation_makes_cells_faster_and_slower() -> None:
    """Transit times swing by the share, at the frequency, and not without."""
    keys = {
        "shares": {"rbc": 1.0},
        "flow": {"focusing_um": 0.0, "slip": 0.0, "unseen_slip": 0.0, "pulsation": 0.1, "pulsation_hz": 2.0},
    }
    cells = flowed(4.0, events_per_s=2000.0, **keys)
    entered_s = np.array([cell.entered_ns for cell in cells]) / NS_PER_S
    transit = np.array([cell.arrival_ns - cell.entered_ns for cell in cells]) / NS_PER_S / (2064 / 100_000) - 1
    wave = np.stack([np.sin(4 * np.pi * entered_s), np.cos(4 * np.pi * entered_s), np.ones_like(entered_s)], axis=1)
    found, *_ = np.linalg.lstsq(wave, transit, rcond=None)
    assert np.hypot(found[0], found[1]) == pytest.approx(0.1, rel=0.1)


def lone(shade: Floats) -> bool:
    """Whether a strip shows one cell, not cut off."""
    columns = np.flatnonzero(shade.any(axis=0))
    return len(columns) > 0 and columns[0] > 2 and columns[-1] < 253 and bool((np.diff(columns) == 1).all())


def centroid_um(shade: Floats) -> tuple[float, float]:
    """From the middle of the view, x first."""
    y_px, x_px = np.indices(shade.shape)
    x_um, y_um = (((axis * shade).sum() / shade.sum() - (n - 1) / 2) * 0.5 for axis, n in ((x_px, 256), (y_px, 64)))
    return float(x_um), float(y_um)


@pytest.mark.parametrize("direction", ["right", "left"])
@pytest.mark.parametrize("pulsation", [0.0, 0.1])
def test_what_is_seen_goes_on_to_arrive_when_the_truth_says(direction: str, pulsation: float) -> None:
    """The centroid of a lone cell, taken at the middle of the exposure, extrapolates to its arrival within a pixel."""
    flow = {"focusing_um": 3.0, "direction": direction, "pulsation": pulsation, "junction_um": 300.0}
    cell, clock = opened(events_per_s=80.0, shares={"rbc": 1.0}, flow=flow)
    frames = stacks(cell, clock, 40)
    clock.sleep_s(0.1)
    truth, pump = cell.passed(), Pump(cell.flow, 0, random_stream(0, "focus").uniform(0, 2 * np.pi))
    n_checked = 0
    for t_ns, shade in darkness(frames):
        there = [c for c in truth if c.entered_ns < t_ns < c.arrival_ns]
        if len(there) != 1 or not lone(shade):
            continue
        x_um, y_um = centroid_um(shade)
        left_um = 300 - (x_um if direction == "right" else -x_um)
        to_go_s = np.diff(pump.flow_s(np.array([t_ns - 5_000, there[0].arrival_ns])))[0]
        assert to_go_s * there[0].speed_um_s == pytest.approx(left_um, abs=0.5)
        assert y_um == pytest.approx(there[0].y_um, abs=0.5)
        n_checked += 1
    assert n_checked > 10


def test_a_cell_is_smeared_by_as_much_as_it_moves_while_exposed() -> None:
    """2 and 20 px, of a disc 15 px wide: the darkest column's share of all that is dark says how wide it got."""
    widths_px, missing = [], []
    for exposure_ms in (0.01, 0.1):
        flow = {"focusing_um": 0.0, "slip": 0.0, "unseen_slip": 0.0, "pulsation": 0.0}
        cell, clock = opened(events_per_s=100.0, shares={"rbc": 1.0}, flow=flow)
        cell.apply(SetLight(1 / exposure_ms))
        cell.apply(SetExposure(exposure_ms))
        profiles = [shade.sum(axis=0) for _, shade in darkness(stacks(cell, clock, 30)) if lone(shade)]
        widths_px.append(np.median([p.sum() / p.max() for p in profiles]))
        missing.append(np.median([p.sum() for p in profiles]))
    assert widths_px == [pytest.approx(np.pi / 4 * 15.5, abs=1), pytest.approx(19.5, abs=1)]
    assert missing[1] == pytest.approx(missing[0], rel=0.1)
