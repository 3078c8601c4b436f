"""The loop's account of the light against what the simulated cells have really had, whatever is asked of the rig."""

import random

import pytest

from acquisition.commands import (
    AcquireBurst,
    Command,
    MoveStage,
    Pause,
    Resume,
    SafeState,
    SetExposure,
    SetInterval,
    SetLight,
)
from acquisition.limits import Limits
from acquisition.microscope import Imaging
from acquisition.simulated.microscope import SimulatedMicroscope
from acquisition.simulated.settings import LightSettings, SensorSettings, StageSettings
from tests.polling import next_frames
from tests.test_acquisition_loop import Desk

LAMPS = [LightSettings(), LightSettings(off_delay_ms=15.0), LightSettings(follows_camera=False)]
LIMITS = {"x_um": (-150, 150), "y_um": (-150, 150), "step_um": 300, "exposure_ms": (1, 60), "light_mw": (0, 5)}
BUDGETS = [{}, {"dose_mj": 1.5}, {"place_j_cm2": 60.0}]


def random_desk(rng: random.Random, light: LightSettings) -> Desk:
    """Cells that do not move, under a stage and camera of any kind."""
    microscope = SimulatedMicroscope(
        height_px=64, width_px=64, n_cells=20, specimen_um=(400.0, 400.0), speed_um_min=0.0, time_factor=0.001,
        seed=rng.randrange(1000), light=light, sensor=SensorSettings(binning=rng.choice([1, 2])),
        stage=StageSettings(speed_um_s=rng.choice([100.0, 500.0, 2000.0]), backlash_um=rng.choice([0.0, 3.0])),
    )  # fmt: skip
    limits = Limits(**(LIMITS | rng.choice(BUDGETS)))
    return Desk(limits, Imaging(interval_ms=50.0, exposure_ms=10.0, light_mw=1.0), microscope=microscope)


def random_command(rng: random.Random) -> Command:
    return rng.choice(
        [
            MoveStage(x_um=rng.uniform(-150, 150)), MoveStage(y_um=rng.uniform(-150, 150)), SetLight(rng.uniform(0, 5)),
            SetExposure(rng.uniform(1, 40)), SetInterval(rng.uniform(40, 120)), AcquireBurst(5, 45.0), Pause(), Resume(),
            SafeState(),
        ]
    )  # fmt: skip


def run_at_random(desk: Desk, rng: random.Random) -> None:
    desk.loop.start()
    for _ in range(25):
        desk.ask(random_command(rng), trusted=True)
        for _ in range(rng.randint(1, 60)):
            if desk.loop.end is None:
                desk.loop.turn()
    desk.loop.finish()


@pytest.mark.parametrize("light", LAMPS, ids=str)
@pytest.mark.parametrize("seed", range(6))
def test_no_cell_has_had_more_than_its_place_by_the_account(light: LightSettings, seed: int) -> None:
    """Light on the way, light that glows after the end and bursts included; and no budget was exceeded."""
    rng = random.Random(seed)
    desk = random_desk(rng, light)
    run_at_random(desk, rng)
    total_mj, places, limits = desk.loop.dose_mj, desk.loop.places(), desk.limits
    desk.microscope.apply(SetLight(0.0))  # one more frame in the dark: the specimen hears of all light before it
    desk.microscope.start()
    next_frames(desk.microscope, desk.clock, 2)
    assert isinstance(desk.microscope, SimulatedMicroscope)
    nuclei = desk.microscope.nuclei()
    assert nuclei.dose_j_cm2.max() > 0
    assert (nuclei.dose_j_cm2 <= places.at_all(nuclei.xy_um) * (1 + 1e-9)).all()
    assert desk.microscope.dose_mj() == pytest.approx(total_mj), "all of it was counted when the run ended"
    assert total_mj <= limits.dose_mj * (1 + 1e-9)
    assert nuclei.dose_j_cm2.max() <= limits.place_j_cm2 * (1 + 1e-9)
    desk.microscope.close()
