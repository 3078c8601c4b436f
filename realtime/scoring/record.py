"""What one run leaves for the judge: every frame as the truth has it, every outcome, every true event."""

from dataclasses import dataclass, field

import numpy as np

from acquisition.frame import FrameHeader
from acquisition.simulated.history import TrueEvent
from models.cells import Floats
from realtime.scoring.tracking_quality import TrackingFigures
from realtime.wire import OutcomeReached
from tracking.tracks import Ints


@dataclass(frozen=True)
class Look:
    """One frame, and what was really in it."""

    header: FrameHeader
    dose_mj: float
    """Light of the run up to and with this frame."""
    in_view: Ints
    """Ids of the living cells whose middle is in the frame."""
    defocus_um: float = 0.0
    """How far the specimen is from the plane that is in focus."""
    snr: float | None = None
    """True signal-to-noise ratio of the median cell; None where no cell is in view."""


@dataclass(frozen=True)
class Record:
    """One run of one arm with one seed."""

    view_um: tuple[float, float]
    """Width and height of the field."""
    opened_ns: int
    planned_ns: int
    """When the run was to end, whether or not it did so earlier."""
    ended_ns: int
    looks: list[Look]
    outcomes: list[OutcomeReached]
    events: list[TrueEvent]
    """All that happened in the specimen until the planned end."""
    dose_mj: float
    cells_j_cm2: Floats = field(default_factory=lambda: np.empty(0))
    """Dose of every cell that light has fallen on, at the end."""
    tracking: TrackingFigures | None = None
    """None where nobody looked at the frames."""
    place_j_cm2: float = 0.0
    """The most that any place has got."""


@dataclass
class SignalBelow:
    """Counts frames in a row whose median cell is below a signal-to-noise ratio; frames without a cell say nothing."""

    target: float
    n: int = 0
    since_ns: int = 0
    """When the first of them was taken."""

    def count(self, look: Look) -> int:
        """With one more frame."""
        if look.snr is None:
            return self.n
        self.n = self.n + 1 if look.snr < self.target else 0
        self.since_ns = look.header.t_ns if self.n == 1 else self.since_ns
        return self.n
