"""The recorder process: keeps every frame and every word, and lets go of a ring slot only when its pixels are safe."""

import os
from collections import deque
from pathlib import Path

from acquisition.clock import NS_PER_S
from realtime.bus import Client, Inbox
from realtime.processes.ticket import Ended, Lifeline, Pulse, Ready, Reporter, Ticket, Working
from realtime.ring import Ring
from realtime.session.disk import DiskFull, RecordingError
from realtime.session.writer import SessionWriter
from realtime.wire import AnyMessage, FrameReady, InferenceEnded, InferenceStarted, Notice, RecorderReady, RunEnded

IDLE_S = 0.05
BUSY_S = 0.002
LAST_WORDS_S = 2.0
ALONE_S = 4.0
QUIET_S = 0.2
FIGURES_NS = NS_PER_S // 5
WORKING_NS = NS_PER_S // 2


class RecorderProcess:
    """Ties the session writer to the ring and the inbox."""

    def __init__(self, ticket: Ticket) -> None:
        assert ticket.door is not None
        self._run, self._ticket = ticket.run, ticket
        config = ticket.read_config()
        self.clock = ticket.clock(config)
        self.writer = SessionWriter(
            Path(ticket.folder), ticket.session_toml, self.clock, config.recorder, config.faults
        )
        self._keeps_images = config.recorder.images == "all"
        self._ring = Ring.attach(ticket.ring)
        self.inbox = Inbox(ticket.run, ticket.keys, ticket.role_of)
        self._door = Client("door", ticket.door, ticket.run, ticket.keys)
        self._pulse = Pulse(ticket, ticket.door)
        self._seqs: deque[int] = deque()
        """Of the frames that are being written, in the ring."""
        self._n_released = self._n_kept = self._n_told = 0
        self._figures_due_ns = self._working_due_ns = 0
        self._inference_runs = False
        self._ended_ns: int | None = None
        self._alone_ns: int | None = None
        self.problem = ""

    def start(self) -> None:
        """Tell the acquisition process where to send."""
        address = self.inbox.address
        self._door.send(RecorderReady(run=self._run, endpoint=address.endpoint, server_key=address.server_key))

    def turn(self) -> None:
        """Write what has come, release what is safe."""
        for _, message in self.inbox.receive(BUSY_S if self._seqs else IDLE_S):
            self._keep(message)
        self._release(self.writer.settled())
        self._note_refusals()
        self._pulse.progress += 1
        self._refresh_figures()

    def over(self) -> bool:
        """True once the run has ended and inference has said its last word, or would have by now."""
        if self._ended_ns is None:
            return self._alone_ns is not None and self.clock.now_ns() - self._alone_ns > ALONE_S * NS_PER_S
        silent_s = (self.clock.now_ns() - self._ended_ns) / NS_PER_S
        return not self._inference_runs or silent_s > LAST_WORDS_S

    def left_alone(self) -> None:
        """The supervisor is gone. The others notice it too, and get a while to say how the run ended."""
        self._alone_ns = self._alone_ns or self.clock.now_ns()

    def drain(self, reporter: Reporter) -> None:
        """Keep what is still on its way, until nothing comes any more and every frame is on the disk."""
        quiet = False
        while not quiet or self._seqs:
            quiet = True
            for _, message in self.inbox.receive(QUIET_S):
                quiet = False
                self._keep(message)
                self._report_work(reporter)
            self._release(self.writer.settled())
            self._report_work(reporter)

    def complain(self, text: str) -> None:
        """Ask the acquisition process to end the run, once."""
        if not self.problem:
            self.problem = text
            self._door.send(
                Notice(run=self._run, t_ns=self.clock.now_ns(), source="recorder", level="error", text=text[:4000])
            )

    def close(self) -> None:
        """Finish the session and let go; `writer.close` is what makes it complete."""
        try:
            self.writer.close()
            self._release(self.writer.n_settled)
        finally:
            self._pulse.stop()
            for part in (self.inbox, self._door, self._ring):
                part.close()

    def _keep(self, message: AnyMessage) -> None:
        self._watch_space()
        self._n_kept += 1
        match message:
            case FrameReady(header=header, slot=slot, seq=seq):
                pixels = self._ring.view(slot, seq, header.shape, header.dtype) if self._keeps_images else None
                self.writer.add_frame(message, pixels)
                self._seqs.append(seq)
                self._release(self.writer.settled())  # behind a backlog the camera waits for slots now
                return
            case InferenceStarted():
                self._inference_runs = True
            case InferenceEnded():
                self._inference_runs = False
            case RunEnded():
                self._ended_ns = self.clock.now_ns()
        self.writer.add(message)

    def _note_refusals(self) -> None:
        self.inbox.count_strangers()
        for text in self.inbox.refusals.take_texts():
            self._keep(
                Notice(run=self._run, t_ns=self.clock.now_ns(), source="recorder", level="warning", text=text[:4000])
            )

    def _watch_space(self) -> None:
        """When space runs short the run is asked to end, and what is on its way still goes into the reserve."""
        try:
            self.writer.check_space()
        except DiskFull as full:
            self.complain(str(full))

    def _refresh_figures(self) -> None:
        if self.clock.now_ns() >= self._figures_due_ns:
            self._figures_due_ns = self.clock.now_ns() + FIGURES_NS
            refused = {f"{what}s_refused": float(n) for what, n in self.inbox.refusals.counts.items()}
            self._pulse.figures = self.writer.figures() | refused

    def _report_work(self, reporter: Reporter) -> None:
        n_written = self._n_kept + self._n_released
        if n_written > self._n_told and self.clock.now_ns() >= self._working_due_ns:
            self._n_told, self._working_due_ns = n_written, self.clock.now_ns() + WORKING_NS
            reporter.say(Working(n_written=n_written))

    def _release(self, n_settled: int) -> None:
        while self._n_released < n_settled:
            self._n_released += 1
            self._ring.release(self._seqs.popleft())


def yield_to_the_loop() -> None:
    """The ring gives the recorder time; a decision has none: on a small machine the others go first."""
    if hasattr(os, "nice"):
        os.nice(10)
    if hasattr(os, "SCHED_BATCH"):
        os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))


def run(ticket: Ticket, reporter: Reporter, lifeline: Lifeline) -> Ended:
    """Record until the run has ended and everything is on disk."""
    yield_to_the_loop()
    process = RecorderProcess(ticket)
    try:
        process.start()
        reporter.say(Ready(inbox=process.inbox.address))
        while not process.over():
            process.turn()
            if lifeline.cut:
                process.left_alone()
        process.drain(reporter)
    except RecordingError as error:
        process.complain(str(error))
        return Ended(ok=False, reason=str(error))
    finally:
        process.close()
    return Ended(ok=not process.problem, reason=process.problem or "everything is written")
