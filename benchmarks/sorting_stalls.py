"""Processes of a run held by the operating system for a while, and what became of the pulses meanwhile."""

import os
import random
import re
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec

from realtime.config import config_from
from realtime.processes.supervisor import Supervisor
from realtime.session.disk import CONFIG, JOURNAL

EVERY_S, LONGEST_S = 0.5, 0.1
OPENED = re.compile(r"gate (?:opened|took until) (-?[\d.]+) ms")
"""In the detail of an outcome whose gate was opened, however late."""


@contextmanager
def stalled(supervisor: Supervisor) -> Iterator[None]:
    """Stop acquisition or inference for 1 to 100 ms twice a second, until the run ends."""
    over = threading.Event()
    thread = threading.Thread(target=_stall, args=(supervisor, over), name="stalls")
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _stall(supervisor: Supervisor, over: threading.Event) -> None:
    dice = random.Random(0)
    over.wait(5.0)  # the run has begun by then
    while not over.wait(EVERY_S):
        child = supervisor.children[dice.choice(("acquisition", "inference"))]
        if child.process.poll() is not None:
            return
        os.kill(child.process.pid, signal.SIGSTOP)
        over.wait(dice.uniform(0.001, LONGEST_S))
        os.kill(child.process.pid, signal.SIGCONT)


@dataclass(frozen=True)
class LatePulses:
    """Of all pulses of a session whose gate was opened."""

    n_fired_late: int
    worst_us: float
    """Furthest that any opened from its moment."""


def late_pulses(session: Path) -> LatePulses:
    """From the outcomes in the journal; a gate that was opened late and shut at once counts as fired late."""
    limits = config_from(_config_table(session), session).limits
    apart_ms = []
    with (session / JOURNAL).open(encoding="utf-8") as lines:
        for line in lines:
            message = msgspec.json.decode(line)
            if message["kind"] == "outcome" and (found := OPENED.search(message["outcome"]["detail"])):
                apart_ms.append(abs(float(found[1])))
    late = sum(apart > limits.pulse_tolerance_ms for apart in apart_ms)
    return LatePulses(late, 1000 * max(apart_ms, default=0.0))


def _config_table(session: Path) -> dict[str, object]:
    table: dict[str, object] = msgspec.toml.decode((session / CONFIG).read_text(encoding="utf-8"))["config"]
    return table
