"""The whole run in one process, without bus or threads: deterministic, and as fast as the machine allows.

Same loop, same inference, same session folder. Time is simulated unless the microscope is real.
"""

import contextlib
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path

from acquisition.actuation import Level
from acquisition.clock import Clock, SimulatedClock, SystemClock
from acquisition.commands import Order, Outcome
from acquisition.commands import Status as OutcomeStatus
from acquisition.desk import RunEnd
from acquisition.faulty_clock import faulty_clock
from acquisition.frame import Frame
from acquisition.loop import AcquisitionLoop, RunStopped
from acquisition.microscope import Microscope
from models.perception import Perception
from realtime.config import RunConfig
from realtime.devices import build_rig
from realtime.faults import confess
from realtime.inference import Inference
from realtime.inline_looking import InferenceLooker, See, looker_for
from realtime.plugins import ConfigError
from realtime.processes.rig_lock import RigLock
from realtime.session.disk import RecordingError
from realtime.session.truth import truth_writer
from realtime.session.writer import SessionWriter
from realtime.wire import (
    AnyMessage,
    DecisionMade,
    FrameReady,
    InferenceEnded,
    InferenceStarted,
    Notice,
    OutcomeReached,
    RunEnded,
)

Hear = Callable[[AnyMessage], None]
"""Called with every message of the run but frames."""


class InlineRun:
    """Ties the loop to inference by function calls."""

    def __init__(
        self, config: RunConfig, run: str, microscope: Microscope, clock: Clock, writer: SessionWriter | None,
        duration_s: float | None = None, see: See = lambda analysis: None, hear: Hear = lambda message: None,
        perception: Perception | None = None,
    ) -> None:  # fmt: skip
        """`perception` None: a fresh one, as the config says."""
        self.clock, self.microscope = clock, microscope
        self._looker = looker_for(config, run, clock, perception, see)
        capabilities = microscope.open(clock, config.imaging)
        self.loop = AcquisitionLoop(
            microscope, capabilities, config.limits, config.imaging, clock,
            publish=self.publish, receive=self.receive, answer=self.answer, duration_s=duration_s, tell=self._notice,
            dose=config.dose,
        )  # fmt: skip
        self._run, self._writer, self._hear = run, writer, hear
        self._truth = None
        if writer is not None and config.recorder.truth:
            self._truth = truth_writer(writer.folder, microscope, clock, threaded=False)
        self._orders: deque[Order] = deque()
        self._pending: dict[str, DecisionMade] = {}
        self._problem = ""
        frame_px = (capabilities.height_px, capabilities.width_px)
        self._looker.prepare(*frame_px)
        self._tell(InferenceStarted(run=run, pid=0, perception=self._looker.description, frame_px=frame_px))
        confess(config.faults, self._notice)

    @property
    def inference(self) -> Inference:
        """Of a run that does not sort."""
        assert isinstance(self._looker, InferenceLooker)
        return self._looker.inference

    def publish(self, frame: Frame, dose_mj: float) -> None:
        """A frame is looked at on the spot."""
        lit_from_um = self.loop.lit_from_um
        ready = FrameReady(
            run=self._run, header=frame.header, slot=0, seq=frame.header.index, dose_mj=dose_mj, lit_from_um=lit_from_um
        )
        self._record(ready, frame)
        if self._truth is not None:
            self._truth.see(frame.header)
        looked = self._looker.look(frame, dose_mj, lit_from_um)
        for made in looked.made:
            self._pending[made.decision.id] = made
            self._orders.append(made.decision.order(self.clock.now_ns()))
        self._tell(looked.words)
        for text in looked.complaints:
            self._notice("warning", text, "inference")

    def receive(self, timeout_s: float) -> Iterator[Order]:
        """Decisions are already here; otherwise time passes."""
        if not self._orders:
            self.clock.sleep_s(timeout_s)
        while self._orders:
            yield self._orders.popleft()

    def answer(self, order: Order, status: OutcomeStatus, detail: str, checked_ns: int) -> None:
        """Write the outcome down."""
        now_ns = self.clock.now_ns()
        made = self._pending.pop(order.id)
        self._tell(
            OutcomeReached(
                run=self._run, outcome=Outcome(order.id, status, detail, now_ns), decision=made.decision,
                exposed_ns=made.exposed_ns, ends_ns=(made.decided_ns, made.sent_ns, checked_ns, now_ns),
            )
        )  # fmt: skip

    def image(self) -> RunEnd:
        """Until the run ends."""
        end = self.loop.run()
        for order in self._orders:
            self.answer(order, "refused", f"the run ended: {end.reason}", self.clock.now_ns())
        if self._truth is not None and (lack := self._truth.close()):
            self._notice("warning", lack)
        figures = {"dose_mj": self.loop.dose_mj, "frames_lost_by_camera": float(self.microscope.lost_frames())}
        figures["frames_repeated_by_camera"] = float(self.loop.n_repeated)
        self._tell(InferenceEnded(run=self._run, n_analysed=self.loop.n_frames, cell_j_cm2=self._looker.cell_j_cm2))
        self._tell(RunEnded(run=self._run, reason=end.reason, ok=end.ok, figures=figures))
        return end

    def _notice(self, level: Level, text: str, source: str = "acquisition") -> None:
        self._tell(Notice(run=self._run, t_ns=self.clock.now_ns(), source=source, level=level, text=text))

    def _record(self, message: FrameReady, frame: Frame) -> None:
        if self._writer is not None:
            try:
                self._writer.check_space()
                self._writer.add_frame(message, frame.pixels)
                self._writer.settled()
            except RecordingError as error:
                self._problem = str(error)
        if self._problem:
            raise RunStopped(self._problem)

    def _tell(self, message: AnyMessage) -> None:
        """A disk that fails now ends the run with the next frame, not in the middle of making the rig safe."""
        self._hear(message)
        if self._writer is not None:
            try:
                self._writer.add(message)
            except RecordingError as error:
                self._problem = self._problem or str(error)


def clock_for(microscope: Microscope) -> Clock:
    """Simulated time where there is no hardware to keep step with."""
    return SimulatedClock() if microscope.rig_id is None else SystemClock()


@contextlib.contextmanager
def inline_run(
    config: RunConfig,
    run: str,
    folder: Path | None,
    session_toml: str,
    duration_s: float | None,
    see: See = lambda analysis: None,
    hear: Hear = lambda message: None,
) -> Iterator[InlineRun]:
    """A rig, its lock and its session folder around one inline run; `folder` None records nothing."""
    if config.faults.killed_inference is not None:
        raise ConfigError(
            "faults.killed_inference kills the inference process, and a run with --inline has none: run without --inline"
        )
    microscope = build_rig(config)
    clock = clock_for(microscope)
    clock = faulty_clock(clock, config.faults, clock.now_ns())
    with RigLock(microscope.rig_id, run), contextlib.ExitStack() as stack:
        stack.callback(microscope.close)
        writer = (
            SessionWriter(folder, session_toml, clock, config.recorder, config.faults) if folder is not None else None
        )
        if writer is not None:
            stack.callback(writer.close)
        yield InlineRun(config, run, microscope, clock, writer, duration_s, see, hear)
