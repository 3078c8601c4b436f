"""The loop: one outcome an order, the Guard before every act, precise pulses, and a safe rig at the end."""

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pytest

from acquisition.clock import NS_PER_MS, Clock, SimulatedClock
from acquisition.commands import (
    AcquireBurst,
    Command,
    MoveStage,
    Order,
    Pause,
    PulseSorter,
    Resume,
    SafeState,
    SetChannel,
    SetExposure,
    SetInterval,
    SetLight,
    Stop,
)
from acquisition.faults import Faults, StalledCamera
from acquisition.faulty_microscope import with_faults
from acquisition.frame import Frame
from acquisition.limits import Limits
from acquisition.loop import AcquisitionLoop, RunStopped
from acquisition.microscope import Imaging, Microscope, MicroscopeError
from acquisition.simulated.microscope import SimulatedMicroscope

LIMITS = Limits(x_um=(-100, 100), y_um=(-100, 100), step_um=60, exposure_ms=(1, 50), light_mw=(0, 2))
IMAGING = Imaging(interval_ms=20, exposure_ms=5, light_mw=1, stall_s=1)


@dataclass
class Desk:
    """A loop on the simulated microscope, driven by lists."""

    limits: Limits = LIMITS
    imaging: Imaging = IMAGING
    duration_s: float | None = None
    microscope: Microscope = field(
        default_factory=lambda: SimulatedMicroscope(height_px=64, width_px=64, n_cells=3, specimen_um=(400, 400))
    )
    clock: Clock = field(default_factory=SimulatedClock)

    def __post_init__(self) -> None:
        self.frames: list[Frame] = []
        self.orders: deque[Order] = deque()
        self.outcomes: dict[str, tuple[str, str]] = {}
        self.n_asked = 0
        self.on_frame: Callable[[Frame], None] = lambda frame: None
        capabilities = self.microscope.open(self.clock, self.imaging)
        self.loop = AcquisitionLoop(
            self.microscope, capabilities, self.limits, self.imaging, self.clock,
            publish=self.publish, receive=self.receive, answer=self.answer, duration_s=self.duration_s,
        )  # fmt: skip

    def publish(self, frame: Frame, dose_mj: float) -> None:
        self.frames.append(frame)
        self.on_frame(frame)

    def receive(self, timeout_s: float) -> Iterator[Order]:
        if not self.orders:
            self.clock.sleep_s(timeout_s)
        while self.orders:
            yield self.orders.popleft()

    def answer(self, order: Order, status: str, detail: str, checked_ns: int) -> None:
        assert order.id not in self.outcomes, "an order has exactly one outcome"
        self.outcomes[order.id] = (status, detail)

    def ask(self, command: Command, trusted: bool = False, deadline_ms: float | None = None) -> str:
        deadline_ns = None if deadline_ms is None else self.clock.now_ns() + round(deadline_ms * NS_PER_MS)
        self.n_asked += 1
        order_id = f"{type(command).__name__}.{self.n_asked}"
        self.orders.append(Order(id=order_id, command=command, source="test", deadline_ns=deadline_ns, trusted=trusted))
        return order_id

    def turns(self, n: int) -> None:
        for _ in range(n):
            self.loop.turn()

    def outcome(self, command: Command, turns: int = 200, **how: bool | float) -> tuple[str, str]:
        order_id = self.ask(command, **how)  # type: ignore[arg-type]
        for _ in range(turns):
            self.loop.turn()
            if order_id in self.outcomes:
                return self.outcomes[order_id]
        raise AssertionError(f"{order_id} has no outcome after {turns} turns")


@pytest.fixture
def desk() -> Iterator[Desk]:
    desk = Desk()
    desk.loop.start()
    yield desk
    desk.loop.finish()
    desk.microscope.close()


DONE: list[Command] = [
    MoveStage(x_um=10.0), SetInterval(40.0), SetExposure(8.0), SetLight(0.5), AcquireBurst(3, 10.0), Pause(), SafeState(),
]  # fmt: skip


