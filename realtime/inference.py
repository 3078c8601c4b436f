"""Frame to decisions: the whole reflex on one page. Read this file first.

    frame ─ Perception ─→ cells ─ Tracker ─→ tracks ─ policies ─→ decisions ─ arbiter ─→ at most one an actuator

The same object runs in the inference process, inline without any process, and in replay.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from msgspec.structs import replace

from acquisition.clock import Clock
from acquisition.frame import Frame
from models.engines.engine import EngineSettings
from models.perception import Perception
from realtime.arbiter import arbitrate
from realtime.config import RunConfig
from realtime.decisions import Decision
from realtime.latency import Stamps
from realtime.policy import Dose, Scene
from realtime.policy_runner import PolicyRunner
from realtime.vocabulary import measured_features
from tracking.tracker import Tracker


@dataclass(frozen=True)
class Analysis:
    """What one frame led to."""

    scene: Scene
    decisions: list[Decision]
    dropped: list[str]
    """Decisions that lost against another, in words."""
    complaints: list[str]
    """Policies that raised or took too long, in words."""
    stamps: Stamps


class Inference:
    """Looks at frames, one after the other, and remembers what its tracker and policies remember."""

    def __init__(
        self, perception: Perception, tracker: Tracker, policies: Mapping[str, PolicyRunner], clock: Clock
    ) -> None:
        self.perception = perception
        self.tracker = tracker
        self.policies = policies
        self.clock = clock

    @classmethod
    def from_config(cls, config: RunConfig, clock: Clock, perception: Perception | None = None) -> "Inference":
        """A fresh one: empty tracker, policies at their start; perception remembers nothing and may be handed on."""
        perception = perception or perception_from(config)
        policies = {
            name: PolicyRunner(name, plugin.build(), config.inference, clock)
            for name, plugin in config.policies.items()
        }
        return cls(perception, config.tracker.build(), policies, clock)

    def look(self, frame: Frame, dose: Dose, intact: Callable[[], bool] = lambda: True) -> Analysis | None:
        """Everything that follows from one frame; None if its pixels were overwritten while they were read."""
        stamps = Stamps(self.clock, frame.header.t_ns, frame.header.t_read_ns)
        stamps.mark("queued")
        cells = self.perception.analyse(frame, stamps.mark)
        if not intact():
            return None
        tracks = self.tracker.update(cells)
        stamps.mark("tracked")
        scene = Scene(frame.header, cells, tracks, dose)
        wishes = [decision for policy in self.policies.values() for decision in policy.ask(scene)]
        decisions, dropped = arbitrate(wishes)
        stamps.mark("decided")
        complaints = [words for policy in self.policies.values() for words in policy.take_complaints()]
        return Analysis(scene, decisions, dropped, complaints, stamps)


def perception_from(config: RunConfig) -> Perception:
    """Segmenter, classifier and features of a config; nothing is loaded before the first frame."""
    segmenter, classifier = config.segmenter.build(), config.classifier.build() if config.classifier else None
    for part in (segmenter, classifier):
        engine = getattr(part, "engine", None)
        if part is not None and isinstance(engine, EngineSettings) and not engine.threads:
            part.engine = replace(engine, threads=config.inference.threads)
    return Perception(segmenter, classifier, measured_features(config.perception.features, classifier))
