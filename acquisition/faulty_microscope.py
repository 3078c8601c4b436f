"""Any microscope, with faults: everything else is passed on to the one inside."""

import dataclasses
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from acquisition.clock import NS_PER_S, Clock
from acquisition.commands import Command, MoveStage
from acquisition.faults import MICROSCOPE_FAULTS, Faults
from acquisition.faulty_frames import FaultyFrames
from acquisition.faulty_light import FaultyLight
from acquisition.faulty_stage import FaultyStage
from acquisition.frame import Frame
from acquisition.microscope import (
    BurstSequencer,
    Capabilities,
    DeviceState,
    Imaging,
    Microscope,
    MicroscopeError,
    TellsTruth,
)
from acquisition.pulses import HasPulseTimer, PulseTimer


def with_faults(microscope: Microscope, faults: Faults, to_rescue: bool = False) -> Microscope:
    """The microscope itself, or wrapped if any fault is one of a microscope's.

    `to_rescue`: a fresh process opens a rig that another has left, and whose light is stuck by now.
    """
    if all(getattr(faults, name) is None for name in MICROSCOPE_FAULTS):
        return microscope
    if isinstance(microscope, BurstSequencer):
        return FaultySequencer(microscope, faults, to_rescue)
    return FaultyMicroscope(microscope, faults, to_rescue)