@pytest.mark.parametrize("command", DONE, ids=lambda c: type(c).__name__)
def test_what_is_allowed_is_done(desk: Desk, command: Command) -> None:
    status, detail = desk.outcome(command)
    assert status == "done", detail


REFUSED: list[tuple[Command, str]] = [
    (MoveStage(x_um=101.0), "x_um 101 is outside [-100, 100]"),
    (MoveStage(y_um=61.0), "step_um 60"),
    (SetExposure(51.0), "exposure_ms 51"),
    (SetLight(2.5), "light_mw 2.5"),
    (SetInterval(2.0), "duty cycle"),
    (PulseSorter(10**12, width_ms=200.0), "pulse_ms"),
    (AcquireBurst(2000, 10.0), "burst_frames"),
]


@pytest.mark.parametrize(("command", "words"), REFUSED, ids=lambda value: str(value)[:30])
def test_outside_the_limits_is_refused_and_nothing_changes(desk: Desk, command: Command, words: str) -> None:
    before = desk.microscope.state()
    status, detail = desk.outcome(command)
    assert (status, desk.microscope.state()) == ("refused", before)
    assert words in detail


def test_a_channel_that_is_not_there_fails_with_words(desk: Desk) -> None:
    status, detail = desk.outcome(SetChannel("ultraviolet"))
    assert status == "failed"
    assert "ultraviolet" in detail


def test_an_expired_order_is_late_and_not_done(desk: Desk) -> None:
    order_id = desk.ask(MoveStage(x_um=10.0), deadline_ms=5)
    desk.clock.sleep_s(0.006)
    desk.turns(1)
    assert desk.outcomes[order_id][0] == "late"
    assert desk.microscope.state().stage.x_um == 0


def test_a_second_move_waits_for_nobody(desk: Desk) -> None:
    first, second = desk.ask(MoveStage(x_um=50.0)), desk.ask(MoveStage(x_um=0.0))
    desk.turns(100)
    assert desk.outcomes[first][0] == "done"
    assert desk.outcomes[second] == ("refused", "the stage is still moving")


def test_frames_say_why_they_are_as_they_are(desk: Desk) -> None:
    desk.turns(20)
    order_id = desk.ask(SetExposure(8.0))
    desk.turns(50)
    assert desk.frames[0].header.reason == "start"
    assert (desk.frames[-1].header.reason, desk.frames[-1].header.exposure_ms) == (order_id, 8.0)


def test_a_burst_returns_to_the_interval_before_it(desk: Desk) -> None:
    assert desk.outcome(AcquireBurst(5, 10.0)) == ("done", "5 of 5 frames taken")
    assert desk.microscope.state().interval_ms == IMAGING.interval_ms
    assert sum(frame.header.reason.startswith("AcquireBurst") for frame in desk.frames) == 5


def test_pulses_open_the_gate_at_their_time(desk: Desk) -> None:
    at_ns = desk.clock.now_ns() + 35 * NS_PER_MS
    assert desk.outcome(PulseSorter(at_ns, width_ms=2.0))[0] == "done"
    opened_ns = desk.clock.now_ns()
    assert abs(opened_ns - at_ns) < 0.1 * NS_PER_MS
    assert desk.microscope.state().gate_open
    while desk.microscope.state().gate_open:
        desk.turns(1)
    assert desk.clock.now_ns() - opened_ns == pytest.approx(2 * NS_PER_MS, abs=0.1 * NS_PER_MS)


def test_a_pulse_whose_moment_has_passed_never_fires(desk: Desk) -> None:
    assert desk.outcome(PulseSorter(desk.clock.now_ns() - 1))[0] == "late"
    assert not desk.microscope.state().gate_open


