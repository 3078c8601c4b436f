"""The acquisition role from beginning to end: lock and open the rig, image, say farewell, close."""

import contextlib
import traceback

from acquisition.desk import RunEnd
from acquisition.faults import Faults
from acquisition.loop import RunStopped
from acquisition.microscope import Microscope, MicroscopeError
from realtime.devices import build_rig
from realtime.faults import confess
from realtime.processes.acquisition import AcquisitionProcess
from realtime.processes.rig_lock import RigLock
from realtime.processes.ticket import Ended, Lifeline, Ready, Reporter, Ticket, settle_memory


def run(ticket: Ticket, reporter: Reporter, lifeline: Lifeline) -> Ended:
    """Open the rig, image until the end, leave the rig safe."""
    config = ticket.read_config()
    microscope = build_rig(config)
    with RigLock(microscope.rig_id, ticket.run):
        try:
            capabilities = microscope.open(ticket.clock(config), config.imaging)
        except MicroscopeError as error:  # the light stays off while a rig is opened
            return _closed(microscope, RunEnd(False, str(error)))
        with contextlib.closing(AcquisitionProcess(ticket, config, microscope, capabilities, lifeline)) as process:
            frame_px = (capabilities.height_px, capabilities.width_px)
            reporter.say(Ready(door=process.door.address, telemetry=process.telemetry.address, frame_px=frame_px))
            end = _image(process, config.faults)
            process.say_farewell(end)
        return _closed(microscope, end)


def _image(process: AcquisitionProcess, faults: Faults) -> RunEnd:
    try:
        process.wait_for_the_others()
        confess(faults, process.notice)
        settle_memory()
        return process.loop.run()
    except RunStopped as error:
        return RunEnd(False, str(error))
    except Exception as error:  # a bug, ours or a driver's: the loop has made the rig safe; the others must hear of it
        traceback.print_exc()
        return RunEnd(False, f"{type(error).__name__}: {error} (see logs/acquisition.log)", rig_safe=False)


def _closed(microscope: Microscope, end: RunEnd) -> Ended:
    """Closing makes safe once more; only if that works, too, the rig counts as safe."""
    try:
        microscope.close()
    except MicroscopeError as error:
        return Ended(ok=False, reason=f"{end.reason}; and the rig could not be closed: {error}", rig_safe=False)
    return Ended(ok=end.ok, reason=end.reason, rig_safe=end.rig_safe)
