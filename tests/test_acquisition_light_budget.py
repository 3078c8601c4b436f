"""The light budgets: whatever is asked for and whenever, the sample never gets more than [limits] allows."""

import math
import random
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from acquisition.clock import SimulatedClock
from acquisition.commands import (
    AcquireBurst,
    Command,
    MoveStage,
    Order,
    Pause,
    Resume,
    SafeState,
    SetChannel,
    SetExposure,
    SetInterval,
    SetLight,
    SetRoi,
)
from acquisition.dose_map import DoseSettings, j_cm2
from acquisition.frame import Frame, FrameHeader, StagePosition
from acquisition.light_budget import LightBudget
from acquisition.limits import Limits
from acquisition.loop import AcquisitionLoop
from acquisition.microscope import Capabilities, DeviceState, Imaging
from acquisition.simulated.microscope import SimulatedMicroscope
from acquisition.simulated.settings import LightSettings, SensorSettings, StageSettings
from tests.scenes import header

SIZE_PX, UM_PER_PX = 16, 2.0
STEP_S = 0.002
SIDE_UM = SIZE_PX * UM_PER_PX
PROBES_UM = np.arange(-130.0, 131.0, 4.0)

LIMITS = Limits(x_um=(-200, 200), y_um=(-200, 200))
CAPABILITIES = Capabilities(
    name="rig", height_px=SIZE_PX, width_px=SIZE_PX, dtype="uint16", um_per_px=UM_PER_PX, commands=frozenset()
)  # fmt: skip


def frame_at(x_um: float, t_ms: float = 0.0) -> FrameHeader:
    return header(0, (x_um, 0.0), size_px=SIZE_PX, um_per_px=UM_PER_PX, t_ms=t_ms)


class WatchedClock(SimulatedClock):
    """Time goes in small steps, and somebody looks after each."""

    look: Callable[[], None] = staticmethod(lambda: None)

    def sleep_s(self, seconds: float) -> None:
        while seconds > 0:
            super().sleep_s(min(seconds, STEP_S))
            seconds -= STEP_S
            self.look()


class Witness:
    """Sees the microscope's own dose and where its stage really is, every few ms, and nothing of the budget's account."""

    def __init__(self, microscope: SimulatedMicroscope) -> None:
        self.dose = np.zeros((len(PROBES_UM), len(PROBES_UM)))
        self._microscope, self._spent_mj = microscope, 0.0
        self._lit = self._in_view()

    def look(self) -> None:
        """What has fallen since the last look fell on all that was in view then and is now, at least."""
        new_mj, lit = self._microscope.dose_mj() - self._spent_mj, self._in_view()
        if new_mj > 0:
            self._spent_mj += new_mj
            x, y = (before & now for before, now in zip(self._lit, lit, strict=True))
            self.dose[np.ix_(y, x)] += j_cm2(new_mj, SIDE_UM**2)
        self._lit = lit

    def _in_view(self) -> tuple[np.ndarray, np.ndarray]:
        stage = self._microscope.state().stage
        return tuple(np.abs(PROBES_UM - at_um) <= SIDE_UM / 2 for at_um in (stage.x_um, stage.y_um))  # type: ignore[return-value]


