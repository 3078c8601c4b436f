"""The inference process: newest frame in, decisions out; every frame it had to skip is counted."""

import os
from itertools import product
from pathlib import Path

import msgspec
import numpy as np

from acquisition.actuation import Level
from acquisition.clock import NS_PER_MS
from acquisition.frame import Frame, FrameHeader, StagePosition
from models.engines.engine import EngineError
from models.manifest import ModelError
from models.perception import Perception
from models.threshold import ThresholdSegmenter
from realtime.bus import BusError, Client
from realtime.faulty_inference import Killer, slow_down
from realtime.inference import Analysis, Inference, perception_from
from realtime.processes.ticket import Ended, Lifeline, Pulse, Ready, Reporter, Ticket, settle_memory
from realtime.ring import Overwritten, Ring
from realtime.tracker_memory import TrackerMemory
from realtime.wire import (
    FrameReady,
    InferenceEnded,
    InferenceStarted,
    Notice,
    RunEnded,
)
from realtime.words import analysed, decisions_made
from tracking.tracker import Tracker

IDLE_S = 0.1


class InferenceProcess:
    """Ties Inference to the ring and the bus."""

    def __init__(self, ticket: Ticket) -> None:
        assert ticket.door is not None
        assert ticket.inbox is not None
        config = ticket.read_config()
        self.clock = ticket.clock(config)
        self._run = ticket.run
        self._incarnation = self.clock.now_ns()
        self._ring = Ring.attach(ticket.ring)
        self._door = Client("door", ticket.door, ticket.run, ticket.keys)
        self._inbox = Client("inbox", ticket.inbox, ticket.run, ticket.keys)
        perception = perception_from(config)
        assert ticket.frame_px is not None
        self._frame_px = ticket.frame_px
        warm_up(Inference.from_config(config, self.clock, perception), ticket.frame_px)
        warm_up_tracker(config.tracker.build(), perception)
        self._inference = Inference.from_config(config, self.clock, perception)
        self._inference.ledger.prepare(ticket.frame_px)
        slow_down(perception, config.faults, self.clock)
        self._killer = Killer(config.faults.killed_inference)
        self._memory = TrackerMemory(
            self._inference.tracker,
            config.inference,
            Path(ticket.folder),
            ticket.run,
            self._ring,
            self._inference.ledger,
        )
        self._pulse = Pulse(ticket, ticket.door)
        self._skipped = 0
        self._analysed = 0
        self._skipped_in_all = 0
        self.ended = False

    def start(self) -> None:
        """Take up the tracker of the process before this one, if there was one, and say so."""
        begun = self._memory.begin(self.clock.now_ns())
        started = InferenceStarted(
            run=self._run,
            pid=os.getpid(),
            perception=self._inference.perception.description,
            incarnation=self._incarnation,
            frame_px=self._frame_px,
            from_frame=begun.from_frame,
            ids_used=begun.ids_used,
        )
        self._inbox.send(started)
        self._door.send(started)
        if begun.warning:
            self._say("warning", begun.warning)

    def turn(self) -> None:
        """Look at the newest frame of all that have come."""
        newest: FrameReady | None = None
        for message in self._door.receive(IDLE_S):
            if isinstance(message, FrameReady):
                if newest is not None:
                    self._skipped += 1
                    self._inference.skip(newest.header, newest.dose_mj, newest.lit_from_um)
                newest = message
            elif isinstance(message, RunEnded):
                self.ended = True
        if newest is not None and not self.ended:
            self._look(newest)

    def _look(self, message: FrameReady) -> None:
        header = message.header
        self._killer.see(header.index)
        try:
            pixels = self._ring.view(message.slot, message.seq, header.shape, header.dtype)
            analysis = self._inference.look(
                Frame(header, pixels), message.dose_mj, lambda: self._ring.intact(message.slot, message.seq),
                message.lit_from_um,
            )  # fmt: skip
        except Overwritten:
            analysis = None
            self._inference.skip(header, message.dose_mj, message.lit_from_um)
        if analysis is None:
            self._skipped += 1
            return
        self._memory.note_ids(analysis.scene.tracks)
        self._act(analysis)
        self._report(self._inference.with_shadow(analysis))
        if complaint := self._memory.save_if_due(header, self.clock.now_ns()):
            self._say("warning", complaint)

    def _act(self, analysis: Analysis) -> None:
        """Decisions leave before anything is written down."""
        for message in decisions_made(self._run, analysis, self.clock):
            self._door.send(message)

    def _report(self, analysis: Analysis) -> None:
        scene = analysis.scene
        self._analysed += 1
        self._skipped_in_all += self._skipped
        self._inbox.send(analysed(self._run, analysis, self._skipped, self._incarnation))
        self._skipped = 0
        for text in analysis.complaints:
            self._say("warning", text)
        self._pulse.progress = self._analysed
        self._pulse.figures = {
            "cells": len(scene.cells), "tracks": len(scene.tracks), "analysed": self._analysed, "skipped": self._skipped_in_all,
        }  # fmt: skip

    def _say(self, level: Level, text: str) -> None:
        self._inbox.send(Notice(run=self._run, t_ns=self.clock.now_ns(), source="inference", level=level, text=text))

    def close(self) -> None:
        """The last word to both, then silence."""
        last = InferenceEnded(
            run=self._run, n_analysed=self._analysed, cell_j_cm2=tuple(self._inference.ledger.cell_j_cm2.tolist())
        )
        self._inbox.send(last)
        self._door.send(last)
        self._pulse.stop()
        self._memory.close(run_has_ended=self.ended)
        for part in (self._inbox, self._door, self._ring):
            part.close()


