"""The simulated stage and lamp: play in the gears, the ends of the travel, and every millijoule at its time and place."""

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from acquisition.clock import NS_PER_MS, NS_PER_S, SimulatedClock
from acquisition.commands import MoveStage, SetExposure, SetInterval, SetLight
from acquisition.frame import StagePosition
from acquisition.microscope import Imaging, MicroscopeError
from acquisition.simulated.light import Lamp, Light
from acquisition.simulated.microscope import SimulatedMicroscope
from acquisition.simulated.settings import LightSettings, StageSettings
from acquisition.simulated.stage import SimulatedStage
from tests.polling import next_frames

MS = NS_PER_MS


def driven(stage: SimulatedStage, *moves: MoveStage) -> list[StagePosition]:
    """Where each of some moves, one after the other, has ended."""
    places = []
    for i, move in enumerate(moves):
        stage.go(move, 10 * i * NS_PER_S)
        places.append(stage.at(10 * (i + 1) * NS_PER_S))
    return places


# --- stage --------------------------------------------------------------------------------------------------------


def test_an_axis_that_turns_round_stops_short_and_arrives_when_it_is_sent_again() -> None:
    stage = SimulatedStage((1000.0, 1000.0), StageSettings(backlash_um=3.0))
    places = driven(stage, *(MoveStage(x_um=x_um) for x_um in (50.0, 80.0, 40.0, 40.0, 20.0, 30.0, 60.0)))
    assert [place.x_um for place in places] == [50.0, 80.0, 43.0, 40.0, 20.0, 27.0, 60.0]


def test_axes_have_play_of_their_own_and_never_go_the_wrong_way() -> None:
    stage = SimulatedStage((1000.0, 1000.0), StageSettings(backlash_um=3.0))
    places = driven(
        stage, MoveStage(x_um=50.0, y_um=50.0, z_um=5.0), MoveStage(x_um=60.0, y_um=40.0), MoveStage(z_um=4.0),
        MoveStage(z_um=3.5),
    )  # fmt: skip
    assert places[1] == StagePosition(60.0, 43.0, 5.0)
    assert places[2] == places[1], "all of it is taken up by the play"
    assert places[3] == StagePosition(60.0, 43.0, 3.5)


@given(st.lists(st.floats(-400, 400), min_size=1, max_size=30), st.floats(0, 20))
def test_a_stage_with_play_is_never_further_off_than_its_play(targets: list[float], backlash_um: float) -> None:
    stage = SimulatedStage((1000.0, 1000.0), StageSettings(backlash_um=backlash_um))
    places = driven(stage, *(MoveStage(y_um=target_um) for target_um in targets))
    for place, target_um in zip(places, targets, strict=True):
        assert abs(place.y_um - target_um) <= backlash_um + 1e-9


@pytest.mark.parametrize(
    ("move", "said"),
    [
        (MoveStage(x_um=501.0), "x_um 501 is out of reach, it travels ±500 µm"),
        (MoveStage(z_um=-51.0), "z_um -51 .* ±50 µm"),
    ],
)
def test_the_travel_has_ends(move: MoveStage, said: str) -> None:
    stage = SimulatedStage((1000.0, 1000.0), StageSettings(z_um=100.0))
    with pytest.raises(MicroscopeError, match=said):
        stage.go(move, 0)
    assert not stage.busy(0)
    assert stage.at(0) == StagePosition()


