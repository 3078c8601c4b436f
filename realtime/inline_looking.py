"""What an inline run asks about each frame: what follows from it, in the words that inference would send."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

from acquisition.clock import Clock
from acquisition.dose_map import Box
from acquisition.frame import Frame
from models.perception import Perception
from realtime.config import RunConfig
from realtime.faulty_inference import slow_down, slowed
from realtime.inference import Analysis, Inference
from realtime.sort.words import pulses_made, sorted_words
from realtime.sorting import Sorting
from realtime.wire import DecisionMade, FrameAnalysed, StripsSorted
from realtime.words import analysed, decisions_made

See = Callable[[Analysis], None]


@dataclass(frozen=True)
class Looked:
    """What followed from one frame."""

    made: Iterator[DecisionMade]
    """Decisions, each stamped as it is taken."""
    words: FrameAnalysed | StripsSorted
    complaints: list[str]


class Looker(Protocol):
    """Inference or a sort, as an inline run sees it."""

    description: str
    """What finds and classifies cells, for the journal; known once it is prepared."""

    @property
    def cell_j_cm2(self) -> tuple[float, ...]:
        """Dose of the cells that were tracked to the end."""

    def prepare(self, height_px: int, width_px: int) -> None:
        """For frames of this size at most."""

    def look(self, frame: Frame, dose_mj: float, lit_from_um: Box | None) -> Looked:
        """What follows from a frame; `dose_mj` and `lit_from_um` are the rig's count of its light."""


class InferenceLooker:
    """Frames are segmented, cells tracked, policies asked."""

    def __init__(self, config: RunConfig, run: str, clock: Clock, perception: Perception | None, see: See) -> None:
        self.inference = Inference.from_config(config, clock, perception)
        self.description = ""
        self._config, self._run, self._clock, self._see = config, run, clock, see

    @property
    def cell_j_cm2(self) -> tuple[float, ...]:
        return tuple(self.inference.ledger.cell_j_cm2.tolist())

    def prepare(self, height_px: int, width_px: int) -> None:
        self.inference.prepare(height_px, width_px)
        self.description = self.inference.perception.description
        slow_down(self.inference.perception, self._config.faults, self._clock)

    def look(self, frame: Frame, dose_mj: float, lit_from_um: Box | None) -> Looked:
        analysis = self.inference.look(frame, dose_mj, lit_from_um=lit_from_um)
        assert analysis is not None
        analysis = self.inference.with_shadow(analysis)
        self._see(analysis)
        made = decisions_made(self._run, analysis, self._clock)
        return Looked(made, analysed(self._run, analysis, skipped=0), analysis.complaints)


class SortLooker:
    """Frames are stacks of strips; cells that pass are sorted."""

    def __init__(self, config: RunConfig, run: str, clock: Clock) -> None:
        self.sorting = Sorting.from_config(config, clock)
        self.description = ""
        self._look_at = slowed(self.sorting.look, config.faults, clock)
        self._run, self._clock = run, clock

    @property
    def cell_j_cm2(self) -> tuple[float, ...]:
        return ()

    def prepare(self, height_px: int, width_px: int) -> None:
        self.sorting.prepare(height_px, width_px)
        self.description = self.sorting.description

    def look(self, frame: Frame, dose_mj: float, lit_from_um: Box | None) -> Looked:
        analysis = self._look_at(frame)
        assert analysis is not None
        return Looked(pulses_made(self._run, analysis, self._clock), sorted_words(self._run, analysis, skipped=0), [])


def looker_for(config: RunConfig, run: str, clock: Clock, perception: Perception | None, see: See) -> Looker:
    """As the config says; `perception` None: a fresh one. `see` hears of every analysis, but in a sort."""
    if config.sort is not None:
        return SortLooker(config, run, clock)
    return InferenceLooker(config, run, clock, perception, see)
