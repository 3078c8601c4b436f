"""The acquisition process: owns the rig, its limits and the clock. Frames out; decisions in, checked, answered."""

import contextlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from acquisition.actuation import Level
from acquisition.clock import NS_PER_MS, NS_PER_S
from acquisition.commands import Order, Outcome, Pause, PulseSorter, Resume, SafeState, Stop
from acquisition.commands import Status as OutcomeStatus
from acquisition.desk import RunEnd
from acquisition.frame import Frame
from acquisition.loop import AcquisitionLoop, RunStopped
from acquisition.microscope import Capabilities, Microscope
from realtime.bus import Address, Client, Door, Telemetry
from realtime.config import RunConfig
from realtime.latency import Histogram
from realtime.processes.backlog import Patience, ring_for, why_full
from realtime.processes.open_decisions import OpenDecisions
from realtime.processes.ticket import Lifeline, Ticket
from realtime.processes.watch import Watch
from realtime.session.truth import truth_writer
from realtime.wire import (
    AnyMessage,
    DecisionMade,
    FrameReady,
    Heartbeat,
    InferenceEnded,
    InferenceStarted,
    Notice,
    OperatorCommand,
    OutcomeReached,
    ProcessLost,
    RecorderReady,
    RunEnded,
    Status,
)

STATUS_EVERY_NS = 100 * NS_PER_MS
OWN = "watch"
"""Source of the orders that this process gives itself when another is lost or back."""