@dataclass
class Chaos:
    """A run in which orders of all kinds come at any time, from a policy that knows no measure."""

    seed: int

    def __post_init__(self) -> None:
        self.any = random.Random(self.seed)
        self.clock = WatchedClock()
        self.orders: deque[Order] = deque()
        self.n = 0
        self.outcomes: list[str] = []
        exposure_ms = self.any.uniform(1, 40)
        self.imaging = Imaging(
            interval_ms=exposure_ms + self.any.choice([0.0, 5.0, 60.0]), exposure_ms=exposure_ms,
            light_mw=self.any.choice([0.1, 0.5, 2.0]),
        )  # fmt: skip
        frame_mj = 2.0 * 20 / 1000
        self.limits = Limits(
            x_um=(-100, 100), y_um=(-100, 100), step_um=300, exposure_ms=(1, 200), interval_ms=(1, 500),
            light_mw=(0, 5), burst_frames=50, moves_per_s=1000,
            dose_mj=frame_mj * self.any.choice([0.3, 3, 8, 20, 60]),
            place_j_cm2=self.any.choice([math.inf, *(j_cm2(frame_mj * n, SIDE_UM**2) for n in (2, 6, 20))]),
        )  # fmt: skip
        always_lit = self.any.random() < 0.3
        self.microscope = SimulatedMicroscope(
            seed=self.seed, height_px=SIZE_PX, width_px=SIZE_PX, um_per_px=UM_PER_PX, n_cells=1, specimen_um=(210, 210),
            stage=StageSettings(speed_um_s=self.any.choice([200.0, 2000.0])),
            sensor=SensorSettings(mode=self.any.choice(["stream", "snap"]), buffer_frames=self.any.choice([1, 8])),
            light=LightSettings(
                follows_camera=not always_lit, off_delay_ms=0.0 if always_lit else self.any.choice([0.0, 0.0, 7.0])
            ),
        )  # fmt: skip
        capabilities = self.microscope.open(self.clock, self.imaging)
        self.microscope.blank = True
        self.witness = Witness(self.microscope)
        self.clock.look = self.witness.look  # type: ignore[method-assign]
        self.loop = AcquisitionLoop(
            self.microscope, capabilities, self.limits, self.imaging, self.clock,
            publish=self.publish, receive=self.receive, answer=self.answer, duration_s=self.any.uniform(0.3, 1.5),
            dose=DoseSettings(square_um=self.any.choice([4.0, 10.0])),
        )  # fmt: skip

    def publish(self, frame: Frame, dose_mj: float) -> None:
        if self.any.random() < 0.6:
            self.ask()

    def receive(self, timeout_s: float) -> Iterator[Order]:
        """Sometimes an order comes in the middle of an exposure, and sometimes the loop comes late."""
        if self.any.random() < 0.3:
            timeout_s *= self.any.random()
            self.ask()
        self.clock.sleep_s(timeout_s)
        while self.orders:
            yield self.orders.popleft()

    def answer(self, order: Order, status: str, detail: str, checked_ns: int) -> None:
        self.outcomes.append(f"{type(order.command).__name__} {status} {detail}")

    def ask(self) -> None:
        self.n += 1
        self.orders.append(Order(id=str(self.n), command=self.command(), source="chaos", trusted=True))

    def command(self) -> Command:
        r = self.any
        return r.choice(
            [
                lambda: MoveStage(x_um=r.uniform(-100, 100), y_um=r.choice([None, r.uniform(-100, 100)])),
                lambda: MoveStage(x_um=r.choice([-40.0, 0.0, 40.0]), y_um=0.0),
                lambda: SetInterval(r.choice([1.0, 20.0, 60.0, 200.0])),
                lambda: SetExposure(r.choice([1.0, 10.0, 60.0, 150.0])),
                lambda: SetLight(r.choice([0.0, 0.3, 2.0, 2.0, 5.0, 5.0])),
                lambda: SetChannel(r.choice(["nuclei", "cytoplasm"])),
                lambda: SetRoi(4, 4, 8, 8),
                lambda: SetRoi(0, 0, 0, 0),
                lambda: AcquireBurst(r.randint(1, 30), r.choice([1.0, 10.0, 50.0])),
                Pause,
                SafeState,
                Resume,
                Resume,
                Resume,
            ]
        )()


def assert_within_budget(chaos: Chaos) -> None:
    end = chaos.loop.run()
    account = (end, chaos.limits, chaos.outcomes)
    assert chaos.loop.dose_mj == pytest.approx(chaos.microscope.dose_mj()), account
    chaos.witness.look()
    said = chaos.loop.places().at_all(np.stack(np.meshgrid(PROBES_UM, PROBES_UM), axis=-1).reshape(-1, 2))
    assert np.all(said >= chaos.witness.dose.ravel() * (1 - 1e-9)), "the map says less than fell"
    chaos.clock.sleep_s(0.02)  # a lamp may go off late
    assert chaos.microscope.dose_mj() <= chaos.limits.dose_mj * (1 + 1e-6), account
    assert chaos.witness.dose.max() <= chaos.limits.place_j_cm2 * (1 + 1e-6), account
    chaos.microscope.close()


class LateClock(SimulatedClock):
    """A real clock as far as anyone can tell."""

    simulated = False


def budget_of(clock: SimulatedClock, limits: Limits = LIMITS, **device: float) -> tuple[LightBudget, DeviceState]:
    state = DeviceState(
        stage=StagePosition(), exposure_ms=10.0, interval_ms=50.0, light_mw=1.0, channel="", shutter_open=True,
        gate_open=False,
    )  # fmt: skip
    state = replace(state, **device)  # type: ignore[arg-type]
    return LightBudget(CAPABILITIES, limits, DoseSettings(), clock, state), state


def test_on_a_real_clock_the_light_of_a_late_loop_is_kept_back() -> None:
    """A tenth of a second, with an exposure of 10 ms every 50; after a lateness of 0.2 s, twice that."""
    clock = LateClock()
    budget, _ = budget_of(clock)
    assert budget.reserve_mj() == pytest.approx(2 * 0.01)
    budget.looked(0.05)
    clock.sleep_s(0.25)
    budget.looked(0.05)
    assert budget.reserve_mj() == pytest.approx(8 * 0.01)
    clock.sleep_s(3600)
    budget.looked(0.05)
    assert budget.reserve_mj() == pytest.approx(40 * 0.01), "a clock that jumps is no measure"


