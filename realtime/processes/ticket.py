"""What the processes of a run have in common: the ticket they start with, the report they give, the lifeline they hold.

The supervisor starts each as `python -m realtime`, writes a ticket to its stdin and keeps that pipe open: when the
supervisor dies, however it dies, the pipe ends and the child makes its part safe and goes.
"""

import contextlib
import gc
import os
import threading
import tomllib
from pathlib import Path
from typing import Literal

import msgspec

from acquisition.clock import Clock, SystemClock
from acquisition.faulty_clock import faulty_clock
from realtime.bus import Address, BusError, Client, KeyPair
from realtime.config import RunConfig, config_from
from realtime.wire import Heartbeat

Role = Literal["acquisition", "recorder", "inference", "safe"]
HEARTBEAT_S = 0.1


class Ticket(msgspec.Struct, frozen=True, kw_only=True):
    """All that a process needs to take part in a run; it travels through a pipe, so keys show in no process list."""

    run: str
    role: Role
    folder: str
    session_toml: str
    """Holds the config, too: what is recorded is what runs."""
    ring: str
    keys: KeyPair
    role_of: dict[str, str]
    """Public keys of the run → roles."""
    duration_s: float | None = None
    door: Address | None = None
    inbox: Address | None = None
    frame_px: tuple[int, int] | None = None
    """Rows and columns of the camera's frames at the start, once the rig is open: what inference warms up with."""

    def read_config(self) -> RunConfig:
        return config_from(tomllib.loads(self.session_toml)["config"], Path.cwd())

    def clock(self, config: RunConfig) -> Clock:
        """The run's clock, the same in all its processes."""
        if config.faults.clock_jump is None:
            return SystemClock()
        started_ns: int = tomllib.loads(self.session_toml)["session"]["started_ns"]
        return faulty_clock(SystemClock(), config.faults, started_ns)


class Ready(msgspec.Struct, frozen=True, kw_only=True, tag="ready"):
    """A process can be spoken to."""

    door: Address | None = None
    telemetry: Address | None = None
    inbox: Address | None = None
    frame_px: tuple[int, int] | None = None


class Ended(msgspec.Struct, frozen=True, kw_only=True, tag="ended"):
    """A process has done its part, well or not, and says why."""

    ok: bool
    reason: str
    rig_safe: bool = False
    """True only if it never touched the rig, or made it safe and was told so by the devices."""
    restart_helps: bool = True
    """False if a fresh process would fare no better: a network that no engine here can run."""


class Working(msgspec.Struct, frozen=True, kw_only=True, tag="working"):
    """A process that was asked to end still writes; said only if it got on since the last time, so worth waiting for."""

    n_written: int
    """Messages and frames so far."""


Report = Ready | Ended | Working


class Reporter:
    """The child's line to the supervisor: stdout, which nothing else in this process may write to any more."""

    def __init__(self) -> None:
        self._file = os.fdopen(os.dup(1), "wb", buffering=0)
        os.dup2(2, 1)  # a library that prints, prints into the log

    def say(self, report: Report) -> None:
        with contextlib.suppress(BrokenPipeError):  # the supervisor is gone; the lifeline says so too
            self._file.write(msgspec.json.encode(report) + b"\n")


class Lifeline:
    """True in `cut` once the supervisor is gone. A process that has not gone by itself some time later is ended."""

    def __init__(self, patience_s: float = 20.0) -> None:
        self.cut = False
        self._patience_s = patience_s
        threading.Thread(target=self._wait, name="lifeline", daemon=True).start()

    def _wait(self) -> None:
        while os.read(0, 1):
            pass
        self.cut = True
        threading.Event().wait(self._patience_s)
        os._exit(1)  # stuck in a driver or in a user's code: it must not keep the rig's lock or a core for ever


class Pulse:
    """Says "alive" ten times a second from a thread of its own, with figures that the main thread keeps up to date."""

    def __init__(self, ticket: Ticket, door: Address) -> None:
        self.progress = 0
        self.figures: dict[str, float] = {}
        self._ticket, self._door = ticket, door
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="heartbeat", daemon=True)
        self._thread.start()

    def _beat(self) -> None:
        client = Client("door", self._door, self._ticket.run, self._ticket.keys)
        while True:
            beat = Heartbeat(
                run=self._ticket.run, role=self._ticket.role, pid=os.getpid(), progress=self.progress,
                figures=dict(self.figures),
            )  # fmt: skip
            with contextlib.suppress(BusError):  # nobody there to hear: that is the supervisor's to notice
                client.send(beat)
            if self._stop.wait(HEARTBEAT_S):
                break
        client.close(linger_ms=0)  # who is still there to hear a last beat, knows by now

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()


def settle_memory() -> None:
    """After warm-up: what exists now stays, so the garbage collector need not look at it in the loop."""
    gc.collect()
    gc.freeze()
