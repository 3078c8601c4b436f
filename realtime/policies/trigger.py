"""trigger: fire the output for a cell that was seen to be of a kind in several looks."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from acquisition.clock import NS_PER_MS
from acquisition.commands import NotNegative, Positive, PulseSorter
from realtime.decisions import Decision
from realtime.policy import Scene
from realtime.sought import Sought


@dataclass
class Trigger(Sought):
    """A pulse at a fixed delay after the frame in which enough of a track's last looks agreed.

    Several looks, because one wrong look in twenty becomes one in four hundred if two must agree (as far as
    looks err independently). They are all that a track needs: waiting for the tracker to confirm it, too, would cost
    looks that a flowing cell may not have. Only looks = 1 acts on a cell that was seen once. Daughters are new cells,
    whose looks begin with them. The pulse's time is its deadline: if it is refused as late, that was it.
    """

    delay_ms: Positive = 20.0
    """From the end of exposure to the pulse: longer than the loop needs, else pulses are refused as late."""
    width_ms: Positive = 1.0
    refractory_ms: NotNegative = 0.0
    """Least time from one pulse's start to the next; never taken as less than `width_ms`."""
    once_per_track: bool = True
    """False: fire for as long as the looks agree, `refractory_ms` apart."""

    _fired: set[int] = field(default_factory=set, init=False)
    _free_ns: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.sought:
            raise ValueError("give either class_name or feature: one condition decides")

    def decide(self, scene: Scene) -> Iterable[Decision]:
        """At most one pulse a frame, for the longest-known track that is due one."""
        self.remember(scene)
        self._fired &= self._looks.bits.keys()
        at_ns = scene.after_ms(self.delay_ms)
        ready = [track for track in self._looks.agreeing(self.looks) if track not in self._fired]
        if not ready or not scene.segmented or at_ns < self._free_ns:
            return ()
        track_id = ready[0]
        if self.once_per_track:
            self._fired.add(track_id)
        self._free_ns = at_ns + round(max(self.refractory_ms, self.width_ms) * NS_PER_MS)
        reason = f"track {track_id}: {self.sought} in {self._looks.count(track_id)} of its last {self.of} frames"
        pulse = PulseSorter(at_ns=at_ns, width_ms=self.width_ms)
        return (Decision(command=pulse, reason=reason, track_id=track_id, deadline_ns=at_ns),)
