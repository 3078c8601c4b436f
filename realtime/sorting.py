"""Strips to pulses: the whole sort on one page.

    stack of strips ─ StripFinder ─→ sightings ─ FlowTracker ─→ cells with arrival times
                                         └ crops ─ classifier, one batch ─→ evidence a cell ─ gate, verdicts ─→ pulses

The same object runs in the inference process, inline without any process, and in replay. It knows no clock but that of
the strips: whether a pulse comes too late is for the process that owns the rig to say.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from acquisition.clock import Clock
from acquisition.frame import Frame, FrameHeader
from models.sightings import Sightings
from models.strips import StripFinder
from realtime.config import RunConfig
from realtime.decisions import Decision
from realtime.latency import SORT_STAGES, Stamps
from realtime.plugins import ConfigError
from realtime.sort.classifying import LookClassifier, Pictures, classifier_of
from realtime.sort.deciding import Planner, decisions_for
from realtime.sort.events import SortEvents, events_of
from realtime.sort.evidence import SequentialTest
from realtime.sort.gate import check_channel, check_scale, inside
from realtime.sort.looks import NO_CELL, Looks, chosen, feature_names_of, rows_of
from realtime.sort.settings import SortSettings
from realtime.sort.verdicts import judged
from realtime.sort.waiting import joined, not_yet_gone, only
from realtime.sort.warm_up import warm_up
from realtime.sort.watch import Watch
from tracking.flow import FlowTracker
from tracking.flow_cells import FlowCells


@dataclass(frozen=True)
class View:
    """What looks at strips of one size."""

    strip_px: tuple[int, ...]
    """Rows and columns."""
    finder: StripFinder
    tracker: FlowTracker
    watch: Watch


@dataclass(frozen=True)
class SortAnalysis:
    """What one stack of strips led to."""

    header: FrameHeader
    n_unseen: int
    """Strips in which no cell could be found."""
    n_sightings: int
    n_in_view: int
    """Cells that have not left the view yet."""
    events: SortEvents
    """Cells that have left it with this stack."""
    decisions: list[Decision]
    """Pulses for the rig."""
    shadow: list[Decision]
    """Pulses that a dry sort would have fired."""
    exposed_ns: dict[str, int]
    """Decision id → end of exposure of the last strip with its cell."""
    stamps: Stamps


class Sorting:
    """Looks at stacks of strips, one after the other, every one; remembers background, cells in view and on their way."""

    def __init__(self, settings: SortSettings, classifier: LookClassifier, clock: Clock, ids_used: int = 0) -> None:
        """Cells get higher ids than `ids_used`."""
        self._ids_used = ids_used
        self.settings, self.classifier, self.clock = settings, classifier, clock
        self._test = SequentialTest.of(settings.gate, classifier)
        self._planner = Planner(settings.pulse)
        self._pictures = Pictures()
        self._looks: Looks | None = None
        self._waiting: FlowCells | None = None
        self._view: View | None = None

    @classmethod
    def from_config(cls, config: RunConfig, clock: Clock, ids_used: int = 0) -> "Sorting":
        """A fresh one: background unknown, nobody in view."""
        assert config.sort is not None
        return cls(config.sort, classifier_of(config), clock, ids_used)

    @property
    def description(self) -> str:
        """What classifies, for the journal."""
        return self.classifier.description

    def prepare(self, height_px: int, width_px: int) -> None:
        """For stacks of this size: opens the engine, and compiles whatever a first stack would. Raises EngineError."""
        self.classifier.prepare(height_px, width_px)
        warm_up(
            lambda settings: Sorting(settings, self.classifier, self.clock), self.settings, self.classifier.um_per_px
        )

    def look(self, frame: Frame, intact: Callable[[], bool] = lambda: True) -> SortAnalysis | None:
        """Everything that follows from one stack; None, as if it never came, if it was overwritten while it was copied."""
        stamps = Stamps(self.clock, frame.header.t_ns, frame.header.t_read_ns, SORT_STAGES)
        stamps.mark("queued")
        strips, times = np.array(frame.strips()), frame.header.strips_t_ns
        if not intact():
            return None
        view = self._view_of(frame.header, strips.shape[1:])
        sightings = view.finder.find(strips, times)
        view.watch.look(times, view.finder.unseen)
        stamps.mark("found")
        cells = joined(view.tracker.update(sightings, times, frame.header.exposure_ms), self._waiting)
        stamps.mark("followed")
        looks = self._looked(view.finder, sightings, cells)
        stamps.mark("classified")
        return self._judged(frame.header, view, sightings, cells, looks, stamps)

    def _view_of(self, header: FrameHeader, strip_px: tuple[int, ...]) -> View:
        """Made with the first stack, which says how large strips are, and a pixel in them. Raises ConfigError."""
        if self._view is None:
            check_channel(self.settings, header)
            check_scale(self.classifier, header)
            flow, um_per_px = self.settings.flow, header.um_per_px
            tracker = FlowTracker(flow, um_per_px, header.width_px)
            tracker.skip_ids(self._ids_used)
            finder, watch = StripFinder(self.settings.finder, um_per_px), Watch(flow, header.width_px * um_per_px)
            self._view = View(strip_px, finder, tracker, watch)
        if strip_px != self._view.strip_px:
            raise ConfigError(
                f"frame {header.index}: its strips have {list(strip_px)} rows and columns, those before had "
                f"{list(self._view.strip_px)}; a sort needs one size throughout: do not change the region of interest"
            )
        return self._view

    def _looked(self, finder: StripFinder, sightings: Sightings, cells: FlowCells) -> Looks:
        """Sums over all looks at the cells, those of this stack included; one call of the network for the whole stack."""
        rows = rows_of(cells)
        looks = self._carried(sightings, cells)
        looks.measure(sightings, rows)
        left = np.where(self._needs_a_look(looks), self.settings.looks - looks.n_classified, 0)
        picked = chosen(np.where(sightings.whole, rows, NO_CELL), left, self.settings.crops_per_stack)
        crops = finder.crops(picked, self.classifier.side_px)
        if len(picked):
            looks.judge(self.classifier.probabilities(crops), rows[picked], self._test)
        self._pictures.add(crops, cells.cell_of[picked])
        return looks

    def _carried(self, sightings: Sightings, cells: FlowCells) -> Looks:
        if self._looks is None:
            self._looks = Looks.none(len(feature_names_of(sightings)), len(self.classifier.class_names))
        self._looks = self._looks.carried_to(cells.id)
        return self._looks

    def _needs_a_look(self, looks: Looks) -> npt.NDArray[np.bool_]:
        llr = self._test.joined(looks.llr_sum, looks.n_classified)
        open_question = (self._test.lower < llr) & (llr < self._test.upper)
        return open_question | ((llr >= self._test.upper) & (looks.n_classified < self.settings.gate.least_looks))

    def _judged(
        self, header: FrameHeader, view: View, sightings: Sightings, cells: FlowCells, looks: Looks, stamps: Stamps
    ) -> SortAnalysis:
        """A verdict for every cell that is gone, pulses for some of them."""
        gate, test, names = self.settings.gate, self._test, feature_names_of(sightings)
        llr, features = test.joined(looks.llr_sum, looks.n_classified), looks.features()
        verdict = judged(llr, looks.n_classified, inside(gate, features, names), test, gate.least_looks)
        plan = self._planner.plan(cells, verdict, view.watch, header.t_ns)
        self._waiting, cells = only(cells, plan.waiting), not_yet_gone(cells, plan.waiting)
        decisions = decisions_for(plan, self._planner, cells, header.index, test.p_wanted(llr), looks.n_classified)
        events = events_of(
            header.index, cells, looks, test, features, names, self.classifier.class_names, verdict, decisions
        )
        stamps.mark("decided")
        return SortAnalysis(
            header=header, n_unseen=int(np.count_nonzero(view.finder.unseen)), n_sightings=len(sightings),
            n_in_view=int(np.count_nonzero(~cells.gone)), events=self._with_pictures(events, cells),
            decisions=[] if self.settings.dry else decisions, shadow=decisions if self.settings.dry else [],
            exposed_ns={d.id: int(cells.last_ns[row]) for d, row in zip(decisions, plan.pulses, strict=True)}, stamps=stamps,
        )  # fmt: skip

    def _with_pictures(self, events: SortEvents, cells: FlowCells) -> SortEvents:
        crops, rows = self._pictures.take(events.event_id, events.pictured(self.settings.crops_kept))
        self._pictures.keep(cells.id)
        return events.with_pictures(crops, rows, glowing=self.settings.finder.polarity == "bright")
