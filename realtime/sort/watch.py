"""When nobody looked: a cell that crossed the view in such a time may be at the junction like any other, and nobody knows.

Strips are missing when a stack was lost, the camera paused, light flooded the view or the background was being learned;
cells may also have passed before the first one, and will come after the latest.
"""

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from acquisition.clock import NS_PER_S
from realtime.sort.pulses import EVER_NS, Arrivals, Spans, Times, no_spans
from tracking.flow_fit import SLOWEST
from tracking.flow_settings import FlowSettings

Bools = npt.NDArray[np.bool_]


@dataclass
class Watch:
    """Which cells nobody can have seen; remembers the times without a look until the last such cell has passed."""

    flow: FlowSettings
    view_um: float
    gaps: Spans = field(default_factory=no_spans)
    """From one strip in which cells could be found to the next, where a cell may have crossed the view in between."""
    _looked_ns: int = -EVER_NS

    def look(self, strips_t_ns: tuple[int, ...], unseen: Bools) -> None:
        """A stack; in its `unseen` strips `[B]` no cell could be found."""
        looks_ns: Times = np.array([self._looked_ns, *np.array(strips_t_ns, np.int64)[~unseen]], np.int64)
        gaps = np.stack((looks_ns[:-1], looks_ns[1:]), axis=1)
        fastest_um_s = self.flow.speed_um_s * (1 + self.flow.speed_spread)
        gaps = gaps[np.diff(gaps, axis=1)[:, 0] > self.view_um / fastest_um_s * NS_PER_S]
        remembered_ns = (self.flow.junction_um - self.view_um / 2) / (SLOWEST * self.flow.speed_um_s) * NS_PER_S
        self.gaps = np.concatenate((self.gaps[self.gaps[:, 1] + remembered_ns > strips_t_ns[-1]], gaps))
        self._looked_ns = int(looks_ns[-1])

    def hidden(self, speed_um_s: float) -> Arrivals:
        """When cells that nobody saw may be at the junction, if they are as fast as this: neighbours of one that is."""
        first_ns, last_ns = (
            (self.flow.junction_um + side * self.view_um / 2) / speed_um_s * NS_PER_S for side in (1, -1)
        )
        gaps = np.concatenate((self.gaps, np.array([[self._looked_ns, EVER_NS]])))
        spans = gaps + np.rint([first_ns, last_ns]).astype(np.int64)
        half_ns = (spans[:, 1] - spans[:, 0]) // 2
        there = half_ns > 0
        middle_ns = spans[:, 0] + half_ns
        return Arrivals(middle_ns[there], np.full(np.count_nonzero(there), float(EVER_NS)), half_ns[there])
