"""Faults of a stage: it never arrives, or sets off late."""

from collections.abc import Callable

from acquisition.clock import NS_PER_S
from acquisition.commands import MoveStage
from acquisition.faults import Faults


class FaultyStage:
    """Keeps a move back that the stage is not to make yet, or ever."""

    def __init__(self, faults: Faults, move: Callable[[MoveStage], None]) -> None:
        """`move` sets the real stage off."""
        self._faults, self._move = faults, move
        self._is_stuck = False
        self._waiting: tuple[int, MoveStage] | None = None

    def go(self, command: MoveStage, now_ns: int, running_s: float) -> None:
        """A move that was asked for so long after imaging began."""
        stuck, slow = self._faults.stuck_stage, self._faults.slow_stage
        if stuck is not None and running_s >= stuck.after_s:
            self._is_stuck = True
        elif slow is not None:
            self._waiting = now_ns + round(slow.delay_s * NS_PER_S), command
        else:
            self._move(command)

    def drive(self, now_ns: int) -> None:
        """Set off if it is time. Raises MicroscopeError if the stage then refuses."""
        if self._waiting is not None and now_ns >= self._waiting[0]:
            (_, command), self._waiting = self._waiting, None
            self._move(command)

    def busy(self) -> bool:
        """True while a move is kept back."""
        return self._is_stuck or self._waiting is not None

    def halt(self) -> None:
        """No move is kept back any more."""
        self._is_stuck, self._waiting = False, None
