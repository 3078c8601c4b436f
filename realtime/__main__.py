"""`python -m realtime`: one process of a run, started by the supervisor with a ticket on stdin."""

import faulthandler
import os
import signal
import sys
import traceback
from collections.abc import Callable

import msgspec

from acquisition.microscope import MicroscopeError
from realtime.bus import BusError
from realtime.plugins import ConfigError
from realtime.processes.rig_lock import RigBusy
from realtime.processes.ticket import Ended, Lifeline, Reporter, Ticket
from realtime.ring import RingError
from realtime.session.disk import RecordingError

EXPECTED = (BusError, ConfigError, MicroscopeError, RecordingError, RigBusy, RingError)
"""Errors whose message says everything; any other leaves its traceback in the log."""
PATIENCE_S, RECORDER_PATIENCE_S = 20.0, 300.0
"""How long a process may take to end once its supervisor is gone; the recorder may have much to write."""


def main() -> None:
    """Read the ticket and play its role; the exit status says whether it ended well."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the supervisor ends the run in order
    ticket = msgspec.json.decode(sys.stdin.buffer.readline(), type=Ticket)
    faulthandler.enable()  # a driver that crashes leaves a trace in the log
    reporter, lifeline = Reporter(), Lifeline(RECORDER_PATIENCE_S if ticket.role == "recorder" else PATIENCE_S)
    try:
        ended = _play(ticket, reporter, lifeline)
    except Exception as error:
        if not isinstance(error, EXPECTED):
            traceback.print_exc()
        reason = str(error) if isinstance(error, EXPECTED) else f"{type(error).__name__}: {error} (see its log)"
        ended = Ended(ok=False, reason=reason, rig_safe=isinstance(error, (ConfigError, RigBusy)))
    reporter.say(ended)
    sys.stdout.flush()
    sys.stderr.flush()
    # A driver or bridge that hangs in its exit handlers must not keep a finished process (and its rig lock) alive.
    os._exit(0 if ended.ok else 1)


def _play(ticket: Ticket, reporter: Reporter, lifeline: Lifeline) -> Ended:
    role: Callable[[Ticket, Reporter, Lifeline], Ended]
    if ticket.role == "acquisition":
        from realtime.processes.rig import run as role
    elif ticket.role == "recorder":
        from realtime.processes.recorder import run as role
    elif ticket.role == "inference" and ticket.read_config().sort is not None:
        from realtime.processes.sorting import run as role
    elif ticket.role == "inference":
        from realtime.processes.inference import run as role
    else:
        from realtime.processes.safe import run as role
    return role(ticket, reporter, lifeline)


if __name__ == "__main__":
    main()
