"""Open a rig only to make it safe: after the acquisition process died, or by `reflexscope safe CONFIG`."""

from acquisition.clock import SystemClock
from acquisition.microscope import DeviceState, MicroscopeError
from realtime.config import RunConfig
from realtime.devices import build_rig
from realtime.processes.rig_lock import RigLock
from realtime.processes.ticket import Ended, Lifeline, Reporter, Ticket


def make_rig_safe(config: RunConfig, run: str) -> str:
    """Gate shut, shutter closed, light off, stage still; what was read back, in words.

    Raises RigBusy, and MicroscopeError also if the devices took the orders but say that something is still open.
    """
    microscope = build_rig(config, to_rescue=True)
    with RigLock(microscope.rig_id, run):
        try:
            microscope.open(SystemClock(), config.imaging)
            microscope.make_safe()
            state = microscope.state()
        finally:
            microscope.close()
    if state.shutter_open or state.gate_open:
        raise MicroscopeError(f"the rig was told to be safe, but reads back: {_words(state)}; close it by hand")
    return _words(state)


def _words(state: DeviceState) -> str:
    shutter, gate = ("open" if opened else "closed" for opened in (state.shutter_open, state.gate_open))
    return f"shutter {shutter}, gate {gate}, stage still"


def run(ticket: Ticket, reporter: Reporter, lifeline: Lifeline) -> Ended:
    """The `safe` role of a run."""
    return Ended(ok=True, reason=make_rig_safe(ticket.read_config(), ticket.run))