class AcquisitionProcess:
    """Ties the loop to the bus: publish, receive and answer are the loop's three words for it."""

    def __init__(
        self, ticket: Ticket, config: RunConfig, microscope: Microscope, capabilities: Capabilities, lifeline: Lifeline
    ) -> None:
        self._run, self._config, self._lifeline = ticket.run, config, lifeline
        self._microscope, self._keys = microscope, ticket.keys
        self.clock = ticket.clock(config)
        self.ring = ring_for(ticket.ring, config, capabilities)
        self.door = Door(ticket.run, ticket.keys, ticket.role_of, self.clock)
        self.telemetry = Telemetry(ticket.run, ticket.keys, ticket.role_of)
        self.loop = AcquisitionLoop(
            microscope, capabilities, config.limits, config.imaging, self.clock,
            publish=self.publish, receive=self.receive, answer=self.answer, duration_s=ticket.duration_s,
            tell=self.notice, dose=config.dose,
        )  # fmt: skip
        self._truth = None
        if config.recorder.truth:
            self._truth = truth_writer(Path(ticket.folder), microscope, self.clock, threaded=True)
        self._inbox: Client | None = None
        self._decisions = OpenDecisions(ticket.run)
        self._watch = Watch(config.inference.silence_ms)
        self._counts: Counter[str] = Counter()
        self._ages = Histogram()
        self._inference_lost = False
        self._resume_when_back = False
        self._status_due_ns = 0
        self._n_own_orders = 0

    # --- the loop's three words --------------------------------------------------------------------------------------

    def publish(self, frame: Frame, dose_mj: float) -> None:
        """Pixels into the ring, words to inference, which is waiting, and to the recorder."""
        place = self.ring.write(frame.pixels)
        if place is None:
            self._no_room(frame)
            return
        message = FrameReady(
            run=self._run, header=frame.header, slot=place[0], seq=place[1], dose_mj=dose_mj,
            lit_from_um=self.loop.lit_from_um,
        )  # fmt: skip
        if not self.door.send("inference", message):
            self._counts["frames_not_taken_by_inference"] += 1
        self._record(message)
        if self._truth is not None:
            self._truth.see(frame.header)

    def receive(self, timeout_s: float) -> Iterator[Order]:
        """Orders from decisions, operators and this process's own watch over the others."""
        for role, message in self.door.receive(timeout_s):
            yield from self._order_from(role, message)
        now_ns = self.clock.now_ns()
        yield from self._look_after_the_others(now_ns)
        if now_ns >= self._status_due_ns:
            self._status_due_ns = now_ns + STATUS_EVERY_NS
            self._tell_status(now_ns)

    def answer(self, order: Order, status: OutcomeStatus, detail: str, checked_ns: int) -> None:
        """The one outcome of an order: to its sender, the recorder and whoever watches."""
        now_ns = self.clock.now_ns()
        outcome = Outcome(order.id, status, detail, now_ns)
        made = self._decisions.close(order.id)
        if made is None:
            message = OutcomeReached(run=self._run, outcome=outcome)
        else:
            ends_ns = (made.decided_ns, made.sent_ns, checked_ns, now_ns)
            message = OutcomeReached(
                run=self._run, outcome=outcome, decision=made.decision, exposed_ns=made.exposed_ns, ends_ns=ends_ns
            )
            if status == "done" and not isinstance(order.command, PulseSorter):  # a pulse waits on purpose
                self._ages.add(now_ns - made.exposed_ns)
        self._counts[status] += 1
        self._record(message)
        self.door.send("inference", message)
        self.door.send(order.source, message)
        self.telemetry.send(message)
        if order.source == OWN and status == "failed":
            raise RunStopped(f"{type(order.command).__name__} after a loss failed: {detail}")

    # --- what comes in -------------------------------------------------------------------------------------------------

    def _order_from(self, role: str, message: AnyMessage) -> Iterator[Order]:
        """The bus lets nothing through that is not in this list."""
        now_ns = self.clock.now_ns()
        match message:
            case DecisionMade():
                yield from self._decision(message, now_ns)
            case OperatorCommand():
                self._record(message)
                if isinstance(message.command, (Pause, SafeState, Stop)):
                    self._resume_when_back = False  # a person's word outlasts the watch's own
                yield Order(
                    id=message.id, command=message.command, source=role, why=message.why, arrived_ns=now_ns, trusted=True
                )  # fmt: skip
            case Heartbeat():
                self._watch.hear(role, message, self.loop.n_frames, now_ns)
            case InferenceStarted():
                if self._config.sort is not None:
                    self.ring.wait_for_inference()
                self._watch.arrive("inference", now_ns)
                yield from self._welcome_back(now_ns)
            case InferenceEnded():
                self._watch.leave("inference")
            case RecorderReady():
                self._watch.arrive("recorder", now_ns)
                address = Address(message.endpoint, message.server_key)
                self._inbox = Client("inbox", address, self._run, self._keys)
            case ProcessLost():
                yield from self._lost(message.role, message.why, now_ns)
            case Notice():
                self.notice(message.level, message.text, message.source)
                if role in ("recorder", "supervisor") and message.level == "error":
                    raise RunStopped(message.text)

    def _decision(self, message: DecisionMade, now_ns: int) -> Iterator[Order]:
        order = message.decision.order(now_ns)
        if not self._decisions.admit(message):
            self._counts["decisions_repeated"] += 1
        elif reason := self._decisions.reason_against(message, now_ns):
            self.answer(order, "refused", reason, now_ns)
        else:
            yield order

    # --- watching over the others --------------------------------------------------------------------------------------

    def _look_after_the_others(self, now_ns: int) -> Iterator[Order]:
        if self._lifeline.cut:
            raise RunStopped("the supervisor is gone")
        for role, why in self._watch.silent(now_ns):
            yield from self._lost(role, why, now_ns)

    def _lost(self, role: str, why: str, now_ns: int) -> Iterator[Order]:
        self._watch.leave(role)
        if role == "recorder":
            raise RunStopped(f"the recorder is lost ({why}): frames can no longer be kept")
        if role != "inference" or self._inference_lost:
            return
        self._inference_lost = True
        self.ring.forget_inference()
        self._resume_when_back = self.loop.state == "running"
        self.door.forget("inference")
        self.notice("error", f"inference is lost ({why}): the rig is made safe until it is back")
        yield self._own_order(SafeState(), now_ns)

    def _welcome_back(self, now_ns: int) -> Iterator[Order]:
        if not self._inference_lost:
            return
        self._inference_lost = False
        self.notice("info", "inference is back")
        if self._resume_when_back and self.loop.state == "safe":
            yield self._own_order(Resume(), now_ns)

    def _own_order(self, command: SafeState | Resume, now_ns: int) -> Order:
        self._n_own_orders += 1
        return Order(id=f"watch.{self._n_own_orders}", command=command, source=OWN, arrived_ns=now_ns, trusted=True)

    def _no_room(self, frame: Frame) -> None:
        if self._config.ring.when_full == "drop":
            self._counts["frames_dropped"] += 1
            return
        raise RunStopped(why_full(self.ring, frame.header.index))

    # --- telling -----------------------------------------------------------------------------------------------------

    def _record(self, message: AnyMessage) -> None:
        if self._inbox is not None:
            self._inbox.send(message)

    def notice(self, level: Level, text: str, source: str = "acquisition") -> None:
        """To the journal and to whoever watches."""
        message = Notice(run=self._run, t_ns=self.clock.now_ns(), source=source, level=level, text=text[:4000])
        self._record(message)
        self.telemetry.send(message)

    def _note_refusals(self) -> None:
        for server in (self.door, self.telemetry):
            server.count_strangers()
            for text in server.refusals.take_texts():
                self.notice("warning", text)

    def _tell_status(self, now_ns: int) -> None:
        self._note_refusals()
        figures = self.figures()
        figures["inference_idle_s"] = self._watch.inference_idle_s(now_ns)
        figures["inference_lost"] = float(self._inference_lost)
        self.telemetry.send(
            Status(
                run=self._run, t_ns=now_ns, state=self.loop.state, frames=self.loop.n_frames,
                lost=self._microscope.lost_frames(), figures=figures,
            )
        )  # fmt: skip

    def figures(self) -> dict[str, float]:
        """Counts and levels for the status line and the summary."""
        own = {
            "ring_fill": self.ring.fill(),
            "ring_slots": float(self.ring.n_slots),
            **({"stacks_behind": float(self.ring.inference_behind())} if self._config.sort is not None else {}),
            "dose_mj": self.loop.dose_mj,
            "decision_age_p50_ms": self._ages.quantile_ms(0.5),
            "decision_age_p99_ms": self._ages.quantile_ms(0.99),
            "frames_lost_by_camera": float(self._microscope.lost_frames()),
            "frames_repeated_by_camera": float(self.loop.n_repeated),
            "messages_refused": float(self.door.refusals.counts["message"]),
            "handshakes_refused": float(sum(s.refusals.counts["handshake"] for s in (self.door, self.telemetry))),
        }
        return self._watch.figures | {name: float(n) for name, n in self._counts.items()} | own

    # --- a run's beginning and end -----------------------------------------------------------------------------------

    def wait_for_the_others(self) -> None:
        """Return once the recorder listens and inference is warm; RunStopped if they take too long."""
        start_s = self._config.inference.start_s
        until_ns = self.clock.now_ns() + round(start_s * NS_PER_S)
        while self._inbox is None or "inference" not in self._watch:
            had_recorder = self._inbox is not None
            for order in self.receive(0.1):
                self.answer(order, "refused", "the run has not begun", order.arrived_ns)
                if isinstance(order.command, Stop):
                    raise RunStopped(f"stopped by {order.source} before it began")
            if self._inbox is not None and not had_recorder:
                until_ns = self.clock.now_ns() + round(start_s * NS_PER_S)  # inference starts only now
            if self.clock.now_ns() > until_ns:
                missing = "the recorder" if self._inbox is None else "inference"
                raise RunStopped(f"{missing} was not ready within {start_s:g} s (inference.start_s)")
        self._watch.hear_all(self.clock.now_ns())

    def say_farewell(self, end: RunEnd) -> None:
        """Tell inference that the run is over, answer what is still said, then close the recorder's book."""
        if self._truth is not None and (lack := self._truth.close()):
            self.notice("warning", lack)
        ended = RunEnded(run=self._run, reason=end.reason[:4000], ok=end.ok, figures=self.figures())
        patience = Patience(self.clock, self.ring)
        while self._is_awaited() and patience.lasts():
            self.door.send("inference", ended)
            with contextlib.suppress(RunStopped):  # what would have ended the run comes too late
                for role, message in self.door.receive(0.05):
                    for order in self._order_from(role, message):
                        self.answer(order, "refused", "the run has ended", order.arrived_ns)
        self._record(ended)
        self.telemetry.send(ended)

    def _is_awaited(self) -> bool:
        """Inference has not said its last word, or the recorder, without whom nothing is kept, not its first."""
        return "inference" in self._watch or (self._inbox is None and not self._lifeline.cut)

    def close(self) -> None:
        if self._truth is not None:
            self._truth.stop()
        for part in (self._inbox, self.door, self.telemetry, self.ring):
            if part is not None:
                part.close()
