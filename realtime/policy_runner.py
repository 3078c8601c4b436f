"""Asks one policy, and keeps the run going whatever the policy does."""

import sys
import traceback
from itertools import islice

import msgspec
from msgspec.structs import replace

from acquisition.clock import NS_PER_MS, Clock
from realtime.config import InferenceSettings
from realtime.decisions import Decision
from realtime.policy import Policy, Scene
from realtime.suspension import failure_words

MOST_DECISIONS = 100
"""On one scene; whatever a policy makes beyond them is dropped, for it would stop every other decision on its way."""
FIRST_FAILURES = 10
"""They are all reported; of later ones fewer and fewer, for one that fails now and then must not fill the journal."""


class PolicyRunner:
    """Completes a policy's decisions, times it, and suspends it if it only raises."""

    def __init__(
        self,
        name: str,
        policy: Policy,
        settings: InferenceSettings,
        clock: Clock,
        priority: float = 0.0,
        shadow: bool = False,
    ) -> None:
        self.name, self.policy = name, policy
        self.priority, self.shadow = priority, shadow
        self.suspended = False
        self.first_failure = ""
        """In words."""
        self.n_failures = self.n_overruns = self.n_floods = 0
        self._settings, self._clock = settings, clock
        self._failures_in_a_row = 0
        self._complaints: list[str] = []

    def ask(self, scene: Scene) -> list[Decision]:
        """The policy's decisions on a scene, complete with id, source frame and deadline; none if it raised."""
        if self.suspended:
            return []
        started_ns = self._clock.now_ns()
        try:
            wishes = iter(self.policy.decide(scene))
            decisions = [self._complete(wish, n, scene) for n, wish in enumerate(islice(wishes, MOST_DECISIONS))]
            are_more = next(wishes, None) is not None
            self._failures_in_a_row = 0
        except Exception as error:  # a user's code: whatever it raises, the run goes on and the journal says so
            self._count_failure(error, scene)
            return []
        self._time((self._clock.now_ns() - started_ns) / NS_PER_MS, scene)
        if are_more:
            self._count_flood(scene)
        return decisions

    def take_complaints(self) -> list[str]:
        """What went wrong since this was last asked, in words for the journal."""
        complaints, self._complaints = self._complaints, []
        return complaints

    def _complete(self, decision: Decision, n: int, scene: Scene) -> Decision:
        deadline_ns = decision.deadline_ns
        if deadline_ns is None:
            deadline_ns = scene.after_ms(self._settings.deadline_ms)
        index = scene.frame.index
        complete = replace(
            decision, id=f"{index}.{self.name}.{n}", frame_index=index, policy=self.name, deadline_ns=deadline_ns,
            reason=decision.reason[:200],
        )  # fmt: skip
        # Constructors do not check ranges; the wire does. Checked here, a policy fails the same way inline and over the bus.
        return msgspec.convert(msgspec.to_builtins(complete), Decision)

    def _count_failure(self, error: Exception, scene: Scene) -> None:
        self._failures_in_a_row += 1
        self.n_failures += 1
        if self.n_failures == 1:
            traceback.print_exception(error)  # whole, once, into the process's log
        where = f"{self._place(error)}, frame {scene.frame.index}"
        self.first_failure = self.first_failure or failure_words(self.name, error, where, None)
        self.suspended = self._failures_in_a_row >= self._settings.policy_failures
        words = failure_words(self.name, error, where, self._failures_in_a_row if self.suspended else None)
        if self.suspended or self.n_failures <= FIRST_FAILURES or _is_worth_saying(self.n_failures):
            self._complaints.append(f"{words} ({self.n_failures} times so far)" if self.n_failures > 1 else words)

    def _place(self, error: Exception) -> str:
        """File and line: the last one in the policy's own module if it was there at all, for that its author can change."""
        entries = traceback.extract_tb(error.__traceback__)
        own = getattr(sys.modules.get(type(self.policy).__module__), "__file__", None)
        at = next((entry for entry in reversed(entries) if entry.filename == own), entries[-1])
        return f"{at.filename}, line {at.lineno} in {at.name}"

    def _time(self, took_ms: float, scene: Scene) -> None:
        if took_ms <= self._settings.policy_budget_ms:
            return
        self.n_overruns += 1
        if _is_worth_saying(self.n_overruns):
            self._complaints.append(
                f"policy {self.name} took {took_ms:.1f} ms on frame {scene.frame.index}, "
                f"inference.policy_budget_ms is {self._settings.policy_budget_ms:g} ({self.n_overruns} times so far)"
            )

    def _count_flood(self, scene: Scene) -> None:
        self.n_floods += 1
        if _is_worth_saying(self.n_floods):
            self._complaints.append(
                f"policy {self.name} made more than {MOST_DECISIONS} decisions on frame {scene.frame.index}; "
                f"the rest is dropped ({self.n_floods} times so far)"
            )


def _is_worth_saying(n: int) -> bool:
    """The 1st, 2nd, 4th, 8th … time: a bad policy must not fill the journal."""
    return n & (n - 1) == 0