class FaultyMicroscope:
    """A microscope in which chosen things go wrong.

    A stuck light burns from the moment at which its fault is due, and is seen in state(), dose_mj() and make_safe().
    """

    def __init__(self, inner: Microscope, faults: Faults, to_rescue: bool = False) -> None:
        self.inner, self._faults, self._to_rescue = inner, faults, to_rescue
        self._began_ns: int | None = None
        self._lost_at_stall: int | None = None
        self._is_running = False
        self._renew()

    def _renew(self) -> None:
        self._frames = FaultyFrames(self._faults)
        self._stage = FaultyStage(self._faults, self.inner.apply)
        self._light = FaultyLight(self._faults)

    @property
    def rig_id(self) -> str | None:
        return self.inner.rig_id

    # --- life -----------------------------------------------------------------------------------------------------

    def open(self, clock: Clock, imaging: Imaging) -> Capabilities:
        """Open the one inside. A fault's time begins with the first start()."""
        self._clock, self._began_ns, self._lost_at_stall = clock, None, None
        self._renew()
        if self._to_rescue and self._faults.light_stays_on is not None:
            self._light.stick(imaging.light_mw, 0.0, clock.now_ns())
        return self.inner.open(clock, imaging)

    def start(self) -> None:
        self._is_running = True
        self.inner.start()
        if self._began_ns is None:
            self._began_ns = self._clock.now_ns()

    def stop(self) -> None:
        """Frames that are held back are lost: their indices were given out."""
        self._end_imaging(self.inner.stop)
        self._frames.drop()

    def make_safe(self) -> None:
        self._stage.halt()
        self._end_imaging(self.inner.make_safe)
        self._frames.drop()
        self._light.complain()

    def close(self) -> None:
        """The one inside is closed in any case; a light that stays on is told unless make_safe() has said it."""
        self._end_imaging(self.inner.close)
        self._light.complain(once=True)

    def _end_imaging(self, end: Callable[[], None]) -> None:
        self._look_at_light()
        self._is_running = False
        end()

    def _look_at_light(self) -> None:
        """Once its fault is due, a light that is on sticks. A rig that does not answer must not keep anyone from ending it."""
        if self._is_running and self._light.is_due(self._running_s()):
            with suppress(MicroscopeError):
                if (light_mw := self.inner.state().light_mw) > 0:
                    self._light.stick(light_mw, self.inner.dose_mj(), self._clock.now_ns())

    def _turn_light(self) -> None:
        """What was asked of the devices may have changed the power of a light that is stuck."""
        if self._light.is_on:
            self._light.turn_to(self.inner.state().light_mw, self._clock.now_ns())

    def _running_s(self) -> float:
        """Since the first start(); below 0 before it."""
        return -1.0 if self._began_ns is None else (self._clock.now_ns() - self._began_ns) / NS_PER_S

    # --- frames ---------------------------------------------------------------------------------------------------

    def ready_in_s(self) -> float:
        self._drive()
        wait_s = self.inner.ready_in_s()
        due_in_s = self._frames.due_in_s(self._clock.now_ns())
        return wait_s if due_in_s is None else min(wait_s, due_in_s)

    def poll_frame(self) -> Frame | None:
        self._drive()
        self._look_at_light()
        frame = self.inner.poll_frame()
        if self._stalled():
            return None
        if frame is not None:
            beside = self.inner.nuclei() if isinstance(self.inner, TellsTruth) else None
            self._frames.put(frame, self._clock.now_ns(), beside)
        return self._frames.get(self._clock.now_ns())

    def lost_frames(self) -> int:
        inside = self.inner.lost_frames() if self._lost_at_stall is None else self._lost_at_stall
        return inside + self._frames.n_lost

    def dose_mj(self) -> float:
        return self._light.dose_mj(self.inner.dose_mj(), self._clock.now_ns())

    def exhausted(self) -> bool:
        return self.inner.exhausted() and self._frames.due_in_s(self._clock.now_ns()) is None

    def _stalled(self) -> bool:
        """From then on frames are taken from the one inside, so that they do not pile up, and nobody gets them."""
        stalled = self._faults.stalled_camera
        if stalled is None or self._running_s() < stalled.after_s:
            return False
        if self._lost_at_stall is None:
            self._lost_at_stall = self.inner.lost_frames()
        return True

    # --- devices --------------------------------------------------------------------------------------------------

    def apply(self, command: Command) -> None:
        if isinstance(command, MoveStage):
            self._stage.go(command, self._clock.now_ns(), self._running_s())
        else:
            self.inner.apply(command)
            self._turn_light()

    def busy(self) -> bool:
        self._drive()
        return self._stage.busy() or self.inner.busy()

    def halt(self) -> None:
        self._stage.halt()
        self.inner.halt()

    def set_gate(self, opened: bool) -> None:
        self.inner.set_gate(opened)

    @property
    def pulse_timer(self) -> PulseTimer | None:
        """That of the one inside, which knows nothing of these faults."""
        return self.inner.pulse_timer if isinstance(self.inner, HasPulseTimer) else None

    def state(self) -> DeviceState:
        """As read back, a light included that does not go off any more."""
        state = self.inner.state()
        return dataclasses.replace(state, shutter_open=state.shutter_open or self._light.is_on)

    # --- truth ----------------------------------------------------------------------------------------------------

    def nuclei(self) -> Any:
        """Of the frame that was handed out last, for one inside that tells the truth."""
        return self._frames.beside

    def history(self) -> list[Any]:
        """For one inside that tells the truth."""
        return self.inner.history() if isinstance(self.inner, TellsTruth) else []

    def _drive(self) -> None:
        if self._stage.busy():
            self._stage.drive(self._clock.now_ns())


class FaultySequencer(FaultyMicroscope):
    """One whose camera takes bursts by itself: only then is there a `burst`, by which the loop tells them apart."""

    def burst(self, n_frames: int, interval_ms: float) -> int | None:
        """By the camera inside."""
        since_ns = self._sequencer.burst(n_frames, interval_ms)
        if since_ns is not None:
            self._frames.begin_burst(n_frames, since_ns)
        return since_ns

    def burst_failure(self) -> str:
        """The camera's own word, or how many frames the faults have lost, once none of the burst is held back."""
        if self._frames.holds_burst:
            return ""
        return self._sequencer.burst_failure() or self._frames.burst_failure()

    @property
    def _sequencer(self) -> BurstSequencer:
        assert isinstance(self.inner, BurstSequencer)
        return self.inner