def test_a_run_ends_while_the_next_frame_and_the_reserve_are_still_covered() -> None:
    budget, device = budget_of(LateClock(), msgspec.structs.replace(LIMITS, dose_mj=1.0))
    budget.burned(0.97, device)
    assert budget.spent(0.0, runs=True) is None
    budget.burned(0.9701, device)
    budget.framed(frame_at(0.0))
    assert budget.spent(0.0, runs=True) == "the light budget is spent: 0.9701 of limits.dose_mj 1 mJ"


def test_an_exposure_at_settings_of_before_is_still_paid_for() -> None:
    clock = SimulatedClock()
    budget, device = budget_of(clock, light_mw=5.0)
    budget.burned(0.0, replace(device, light_mw=0.1))
    assert budget.reserve_mj() == pytest.approx(5.0 * 0.01)
    clock.sleep_s(0.01)
    assert budget.reserve_mj() == 0.0


def test_a_place_that_has_had_its_share_ends_the_run_and_stays_so_when_the_stage_comes_back() -> None:
    frame_j_cm2 = j_cm2(0.01, SIDE_UM**2)
    clock = SimulatedClock()
    budget, device = budget_of(clock, msgspec.structs.replace(LIMITS, place_j_cm2=3.5 * frame_j_cm2))
    for n in range(1, 4):
        assert budget.spent(0.0, runs=True) is None
        budget.burned(n * 0.01, device)
        budget.framed(frame_at(0.0))
    assert "this place is spent: " in str(budget.spent(0.0, runs=True))
    assert budget.way_left_mj(MoveStage(x_um=80.0)) == pytest.approx(0.005)
    budget.goes(MoveStage(x_um=80.0))
    budget.stands(StagePosition(x_um=80.0))
    assert budget.spent(0.0, runs=True) is None
    assert budget.way_left_mj(MoveStage(x_um=160.0)) == pytest.approx(0.035)
    assert budget.way_left_mj(MoveStage(x_um=10.0)) == pytest.approx(0.005)


def test_frames_say_where_the_stage_was_while_their_light_fell() -> None:
    budget, device = budget_of(SimulatedClock())
    budget.burned(0.01, device)
    assert budget.framed(frame_at(0.0)) is None
    budget.goes(MoveStage(x_um=80.0))
    budget.burned(0.02, device)
    assert budget.framed(frame_at(40.0)) == (0.0, 0.0, 80.0, 0.0)
    budget.stands(StagePosition(x_um=80.0))
    assert budget.framed(frame_at(80.0)) == (0.0, 0.0, 80.0, 0.0), "of before it stood"
    budget.burned(0.03, device)
    assert budget.framed(frame_at(80.0)) is None


def test_a_stage_that_somebody_else_moves_is_found_where_its_frames_are() -> None:
    clock = SimulatedClock()
    budget, device = budget_of(clock)
    clock.sleep_s(1.0)
    budget.burned(0.01, device)
    assert budget.framed(frame_at(70.0, t_ms=900.0)) == (0.0, 0.0, 70.0, 0.0)
    budget.burned(0.02, device)
    assert budget.framed(frame_at(70.0, t_ms=950.0)) is None
    assert budget.map().at(35.0, 0.0) == pytest.approx(j_cm2(0.01, SIDE_UM**2))
    assert budget.map().at(80.0, 0.0) == pytest.approx(j_cm2(0.02, SIDE_UM**2))


@pytest.mark.parametrize("budget", ["dose_mj", "place_j_cm2"])
def test_a_budget_without_room_for_a_single_frame_is_an_error_before_the_light_is_on(budget: str) -> None:
    chaos = Chaos(1)
    chaos.loop._desk.light._limits = msgspec.structs.replace(LIMITS, **{budget: 1e-9})
    end = chaos.loop.run()
    assert not end.ok
    assert end.reason.startswith("one frame")
    assert f", more than limits.{budget} 1e-09 allows; lower imaging." in end.reason
    assert (chaos.microscope.dose_mj(), chaos.loop.n_frames) == (0.0, 0)
    chaos.microscope.close()


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.integers(0, 2**32))
def test_no_policy_can_exceed_a_light_budget(seed: int) -> None:
    assert_within_budget(Chaos(seed))


@pytest.mark.soak
@settings(max_examples=1000, deadline=None)
@given(st.integers(0, 2**32))
def test_not_one_of_a_thousand_policies_can_exceed_a_light_budget(seed: int) -> None:
    assert_within_budget(Chaos(seed))
