"""A Micro-Manager rig as a microscope: MMCore in this process, or a running Micro-Manager's ZMQ server.

Everything that touches the core runs in one worker thread (core_thread.py); this class hands it work, one hop a
call, and waits with a time limit.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from acquisition.clock import NS_PER_MS, NS_PER_S, Clock
from acquisition.commands import Command
from acquisition.frame import Frame
from acquisition.micromanager.connection import connect
from acquisition.micromanager.core_thread import CoreThread, Ticket
from acquisition.micromanager.frames import Unnumbered
from acquisition.micromanager.light import manual_shutter
from acquisition.micromanager.rig import Rig
from acquisition.micromanager.settings import MicroManagerSettings
from acquisition.micromanager.timing import SnapTimes
from acquisition.microscope import Capabilities, DeviceState, Imaging, MicroscopeError, RigGone

T = TypeVar("T")
POLL_S = 0.0005
"""MMCore does not tell when an image has come: from when one is due, look this often."""
LONGEST_UNREAD_S = 0.05
"""A camera that runs faster than it should fills its buffer: look at least this often."""


@dataclass(kw_only=True)
class MicroManagerMicroscope(MicroManagerSettings):
    """Any camera, stage, light and trigger that Micro-Manager can drive.

    In `stream` mode the end of exposure is estimated from the camera's own time (timing.py says how,
    and how well). A camera without `interval_property` runs as fast as its exposure allows; the first of its
    images after each interval becomes a frame, the others are thrown away. The shutter is open from `start` to
    `stop`; unless it is wired to the camera (`shutter_follows_camera`), the sample is lit all the time, and the
    dose says so.

    In `snap` mode the end of exposure is when the driver returns, and no other call gets through during an
    exposure: the trigger output cannot keep its time, so there is no PulseSorter.

    A burst is a sequence of its own in both modes: MMCore is asked for so many images, all of them become frames,
    and what was imaged before goes on. Other than at the camera's full rate (an interval of one exposure) it needs
    `interval_property`, and in `snap` also `shutter_follows_camera`; where it cannot, the loop counts the frames.
    """

    _thread: CoreThread | None = field(default=None, init=False, repr=False)
    _rig: Rig | None = field(default=None, init=False, repr=False)
    _clock: Clock | None = field(default=None, init=False, repr=False)
    _snap: Ticket[Unnumbered | None] | None = field(default=None, init=False, repr=False)
    _snap_overdue_ns: int = field(default=0, init=False, repr=False)
    _snap_times: SnapTimes = field(default_factory=SnapTimes, init=False, repr=False)

    @property
    def rig_id(self) -> str:
        """The configuration file or the server: what only one run may hold."""
        if self.core == "java":
            return f"micromanager:java:{self.port}"
        return f"micromanager:{Path(self.config_file).expanduser().resolve()}"

    def open(self, clock: Clock, imaging: Imaging) -> Capabilities:
        """Load the configuration, or reach the server, and set all up; the light stays off."""
        if clock.simulated:
            raise MicroscopeError(
                "a Micro-Manager rig needs the system's clock: its camera does not wait for a simulated one"
            )
        if self._thread is not None:
            raise MicroscopeError("this microscope is open already; close it first")
        self._thread, self._clock = CoreThread(f"core of {self.rig_id}"), clock
        try:
            self._rig = self._call("open", lambda: self._open_rig(clock, imaging), self.open_timeout_s)
            return self._rig.capabilities()
        except BaseException:
            self._leave_thread()
            raise

    def start(self) -> None:
        """Light and camera on; in `snap` mode the light waits for each exposure."""
        rig = self._opened()
        if not rig.camera.running:
            self._snap_times.restart()
        self._call("start", rig.start)

    def stop(self) -> None:
        """Camera and light off. Frames that have not been polled by now are dropped."""
        rig = self._opened()
        self._snap = None
        self._call("stop", rig.stop)

    def ready_in_s(self) -> float:
        """Until the next frame is due; from then on the time to the next look."""
        rig = self._opened()
        if rig.has_frame or (self._snap is not None and self._snap.done):
            return 0.0
        if rig.camera.bursting:
            return POLL_S
        now_ns, interval_ns = self._now_ns(), round(rig.camera.interval_ms * NS_PER_MS)
        if self.mode == "snap":
            return POLL_S if self._snap is not None else self._snap_times.due_in_s(now_ns, interval_ns)
        next_ns = rig.camera.spacing.next_ns(interval_ns)
        due_in_s = POLL_S if next_ns is None else (next_ns - now_ns) / NS_PER_S
        return min(max(due_in_s, POLL_S), LONGEST_UNREAD_S)

    def poll_frame(self) -> Frame | None:
        """One look into the core's buffer, or one step of the snap that is under way."""
        rig = self._opened()
        if not rig.camera.running:
            return None
        bursting = rig.has_frame or rig.camera.bursting
        sequenced = self.mode == "stream" or (bursting and self._snap is None)
        return rig.hand_out(self._call("poll_frame", rig.take) if sequenced else self._poll_snap(rig))

    def lost_frames(self) -> int:
        """Frames that MMCore discarded because they were not read in time, as far as they were wanted."""
        return self._rig.lost if self._rig else 0

    def dose_mj(self) -> float:
        """Power × time for which the light was on, or with `shutter_follows_camera` the exposures of all images."""
        return self._rig.dose_mj() if self._rig else 0.0

    def exhausted(self) -> bool:
        """Never: a camera does not run out of frames."""
        return False

    def apply(self, command: Command) -> None:
        """Only a move goes on after this has returned; a channel has been switched by then."""
        rig = self._opened()
        self._call(type(command).__name__, lambda: rig.apply(command))

    def burst(self, n_frames: int, interval_ms: float) -> int | None:
        """Sequenced by the camera where it keeps the interval by itself; the light stays on meanwhile."""
        rig = self._opened()
        return self._call("burst", lambda: rig.burst(n_frames, interval_ms))

    def burst_failure(self) -> str:
        """Asks no device."""
        return self._opened().burst_failure()

    def busy(self) -> bool:
        """True while a move is under way; MicroscopeError if it came to rest elsewhere than asked."""
        return self._call("busy", self._opened().busy)

    def halt(self) -> None:
        """Every drive is told to stop, and no move is under way any more."""
        self._call("halt", self._opened().halt)

    def set_gate(self, opened: bool) -> None:
        """Returns when the device has taken the order."""
        rig = self._opened()
        self._call("set_gate", lambda: rig.set_gate(opened))

    def state(self) -> DeviceState:
        """`light_mw` is the power while lit, `interval_ms` what camera or thinning are set to."""
        return self._call("state", self._opened().state)

    def make_safe(self) -> None:
        """Every step is tried; MicroscopeError lists those that failed. Harmless where nothing is open."""
        if self._rig is not None:
            self._snap = None
            self._call("make_safe", self._rig.make_safe)

    def close(self) -> None:
        """Make safe and unload the devices; Micro-Manager keeps its own. A rig that is gone is just left."""
        rig, thread = self._rig, self._thread
        try:
            if rig is not None and thread is not None and not thread.gone:
                self._call("close", rig.close, self.open_timeout_s)
        finally:
            self._leave_thread()

    def _poll_snap(self, rig: Rig) -> Unnumbered | None:
        """Begin a snap when it is due; collect it when it is done, without holding up the loop in between."""
        now_ns, interval_ns = self._now_ns(), round(rig.camera.interval_ms * NS_PER_MS)
        if self._snap is None:
            if self._snap_times.due_in_s(now_ns, interval_ns) == 0:
                self._snap_times.begin(now_ns, interval_ns)
                self._snap_overdue_ns = now_ns + round(self._timeout_s() * NS_PER_S)
                self._snap = self._watched(lambda thread: thread.submit("snap", rig.snap, self._timeout_s()))
            return None
        if not self._snap.done and now_ns < self._snap_overdue_ns:
            return None
        ticket, self._snap = self._snap, None
        return self._watched(lambda thread: thread.wait(ticket, None if ticket.done else 0.0))

    # --- the core's thread --------------------------------------------------------------------------------

    def _opened(self) -> Rig:
        if self._rig is None:
            raise MicroscopeError("this microscope is not open")
        return self._rig

    def _now_ns(self) -> int:
        assert self._clock is not None
        return self._clock.now_ns()

    def _call(self, what: str, work: Callable[[], T], timeout_s: float | None = None) -> T:
        limit_s = self._timeout_s() if timeout_s is None else timeout_s
        return self._watched(lambda thread: thread.call(what, work, limit_s))

    def _watched(self, use: Callable[[CoreThread], T]) -> T:
        """Use the thread; a rig that is found to be gone is given up so that this process can end."""
        assert self._thread is not None
        try:
            return use(self._thread)
        except RigGone:
            if self.core == "java":
                import pyjavaz

                # Else every Java object would wait for the server's answer when Python ends.
                pyjavaz.server_terminated(self.port)
            raise

    def _timeout_s(self) -> float:
        return self.call_timeout_s + (self._rig.camera.last_exposure_ms / 1000 if self._rig else 0.0)

    def _leave_thread(self) -> None:
        if self._thread is not None:
            self._thread.end()
        self._thread = self._rig = self._snap = None

    # --- the core, in its thread --------------------------------------------------------------------------

    def _open_rig(self, clock: Clock, imaging: Imaging) -> Rig:
        assert self._thread is not None
        core, let_go = connect(self, self._thread.note)
        release = let_go
        try:
            release = manual_shutter(core, let_go)
            return Rig(core, release, self, clock, imaging)
        except BaseException:
            release()
            raise
