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
from realtime.session.header import session_toml
from realtime.wire import AnyMessage, OperatorCommand, ProcessLost, RunEnded, Status

TICK_S = 0.1
SAFE_S = 30.0

Watch = Callable[[AnyMessage], None]
"""Called with every telemetry message, for the status line."""


class RunFailed(RuntimeError):
    """The run could not be started; the message says what to do."""


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
        self._keys = {
            role: KeyPair.new() for role in ("acquisition", "recorder", "inference", "supervisor", "operator")
        }
        self._role_of = {keys.public: role for role, keys in self._keys.items()}
        self._ring = f"reflexscope-{self.run}"
        self._session_toml = session_toml(self.run, self.config)
        self._reports: Reports = queue.Queue()
        self.children: dict[str, Child] = {}
        self._door: Client | None = None
        self._telemetry: Client | None = None
        self._addresses: dict[str, Address | None] = {"door": None, "inbox": None}
        self._restarts = 0
        self._stopping = False
        self._n_commands = 0

    def __enter__(self) -> "Supervisor":
        make_session_folder(self.folder)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        for child in self.children.values():
            child.let_go()
        for child in self.children.values():
            child.end()
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
        self._addresses["door"] = ready.door
        self._door = Client("door", ready.door, self.run, self._keys["supervisor"])
        self._telemetry = Client("telemetry", ready.telemetry, self.run, self._keys["supervisor"])
        self._addresses["inbox"] = self._start_and_wait("recorder").inbox
        self._start("inference")

    def _start(self, role: Role) -> Child:
        ticket = Ticket(
            run=self.run, role=role, folder=str(self.folder), session_toml=self._session_toml,
            ring=self._ring, keys=self._keys.get(role) or KeyPair.new(), role_of=self._role_of, duration_s=self.duration_s,
            door=self._addresses["door"], inbox=self._addresses["inbox"],
        )  # fmt: skip
        log = self.folder / "logs" / f"{role}.log"
        child = self.children[role] = Child.start(ticket, log, self.config.inference.threads, self._reports)
        return child

    def _start_and_wait(self, role: Role) -> Ready:
        child = self._start(role)
        until_ns = self._clock.now_ns() + round(self.config.inference.start_s * NS_PER_S)
        while self._clock.now_ns() < until_ns:
            try:
                whose, report = self._reports.get(timeout=TICK_S)
            except queue.Empty:
                continue
            if whose == role and isinstance(report, Ready):
                return report
            self._note(whose, report)
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
        if acquisition.ended is None:
            return self._after_acquisition_died(acquisition)
        self.children["inference"].let_go()
        recorder = self._wait_for("recorder")
        ok = acquisition.ended.ok and recorder.ended is not None and recorder.ended.ok
        reason = acquisition.ended.reason
        if recorder.ended is None or not recorder.ended.ok:
            reason += f"; the recorder ended badly: {recorder.why_gone()}"
        return Result(ok, reason, self.folder)

    def step(self) -> None:
        """One look at the children and at telemetry."""
        with contextlib.suppress(queue.Empty):
            self._note(*self._reports.get(timeout=TICK_S))
        assert self._telemetry is not None
        for message in self._telemetry.receive(0):
            self.watch(message)
            if isinstance(message, Status):
                self._judge_inference(message)

    def stop(self, why: str) -> None:
        """Ask for an orderly end."""
        self._stopping = True
        self.command(OperatorCommand(run=self.run, id=self._command_id(), command=Stop(), who="operator", why=why))

    def command(self, message: AnyMessage) -> None:
        """Say something at the acquisition process's door."""
        if self._door is not None:
            self._door.send(message)

    def _command_id(self) -> str:
        self._n_commands += 1
        return f"supervisor.{self._n_commands}"

    def _note(self, role: str, report: Report | None) -> None:
        child = self.children[role]
        if isinstance(report, Ended):
            child.ended = report
        elif report is None and child.process.returncode is not None:
            child.gone = True
            self._react_to_loss(child)

    def _react_to_loss(self, child: Child) -> None:
        if child.role not in ("inference", "recorder") or (child.ended is not None and child.ended.ok):
            return
        self.command(ProcessLost(run=self.run, role=child.role, why=child.why_gone()[:4000]))
        if child.role == "inference" and not self._stopping and not self.children["acquisition"].gone:
            self._restart_inference(child)

    def _restart_inference(self, lost: Child) -> None:
        self._restarts += 1
        if self._restarts > self.config.inference.restarts:
            self.stop(f"inference died {self._restarts} times, the last time: {lost.why_gone()}")
            return
        self._start("inference")

    def _judge_inference(self, status: Status) -> None:
        """Alive but lost or stuck: only a fresh process helps."""
        child = self.children.get("inference")
        if child is None or child.gone or child.ended is not None:
            return
        stuck = status.state == "running" and status.figures["inference_idle_s"] > self.config.inference.stall_s
        if stuck or status.figures["inference_lost"]:
            child.process.kill()

    # --- ending --------------------------------------------------------------------------------------------------------

    def _after_acquisition_died(self, acquisition: Child) -> Result:
        """Nobody drives the rig: a fresh process makes it safe, and the recorder is told that no more will come."""
        reason = f"the acquisition process died ({acquisition.why_gone()})"
        reason += f"; {self._make_rig_safe()}"
        self.children["inference"].let_go()
        inbox = self._addresses["inbox"]
        if inbox is not None and not self.children["recorder"].gone:
            client = Client("inbox", inbox, self.run, self._keys["supervisor"])
            client.send(RunEnded(run=self.run, reason=reason, ok=False))
            client.close()
        self._wait_for("recorder")
        return Result(False, reason, self.folder)

    def _make_rig_safe(self) -> str:
        child = self._start("safe")
        try:
            child.process.wait(SAFE_S)
        except subprocess.TimeoutExpired:
            return f"a fresh process could NOT make the rig safe within {SAFE_S:g} s: switch the light and the sorter off by hand"
        self._wait_for("safe")
        if child.ended is not None and child.ended.ok:
            return f"a fresh process made the rig safe: {child.ended.reason}"
        return f"a fresh process could NOT make the rig safe ({child.why_gone()}): switch the light and the sorter off by hand"

    def _wait_for(self, role: str) -> Child:
        """Until the child has gone; it is ended by force if it does not go."""
        child = self.children[role]
        until_ns = self._clock.now_ns() + round(ASK_S * NS_PER_S)
        while not child.gone:
            try:
                self._note(*self._reports.get(timeout=TICK_S))
            except queue.Empty:
                if self._clock.now_ns() > until_ns:
                    child.end()
        return child


def make_session_folder(folder: Path) -> None:
    """A new folder for one run; one that holds anything is refused."""
    if folder.exists() and any(folder.iterdir()):
        raise RunFailed(f"{folder} holds a session or other files already; give another folder with --out")
    (folder / "logs").mkdir(parents=True, exist_ok=True)