def test_a_stall_makes_a_scheduled_pulse_late_instead_of_wrong(desk: Desk) -> None:
    order_id = desk.ask(PulseSorter(desk.clock.now_ns() + 10 * NS_PER_MS))
    desk.turns(1)
    desk.clock.sleep_s(0.05)  # as if the process had been held up
    desk.turns(1)
    assert desk.outcomes[order_id][0] == "late"
    assert not desk.microscope.state().gate_open


def test_safe_state_shuts_everything_and_answers_what_was_under_way(desk: Desk) -> None:
    move, pulse = desk.ask(MoveStage(x_um=50.0)), desk.ask(PulseSorter(desk.clock.now_ns() + 10**9))
    desk.turns(1)
    assert desk.outcome(SafeState())[0] == "done"
    state = desk.microscope.state()
    assert (state.shutter_open, state.gate_open) == (False, False)
    assert desk.outcomes[move][0] == "failed"
    assert desk.outcomes[pulse][0] == "refused"
    n_frames = len(desk.frames)
    desk.turns(20)
    assert len(desk.frames) == n_frames, "no frames in the safe state"


def test_only_the_trusted_resume_or_act_while_safe(desk: Desk) -> None:
    desk.outcome(SafeState())
    assert desk.outcome(Resume())[0] == "refused"
    assert desk.outcome(SetLight(0.5)) == ("refused", "the rig is safe")
    assert desk.outcome(Resume(), trusted=True)[0] == "done"
    n_frames = len(desk.frames)
    desk.turns(20)
    assert len(desk.frames) > n_frames


def test_pause_keeps_indices_in_order(desk: Desk) -> None:
    desk.turns(20)
    desk.outcome(Pause())
    desk.clock.sleep_s(5.0)
    desk.outcome(Resume(), trusted=True)
    desk.turns(20)
    indices = [frame.header.index for frame in desk.frames]
    assert indices == sorted(set(indices))


def test_the_run_ends_when_its_time_is_over_and_the_rig_is_safe() -> None:
    desk = Desk(duration_s=1.0)
    end = desk.loop.run()
    assert (end.ok, desk.microscope.state().shutter_open) == (True, False)
    assert len(desk.frames) == pytest.approx(50, abs=1)
    desk.microscope.close()


def test_the_run_ends_before_the_light_budget_is_exceeded() -> None:
    desk = Desk(limits=Limits(x_um=(0, 0), y_um=(0, 0), dose_mj=0.1))  # 20 frames of 1 mW × 5 ms
    end = desk.loop.run()
    assert end.ok
    assert "light budget" in end.reason
    assert desk.loop.dose_mj <= 0.1 + 1e-9
    assert len(desk.frames) == 20
    desk.microscope.close()


def test_a_stalled_camera_ends_the_run_within_its_time_out() -> None:
    microscope = SimulatedMicroscope(height_px=64, width_px=64, n_cells=3, specimen_um=(400, 400))
    desk = Desk(microscope=with_faults(microscope, Faults(stalled_camera=StalledCamera(after_s=0.2))))
    end = desk.loop.run()
    assert not end.ok
    assert "no frame for" in end.reason
    assert desk.clock.now_ns() < (10 * 0.02 + 1 + 0.2) * 1e9
    assert not desk.microscope.state().shutter_open
    desk.microscope.close()


@pytest.mark.parametrize("error", [RunStopped("the ring is full"), MicroscopeError("the stage is stuck")])
def test_whatever_ends_a_run_is_its_reason(error: Exception) -> None:
    desk = Desk()

    def fail(frame: Frame) -> None:
        raise error

    desk.on_frame = fail
    end = desk.loop.run()
    assert (end.ok, end.reason) == (False, str(error))
    assert not desk.microscope.state().shutter_open
    desk.microscope.close()


def test_stop_is_an_orderly_end() -> None:
    desk = Desk()
    order_id = desk.ask(Stop(), trusted=True)
    end = desk.loop.run()
    assert (end.ok, desk.outcomes[order_id][0]) == (True, "done")
    desk.microscope.close()
