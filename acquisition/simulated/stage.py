"""The stage and focus drive of the simulated microscope: they take time, have an end, and play in their gears."""

import math
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

from acquisition.clock import NS_PER_MS, NS_PER_S
from acquisition.commands import MoveStage
from acquisition.frame import StagePosition
from acquisition.microscope import MicroscopeError
from acquisition.simulated.settings import StageSettings

Axes = tuple[float, float, float]
NAMES = ("x_um", "y_um", "z_um")
KEPT_TRIPS = 10_000
"""Of the past; light is told with the next exposure, which is long before so many moves are over."""
STEP_UM = 10.0
"""About a nucleus: light that falls on the way is told in pieces no longer than that."""


@dataclass(frozen=True)
class _Trip:
    start: Axes
    target: Axes
    begins_ns: int
    arrives_ns: int
    settled_ns: int


class SimulatedStage:
    """Travels in a straight line at one speed, then settles; reaches ± half of its travel along each axis.

    An axis whose way turns round ends `backlash_um` short of where it was sent. Its encoder sees that: what the stage says of
    its place is true, and a second move to the same place arrives.
    """

    def __init__(self, travel_um: tuple[float, float], settings: StageSettings) -> None:
        self._reach_um = (travel_um[0] / 2, travel_um[1] / 2, settings.z_um / 2)
        self._settings, self._settle_ns = settings, round(settings.settle_ms * NS_PER_MS)
        self._trips = deque([_Trip((0.0, 0.0, 0.0), (0.0, 0.0, 0.0), 0, 0, 0)], maxlen=KEPT_TRIPS)
        self._heading = [0.0, 0.0, 0.0]  # sign of each axis's last way; 0 before the first

    def at(self, t_ns: int) -> StagePosition:
        """Where the stage was, or will be if nobody sends it elsewhere; of the past its latest 10,000 trips are known."""
        return StagePosition(*self._place(t_ns))

    def way(self, begins_ns: int, ends_ns: int) -> Iterator[tuple[int, int, StagePosition]]:
        """That time in pieces (begins_ns, ends_ns, where): in each the stage stands, or goes STEP_UM in x and y at most."""
        for first_ns, last_ns in pairwise([begins_ns, *self._turns(begins_ns, ends_ns), ends_ns]):
            n = max(1, math.ceil(math.dist(self._place(first_ns)[:2], self._place(last_ns)[:2]) / STEP_UM))
            cuts = [first_ns + (last_ns - first_ns) * i // n for i in range(n + 1)]
            yield from ((a, b, self.at((a + b) // 2)) for a, b in pairwise(cuts) if a < b)

    def go(self, move: MoveStage, now_ns: int) -> None:
        """Set off at once, from wherever the stage is. Raises MicroscopeError if that is out of reach."""
        start = self._place(now_ns)
        asked = [
            here if target is None else self._within_reach(axis, target)
            for axis, (target, here) in enumerate(zip((move.x_um, move.y_um, move.z_um), start, strict=True))
        ]
        x_um, y_um, z_um = (self._arrival(axis, start[axis], target) for axis, target in enumerate(asked))
        self._set_off(start, (x_um, y_um, z_um), now_ns)

    def halt(self, now_ns: int) -> None:
        """Stop where it is, at once."""
        here = self._place(now_ns)
        self._trips.append(_Trip(here, here, now_ns, now_ns, now_ns))

    def busy(self, now_ns: int) -> bool:
        """True while moving or settling."""
        return now_ns < self._trips[-1].settled_ns

    def _turns(self, after_ns: int, before_ns: int) -> list[int]:
        """When the stage set off or arrived, in order."""
        turns = set[int]()
        for trip in reversed(self._trips):
            turns |= {t_ns for t_ns in (trip.begins_ns, trip.arrives_ns) if after_ns < t_ns < before_ns}
            if trip.begins_ns <= after_ns:
                break
        return sorted(turns)

    def _place(self, t_ns: int) -> Axes:
        trip = next((trip for trip in reversed(self._trips) if trip.begins_ns <= t_ns), self._trips[0])
        if t_ns >= trip.arrives_ns:
            return trip.target
        way = max(0, t_ns - trip.begins_ns) / max(1, trip.arrives_ns - trip.begins_ns)
        x_um, y_um, z_um = (a + way * (b - a) for a, b in zip(trip.start, trip.target, strict=True))
        return x_um, y_um, z_um

    def _arrival(self, axis: int, start_um: float, target_um: float) -> float:
        """Where an axis really ends; the first part of a way back only takes up the play."""
        if target_um == start_um:
            return target_um
        heading = math.copysign(1.0, target_um - start_um)
        turned, self._heading[axis] = self._heading[axis] == -heading, heading
        short_um = min(self._settings.backlash_um, abs(target_um - start_um)) if turned else 0.0
        return target_um - heading * short_um

    def _set_off(self, start: Axes, target: Axes, now_ns: int) -> None:
        distance_um = math.dist(start, target)
        arrives_ns = now_ns + round(distance_um / self._settings.speed_um_s * NS_PER_S)
        settled_ns = arrives_ns + self._settle_ns * (distance_um > 0)
        self._trips.append(_Trip(start, target, now_ns, arrives_ns, settled_ns))

    def _within_reach(self, axis: int, target_um: float) -> float:
        if abs(target_um) > self._reach_um[axis]:
            allowed = f"it travels ±{self._reach_um[axis]:g} µm"
            raise MicroscopeError(f"simulated stage: {NAMES[axis]} {target_um:g} is out of reach, {allowed}")
        return target_um
