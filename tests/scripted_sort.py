"""A sort whose cells are written down: finder, tracker and classifier say what the script says, to the nanosecond.

What remains is the sort itself: evidence, gate, verdicts, pulses.
"""

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from acquisition.clock import NS_PER_MS, SimulatedClock
from acquisition.frame import Frame, FrameHeader, StagePosition
from models.sightings import Sightings
from models.strip_settings import FinderSettings
from realtime.sort.settings import PulseSettings, SortGate, SortSettings
from realtime.sort.verdicts import Verdict
from realtime.sort.watch import Watch
from realtime.sorting import SortAnalysis, Sorting, View
from tracking.flow_cells import FlowCells
from tracking.flow_settings import FlowSettings

STRIP_NS = 250_000
STRIPS = 16
STRIP_PX = (4, 256)
VIEW_MS, VIEW_UM = 1.2, 128.0
WANTED, OTHER, UNCLEAR = 0.999, 0.001, 0.5
"""Probabilities to be wanted."""
TRANSIT_MS = 20.0
"""From where a cell leaves the view to the junction."""
SIDE_PX = 4
CLASSES = ("wbc", "rbc", "debris")


@dataclass(frozen=True)
class Passing:
    """One cell; times in ms."""

    enters_ms: float
    p: float | tuple[float, ...] = 0.999
    """To be wanted: of each look, the last one for all further ones."""
    area_um2: float = 100.0
    sigma_ms: float = 0.01
    transit_ms: float = TRANSIT_MS
    view_ms: float = VIEW_MS
    whole: bool = True

    @property
    def arrives_ns(self) -> int:
        return round((self.enters_ms + self.view_ms + self.transit_ms) * NS_PER_MS)

    def p_of(self, look: int) -> float:
        ps = (self.p,) if isinstance(self.p, float) else self.p
        return ps[min(look, len(ps) - 1)]

    def seen_ns(self) -> list[int]:
        """Ends of exposure of the strips that show it."""
        first = math.ceil(self.enters_ms * NS_PER_MS / STRIP_NS)
        last = math.floor((self.enters_ms + self.view_ms) * NS_PER_MS / STRIP_NS)
        return [n * STRIP_NS for n in range(max(1, first), last + 1)]


@dataclass
class Script:
    """Finder and tracker of a channel in which just these cells pass; a cell's id is its place in the list, from 1."""

    cells: list[Passing]
    stack: Sightings | None = None
    crops_asked: list[int] = field(default_factory=list)
    shown_ns: set[int] = field(default_factory=set)
    told: set[int] = field(default_factory=set)
    unseen: npt.NDArray[np.bool_] = field(default_factory=lambda: np.zeros(0, np.bool_))
    blind_ms: tuple[float, float] = (0.0, 0.0)
    """In this time nothing can be found."""

    def find(self, strips: npt.NDArray[Any], t_ns: tuple[int, ...]) -> Sightings:
        """Looks of this stack; a crop will hold p, the cell's probability to be wanted."""
        looks = [
            (t_ns.index(seen), i, look)
            for i, cell in enumerate(self.cells)
            for look, seen in enumerate(cell.seen_ns())
            if seen in t_ns and not self._is_blind(seen)
        ]
        self.unseen = np.array([self._is_blind(t) for t in t_ns], np.bool_)
        self.shown_ns.update(np.array(t_ns)[~self.unseen].tolist())
        self._looks = sorted(looks)
        self._last_ns = t_ns[-1]
        n = len(looks)
        strip = np.array([s for s, _, _ in self._looks], np.int32)
        return Sightings(
            strip=strip, t_ns=np.array(t_ns, np.int64)[strip], xy_px=np.zeros((n, 2)), bbox_px=np.zeros((n, 4), np.int32),
            whole=np.array([self.cells[i].whole for _, i, _ in self._looks], np.bool_),
            area_um2=np.array([self.cells[i].area_um2 for _, i, _ in self._looks], float), contrast=np.full(n, 0.3),
            features=np.zeros((n, 1)), feature_names=("granularity",),
        )  # fmt: skip

    def _is_blind(self, t_ns: int) -> bool:
        begins_ms, ends_ms = self.blind_ms
        return begins_ms < t_ns / NS_PER_MS < ends_ms

    def crops(self, rows: npt.NDArray[np.intp], side_px: int) -> npt.NDArray[np.float32]:
        """What the classifier understands."""
        self.crops_asked.append(len(rows))
        p = [self.cells[i].p_of(look) for _, i, look in (self._looks[row] for row in rows)]
        return np.array(p, np.float32).reshape(-1, 1, 1) * np.ones((1, side_px, side_px), np.float32)

    def update(self, sightings: Sightings, strips_t_ns: tuple[int, ...], exposure_ms: float) -> FlowCells:
        """Cells are gone with the stack in which they leave the view, or the first one after that."""
        shown = {i: [t for t in cell.seen_ns() if t in self.shown_ns] for i, cell in enumerate(self.cells)}
        there = [i for i, times in shown.items() if times and i not in self.told]
        cells, looks = [self.cells[i] for i in there], [shown[i] for i in there]
        gone = [cell.seen_ns()[-1] + STRIP_NS <= strips_t_ns[-1] for cell in cells]
        self.told.update(i for i, is_gone in zip(there, gone, strict=True) if is_gone)
        return FlowCells(
            id=np.array(there, np.int64) + 1, looks=np.array([len(ts) for ts in looks], np.int32),
            last_ns=np.array([ts[-1] for ts in looks], np.int64), y_px=np.full(len(cells), 32.0),
            speed_um_s=np.full(len(cells), 1e5), arrival_ns=np.array([cell.arrives_ns for cell in cells], np.int64),
            sigma_ms=np.array([cell.sigma_ms for cell in cells], float),
            gone=np.array(gone, np.bool_),
            cell_of=np.array([i + 1 for _, i, _ in self._looks], np.int64),
        )  # fmt: skip


