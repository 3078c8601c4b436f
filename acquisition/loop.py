"""The acquisition loop: orders → Guard → rig → outcomes, and camera → frames. One thread, one turn at a time.

The loop knows neither sockets nor files: it is given a way to publish a frame, to receive orders and to answer them,
so that it runs in a test with lists, inline without threads, and in the acquisition process with ZeroMQ.
"""

from collections.abc import Callable, Iterable

from acquisition.actuation import Answer, Tell
from acquisition.clock import NS_PER_MS, NS_PER_S, Clock
from acquisition.commands import Order
from acquisition.desk import LoopState, OrderDesk, RunEnd
from acquisition.dose_map import Box, DoseMap, DoseSettings
from acquisition.frame import Frame
from acquisition.limits import Limits
from acquisition.microscope import CameraStalled, Capabilities, Imaging, Microscope, MicroscopeError

LONGEST_IDLE_S = 0.05
MOVE_POLL_S = 0.001
FRAME_IS_NEAR_S = 0.001
MOST_FRAME_NS = 2 * NS_PER_MS
"""A frame takes the loop about as long as the slowest of the last ones did, but pulses must not keep it out for longer."""
AWAY_S = 1.0
"""A turn that begins so long after the one before: the process was held, or its clock jumped."""

Publish = Callable[[Frame, float], None]
"""Called with a frame and the dose in mJ up to and with it. May raise RunStopped."""
Receive = Callable[[float], Iterable[Order]]
"""Orders that have arrived; waits for the first one up to so many seconds."""


