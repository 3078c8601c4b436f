"""The inference process of a sort: every stack of strips in order, pulses out; a stack that it could not see is an error."""

import os

from acquisition.clock import NS_PER_MS, NS_PER_S
from acquisition.frame import Frame
from models.engines.engine import EngineError
from models.manifest import ModelError
from realtime.bus import BusError, Client
from realtime.faulty_inference import Killer, slowed
from realtime.plugins import ConfigError
from realtime.processes.ticket import Ended, Lifeline, Pulse, Ready, Reporter, Ticket, settle_memory
from realtime.ring import Overwritten, Ring
from realtime.sort.tally import SortTally
from realtime.sort.words import pulses_made, sorted_words
from realtime.sorting import SortAnalysis, Sorting
from realtime.wire import FrameReady, InferenceEnded, InferenceStarted, Notice, RunEnded

IDLE_S = 0.1
FIGURES_NS = 50 * NS_PER_MS
COMPLAINT_NS = NS_PER_S
"""Stacks that were missed are told of at most so often."""


class SortingProcess:
    """Ties Sorting to the ring and the bus."""

    def __init__(self, ticket: Ticket) -> None:
        assert ticket.door is not None
        assert ticket.inbox is not None
        assert ticket.frame_px is not None
        config = ticket.read_config()
        self.clock = ticket.clock(config)
        self._run, self._frame_px = ticket.run, ticket.frame_px
        self._incarnation = self.clock.now_ns()
        self._ring = Ring.attach(ticket.ring)
        self._door = Client("door", ticket.door, ticket.run, ticket.keys)
        self._inbox = Client("inbox", ticket.inbox, ticket.run, ticket.keys)
        self._ids_used = self._ring.last_track_id
        self._sorting = Sorting.from_config(config, self.clock, self._ids_used)
        self._sorting.prepare(*ticket.frame_px)
        self._look_at = slowed(self._sorting.look, config.faults, self.clock)
        self._killer = Killer(config.faults.killed_inference)
        self._pulse = Pulse(ticket, ticket.door)
        self._tally = SortTally()
        self._last: FrameReady | None = None
        self._unseen = 0
        """Stacks that were missed since the last one that was not."""
        self._untold = self._untold_of_camera = 0
        self._told_ns = self._figures_ns = 0
        self.ended = False

    def start(self) -> None:
        """Say that it is ready: from then on no stack is written over before it was looked at."""
        started = InferenceStarted(
            run=self._run, pid=os.getpid(), perception=self._sorting.description, incarnation=self._incarnation,
            frame_px=self._frame_px, ids_used=self._ids_used,
        )  # fmt: skip
        self._inbox.send(started)
        self._door.send(started)

    def turn(self, lifeline: Lifeline) -> None:
        """Look at all stacks that have come, the oldest first; the end of the run comes behind the last of them."""
        for message in self._door.receive(IDLE_S):
            if isinstance(message, FrameReady):
                self._look(message)
            elif isinstance(message, RunEnded):
                self.ended = True
            if self.ended or lifeline.cut:
                return
        self._tell_of_missed()

    def _look(self, message: FrameReady) -> None:
        header = message.header
        self._killer.see(header.index)
        if self._last is not None:
            unseen = message.seq - self._last.seq - 1
            self._miss(unseen)
            self._untold_of_camera += header.index - self._last.header.index - 1 - unseen
        self._last = message
        try:
            pixels = self._ring.view(message.slot, message.seq, header.shape, header.dtype)
            analysis = self._look_at(
                Frame(header, pixels), lambda: self._ring.intact(message.slot, message.seq)
            )  # fmt: skip
        except Overwritten:
            analysis = None
        if analysis is not None:
            self._act(analysis)
        self._ring.looked(message.seq)
        if analysis is None:
            self._miss(1)
        else:
            self._report(analysis)
        self._tell_of_missed()

    def _act(self, analysis: SortAnalysis) -> None:
        """Pulses leave before anything is written down."""
        for message in pulses_made(self._run, analysis, self.clock):
            self._door.send(message)

    def _report(self, analysis: SortAnalysis) -> None:
        if len(analysis.events):
            self._ring.last_track_id = max(self._ring.last_track_id, int(analysis.events.event_id.max()))
        words = sorted_words(self._run, analysis, self._unseen, self._incarnation)
        self._inbox.send(words)
        self._unseen = 0
        self._tally.add(words)
        self._pulse.progress = self._tally.stacks
        if (now_ns := self.clock.now_ns()) >= self._figures_ns:
            self._figures_ns = now_ns + FIGURES_NS
            self._pulse.figures = self._tally.figures()

    def _miss(self, n: int) -> None:
        self._unseen += n
        self._untold += n
        self._tally.skipped += n

    def _tell_of_missed(self) -> None:
        """Every now and then, to the rig's process, which tells everyone."""
        now_ns = self.clock.now_ns()
        if not self._untold + self._untold_of_camera or now_ns - self._told_ns < COMPLAINT_NS:
            return
        told = {
            "were overwritten before they were looked at": self._untold,
            "were lost by the camera, or found the ring full": self._untold_of_camera,
        }
        text = " and ".join(f"{n} stacks of strips {what}" for what, n in told.items() if n)
        words = f"{text}: their cells were not sorted"
        self._door.send(Notice(run=self._run, t_ns=now_ns, source="inference", level="error", text=words))
        self._untold, self._untold_of_camera, self._told_ns = 0, 0, now_ns

    def close(self) -> None:
        """The last word to both, then silence."""
        self._pulse.figures = self._tally.figures()
        last = InferenceEnded(run=self._run, n_analysed=self._tally.stacks)
        self._inbox.send(last)
        self._door.send(last)
        self._pulse.stop()
        for part in (self._inbox, self._door, self._ring):
            part.close()


def run(ticket: Ticket, reporter: Reporter, lifeline: Lifeline) -> Ended:
    """Sort until the run ends."""
    try:
        process = SortingProcess(ticket)
    except (EngineError, ModelError) as error:
        return Ended(ok=False, reason=str(error), restart_helps=False)
    try:
        process.start()
        reporter.say(Ready())
        settle_memory()
        while not process.ended and not lifeline.cut:
            process.turn(lifeline)
    except BusError as error:
        return Ended(ok=False, reason=str(error))
    except ConfigError as error:
        return Ended(ok=False, reason=str(error), restart_helps=False)
    finally:
        process.close()
    return Ended(ok=True, reason="the run has ended" if process.ended else "the supervisor is gone")
