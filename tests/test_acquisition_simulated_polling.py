"""What the simulated microscope shows depends on what it is told and when, never on who looks at it in between."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from acquisition.clock import SimulatedClock
from acquisition.commands import MoveStage, SetExposure, SetInterval, SetLight
from acquisition.frame import Frame
from acquisition.microscope import Imaging
from acquisition.simulated.microscope import SimulatedMicroscope
from acquisition.simulated.nuclei import Nuclei
from acquisition.simulated.settings import Biology, LightSettings, SensorSettings, StageSettings

LAMPS = [LightSettings(), LightSettings(off_delay_ms=30.0), LightSettings(follows_camera=False)]
ACTIONS = st.one_of(
    st.builds(SetLight, st.floats(0, 5)), st.builds(SetExposure, st.floats(1, 20)), st.builds(SetInterval, st.floats(20, 90)),
    st.builds(MoveStage, x_um=st.floats(-60, 60)), st.just("halt"),
)  # fmt: skip
SCRIPTS = st.lists(st.tuples(ACTIONS, st.integers(0, 120)), min_size=1, max_size=8)


def look(microscope: SimulatedMicroscope) -> None:
    """Ask all that may be asked."""
    microscope.dose_mj()
    microscope.ready_in_s()
    microscope.busy()
    microscope.state()
    len(microscope.lit)


def seen(light: LightSettings, script: list[tuple[Any, int]], curious: bool) -> tuple[list[Frame], Nuclei, float]:
    """All frames of a run, read as they come or all at its end; the cells in the last one; the dose."""
    microscope, clock = SimulatedMicroscope(
        height_px=32, width_px=32, n_cells=4, specimen_um=(200.0, 200.0), time_factor=600.0, light=light,
        biology=Biology(harm_j_cm2=1.0, bleach_j_cm2=5.0), sensor=SensorSettings(buffer_frames=200),
        stage=StageSettings(speed_um_s=400.0),
    ), SimulatedClock()  # fmt: skip
    frames = list[Frame]()
    microscope.open(clock, Imaging(interval_ms=50.0, exposure_ms=10.0, light_mw=2.0))
    microscope.start()
    for action, wait_ms in [*script, (SetLight(1.0), 200)]:
        if action == "halt":
            microscope.halt()
        else:
            microscope.apply(action)
        for _ in range(wait_ms):
            clock.sleep_s(0.001)
            if curious:
                look(microscope)
                frames += [frame] if (frame := microscope.poll_frame()) is not None else []
    while (frame := microscope.poll_frame()) is not None:
        frames.append(frame)
    return frames, microscope.nuclei(), microscope.dose_mj()


@pytest.mark.parametrize("light", LAMPS, ids=str)
@given(script=SCRIPTS)
@settings(max_examples=12, deadline=None)
def test_looking_changes_nothing(light: LightSettings, script: list[tuple[Any, int]]) -> None:
    (frames, nuclei, dose_mj), (same, same_nuclei, same_mj) = (
        seen(light, script, curious) for curious in (False, True)
    )
    assert [frame.header.t_ns for frame in frames] == [frame.header.t_ns for frame in same]
    assert [frame.header.stage for frame in frames] == [frame.header.stage for frame in same]
    assert [frame.pixels.tobytes() for frame in frames] == [frame.pixels.tobytes() for frame in same]
    assert nuclei.dose_j_cm2.tolist() == same_nuclei.dose_j_cm2.tolist()
    assert nuclei.dose_j_cm2.max() > 0
    assert dose_mj == pytest.approx(same_mj)