class RunStopped(RuntimeError):
    """Raised by `publish` or `receive`: the run must end; the message says why."""


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
        tell: Tell = lambda level, words: None,
        dose: DoseSettings = DoseSettings(),
    ) -> None:
        """`tell` hears of what ends a run at once, before the rig is made safe, which a hung device can delay."""
        self.n_frames = 0
        self.n_repeated = 0
        """Frames that the camera delivered again, or too late to be in order: nobody gets them."""
        self._newest_index = -1
        self.lit_from_um: Box | None = None
        """While a frame is published: where the stage was when the light since the frame before fell; None: as it says."""
        self._microscope, self._capabilities = microscope, capabilities
        self._limits, self._imaging, self._clock = limits, imaging, clock
        self._publish, self._receive, self._tell = publish, receive, tell
        self._duration_s = duration_s
        self._started_ns = self._heard_ns = self._turned_ns = clock.now_ns()
        self._was_away = False
        self._frame_ns = 0
        self._desk = OrderDesk(microscope, capabilities, limits, clock, answer, tell, dose)

    @property
    def state(self) -> LoopState:
        return self._desk.state

    @property
    def end(self) -> RunEnd | None:
        """Why the run ends, as soon as it does."""
        return self._desk.end

    @property
    def dose_mj(self) -> float:
        """Light energy put on the field so far."""
        return self._desk.light.total_mj

    def places(self) -> DoseMap:
        """Light that every place has had so far."""
        return self._desk.light.map()

    def run(self) -> RunEnd:
        """Image until the run ends, whatever ends it; the rig is safe afterwards."""
        try:
            self.start()
            while self.end is None:
                self.turn()
        except (MicroscopeError, RunStopped) as error:
            self._desk.end = RunEnd(False, str(error))
            self._tell("error", str(error))
        finally:
            self.finish()
        return self.end or RunEnd(False, "the acquisition loop was interrupted")

    def start(self) -> None:
        """Begin to image. Raises MicroscopeError, also if a light budget is too small for a single frame."""
        lit_share, duty_cycle = self._capabilities.lit_share, self._limits.duty_cycle
        if lit_share is not None and lit_share > duty_cycle:
            raise MicroscopeError(
                f"{self._capabilities.name} lights the sample {lit_share:.0%} of the time whatever the exposure, "
                f"limits.duty_cycle allows {duty_cycle:.0%}; wire the shutter to the camera, take single frames, or allow it"
            )
        if too_dear := self._desk.light.first_is_too_dear():
            raise MicroscopeError(too_dear)
        self._desk.resume()
        self._started_ns = self._turned_ns = self._clock.now_ns()

    def turn(self) -> None:
        """Serve what has arrived, drive what is under way, take a frame if there is one."""
        self._notice_time_away()
        for order in self._receive(self._idle_s()):
            self._desk.serve(order)
        self._desk.drive()
        if self.state == "running":
            self._take_frame_between_pulses()
        self._desk.account()
        self._end_if_over()

    def stop(self, reason: str) -> None:
        """End the run in good order after this turn."""
        self._desk.end = self._desk.end or RunEnd(True, reason)

    def finish(self) -> None:
        """Leave the rig safe, then no order without an outcome."""
        self._desk.state = "ended"
        why = self.end.reason if self.end else "the run was interrupted"
        try:
            self._microscope.make_safe()
        except MicroscopeError as error:
            more = "" if str(error) in why else f": {error}"  # what ended the run may have been just this
            self._desk.end = RunEnd(False, f"{why}; and the rig could not be made safe{more}", rig_safe=False)
        finally:
            self._clock.sleep_s(self._capabilities.off_delay_ms / 1000)  # what glows after is light of this run
            self._desk.account()
            self._desk.give_up(f"the run ended: {why}")

    def _take_frame_between_pulses(self) -> None:
        """An edge of the gate that would fall into the handling of a frame goes first."""
        if self._frame_ns and self._microscope.ready_in_s() < FRAME_IS_NEAR_S:
            self._desk.gate.drive(self._frame_ns)
        n_before, began_ns = self.n_frames, self._clock.now_ns()
        self._take_frame()
        if self.n_frames > n_before:
            took_ns = self._clock.now_ns() - began_ns
            self._frame_ns = min(MOST_FRAME_NS, max(took_ns, self._frame_ns - self._frame_ns // 16))

    def _take_frame(self) -> None:
        frame = self._microscope.poll_frame()
        if frame is None:
            self._complain_if_stalled()
            return
        if frame.header.index <= self._newest_index:
            self._leave_out(frame)
            return
        self._newest_index = frame.header.index
        self._heard_ns, self._was_away = self._clock.now_ns(), False
        self.n_frames += 1
        self._desk.account()
        self.lit_from_um = self._desk.light.framed(frame.header)
        self._publish(self._desk.see(frame), self.dose_mj)

    def _leave_out(self, frame: Frame) -> None:
        """A frame out of order: a tracker would see time run backwards, and a recording hold it twice."""
        self.n_repeated += 1
        if self.n_repeated == 1:
            index, name = frame.header.index, self._capabilities.name
            words = f"{name} delivered frame {index} after frame {self._newest_index}; it is left out, as all that follow so"
            self._tell("warning", words)

    def _notice_time_away(self) -> None:
        """What this process did not see is no silence of the camera's; but only once, then frames must come again."""
        now_ns = self._clock.now_ns()
        away_ns, self._turned_ns = now_ns - self._turned_ns, now_ns
        if away_ns < AWAY_S * NS_PER_S or self._was_away:
            return
        self._was_away = True
        self._heard_ns += away_ns
        self._tell(
            "warning", f"nothing was done for {away_ns / NS_PER_S:.1f} s: the process was held, or its clock jumped"
        )

    def _complain_if_stalled(self) -> None:
        device = self._desk.device
        quiet_since_ns = max(self._heard_ns, self._desk.changed_ns, self._desk.resumed_ns)
        silent_ms = (self._clock.now_ns() - quiet_since_ns) / NS_PER_MS
        allowed_ms = device.interval_ms + device.exposure_ms + self._imaging.stall_s * 1000
        if silent_ms > allowed_ms and not self._microscope.exhausted():
            raise CameraStalled(
                f"{self._capabilities.name}: no frame for {silent_ms / 1000:.1f} s, although one was due every "
                f"{device.interval_ms:g} ms (imaging.stall_s allows {self._imaging.stall_s:g} s more); "
                "check the camera's cable, trigger mode and driver"
            )

    def _end_if_over(self) -> None:
        if self.end is not None:
            return
        ran_s = (self._clock.now_ns() - self._started_ns) / NS_PER_S
        if self._duration_s is not None and ran_s >= self._duration_s:
            self._desk.end = RunEnd(True, f"ran for {self._duration_s:g} s as asked")
        elif self._microscope.exhausted():
            self._desk.end = RunEnd(True, "the recorded movie has ended")
        else:
            self._end_if_spent()

    def _end_if_spent(self) -> None:
        """Before more light can fall than is left, until the next turn."""
        idle_s = self._idle_s()
        self._desk.light.looked(idle_s)
        if spent := self._desk.light.spent(idle_s, runs=self.state == "running"):
            self._desk.end = RunEnd(True, spent)

    def _idle_s(self) -> float:
        """How long nothing can become due: until the next frame, gate edge or look at a moving stage."""
        waits = [LONGEST_IDLE_S, self._desk.gate.due_in_s()]
        if self.state == "running":
            waits.append(self._microscope.ready_in_s())
        if self._desk.move.under_way:
            waits.append(MOVE_POLL_S)
        return max(0.0, min(waits))
