"""Frame to decisions: the whole reflex on one page. Read this file first.

    frame ─ Perception ─→ cells ─ Tracker ─→ tracks ─ policies ─→ decisions ─ arbiter ─→ at most one an actuator

The same object runs in the inference process, inline without any process, and in replay.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import msgspec

from acquisition.clock import Clock
from acquisition.dose_map import Box, DoseSettings
from acquisition.frame import Frame, FrameHeader
from acquisition.limits import Limits
from models.cells import Cells
from models.engines.engine import EngineSettings
from models.perception import Perception
from realtime.arbiter import arbitrate
from realtime.bleaching import brightness
from realtime.channel_switch import ChannelSwitch
from realtime.config import RunConfig
from realtime.decisions import Decision
from realtime.dose import DoseLedger
from realtime.latency import Stamps
from realtime.policy import Scene
from realtime.policy_runner import PolicyRunner
from realtime.vocabulary import measured_features
from tracking.tracker import Tracker
from tracking.tracks import Tracks, no_tracks


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
    shadow: tuple[Decision, ...] = ()
    """What shadow policies would have done (see Inference.with_shadow)."""
    ended_j_cm2: tuple[float, ...] = ()
    """What those cells have had whose confirmed tracks ended with this frame."""


class Inference:
    """Looks at frames, one after the other, and remembers what its tracker and policies remember."""

    def __init__(
        self,
        perception: Perception,
        tracker: Tracker,
        policies: Mapping[str, PolicyRunner],
        clock: Clock,
        ledger: DoseLedger | None = None,
    ) -> None:
        """`ledger` None: one without limits, of all that the sensor sees."""
        self.perception = perception
        self.tracker = tracker
        self.policies = policies
        self.clock = clock
        self.ledger = ledger or DoseLedger(DoseSettings(), Limits(x_um=(0.0, 0.0), y_um=(0.0, 0.0)))
        self._switch = ChannelSwitch()
        self._last: tuple[Cells, Tracks] | None = None
        """Of the last frame in which cells were sought."""

    @classmethod
    def from_config(cls, config: RunConfig, clock: Clock, perception: Perception | None = None) -> "Inference":
        """A fresh one: empty tracker, policies at their start; perception remembers nothing and may be handed on."""
        perception = perception or perception_from(config)
        policies = {
            name: PolicyRunner(name, plugin.build(), config.inference, clock, plugin.priority, plugin.shadow)
            for name, plugin in config.policies.items()
        }
        return cls(perception, config.tracker.build(), policies, clock, DoseLedger(config.dose, config.limits))

    def prepare(self, height_px: int, width_px: int) -> None:
        """For a sensor of this size, of which later frames may show only a part."""
        self.perception.prepare(height_px, width_px)
        self.ledger.prepare((height_px, width_px))

    def look(
        self,
        frame: Frame,
        dose_mj: float,
        intact: Callable[[], bool] = lambda: True,
        lit_from_um: Box | None = None,
    ) -> Analysis | None:
        """Everything that follows from one frame; None if its pixels were overwritten while they were read.

        `dose_mj` and `lit_from_um` are the rig's count of its light, as DoseLedger.skip has it.
        """
        stamps = Stamps(self.clock, frame.header.t_ns, frame.header.t_read_ns)
        stamps.mark("queued")
        segmented = self.perception.finds_cells_in(frame.header)
        cells = self._cells(frame, segmented, stamps)
        seen = brightness(frame.pixels, cells)
        if not intact():
            self.skip(frame.header, dose_mj, lit_from_um)
            return None
        tracks = self._tracks(cells) if segmented else self._tracks_as_they_were(cells)
        dose = self.ledger.add(frame.header, dose_mj, tracks if self._last else None, seen, lit_from_um)
        stamps.mark("tracked")
        scene = Scene(frame.header, cells, tracks, dose, segmented)
        wishes, complaints = self._ask(scene, shadow=False)
        decisions, dropped = self._arbitrated(wishes, scene)
        stamps.mark("decided")
        ended = tuple(self.ledger.ended_j_cm2.tolist())
        return Analysis(scene, decisions, dropped, complaints, stamps, ended_j_cm2=ended)

    def skip(self, header: FrameHeader, dose_mj: float, lit_from_um: Box | None = None) -> None:
        """A frame that nobody looks at: only its light counts."""
        self.ledger.skip(header, dose_mj, lit_from_um)

    def with_shadow(self, analysis: Analysis) -> Analysis:
        """The same and what shadow policies decide: asked once the decisions have left, for nobody waits for theirs."""
        wishes, complaints = self._ask(analysis.scene, shadow=True)
        return replace(analysis, shadow=tuple(wishes), complaints=analysis.complaints + complaints)

    def _ask(self, scene: Scene, shadow: bool) -> tuple[list[Decision], list[str]]:
        """Decisions and complaints of those policies that act, or of those that do not."""
        asked = [policy for policy in self.policies.values() if policy.shadow == shadow]
        wishes = [decision for policy in asked for decision in policy.ask(scene)]
        return wishes, [words for policy in asked for words in policy.take_complaints()]

    def _arbitrated(self, wishes: list[Decision], scene: Scene) -> tuple[list[Decision], list[str]]:
        """Decisions that go to the rig, and those that lost, in words."""
        priorities = {name: policy.priority for name, policy in self.policies.items()}
        other_channel = "" if scene.segmented else scene.frame.channel
        decisions, dropped = arbitrate(wishes, priorities, other_channel, self._switch.awaited(scene.frame))
        self._switch.decided(decisions)
        return decisions, dropped

    def _cells(self, frame: Frame, segmented: bool, stamps: Stamps) -> Cells:
        if segmented:
            return self.perception.analyse(frame, stamps.mark)
        return self.perception.analyse_again(frame, self._last and self._last[0], stamps.mark)

    def _tracks(self, cells: Cells) -> Tracks:
        tracks = self.tracker.update(cells)
        self._last = cells, tracks
        return tracks

    def _tracks_as_they_were(self, cells: Cells) -> Tracks:
        """In a frame of another channel nothing happens to them; a fresh process does not know them yet."""
        if self._last is None:
            return no_tracks(cells.frame_index, cells.t_ns, cells.class_names)
        return replace(self._last[1], frame_index=cells.frame_index, t_ns=cells.t_ns, events=())


def perception_from(config: RunConfig) -> Perception:
    """Segmenter, classifier and features of a config; nothing is loaded before the first frame."""
    segmenter, classifier = config.segmenter.build(), config.classifier.build() if config.classifier else None
    for part in (segmenter, classifier):
        engine = getattr(part, "engine", None)
        if part is not None and isinstance(engine, EngineSettings) and not engine.threads:
            part.engine = msgspec.structs.replace(engine, threads=config.inference.threads)
    features = measured_features(config.perception.features, classifier)
    return Perception(segmenter, classifier, features, config.perception.channel, config.camera)
