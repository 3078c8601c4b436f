"""Keeps a record of a run while it goes on: each frame beside its truth, and every outcome."""

from acquisition.clock import Clock
from acquisition.dose_map import DoseMap
from acquisition.simulated.microscope import SimulatedMicroscope
from acquisition.simulated.nuclei import Nuclei
from models.cells import Floats
from realtime.inference import Analysis
from realtime.scoring.record import Look, Record, SignalBelow
from realtime.scoring.settings import ScoreSettings
from realtime.scoring.signal import median_snr
from realtime.scoring.tracking_quality import TrackingWatch
from realtime.scoring.truth import in_view
from realtime.wire import AnyMessage, OutcomeReached


class Watch:
    """Sees and hears an inline run."""

    def __init__(self, microscope: SimulatedMicroscope, settings: ScoreSettings, tracked: bool) -> None:
        """`tracked`: whether anybody looks at the frames, so that tracking can be judged."""
        self.is_over = False
        """True once the signal-to-noise target is lost, with which the experiment ends."""
        self.looks: list[Look] = []
        self._places: DoseMap | None = None
        self._below = SignalBelow(settings.snr_target or 0.0)
        self._lost_after = settings.snr_lost_after
        self.outcomes: list[OutcomeReached] = []
        self._microscope = microscope
        self._tracking = TrackingWatch() if tracked else None

    def see(self, analysis: Analysis) -> None:
        """A frame, just after it was looked at."""
        scene = analysis.scene
        self._places = scene.dose.places
        alive = self._microscope.nuclei()
        nuclei = alive[in_view(alive, scene.frame)]
        if self._tracking is not None:
            self._tracking.see(scene, nuclei)
        self.looks.append(
            Look(
                scene.frame, scene.dose.total_mj, nuclei.id, self._microscope.defocus_um(),
                median_snr(nuclei, scene.frame, self._microscope),
            )
        )  # fmt: skip
        self.is_over |= self._below.count(self.looks[-1]) >= self._lost_after

    def hear(self, message: AnyMessage) -> None:
        """What the run says."""
        if isinstance(message, OutcomeReached):
            self.outcomes.append(message)

    def record(
        self, clock: Clock, opened_ns: int, planned_ns: int, view_um: tuple[float, float], dose_mj: float
    ) -> Record:
        """Of a run that has ended; lets the specimen live on until the planned end, to know what was missed."""
        ended_ns = min(clock.now_ns(), planned_ns)
        self._microscope.live_on(max(planned_ns, clock.now_ns()))
        return Record(
            view_um=view_um, opened_ns=opened_ns, planned_ns=planned_ns, ended_ns=ended_ns, looks=self.looks,
            outcomes=self.outcomes, events=self._microscope.history(), dose_mj=dose_mj,
            cells_j_cm2=_lit(self._microscope.nuclei()), tracking=self._tracking.figures() if self._tracking else None,
            place_j_cm2=self._places.highest_j_cm2 if self._places is not None else 0.0,
        )  # fmt: skip


def _lit(nuclei: Nuclei) -> Floats:
    """Dose of the cells that light has fallen on."""
    dose: Floats = nuclei.dose_j_cm2
    return dose[dose > 0]