@dataclass
class ScriptedClassifier:
    """p of the crop for the wanted class, the rest shared between the others."""

    class_names: tuple[str, ...] = CLASSES
    side_px: int = SIDE_PX
    class_prior: tuple[float, ...] = (0.5, 0.25, 0.25)
    look_correlation: float = 0.0
    um_per_px: tuple[float, float] | None = None
    description: str = "scripted"

    def prepare(self, height_px: int, width_px: int) -> None:
        """Nothing to open."""

    def probabilities(self, crops: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
        """As the crop says."""
        p = crops[:, 0, 0].astype(float)
        return np.stack((p, (1 - p) * 0.75, (1 - p) * 0.25), axis=1)


def settings_for(**changes: Any) -> SortSettings:
    """A plain sort; `gate__looks=3` changes `gate.looks`."""
    parts: dict[str, dict[str, Any]] = {"gate": {"classes": ("wbc",)}, "pulse": {}, "flow": {}, "sort": {}}
    for name, value in changes.items():
        part, _, key = name.rpartition("__")
        parts[part or "sort"][key] = value
    flow = FlowSettings(**{"junction_um": 2000.0, "speed_um_s": 1e5} | parts["flow"])
    return SortSettings(
        gate=SortGate(**parts["gate"]), pulse=PulseSettings(**parts["pulse"]), flow=flow, finder=FinderSettings(),
        **parts["sort"],
    )  # fmt: skip


def scripted(cells: list[Passing], settings: SortSettings | None = None, **classifier: Any) -> Sorting:
    """A sort that sees these cells."""
    sorting = Sorting(settings or settings_for(), ScriptedClassifier(**classifier), SimulatedClock())
    script: Any = Script(cells)
    sorting._view = View(STRIP_PX, script, script, Watch(sorting.settings.flow, VIEW_UM))
    return sorting


def stack_of(index: int, strips: int = STRIPS) -> Frame:
    """The `index`-th stack, 0 first; its strips end at multiples of STRIP_NS."""
    times = tuple((index * strips + n + 1) * STRIP_NS for n in range(strips))
    header = FrameHeader(
        index=index, t_ns=times[-1], t_read_ns=times[-1], height_px=strips * STRIP_PX[0], width_px=STRIP_PX[1],
        dtype="uint8", channel="", exposure_ms=0.01, interval_ms=STRIP_NS / NS_PER_MS, light_mw=0.0,
        stage=StagePosition(), stage_from_pixel=(1.0, 0.0, 0.0, 0.0, 1.0, 0.0), um_per_px=0.5, strip_t_ns=times,
    )  # fmt: skip
    return Frame(header, np.zeros((header.height_px, header.width_px), np.uint8))


def run(sorting: Sorting, n_stacks: int, strips: int = STRIPS) -> list[SortAnalysis]:
    """All stacks, none skipped."""
    analyses = [sorting.look(stack_of(index, strips)) for index in range(n_stacks)]
    return [analysis for analysis in analyses if analysis is not None]


def verdicts(analyses: list[SortAnalysis]) -> dict[int, str]:
    """Cell id → verdict."""
    return {
        int(cell): Verdict(int(verdict)).word
        for analysis in analyses
        for cell, verdict in zip(analysis.events.event_id, analysis.events.verdict, strict=True)
    }


def crowd(seed: int, n: int = 120, ms: float = 200.0) -> list[Passing]:
    """Cells at random, a fifth wanted, some with poor arrivals."""
    rng = np.random.default_rng(seed)
    p = rng.choice([WANTED, UNCLEAR, OTHER], n, p=[0.2, 0.1, 0.7])
    sigma = rng.choice([0.005, 0.02, 0.3], n, p=[0.5, 0.4, 0.1])
    enters, transit = rng.uniform(5.0, ms, n), rng.normal(TRANSIT_MS, 0.3, n)
    rows = np.stack((enters, p, sigma, transit), axis=1).tolist()
    return [Passing(enters, p, sigma_ms=sigma, transit_ms=transit) for enters, p, sigma, transit in rows]
