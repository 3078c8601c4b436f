"""Places where something sticks to the glass: seen there strip after strip, it is no cell that flows."""

import numpy as np
import numpy.typing as npt

from models.labelling import compiled
from tracking.flow_state import MOST_SPOTS, Record, Records

SAME_UM = 0.75
"""What sticks is seen within this of where it was."""
CERTAIN = 3
"""Strips after which a spot takes its sightings before flowing cells are looked for."""
FORGET = 64
"""Strips without a sighting after which a spot is free again."""


@compiled
def on_spots(seen: Records, spots: Records, strip: int) -> npt.NDArray[np.bool_]:
    """Which sightings are of spots that are certain, `[n]`; spots that were not seen for long are forgotten."""
    taken = np.zeros(len(seen), np.bool_)
    for s in range(MOST_SPOTS):
        if spots[s].seen >= CERTAIN:
            for j in range(len(seen)):
                if _near(seen[j], spots[s]):
                    taken[j] = True
                    spots[s].last = strip
        if spots[s].seen > 0 and strip - spots[s].last > FORGET:
            spots[s].seen = 0
    return taken


@compiled
def sticks(look: Record, before: Records, n_before: int, spots: Records, strip: int) -> bool:
    """Is a sighting of no cell that flows where a spot is, or where something was seen in the strip before? Remembered."""
    for s in range(MOST_SPOTS):
        if spots[s].seen > 0 and _near(look, spots[s]):
            spots[s].seen += 1
            spots[s].last = strip
            return True
    for b in range(n_before):
        if _near(look, before[b]):
            spot = spots[_free(spots)]
            spot.x_um, spot.y_um, spot.seen, spot.last = look.x_um, look.y_um, 2, strip
            return True
    return False


@compiled
def _free(spots: Records) -> int:
    """A place for another one: an empty one, or that of the spot that was seen longest ago."""
    best = 0
    for s in range(MOST_SPOTS):
        if spots[s].seen == 0:
            return s
        if spots[s].last < spots[best].last:
            best = s
    return best


@compiled
def _near(one: Record, other: Record) -> bool:
    return bool(abs(one.x_um - other.x_um) < SAME_UM and abs(one.y_um - other.y_um) < SAME_UM)
