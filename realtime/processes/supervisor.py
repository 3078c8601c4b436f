"""The supervisor: starts the processes of a run, watches them, restarts inference, and sees the rig safe in the end.

It owns no hardware and no data. Losing it ends the run: the children hold the other ends of its pipes.
"""

import contextlib
import queue
import secrets
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

from acquisition.clock import NS_PER_S, SystemClock, utc_now
from acquisition.commands import Stop
from realtime.bus import Address, Client, KeyPair
from realtime.config import RunConfig
from realtime.processes.child import ASK_S, Child, Reports
from realtime.processes.ticket import Ended, Ready, Report, Role, Ticket
from realtime.ring import remove_ring
from realtime.session.disk import LOGS, RecordingError, make_session_folder
from realtime.session.header import session_toml
from realtime.session.summary import summarise_if_missing
from realtime.wire import AnyMessage, Notice, OperatorCommand, ProcessLost, RunEnded, Status

TICK_S = 0.1
SAFE_S = 30.0

Watch = Callable[[AnyMessage], None]
"""Called with every telemetry message, for the status line."""


class RunFailed(RuntimeError):
    """The run could not be started; the message says what to do."""


class RunCancelled(RunFailed):
    """Somebody ended it before it had begun, which is no mistake."""


@dataclass
class Result:
    """How a run ended."""

    ok: bool
    reason: str
    folder: Path


