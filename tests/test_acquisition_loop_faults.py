"""The loop when devices fail, orders collide or someone turns a knob: still one outcome an order, still a safe rig."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import msgspec
import pytest

from acquisition.clock import NS_PER_MS
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
from acquisition.limits import Limits
from acquisition.microscope import DeviceState, Imaging, MicroscopeError, RigGone
from acquisition.simulated.microscope import SimulatedMicroscope
from tests.test_acquisition_loop import IMAGING, LIMITS, Desk


@dataclass
class Faulty(SimulatedMicroscope):
    """A simulated microscope in which named methods fail, and whose stage someone else may move."""

    height_px: int = 64
    width_px: int = 64
    n_cells: int = 3
    specimen_um: tuple[float, float] = (400, 400)
    failing: set[str] = field(default_factory=set)
    on_gate: Callable[[], None] = lambda: None
    hand_um: float = 0.0
    channel_exposure_ms: float | None = None
    made_safe: int = 0
    halted: int = 0

    def _may(self, name: str) -> None:
        if name in self.failing:
            raise (RigGone if "gone" in self.failing else MicroscopeError)(f"{name} does not answer")

    def start(self) -> None:
        self._may("start")
        super().start()

    def stop(self) -> None:
        self._may("stop")
        super().stop()

    def apply(self, command: Command) -> None:
        self._may(type(command).__name__)
        super().apply(command)
        if isinstance(command, SetChannel) and self.channel_exposure_ms is not None:
            super().apply(SetExposure(self.channel_exposure_ms if command.channel == "cytoplasm" else 5.0))

    def set_gate(self, opened: bool) -> None:
        self._may("open" if opened else "shut")
        self.on_gate()
        super().set_gate(opened)

    def state(self) -> DeviceState:
        self._may("state")
        state = super().state()
        stage = msgspec.structs.replace(state.stage, x_um=state.stage.x_um + self.hand_um)
        return replace(state, stage=stage)

    def busy(self) -> bool:
        return "stuck" in self.failing or super().busy()

    def halt(self) -> None:
        self.halted += 1
        self.failing.discard("stuck")
        super().halt()

    def make_safe(self) -> None:
        self.made_safe += 1
        self._may("make_safe")
        super().make_safe()


def desk_with(limits: Limits = LIMITS, imaging: Imaging = IMAGING) -> tuple[Desk, Faulty]:
    microscope = Faulty()
    desk = Desk(limits=limits, imaging=imaging, microscope=microscope)
    desk.loop.start()
    return desk, microscope


def end(desk: Desk, microscope: Faulty) -> None:
    microscope.failing.clear()
    desk.loop.finish()
    microscope.close()


# --- bursts ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", [SetExposure(4.0), SetLight(0.5), SetChannel("cytoplasm"), SetInterval(30.0)])
def test_imaging_does_not_change_under_a_burst(command: Command) -> None:
    desk, microscope = desk_with()
    burst = desk.ask(AcquireBurst(10, 10.0))
    desk.turns(5)
    assert desk.outcome(command) == ("refused", "a burst is under way")
    desk.turns(60)
    assert desk.outcomes[burst][0] == "done"
    end(desk, microscope)


def test_a_burst_whose_interval_fails_has_one_outcome_and_is_over() -> None:
    desk, microscope = desk_with()
    microscope.failing = {"SetInterval"}
    assert desk.outcome(AcquireBurst(10, 10.0))[0] == "failed"
    microscope.failing = set()
    assert desk.outcome(SetInterval(30.0))[0] == "done", "no burst is under way"
    end(desk, microscope)


@pytest.mark.parametrize("stopping", [Pause(), SafeState()])
def test_after_a_pause_a_burst_does_not_go_on(stopping: Command) -> None:
    desk, microscope = desk_with()
    burst = desk.ask(AcquireBurst(100, 10.0))
    desk.turns(10)
    assert desk.outcome(stopping)[0] == "done"
    assert desk.outcomes[burst][0] == "failed"
    assert desk.outcome(Resume(), trusted=True)[0] == "done"
    assert microscope.state().interval_ms == IMAGING.interval_ms
    end(desk, microscope)


def test_a_burst_that_the_light_budget_does_not_allow_is_refused() -> None:
    desk, microscope = desk_with(LIMITS_WITH_DOSE)
    status, detail = desk.outcome(AcquireBurst(100, 10.0))
    assert (status, "dose_mj are left" in detail) == ("refused", True)
    end(desk, microscope)


LIMITS_WITH_DOSE = msgspec.structs.replace(LIMITS, dose_mj=0.2)


# --- the gate --------------------------------------------------------------------------------------------------------


def test_a_gate_that_opens_too_slowly_is_shut_at_once_and_the_pulse_is_late() -> None:
    desk, microscope = desk_with()
    microscope.on_gate = lambda: desk.clock.sleep_s(0.3)
    status, detail = desk.outcome(PulseSorter(desk.clock.now_ns() + 30 * NS_PER_MS))
    assert (status, "shut at once" in detail) == ("late", True)
    assert not microscope.state().gate_open
    end(desk, microscope)


def test_a_gate_that_fails_to_open_answers_before_the_run_ends() -> None:
    desk, microscope = desk_with()
    microscope.failing = {"open"}
    pulse = desk.ask(PulseSorter(desk.clock.now_ns() + 30 * NS_PER_MS))
    with pytest.raises(MicroscopeError, match="open does not answer"):
        desk.turns(20)
    assert desk.outcomes[pulse][0] == "failed"
    end(desk, microscope)


def test_more_pulses_than_allowed_are_refused_however_far_ahead() -> None:
    desk, microscope = desk_with(msgspec.structs.replace(LIMITS, pulses_per_s=5.0, pulse_ahead_s=60.0))
    later_ns = desk.clock.now_ns() + 50 * 10**9
    asked = [desk.ask(PulseSorter(later_ns + i * NS_PER_MS)) for i in range(8)]
    desk.turns(2)
    assert [desk.outcomes.get(order, ("waits",))[0] for order in asked] == ["waits"] * 5 + ["refused"] * 3
    assert "pulse_ahead_s" in desk.outcome(PulseSorter(desk.clock.now_ns() + 61 * 10**9))[1]
    end(desk, microscope)


# --- the stage -------------------------------------------------------------------------------------------------------


def test_the_guard_judges_a_move_from_where_the_stage_really_is() -> None:
    desk, microscope = desk_with()
    microscope.hand_um = 90.0  # someone used the joystick
    status, detail = desk.outcome(MoveStage(x_um=10.0))
    assert (status, "step_um" in detail) == ("refused", True)
    end(desk, microscope)


def test_a_move_that_never_ends_is_stopped() -> None:
    desk, microscope = desk_with(msgspec.structs.replace(LIMITS, move_s=0.2))
    microscope.failing = {"stuck"}
    status, detail = desk.outcome(MoveStage(x_um=10.0), turns=2000)
    assert (status, microscope.halted) == ("failed", 1)
    assert "limits.move_s" in detail
    end(desk, microscope)


@pytest.mark.parametrize("name", ["moves_per_s", "pulses_per_s"])
def test_a_rate_without_a_limit_is_no_mistake(name: str) -> None:
    desk, microscope = desk_with(msgspec.structs.replace(LIMITS, **{name: math.inf}))
    command = MoveStage(x_um=1.0) if name == "moves_per_s" else PulseSorter(desk.clock.now_ns() + 10 * NS_PER_MS)
    assert desk.outcome(command)[0] == "done"
    end(desk, microscope)


# --- pause, safe state, resume, stop ---------------------------------------------------------------------------------


@pytest.mark.parametrize(("stopping", "failing"), [(Pause(), "shut"), (Pause(), "stop"), (SafeState(), "make_safe")])
def test_a_rig_that_cannot_be_stilled_ends_the_run(stopping: Command, failing: str) -> None:
    desk, microscope = desk_with()
    microscope.failing = {failing}
    status, detail = desk.outcome(stopping)
    assert (status, failing in detail) == ("failed", True)
    assert desk.loop.end is not None
    assert not desk.loop.end.ok
    assert desk.loop.state != "running"
    end(desk, microscope)


def test_a_resume_that_fails_leaves_no_light_on() -> None:
    desk, microscope = desk_with()
    desk.outcome(Pause())
    microscope.failing, before = {"start"}, microscope.made_safe
    assert desk.outcome(Resume(), trusted=True)[0] == "failed"
    assert (desk.loop.state, microscope.made_safe) == ("safe", before + 1)
    end(desk, microscope)


def test_after_stop_nothing_else_is_done() -> None:
    desk, microscope = desk_with()
    orders = [desk.ask(command, trusted=True) for command in (Stop(), MoveStage(x_um=10.0), SetLight(2.0))]
    desk.turns(1)
    assert [desk.outcomes[order][0] for order in orders] == ["done", "refused", "refused"]
    end(desk, microscope)


def test_it_is_never_too_late_to_become_safer() -> None:
    desk, microscope = desk_with()
    order = desk.ask(SafeState(), deadline_ms=1)
    desk.clock.sleep_s(1.0)
    desk.turns(1)
    assert desk.outcomes[order][0] == "done"
    end(desk, microscope)


def test_a_rig_that_is_gone_answers_the_order_and_ends_the_run() -> None:
    desk, microscope = desk_with()
    microscope.failing = {"gone", "MoveStage", "state"}
    order = desk.ask(MoveStage(x_um=10.0))
    with pytest.raises(RigGone):
        desk.turns(3)
    microscope.failing -= {"state"}
    desk.loop.finish()
    assert order in desk.outcomes or desk.loop.end is None
    end(desk, microscope)


def test_an_answer_that_cannot_be_given_does_not_keep_the_rig_from_being_made_safe() -> None:
    desk, microscope = desk_with()
    desk.ask(PulseSorter(desk.clock.now_ns() + 10**10))
    desk.turns(1)

    def fail(order: Order, status: str, detail: str, checked_ns: int) -> None:
        raise OSError("the disk is full")

    desk.loop._desk.gate._answer = fail
    with pytest.raises(OSError, match="disk is full"):
        desk.loop.finish()
    assert not microscope.state().shutter_open
    microscope.close()


# --- imaging ---------------------------------------------------------------------------------------------------------


def test_a_channel_that_brings_a_forbidden_exposure_is_taken_back() -> None:
    desk, microscope = desk_with(msgspec.structs.replace(LIMITS, duty_cycle=0.5))
    microscope.channel_exposure_ms = 15.0  # of 20 ms: more than half of the time
    status, detail = desk.outcome(SetChannel("cytoplasm"))
    assert status == "failed"
    assert microscope.state().channel == "nuclei"
    assert "duty cycle" in detail
    end(desk, microscope)


def test_a_longer_silence_before_a_faster_rate_is_no_stall() -> None:
    desk, microscope = desk_with(imaging=Imaging(interval_ms=60_000, exposure_ms=5, light_mw=1, stall_s=1))
    while desk.clock.now_ns() < 30 * 10**9:
        desk.turns(1)
    assert desk.outcome(SetInterval(100.0))[0] == "done"
    desk.turns(20)
    assert desk.loop.end is None
    end(desk, microscope)


def test_a_rig_that_is_always_lit_needs_a_duty_cycle_that_allows_it() -> None:
    desk, microscope = desk_with()
    desk.loop._capabilities = replace(desk.loop._capabilities, lit_share=1.0)
    desk.loop._limits = msgspec.structs.replace(LIMITS, duty_cycle=0.5)
    with pytest.raises(MicroscopeError, match="lights the sample 100%"):
        desk.loop.start()
    end(desk, microscope)
