"""Decisions that wait for their one outcome: each id counts once, and only decisions of this run are orders."""

from collections import deque

from acquisition.clock import NS_PER_MS
from realtime.wire import DecisionMade

REMEMBERED = 10_000


class OpenDecisions:
    """What the acquisition process knows of decisions between their arrival and their outcome."""

    def __init__(self, run: str) -> None:
        self._run = run
        self._open: dict[str, DecisionMade] = {}
        self._foreign: dict[str, DecisionMade] = {}
        self._seen: set[str] = set()
        self._in_order: deque[str] = deque()

    def admit(self, made: DecisionMade) -> bool:
        """False if its id is empty or has come before: that one has had, or will have, its outcome.

        A decision of another run, which is refused at once, does not take an id away from one of this run.
        """
        name = made.decision.id
        if name and made.run != self._run:
            self._foreign[name] = made
            return True
        if not name or name in self._seen:
            return False
        if len(self._in_order) == REMEMBERED:
            self._seen.discard(self._in_order.popleft())
        self._seen.add(name)
        self._in_order.append(name)
        self._open[name] = made
        return True

    def reason_against(self, made: DecisionMade, now_ns: int) -> str | None:
        """Why it cannot become an order, whatever it asks for; or None."""
        if made.run != self._run:
            return f"it belongs to run {made.run}; this is run {self._run}"
        if made.decision.deadline_ns is None:
            return "it has no deadline_ns; only what people and the supervisor ask for does not expire"
        if not made.exposed_ns <= made.decided_ns <= made.sent_ns <= now_ns + NS_PER_MS:
            return "its time marks are not in order or lie in the future"
        return None

    def close(self, order_id: str) -> DecisionMade | None:
        """The decision whose outcome is being told; None if the order was none."""
        return self._foreign.pop(order_id, None) or self._open.pop(order_id, None)