def warm_up(inference: Inference, frame_px: tuple[int, int], n_frames: int = 3) -> None:
    """Look at frames with a bright spot until every engine, buffer and compiled loop exists.

    Perception is kept, for it remembers nothing; the tracker and policies of this inference are thrown away.
    """
    pixels = np.zeros(frame_px, np.uint16)
    pixels[tuple(slice(length // 2, length // 2 + 16) for length in frame_px)] = 1000
    for index in range(n_frames):
        header = msgspec.structs.replace(_blank_header(index, frame_px), channel=inference.perception.channel)
        inference.look(Frame(header, pixels), 0.0)


def warm_up_tracker(tracker: Tracker, perception: Perception, n_frames: int = 5) -> None:
    """Show a tracker, which is then thrown away, a crowd that moves and divides, so that nothing is compiled in the loop.

    A threshold finds these blocks, which no network was trained on; classes and features are the run's own.
    """
    crowd = Perception(ThresholdSegmenter(), perception.classifier, perception.features)
    for index in range(n_frames):
        pixels = np.full((160, 160), 100, np.uint16)
        for y, x in product(range(4, 130, 32), range(4 + 3 * index, 140, 20)):
            pixels[y : y + 22, x : x + 10] = 1000
            pixels[y + 8 : y + 14, x : x + 10] = 1000 if index < n_frames - 2 else 100
        tracker.update(crowd.analyse(Frame(_blank_header(index, pixels.shape), pixels)))


def _blank_header(index: int, frame_px: tuple[int, ...]) -> FrameHeader:
    return FrameHeader(
        index=index, t_ns=index * 50 * NS_PER_MS, t_read_ns=index * 50 * NS_PER_MS,
        height_px=frame_px[0], width_px=frame_px[1],
        dtype="uint16", channel="", exposure_ms=1.0, interval_ms=50.0, light_mw=0.0, stage=StagePosition(),
        stage_from_pixel=(1.0, 0.0, 0.0, 0.0, 1.0, 0.0), um_per_px=1.0,
    )  # fmt: skip


def run(ticket: Ticket, reporter: Reporter, lifeline: Lifeline) -> Ended:
    """Decide until the run ends."""
    try:
        process = InferenceProcess(ticket)
    except (EngineError, ModelError) as error:
        return Ended(ok=False, reason=str(error), restart_helps=False)
    try:
        process.start()
        reporter.say(Ready())
        settle_memory()
        while not process.ended and not lifeline.cut:
            process.turn()
    except BusError as error:
        return Ended(ok=False, reason=str(error))
    finally:
        process.close()
    return Ended(ok=True, reason="the run has ended" if process.ended else "the supervisor is gone")
