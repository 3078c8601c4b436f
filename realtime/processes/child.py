"""One process of a run, from the supervisor's side: how it is started, what it reports, how it is ended."""

import contextlib
import os
import queue
import signal
import subprocess
import sys
import threading
from dataclasses import dataclass
from pathlib import Path

import msgspec

from realtime.processes.ticket import Ended, Report, Role, Ticket

ASK_S, TERMINATE_S = 15.0, 3.0
THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMBA_NUM_THREADS",
    "RAYON_NUM_THREADS",
)
# glibc gives the memory of a large array back at once and faults it in again for the next frame; keeping it halves the
# time of some stages. Other C libraries ignore these.
KEEP_MEMORY = {
    "MALLOC_TRIM_THRESHOLD_": "1000000000",
    "MALLOC_MMAP_THRESHOLD_": "1000000000",
    "MALLOC_TOP_PAD_": "16000000",
}

Reports = queue.Queue[tuple[str, Report | None]]
"""(role, report) as they come; None after the last one, once the process is gone."""


@dataclass
class Child:
    """One process of the run and what it has reported."""

    role: Role
    process: subprocess.Popen[bytes]
    reports: Reports
    since_ns: int
    """When it was started; once it is ready: since when it is."""
    ready: bool = False
    ended: Ended | None = None
    gone: bool = False

    @classmethod
    def start(cls, ticket: Ticket, log: Path, threads: int, reports: Reports, now_ns: int) -> "Child":
        """Start it, hand it its ticket, listen to it; what it prints goes to `log`.

        It gets a process group of its own: Ctrl-C is for the supervisor, and must not cut short what a child does.
        """
        with log.open("ab") as stderr:
            process = subprocess.Popen(
                [sys.executable, "-P", "-m", "realtime"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=stderr,
                env=os.environ | dict.fromkeys(THREAD_VARIABLES, str(threads)) | KEEP_MEMORY,
                process_group=0, creationflags=getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0),
            )  # fmt: skip
        child = cls(ticket.role, process, reports, now_ns)
        assert process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # it is gone already; `_listen` tells of that as of any other end
            process.stdin.write(msgspec.json.encode(ticket) + b"\n")
            process.stdin.flush()
        threading.Thread(target=child._listen, name=f"listen-{ticket.role}", daemon=True).start()
        return child

    def _listen(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as lines:
            for line in lines:
                with contextlib.suppress(msgspec.MsgspecError):  # printed before the line was ours, or cut by a kill
                    self.reports.put((self.role, msgspec.json.decode(line, type=Report)))
        self.process.wait()
        self.reports.put((self.role, None))

    def why_gone(self) -> str:
        """In words: what the process said last, or how it died."""
        if self.ended is not None:
            return self.ended.reason
        code = self.process.returncode
        return f"killed by {signal.Signals(-code).name}" if code is not None and code < 0 else f"exit status {code}"

    def let_go(self) -> None:
        """End its lifeline: an orderly end."""
        if self.process.stdin is not None and not self.process.stdin.closed:
            with contextlib.suppress(BrokenPipeError):  # a ticket that was never read
                self.process.stdin.close()

    def end(self) -> None:
        """Ask (its lifeline is cut), wait, terminate, wait, kill."""
        for action, patience_s in (
            (self.let_go, ASK_S),
            (self.process.terminate, TERMINATE_S),
            (self.process.kill, None),
        ):
            action()
            try:
                self.process.wait(patience_s)
                break
            except subprocess.TimeoutExpired:
                continue
