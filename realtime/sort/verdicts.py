"""What became of a cell: one verdict for each that left the view."""

from enum import IntEnum

import numpy as np
import numpy.typing as npt

from models.cells import Floats
from realtime.sort.evidence import SequentialTest


class Verdict(IntEnum):
    """Why a cell was sorted, or was not. The number is what stands in events.parquet; a name is never given another."""

    SORTED = 0
    WITH_ANOTHER = 1
    UNWANTED = 2
    UNDECIDED = 3
    OUTSIDE_GATE = 4
    TOO_FEW_LOOKS = 5
    UNCERTAIN_ARRIVAL = 6
    COINCIDENCE = 7
    GATE_BUSY = 8
    TOO_LATE = 9

    @property
    def word(self) -> str:
        """As it is counted in the journal."""
        return self.name.lower()

    @property
    def meaning(self) -> str:
        """For people."""
        return MEANINGS[self]


MEANINGS = {
    Verdict.SORTED: "wanted, and a pulse is planned for it",
    Verdict.WITH_ANOTHER: "wanted, and deflected by the pulse of another wanted cell",
    Verdict.UNWANTED: "the evidence says that it is not of the wanted classes",
    Verdict.UNDECIDED: "the evidence was not enough, either way, when it left the view",
    Verdict.OUTSIDE_GATE: "of a wanted class, but a measured feature is outside its range",
    Verdict.TOO_FEW_LOOKS: "classified in fewer strips than the gate asks for; in none if it was never seen whole",
    Verdict.UNCERTAIN_ARRIVAL: "wanted, but its arrival at the junction is too uncertain for the pulse",
    Verdict.COINCIDENCE: "wanted, but a cell that is not, or that nobody saw, might be deflected with it",
    Verdict.GATE_BUSY: "wanted, but the gate is open or recovers just then for another",
    Verdict.TOO_LATE: "wanted, but its pulse would have begun before the newest strip was exposed",
}


def judged(
    llr: Floats, n_classified: npt.NDArray[np.int64], is_inside: npt.NDArray[np.bool_], test: SequentialTest, least: int
) -> npt.NDArray[np.uint8]:
    """What the evidence says about each cell `[M]`; SORTED stands for "wanted": whether there is a pulse is seen later.

    `is_inside` the gate's features, `least` the looks that it asks for.
    """
    verdict = np.full(len(llr), Verdict.UNDECIDED, np.uint8)
    verdict[llr >= test.upper] = Verdict.OUTSIDE_GATE
    verdict[(llr >= test.upper) & is_inside] = Verdict.SORTED
    verdict[n_classified < least] = Verdict.TOO_FEW_LOOKS
    verdict[llr <= test.lower] = Verdict.UNWANTED
    return verdict
