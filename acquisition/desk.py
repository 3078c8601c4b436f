"""The order desk: judges every order, carries it out, and sees to its one outcome. Knows the rig's state, not its frames."""

from collections import deque
from dataclasses import dataclass
from typing import Literal

from acquisition.actuation import Answer, Burst, Move, Tell
from acquisition.clock import NS_PER_MS, Clock
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
    SetInterval,
    Stop,
)
from acquisition.dose_map import DoseSettings
from acquisition.frame import Frame
from acquisition.gate import gate_for
from acquisition.light_budget import LightBudget
from acquisition.limits import Limits, Refusal, RigState, check, outside_limits
from acquisition.microscope import Capabilities, DeviceState, Microscope, MicroscopeError, RigGone

LoopState = Literal["running", "paused", "safe", "ended"]


@dataclass(frozen=True)
class RunEnd:
    """Why a run ended."""

    ok: bool
    reason: str
    rig_safe: bool = True
    """False if the rig could not be made safe: someone has to look after it."""


class OrderDesk:
    """Serves orders one by one; `drive` advances those that take time."""

    def __init__(
        self,
        microscope: Microscope,
        capabilities: Capabilities,
        limits: Limits,
        clock: Clock,
        answer: Answer,
        tell: Tell,
        dose: DoseSettings,
    ) -> None:
        self.state: LoopState = "paused"
        self.end: RunEnd | None = None
        self.device = microscope.state()
        self.light = LightBudget(capabilities, limits, dose, clock, self.device)
        self.changed_ns = self.resumed_ns = clock.now_ns()
        self.move = Move(microscope, limits, clock, answer)
        self.gate = gate_for(microscope, limits, clock, answer, tell)
        self.burst = Burst(microscope, answer)
        self._microscope, self._capabilities, self._limits, self._clock = microscope, capabilities, limits, clock
        self._answer, self._tell = answer, tell
        self._reasons: deque[tuple[int, str]] = deque([(-1, "start")])

    def serve(self, order: Order) -> None:
        """One order, one outcome: now, or when what it asks for has been done."""
        self.account()
        now_ns = self._clock.now_ns()
        makes_safer = isinstance(order.command, (Pause, SafeState, Stop))  # never too late for that
        if order.deadline_ns is not None and now_ns > order.deadline_ns and not makes_safer:
            late_ms = (now_ns - order.deadline_ns) / NS_PER_MS
            self._answer(order, "late", f"{late_ms:.1f} ms after its deadline", now_ns)
        elif refusal := self._reason_against(order, now_ns):
            self._answer(order, "refused", refusal, now_ns)
        else:
            try:
                self._carry_out(order, now_ns)
            except MicroscopeError as error:
                self._answer(order, "failed", str(error), now_ns)
                if isinstance(error, RigGone):
                    raise
                self.device = self._microscope.state()
                if not self.move.under_way:
                    self._stands()

    def _reason_against(self, order: Order, now_ns: int) -> str | None:
        """Why this order may not be carried out now, or None."""
        command, name = order.command, type(order.command).__name__
        if isinstance(command, SafeState):
            return None
        if self.end is not None:
            return f"the run is ending: {self.end.reason}"
        if isinstance(command, (Pause, Stop)):
            return None
        if not order.trusted and isinstance(command, Resume):
            return "only a person or the supervisor may resume"
        if not order.trusted and self.state != "running":
            return f"the rig is {self.state}"
        if not isinstance(command, Resume) and name not in self._capabilities.commands:
            return f"{self._capabilities.name} cannot {name}; it can {', '.join(sorted(self._capabilities.commands))}"
        if isinstance(command, Resume):
            return self.light.spent(0.0, runs=False)
        if isinstance(command, MoveStage) and self.move.under_way:
            return "the stage is still moving"
        if not isinstance(command, (MoveStage, PulseSorter)) and self.burst.under_way:
            return "a burst is under way"
        if isinstance(command, MoveStage):
            self.device = self._microscope.state()  # someone may have turned a knob since
            self.light.stands(self.device.stage)
        verdict = check(command, self._rig_state(now_ns), self._limits)
        return verdict.detail if isinstance(verdict, Refusal) else None

    def _rig_state(self, now_ns: int) -> RigState:
        device = self.device
        return RigState(
            t_ns=now_ns, stage=device.stage, exposure_ms=device.exposure_ms, interval_ms=device.interval_ms,
            light_mw=device.light_mw, dose_mj=self.light.total_mj, moves_ns=self.move.recent_ns(now_ns),
            pulses_ns=self.gate.recent_ns(now_ns),
            always_lit=self._capabilities.lit_share is not None, off_delay_ms=self._capabilities.off_delay_ms,
            frames_due=1 + self.burst.frames_left, reserve_mj=self.light.reserve_mj(),
            place_left_mj=self.light.place_left_mj(), way_left_mj=self.light.way_left_mj,
        )  # fmt: skip

    def _carry_out(self, order: Order, checked_ns: int) -> None:
        match order.command:
            case MoveStage():
                self.light.goes(order.command)
                self.move.begin(order, checked_ns)
            case PulseSorter():
                self.gate.schedule(order, checked_ns)
            case AcquireBurst():
                self._begin_burst(order, order.command, checked_ns)
            case Pause() | SafeState():
                self.be_still("paused" if isinstance(order.command, Pause) else "safe")
                self._answer(order, "done", self.state, checked_ns)
            case Resume():
                self.resume()
                self._answer(order, "done", self.state, checked_ns)
            case Stop():
                self.end = RunEnd(True, f"stopped: {order.why}" if order.why else f"stopped by {order.source}")
                self._answer(order, "done", "the run ends", checked_ns)
            case command:
                self.change(command, order.id)
                self._answer(order, "done", _words(self.device), checked_ns)

    def change(self, command: Command, reason: str) -> None:
        """Change how frames are taken; frames whose exposure begins from now on name this order as the reason.

        What the devices then say must be within the limits, too: a channel may bring an exposure of its own.
        """
        before = self.device
        self._microscope.apply(command)
        self.device = self._microscope.state()
        self.changed_ns = self._clock.now_ns()
        self._reasons.append((self.changed_ns, reason))
        outside = self._outside_limits()
        if not outside and isinstance(command, SetChannel):
            self.account()
            outside = self.light.spent(0.0, runs=True)
        if not outside:
            return
        if isinstance(command, SetChannel) and before.channel:
            self._microscope.apply(SetChannel(before.channel))
            self.device = self._microscope.state()
        if self._outside_limits():
            self.be_still("safe")
        raise MicroscopeError(f"{command} led outside [limits]: {outside}; it was taken back, the rig is {self.state}")

    def _outside_limits(self) -> str | None:
        d = self.device
        return outside_limits(d.exposure_ms, d.interval_ms, d.light_mw, self._limits)

    def resume(self) -> None:
        """Image, for the first time or again."""
        try:
            self._microscope.start()
        except MicroscopeError:
            self.be_still("safe")  # half a start may have left the light on
            raise
        self.device = self._microscope.state()
        self.resumed_ns = self._clock.now_ns()
        self.state = "running"

    def be_still(self, state: Literal["paused", "safe"]) -> None:
        """Gate shut, shutter closed, camera stopped; `safe` also stops the stage. If that fails, the run ends."""
        self.state = state
        try:
            self.gate.give_up(state)
            if state == "paused":
                self._microscope.set_gate(False)
                self._microscope.stop()
            else:
                self.move.give_up(state)
                self._microscope.make_safe()
            if self.burst.under_way:
                if not self.burst.sequenced:
                    self._microscope.apply(SetInterval(self.burst.base_interval_ms))
                self._reasons.append((self._clock.now_ns(), self.burst.base_reason))
            self.device = self._microscope.state()
            if self.device.shutter_open or self.device.gate_open:
                what = "shutter" if self.device.shutter_open else "trigger output"
                raise MicroscopeError(f"the {what} was told to close and reads back as open; close it by hand")
        except MicroscopeError as error:
            self.end = RunEnd(False, f"the rig could not be {state}: {error}")
            self._tell("error", self.end.reason)
            raise
        finally:
            self.burst.give_up(state)
        if not self.move.under_way:
            self._stands()

    def account(self) -> None:
        """Take the light that has fallen by now into the account, and the settings it falls with."""
        self.light.burned(self._microscope.dose_mj(), self.device)

    def _stands(self) -> None:
        """The stage has come to rest: what has fallen by now is light of its way."""
        self.account()
        self.light.stands(self.device.stage)

    def drive(self) -> None:
        """Advance what is under way."""
        if self.move.drive():
            self.device = self._microscope.state()
            self._stands()
        self.gate.drive()
        if failure := self.burst.failure():
            self._end_burst("failed", f"; {failure}")

    def see(self, frame: Frame) -> Frame:
        """The frame with the order that last changed the imaging before its exposure began; bursts count it."""
        began_ns = frame.header.t_ns - round(frame.header.exposure_ms * NS_PER_MS)
        while len(self._reasons) > 1 and self._reasons[1][0] < began_ns:
            self._reasons.popleft()
        if self.burst.count(began_ns, frame.header.t_ns):
            self._end_burst("done", "")
        return frame.because(self._reasons[0][1])

    def give_up(self, why: str) -> None:
        """No order without an outcome."""
        for under_way in (self.move, self.burst):
            under_way.give_up(why)
        self.gate.close(why)

    def _begin_burst(self, order: Order, command: AcquireBurst, checked_ns: int) -> None:
        """By the devices, at whose boundary with the imaging of before it begins; else frame by frame."""
        base_interval_ms, base_reason = self.device.interval_ms, self._reasons[-1][1]
        since_ns = self.burst.sequence(command)
        sequenced = since_ns is not None
        if since_ns is None:
            self.change(SetInterval(command.interval_ms), order.id)
            since_ns = self._clock.now_ns()
        else:
            self.device, self.changed_ns = self._microscope.state(), self._clock.now_ns()
            self._reasons.append((since_ns, order.id))
        self.burst.begin(order, checked_ns, since_ns, sequenced, base_interval_ms, base_reason)

    def _end_burst(self, status: Literal["done", "failed"], detail: str) -> None:
        """Imaging as before: the devices see to that after a burst of their own."""
        burst = self.burst
        if burst.sequenced:
            self.device, self.changed_ns = self._microscope.state(), self._clock.now_ns()
            self._reasons.append((burst.over_ns(), burst.base_reason))
        else:
            try:
                self.change(SetInterval(burst.base_interval_ms), burst.base_reason)
            except MicroscopeError as error:
                burst.end("failed", f"; the interval before could not be restored: {error}")
                raise
        burst.end(status, detail)


def _words(device: DeviceState) -> str:
    times = f"interval {device.interval_ms:g} ms, exposure {device.exposure_ms:g} ms"
    return f"{times}, light {device.light_mw:g} mW, channel {device.channel or '-'}"
