"""The acquisition loop: orders → Guard → rig → outcomes, and camera → frames. One thread, one turn at a time.

The loop knows neither sockets nor files: it is given a way to publish a frame, to receive orders and to answer them,
so that it runs in a test with lists, inline without threads, and in the acquisition process with ZeroMQ.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

from acquisition.actuation import Answer, Burst, Gate, Move
from acquisition.clock import NS_PER_MS, NS_PER_S, Clock
from acquisition.commands import (
    AcquireBurst,
    Command,
    MoveStage,
    Order,
    Pause,
    PulseSorter,
    Resume,
    SafeState,
    SetInterval,
    Stop,
)
from acquisition.frame import Frame
from acquisition.limits import Limits, Refusal, RigState, check
from acquisition.microscope import CameraStalled, Capabilities, Imaging, Microscope, MicroscopeError

LoopState = Literal["running", "paused", "safe", "ended"]
LONGEST_IDLE_S = 0.05
MOVE_POLL_S = 0.001

Publish = Callable[[Frame, float], None]
"""Called with a frame and the dose in mJ up to and with it. May raise RunStopped."""
Receive = Callable[[float], Iterable[Order]]
"""Orders that have arrived; waits for the first one up to so many seconds."""


class RunStopped(RuntimeError):
    """Raised by `publish`: frames have nowhere to go, so the run must end; the message says why."""


@dataclass(frozen=True)
class RunEnd:
    """Why a run ended."""

    ok: bool
    reason: str
    rig_safe: bool = True


class AcquisitionLoop:
    """Owns the microscope for one run. Every order gets exactly one outcome."""

    def __init__(
        self,
        microscope: Microscope,
        capabilities: Capabilities,
        limits: Limits,
        imaging: Imaging,
        clock: Clock,
        publish: Publish,
        receive: Receive,
        answer: Answer,
        duration_s: float | None = None,
    ) -> None:
        self.state: LoopState = "paused"
        self.end: RunEnd | None = None
        self.n_frames = 0
        self.dose_mj = 0.0
        self._lit_ms = microscope.lit_ms()
        self._microscope, self._capabilities = microscope, capabilities
        self._limits, self._imaging, self._clock = limits, imaging, clock
        self._publish, self._receive, self._answer = publish, receive, answer
        self._duration_s = duration_s
        self._started_ns = self._heard_ns = clock.now_ns()
        self._reason = self._reason_before = "start"
        self._changed_ns = 0
        self._device = microscope.state()
        self._move = Move(microscope, limits, clock, answer)
        self._gate = Gate(microscope, limits, clock, answer)
        self._burst = Burst(answer)

    def run(self) -> RunEnd:
        """Image until the run ends, whatever ends it; the rig is safe afterwards."""
        try:
            self.start()
            while self.end is None:
                self.turn()
        except (MicroscopeError, RunStopped) as error:
            self.end = RunEnd(False, str(error))
        finally:
            self.finish()
        return self.end or RunEnd(False, "the acquisition loop was interrupted")

    def start(self) -> None:
        """Begin to image."""
        self._microscope.start()
        self._device = self._microscope.state()
        self._started_ns = self._heard_ns = self._clock.now_ns()
        self.state = "running"

    def turn(self) -> None:
        """Serve what has arrived, drive what is under way, take a frame if there is one."""
        for order in self._receive(self._idle_s()):
            self._serve(order)
        if self._move.drive():
            self._device = self._microscope.state()
        self._gate.drive()
        if self.state == "running":
            self._take_frame()
        self._end_if_over()

    def stop(self, reason: str) -> None:
        """End the run in good order after this turn."""
        self.end = self.end or RunEnd(True, reason)

    def finish(self) -> None:
        """Leave the rig safe and no order without an outcome."""
        self.state = "ended"
        why = self.end.reason if self.end else "the run was interrupted"
        for under_way in (self._move, self._gate, self._burst):
            under_way.give_up(f"the run ended: {why}")
        try:
            self._microscope.make_safe()
        except MicroscopeError as error:
            self.end = RunEnd(False, f"{why}; and the rig could not be made safe: {error}", rig_safe=False)

    # --- orders ---------------------------------------------------------------------------------------------------

    def _serve(self, order: Order) -> None:
        now_ns = self._clock.now_ns()
        if order.deadline_ns is not None and now_ns > order.deadline_ns:
            late_ms = (now_ns - order.deadline_ns) / NS_PER_MS
            self._answer(order, "late", f"{late_ms:.1f} ms after its deadline", now_ns)
        elif refusal := self._reason_against(order, now_ns):
            self._answer(order, "refused", refusal, now_ns)
        else:
            try:
                self._carry_out(order, now_ns)
            except MicroscopeError as error:
                self._device = self._microscope.state()
                self._answer(order, "failed", str(error), now_ns)

    def _reason_against(self, order: Order, now_ns: int) -> str | None:
        """Why this order may not be carried out now, or None."""
        command = order.command
        if isinstance(command, (Pause, Stop, SafeState)):
            return None
        if not order.trusted and isinstance(command, Resume):
            return "only a person or the supervisor may resume"
        if not order.trusted and self.state != "running":
            return f"the rig is {self.state}"
        name = type(command).__name__
        if not isinstance(command, Resume) and name not in self._capabilities.commands:
            return f"{self._capabilities.name} cannot {name}; it can {', '.join(sorted(self._capabilities.commands))}"
        if isinstance(command, MoveStage) and self._move.under_way:
            return "the stage is still moving"
        if isinstance(command, (SetInterval, AcquireBurst)) and self._burst.under_way:
            return "a burst is under way"
        verdict = check(command, self._rig_state(now_ns), self._limits)
        return verdict.detail if isinstance(verdict, Refusal) else None

    def _rig_state(self, now_ns: int) -> RigState:
        device = self._device
        return RigState(
            t_ns=now_ns, stage=device.stage, exposure_ms=device.exposure_ms, interval_ms=device.interval_ms,
            light_mw=device.light_mw, dose_mj=self.dose_mj, moves_ns=self._move.recent_ns, pulses_ns=self._gate.recent_ns,
        )  # fmt: skip

    def _carry_out(self, order: Order, checked_ns: int) -> None:
        match order.command:
            case MoveStage():
                self._move.begin(order, checked_ns)
            case PulseSorter():
                self._gate.schedule(order, checked_ns)
            case AcquireBurst(interval_ms=interval_ms):
                self._burst.begin(order, checked_ns, self._device.interval_ms)
                self._change(SetInterval(interval_ms), order.id)
            case Pause() | SafeState() | Resume() | Stop():
                self._change_run(order, checked_ns)
            case command:
                self._change(command, order.id)
                self._answer(order, "done", self._read_back(), checked_ns)

    def _change(self, command: Command, reason: str) -> None:
        """Change how frames are taken; frames whose exposure begins from now on name this order as the reason."""
        self._microscope.apply(command)
        self._device = self._microscope.state()
        self._reason_before, self._reason, self._changed_ns = self._reason, reason, self._clock.now_ns()

    def _read_back(self) -> str:
        d = self._device
        times = f"interval {d.interval_ms:g} ms, exposure {d.exposure_ms:g} ms"
        return f"{times}, light {d.light_mw:g} mW, channel {d.channel or '-'}"

    def _change_run(self, order: Order, checked_ns: int) -> None:
        match order.command:
            case Resume():
                self._microscope.start()
                self._heard_ns = self._clock.now_ns()
                self.state = "running"
            case Pause():
                self._gate.give_up("paused")
                self._microscope.set_gate(False)
                self._microscope.stop()
                self.state = "paused"
            case SafeState():
                self.state = "safe"
                self._gate.give_up("safe state")
                self._move.give_up("safe state")
                self._microscope.make_safe()
            case _:
                self.end = RunEnd(True, f"stopped by {order.source}")
        self._device = self._microscope.state()
        self._answer(order, "done", self.state if self.end is None else self.end.reason, checked_ns)

    # --- frames ---------------------------------------------------------------------------------------------------

    def _take_frame(self) -> None:
        frame = self._microscope.poll_frame()
        now_ns = self._clock.now_ns()
        if frame is None:
            self._complain_if_stalled(now_ns)
            return
        self._heard_ns = now_ns
        self.n_frames += 1
        self._book_light(frame)
        frame = frame.because(self._reason_for(frame))
        self._publish(frame, self.dose_mj)
        if base_interval_ms := self._burst.count(frame):
            self._change(SetInterval(base_interval_ms), self._reason)

    def _book_light(self, frame: Frame) -> None:
        lit_ms = self._microscope.lit_ms()
        self.dose_mj += frame.header.light_mw * (lit_ms - self._lit_ms) / 1000
        self._lit_ms = lit_ms

    def _reason_for(self, frame: Frame) -> str:
        began_ns = frame.header.t_ns - round(frame.header.exposure_ms * NS_PER_MS)
        return self._reason if began_ns >= self._changed_ns else self._reason_before

    def _complain_if_stalled(self, now_ns: int) -> None:
        allowed_ms = self._device.interval_ms + self._device.exposure_ms + self._imaging.stall_s * 1000
        silent_ms = (now_ns - self._heard_ns) / NS_PER_MS
        if silent_ms > allowed_ms and not self._microscope.exhausted():
            raise CameraStalled(
                f"{self._capabilities.name}: no frame for {silent_ms / 1000:.1f} s, although one was due every "
                f"{self._device.interval_ms:g} ms (imaging.stall_s allows {self._imaging.stall_s:g} s more); "
                "check the camera's cable, trigger mode and driver"
            )

    def _end_if_over(self) -> None:
        if self.end is not None:
            return
        ran_s = (self._clock.now_ns() - self._started_ns) / NS_PER_S
        next_mj = self._device.light_mw * self._device.exposure_ms / 1000
        if self._duration_s is not None and ran_s >= self._duration_s:
            self.end = RunEnd(True, f"ran for {self._duration_s:g} s as asked")
        elif self._microscope.exhausted():
            self.end = RunEnd(True, "the recorded movie has ended")
        elif self.dose_mj + next_mj > self._limits.dose_mj * (1 + 1e-9):  # sums of fractions are not exact
            self.end = RunEnd(
                True, f"the light budget is spent: {self.dose_mj:.4g} of limits.dose_mj {self._limits.dose_mj:g} mJ"
            )

    def _idle_s(self) -> float:
        """How long nothing can become due: until the next frame, gate edge or look at a moving stage."""
        waits = [LONGEST_IDLE_S, self._gate.due_in_s()]
        if self.state == "running":
            waits.append(self._microscope.ready_in_s())
        if self._move.under_way:
            waits.append(MOVE_POLL_S)
        return max(0.0, min(waits))