@dataclass
class Supervisor:
    """One run as separate processes. Use as a context manager: leaving it leaves no process behind."""

    config: RunConfig
    folder: Path
    duration_s: float | None = None
    watch: Watch = lambda message: None
    run: str = field(default_factory=lambda: f"{utc_now().replace(':', '')}-{secrets.token_hex(3)}")

    def __post_init__(self) -> None:
        self._clock = SystemClock()
        self.keys = {role: KeyPair.new() for role in ("acquisition", "recorder", "inference", "supervisor", "operator")}
        self.addresses: dict[str, Address] = {}
        """Of `door`, `telemetry` and `inbox`, once they listen."""
        self._frame_px: tuple[int, int] | None = None
        """Rows and columns of the camera's frames, once the rig is open."""
        self._role_of = {keys.public: role for role, keys in self.keys.items()}
        self._ring = f"reflexscope-{self.run}"
        self._session_toml = session_toml(self.run, self.config)
        self._reports: Reports = queue.Queue()
        self.children: dict[str, Child] = {}
        self._door: Client | None = None
        self._telemetry: Client | None = None
        self._restarts = 0
        self._why_stop = self._why_killed = ""
        self._rig_made_safe = False
        self._heard_ns = 0
        self._told_to_stop = False

    def __enter__(self) -> "Supervisor":
        make_session_folder(self.folder)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        for child in self.children.values():
            child.let_go()
        for child in self.children.values():
            child.end()
        if "acquisition" in self.children and not self._is_rig_safe():
            self._make_rig_safe()
        for client in (self._door, self._telemetry):
            if client is not None:
                client.close()
        remove_ring(self._ring)

    # --- starting ----------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Rig first, then the recorder, then inference; the run begins when the last of them is ready."""
        ready = self._start_and_wait("acquisition")
        assert ready.door is not None
        assert ready.telemetry is not None
        self.addresses |= {"door": ready.door, "telemetry": ready.telemetry}
        self._frame_px = ready.frame_px
        self._heard_ns = self._clock.now_ns()
        self._door = Client("door", ready.door, self.run, self.keys["supervisor"])
        self._telemetry = Client("telemetry", ready.telemetry, self.run, self.keys["supervisor"])
        inbox = self._start_and_wait("recorder").inbox
        assert inbox is not None
        self.addresses["inbox"] = inbox
        self._start("inference")

    def _start(self, role: Role) -> Child:
        ticket = Ticket(
            run=self.run, role=role, folder=str(self.folder), session_toml=self._session_toml,
            ring=self._ring, keys=self.keys.get(role) or KeyPair.new(), role_of=self._role_of, duration_s=self.duration_s,
            door=self.addresses.get("door"), inbox=self.addresses.get("inbox"), frame_px=self._frame_px,
        )  # fmt: skip
        log = self.folder / LOGS / f"{role}.log"
        child = Child.start(ticket, log, self.config.inference.threads, self._reports, self._clock.now_ns())
        self.children[role] = child
        return child

    def _start_and_wait(self, role: Role) -> Ready:
        child = self._start(role)
        until_ns = self._clock.now_ns() + round(self.config.inference.start_s * NS_PER_S)
        while self._clock.now_ns() < until_ns:
            if self._why_stop:
                raise RunCancelled(f"stopped before the run began ({self._why_stop})")
            try:
                whose, report = self._reports.get(timeout=TICK_S)
            except queue.Empty:
                continue
            self._note(whose, report)
            if whose == role and isinstance(report, Ready):
                return report
            if child.gone or child.ended is not None:
                raise RunFailed(f"the {role} process could not start: {child.why_gone()}")
        raise RunFailed(
            f"the {role} process was not ready within inference.start_s = {self.config.inference.start_s:g} s"
        )

    # --- watching ------------------------------------------------------------------------------------------------------

    def supervise(self) -> Result:
        """Until the acquisition process has ended and the recorder has written everything."""
        while not self.children["acquisition"].gone:
            self.step()
        acquisition = self.children["acquisition"]
        if acquisition.ended is None or not self._is_rig_safe():
            return self._leave_rig_safe(acquisition)
        self.children["inference"].let_go()
        recorder = self._wait_for("recorder")
        self._summarise()
        reason = acquisition.ended.reason
        recorder_ok = recorder.ended is not None and recorder.ended.ok
        if not recorder_ok and recorder.why_gone() not in reason:  # it may have been what ended the run
            reason += f"; the recorder ended badly: {recorder.why_gone()}"
        return Result(acquisition.ended.ok and recorder_ok, reason, self.folder)

    def step(self) -> None:
        """One look at the children and at telemetry."""
        self._tell_to_stop()
        with contextlib.suppress(queue.Empty):
            self._note(*self._reports.get(timeout=TICK_S))
        assert self._telemetry is not None
        for message in self._telemetry.receive(0):
            self.watch(message)
            if isinstance(message, Status):
                self._heard_ns = self._clock.now_ns()
                self._judge_inference(message)
        self._judge_acquisition()

    def stop(self, why: str) -> None:
        """Ask for an orderly end. Only a note, for a signal may call this in the middle of anything; `step` acts on it."""
        self._why_stop = self._why_stop or why

    def command(self, message: AnyMessage) -> None:
        """Say something at the acquisition process's door."""
        if self._door is not None:
            self._door.send(message)

    def _tell_to_stop(self) -> None:
        if self._why_stop and not self._told_to_stop:
            self._told_to_stop = True
            self.command(
                OperatorCommand(run=self.run, id="supervisor.stop", command=Stop(), who="operator", why=self._why_stop)
            )

    def _note(self, role: str, report: Report | None) -> None:
        child = self.children[role]
        if isinstance(report, Ready):
            child.ready, child.since_ns = True, self._clock.now_ns()
        elif isinstance(report, Ended):
            child.ended = report
        elif report is None and child.process.returncode is not None:
            child.gone = True
            child.let_go()
            self._react_to_loss(child)

    def _react_to_loss(self, child: Child) -> None:
        if child.role not in ("inference", "recorder") or (child.ended is not None and child.ended.ok):
            return
        self.command(ProcessLost(run=self.run, role=child.role, why=child.why_gone()[:4000]))
        if child.role == "inference" and not self._why_stop and not self.children["acquisition"].gone:
            self._restart_inference(child)

    def _restart_inference(self, lost: Child) -> None:
        self._restarts += 1
        if lost.ended is not None and not lost.ended.restart_helps:
            self._fail(f"inference cannot work: {lost.ended.reason}")
            return
        if self._restarts > self.config.inference.restarts:
            self._fail(f"inference died {self._restarts} times, the last time: {lost.why_gone()}")
            return
        self._start("inference")

    def _fail(self, why: str) -> None:
        """End the run with an error."""
        self._why_stop, self._told_to_stop = why, True
        self.command(
            Notice(run=self.run, t_ns=self._clock.now_ns(), source="supervisor", level="error", text=why[:4000])
        )

    def _judge_inference(self, status: Status) -> None:
        """Alive, but lost, stuck or never ready: only a fresh process helps."""
        child = self.children.get("inference")
        if child is None or child.gone or child.ended is not None:
            return
        settings, since_s = self.config.inference, (status.t_ns - child.since_ns) / NS_PER_S
        if not child.ready:
            hopeless = since_s > settings.start_s
        else:
            stuck = status.state == "running" and status.figures["inference_idle_s"] > settings.stall_s
            known = since_s > settings.silence_ms / 1000  # a status from before may still speak of its predecessor
            hopeless = known and (stuck or bool(status.figures["inference_lost"]))
        if hopeless:
            child.process.kill()

    def _judge_acquisition(self) -> None:
        """Alive, but hung in a driver: nobody drives the rig, and only a fresh process can."""
        silent_s = (self._clock.now_ns() - self._heard_ns) / NS_PER_S
        acquisition = self.children["acquisition"]
        if silent_s > self.config.rig.silent_s and not acquisition.gone and acquisition.ended is None:
            self._why_killed = f"it gave no sign of life for {silent_s:.0f} s (rig.silent_s)"
            acquisition.process.kill()

    def _is_rig_safe(self) -> bool:
        ended = self.children["acquisition"].ended
        return self._rig_made_safe or (ended is not None and ended.rig_safe)

    # --- ending --------------------------------------------------------------------------------------------------------

    def _leave_rig_safe(self, acquisition: Child) -> Result:
        """Nobody drives the rig: a fresh process makes it safe, and the recorder is told that no more will come."""
        died = f"the acquisition process died ({self._why_killed or acquisition.why_gone()})"
        reason = died if acquisition.ended is None else acquisition.ended.reason
        reason += f"; {self._make_rig_safe(reason)}"
        self.children["inference"].let_go()
        inbox = self.addresses.get("inbox")
        if inbox is not None and not self.children["recorder"].gone:
            client = Client("inbox", inbox, self.run, self.keys["supervisor"])
            client.send(RunEnded(run=self.run, reason=reason[:4000], ok=False))
            client.close()
        self._wait_for("recorder")
        self._summarise()
        return Result(False, reason, self.folder)

    def _summarise(self) -> None:
        with contextlib.suppress(RecordingError):  # the journal is there; how the run ended must not be hidden
            summarise_if_missing(self.folder)

    def _make_rig_safe(self, said: str = "") -> str:
        """What came of it, in words that follow what was `said` before."""
        self._rig_made_safe = True  # or tried: once is enough
        child = self._start("safe")
        try:
            child.process.wait(SAFE_S)
        except subprocess.TimeoutExpired:
            return f"a fresh process could NOT make the rig safe within {SAFE_S:g} s: switch the light and the sorter off by hand"
        self._wait_for("safe")
        if child.ended is not None and child.ended.ok:
            return f"a fresh process made the rig safe: {child.ended.reason}"
        why = "" if child.why_gone() in said else f" ({child.why_gone()})"
        return f"a fresh process could NOT make the rig safe{why}: switch the light and the sorter off by hand"

    def _wait_for(self, role: str) -> Child:
        """Until the child has gone; it is ended by force if it does not go."""
        child = self.children[role]
        until_ns = self._clock.now_ns() + round(ASK_S * NS_PER_S)
        while not child.gone:
            try:
                self._note(*self._reports.get(timeout=TICK_S))
                until_ns = self._clock.now_ns() + round(ASK_S * NS_PER_S)  # it still says something
            except queue.Empty:
                if self._clock.now_ns() > until_ns:
                    child.end()
        return child