@given(st.lists(st.tuples(st.floats(-400, 400), st.integers(0, 300)), min_size=1, max_size=8), st.integers(0, 2000))
def test_it_remembers_where_it_was(trips: list[tuple[float, int]], asked_ms: int) -> None:
    """Asked at once or much later, also where a move or halt has cut another one short."""
    stage, now_ns, seen = SimulatedStage((1000.0, 1000.0), StageSettings(speed_um_s=900.0)), 0, []
    for x_um, rest_ms in trips:
        stage.go(MoveStage(x_um=x_um), now_ns)
        seen += [(t_ns, stage.at(t_ns)) for t_ns in range(now_ns, now_ns + rest_ms * MS, 7 * MS)]
        now_ns += rest_ms * MS
        if rest_ms % 3 == 0:
            stage.halt(now_ns)
    assert [stage.at(t_ns) for t_ns, _ in seen] == [place for _, place in seen]
    pieces = list(stage.way(0, asked_ms * MS + 1))
    assert (pieces[0][0], pieces[-1][1]) == (0, asked_ms * MS + 1)
    assert all(a[1] == b[0] for a, b in pairwise(pieces))
    for begins_ns, ends_ns, where in pieces:
        assert where == stage.at((begins_ns + ends_ns) // 2)
        assert abs(stage.at(begins_ns).x_um - stage.at(ends_ns).x_um) <= 10.001


# --- lamp ---------------------------------------------------------------------------------------------------------


def rig(clock: SimulatedClock, light: LightSettings, **imaging: Any) -> SimulatedMicroscope:
    made = SimulatedMicroscope(height_px=64, width_px=64, n_cells=3, specimen_um=(400.0, 400.0), light=light)
    made.open(clock, Imaging(**({"interval_ms": 50.0, "exposure_ms": 10.0, "light_mw": 2.0} | imaging)))
    return made


def test_more_than_the_lamp_gives_is_refused() -> None:
    microscope = rig(SimulatedClock(), LightSettings(most_mw=3.0))
    with pytest.raises(MicroscopeError, match="3.5 mW is more than it gives, 3 mW at most"):
        microscope.apply(SetLight(3.5))
    assert microscope.state().light_mw == 2.0
    with pytest.raises(MicroscopeError, match="more than it gives"):
        rig(SimulatedClock(), LightSettings(most_mw=1.0))


def test_a_lamp_that_does_not_follow_the_camera_is_on_from_start_to_stop() -> None:
    clock = SimulatedClock()
    microscope = SimulatedMicroscope(
        height_px=64, width_px=64, n_cells=3, specimen_um=(400.0, 400.0), light=LightSettings(follows_camera=False)
    )
    assert microscope.open(clock, Imaging(interval_ms=50.0, exposure_ms=10.0, light_mw=2.0)).lit_share == 1.0
    clock.sleep_s(1.0)
    microscope.start()
    clock.sleep_s(0.333)
    assert microscope.dose_mj() == pytest.approx(2.0 * 0.333)
    microscope.stop()
    clock.sleep_s(1.0)
    assert microscope.dose_mj() == pytest.approx(2.0 * 0.333)
    assert list(microscope.lit) == [(1000 * MS, 1333 * MS)]


def test_its_power_changes_when_the_exposure_under_way_has_ended() -> None:
    microscope = rig(clock := SimulatedClock(), LightSettings(follows_camera=False))
    microscope.start()
    clock.sleep_s(0.104)  # the third exposure, from 100 to 110 ms, is under way
    microscope.apply(SetLight(1.0))
    clock.sleep_s(0.096)
    assert microscope.dose_mj() == pytest.approx(2.0 * 0.110 + 1.0 * 0.090)
    assert [frame.header.light_mw for frame in next_frames(microscope, clock, 4)] == [2.0, 2.0, 2.0, 1.0]


def test_light_that_goes_off_late_counts_until_it_is_off_or_the_next_exposure_begins() -> None:
    microscope = rig(clock := SimulatedClock(), LightSettings(off_delay_ms=15.0))
    microscope.start()
    clock.sleep_s(0.050)
    assert microscope.dose_mj() == pytest.approx(2.0 * 0.025)
    microscope.apply(SetInterval(12.0))  # the light is never off between two exposures now
    clock.sleep_s(0.120)
    assert microscope.dose_mj() == pytest.approx(2.0 * (0.025 + 0.120))


def test_a_stop_in_the_middle_of_an_exposure_leaves_the_light_on_as_long_as_it_always_does() -> None:
    microscope = rig(clock := SimulatedClock(), LightSettings(off_delay_ms=15.0))
    microscope.start()
    clock.sleep_s(0.004)
    microscope.stop()
    clock.sleep_s(1.0)
    assert microscope.dose_mj() == pytest.approx(2.0 * 0.019)


SETTINGS = [
    LightSettings(), LightSettings(off_delay_ms=3.0), LightSettings(off_delay_ms=80.0), LightSettings(follows_camera=False),
]  # fmt: skip
ACTIONS = st.one_of(
    st.floats(0.0, 0.2), st.sampled_from(["start", "stop", "poll", "dose"]),
    st.builds(SetLight, st.floats(0, 5)), st.builds(SetExposure, st.floats(1, 20)), st.builds(SetInterval, st.floats(20, 90)),
    st.builds(MoveStage, x_um=st.floats(-100, 100)),
)  # fmt: skip


@pytest.mark.parametrize("light", SETTINGS, ids=str)
@given(actions=st.lists(ACTIONS, max_size=25))
@examples(max_examples=10, deadline=None)
def test_the_specimen_is_told_of_all_light_once_and_the_dose_is_its_sum(
    light: LightSettings, actions: list[Any]
) -> None:
    """Whatever is done, and however often somebody asks in between."""
    microscope, told = rig(clock := SimulatedClock(), light), list[Light]()
    microscope._camera._illuminate = told.extend
    for action in actions:
        if isinstance(action, float):
            clock.sleep_s(action)
        elif isinstance(action, str):
            {"poll": microscope.poll_frame, "dose": microscope.dose_mj}.get(action, lambda: None)()
            {"start": microscope.start, "stop": microscope.stop}.get(action, lambda: None)()
        else:
            microscope.apply(action)
    microscope.stop()
    clock.sleep_s(0.2)
    microscope.apply(SetLight(0.0))
    microscope.apply(SetInterval(50.0))
    microscope.start()
    next_frames(microscope, clock, 2)
    assert sum(piece.energy_mj for piece in told) == pytest.approx(microscope.dose_mj(), rel=1e-9, abs=1e-12)
    assert all(a.ends_ns <= b.begins_ns for a, b in pairwise(told)), "in order, none twice"
    assert all(piece.begins_ns < piece.ends_ns and piece.light_mw > 0 for piece in told)


def test_light_falls_where_the_stage_stood() -> None:
    lamp = Lamp(LightSettings(), lambda begins_ns, ends_ns: [(begins_ns, ends_ns, StagePosition(x_um=15.0))])
    lamp.expose(10 * MS, 20 * MS, 2.0)
    assert lamp.take(40 * MS) == [Light(10 * MS, 20 * MS, 2.0, StagePosition(x_um=15.0))]
    assert lamp.take(50 * MS) == []


@pytest.mark.parametrize("then", [None, MoveStage(x_um=-190.0), "halt"], ids=str)
def test_light_of_a_way_falls_along_it_whatever_the_stage_does_later(then: MoveStage | str | None) -> None:
    """An exposure of 100 ms: 50 ms at 0, 40 ms on the way to 80 µm, 10 ms there; what comes then is after it."""
    microscope, told = (
        rig(clock := SimulatedClock(), LightSettings(), interval_ms=500.0, exposure_ms=100.0),
        list[Light](),
    )
    microscope._camera._illuminate = told.extend
    microscope.start()
    clock.sleep_s(0.050)
    microscope.apply(MoveStage(x_um=80.0))
    clock.sleep_s(0.060)
    if isinstance(then, MoveStage):
        microscope.apply(then)
    elif then is not None:
        microscope.halt()
    next_frames(microscope, clock, 2)
    by_place = [(piece.begins_ns // MS, piece.ends_ns // MS, round(piece.stage.x_um)) for piece in told]
    on_the_way = [(50 + 5 * i, 55 + 5 * i, 5 + 10 * i) for i in range(8)]
    assert by_place == [(0, 50, 0), *on_the_way, (90, 100, 80)]


def test_only_cells_that_the_light_met_have_its_dose() -> None:
    """A lamp that is always on sweeps over half of the dish; the other half stays as it was."""
    microscope = rig(clock := SimulatedClock(), LightSettings(follows_camera=False), interval_ms=2000.0)
    microscope.start()
    microscope.apply(MoveStage(x_um=-160.0))
    clock.sleep_s(1.0)
    microscope.halt()
    next_frames(microscope, clock, 2)
    nuclei = microscope.nuclei()
    beside = nuclei.xy_um[:, 0] > microscope.view_um[0] / 2 + 1.0
    assert beside.any()
    assert (nuclei.dose_j_cm2[beside] == 0).all()
    assert nuclei.dose_j_cm2.max() > 0


def test_asking_for_the_dose_changes_nothing() -> None:
    doses = []
    for often in (False, True):
        microscope = rig(clock := SimulatedClock(), LightSettings(off_delay_ms=7.0))
        microscope.start()
        for _ in range(333):
            clock.sleep_s(0.001)
            if often:
                microscope.dose_mj()
        doses.append(microscope.dose_mj())
    assert doses[0] == doses[1]


def test_a_lamp_that_is_always_on_harms_more_than_one_that_follows() -> None:
    """The specimen itself, through the microscope: what its cells have got is what the lamp has spent."""
    got = []
    for light in (LightSettings(), LightSettings(follows_camera=False)):
        microscope = rig(clock := SimulatedClock(), light)
        microscope.start()
        next_frames(microscope, clock, 10)
        got.append(float(microscope.nuclei().dose_j_cm2.max()))
        microscope.close()
    assert got[1] == pytest.approx(got[0] * 5, rel=0.15), "10 of 50 ms, or all of them"
