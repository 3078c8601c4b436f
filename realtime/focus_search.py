"""Focus by three looks: a step below, here and a step above; a parabola through their sharpness says where to go."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from acquisition.clock import NS_PER_MS
from acquisition.commands import MoveStage
from acquisition.frame import FrameHeader

NEAR = 0.1
"""The focus has arrived within this share of a step."""
MOST_TRIES = 3
"""A move of the focus is asked for so many times."""
MOST_STEPS = 5
"""Searches in a row, if the best place lay at an end of each."""


@dataclass
class FocusSearch:
    """One search at a time. A look is a frame whose exposure began after the move: the second one at its place."""

    step_um: float
    patience_ms: float
    _to_do_um: list[float] = field(default_factory=list)
    """Places that still have to be looked at; the first one is where the focus is, or is on its way to."""
    _middle_um: float = 0.0
    _looks: list[float] = field(default_factory=list)
    _settling: bool = False
    """The best place is known, and the focus is on its way there."""
    _was_there: bool = False
    _asked_ns: int | None = None
    _n_tries: int = 0
    _n_steps: int = 0

    @property
    def under_way(self) -> bool:
        """Nobody else should move the stage."""
        return bool(self._to_do_um)

    def begin(self, z_um: float) -> None:
        """Around the place where the focus is now."""
        self._n_steps = 0
        self._plan(z_um)

    def turn(self, frame: FrameHeader, sharpness: float) -> MoveStage | None:
        """One frame on: the move that is due, if there is one. A look that says nothing (NaN) ends the search."""
        if not self._to_do_um:
            return None
        there = abs(frame.stage.z_um - self._to_do_um[0]) <= NEAR * self.step_um
        if not there:
            self._was_there = False
            return self._ask(frame)
        if not self._was_there:
            self._was_there = True
            return None
        return self._look(frame, sharpness)

    def _plan(self, z_um: float) -> None:
        self._middle_um, self._looks, self._settling = z_um, [], False
        self._head_for([z_um - self.step_um, z_um, z_um + self.step_um])

    def _head_for(self, places_um: list[float]) -> None:
        self._to_do_um, self._was_there, self._asked_ns, self._n_tries = places_um, False, None, 0

    def _ask(self, frame: FrameHeader) -> MoveStage | None:
        """For the move, again if it has not arrived after a while. One that never arrives ends the search where it began."""
        if self._asked_ns is not None and frame.t_ns - self._asked_ns < self.patience_ms * NS_PER_MS:
            return None
        if self._n_tries == MOST_TRIES and self._settling:
            self._head_for([])
            return None
        if self._n_tries == MOST_TRIES:
            self._settling = True
            self._head_for([self._middle_um])
        self._n_tries += 1
        self._asked_ns = frame.t_ns
        return MoveStage(z_um=self._to_do_um[0])

    def _look(self, frame: FrameHeader, sharpness: float) -> MoveStage | None:
        if self._settling:
            self._settled()
            return None
        self._looks.append(sharpness)
        self._head_for(self._to_do_um[1:])
        if math.isnan(sharpness) or not self._to_do_um:
            offset_um = 0.0 if math.isnan(sharpness) else self.step_um * sharpest(self._looks)
            self._settling = True
            self._head_for([self._middle_um + offset_um])
        return self._ask(frame)

    def _settled(self) -> None:
        """Search on from the end of the range if the best place may lie beyond it."""
        z_um = self._to_do_um[0]
        at_end = math.isclose(abs(z_um - self._middle_um), self.step_um)
        self._n_steps += 1
        if at_end and self._n_steps < MOST_STEPS:
            self._plan(z_um)
        else:
            self._head_for([])


def sharpest(looks: Sequence[float]) -> float:
    """Where a parabola through looks at −1, 0 and 1 is highest; ±1 where that is no peak between them."""
    below, here, above = looks
    bend = below - 2 * here + above
    if bend < 0:
        return min(max((below - above) / (2 * bend), -1.0), 1.0)
    return math.copysign(1.0, above - below) if above != below else 0.0
