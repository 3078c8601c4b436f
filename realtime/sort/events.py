"""The record of a sort: one row for each cell that left the view, as a struct of arrays."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from acquisition.commands import PulseSorter
from models.cells import Floats
from realtime.decisions import Decision
from realtime.sort.classifying import Crops
from realtime.sort.evidence import SequentialTest
from realtime.sort.looks import Looks
from realtime.sort.verdicts import Verdict
from tracking.flow_cells import FlowCells

Rows = npt.NDArray[np.intp]
Pictures8 = npt.NDArray[np.uint8]
NO_PULSE = -1
CROP_BACKGROUND = 200
"""Grey value of the background in recorded crops: a pixel is this times what the cell lets through."""
GLOW_BACKGROUND = 40
"""The same of cells that shine: the brightest pixel of each is white, for contrast on a dark ground has no upper limit."""
NEARLY = (Verdict.UNDECIDED, Verdict.UNCERTAIN_ARRIVAL, Verdict.COINCIDENCE, Verdict.GATE_BUSY, Verdict.TOO_LATE)
"""Cells that might have been sorted: people ask to see these."""
HASH = np.uint64(0x9E3779B97F4A7C15)
"""2⁶⁴ divided by the golden ratio: multiples of it are spread evenly (Knuth, TAOCP 3, 6.4)."""


@dataclass(frozen=True)
class SortEvents:
    """E cells that left the view with one stack; features are means over looks, NaN where a cell was never seen whole."""

    frame_index: int
    event_id: npt.NDArray[np.int64]  # [E]
    last_ns: npt.NDArray[np.int64]  # [E] end of exposure of the last strip with it
    y_px: Floats  # [E]
    looks: npt.NDArray[np.int32]  # [E] strips in which it was seen
    looks_classified: npt.NDArray[np.int32]  # [E]
    speed_um_s: Floats  # [E]
    arrival_ns: npt.NDArray[np.int64]  # [E]
    sigma_ms: Floats  # [E]
    llr: Floats  # [E] evidence for being wanted, natural logarithm
    p_wanted: Floats  # [E]
    p_class: Floats  # [E, K]
    class_names: tuple[str, ...]
    features: Floats  # [E, F]
    feature_names: tuple[str, ...]
    verdict: npt.NDArray[np.uint8]  # [E] see Verdict
    decision_n: npt.NDArray[np.int32]  # [E] its decision is `<frame_index>.sort.<n>`; NO_PULSE: none
    at_ns: npt.NDArray[np.int64]  # [E] of that pulse; 0: none
    width_ms: Floats  # [E]
    crops: Pictures8 = field(default_factory=lambda: np.empty((0, 0, 0), np.uint8))
    """`[P, S, S]`: the last looks at the cells in `crop_rows[P]`."""
    crop_rows: Rows = field(default_factory=lambda: np.empty(0, np.intp))

    def __len__(self) -> int:
        return len(self.event_id)

    def columns(self) -> Mapping[str, npt.NDArray[Any]]:
        """For events.parquet."""
        plain = (
            "event_id", "last_ns", "y_px", "looks", "looks_classified", "speed_um_s", "arrival_ns", "sigma_ms", "llr",
            "p_wanted", "verdict", "decision_n", "at_ns", "width_ms",
        )  # fmt: skip
        columns: dict[str, npt.NDArray[Any]] = {"frame_index": np.full(len(self), self.frame_index, np.int64)}
        columns |= {name: getattr(self, name) for name in plain}
        columns |= {f"p_{name}": self.p_class[:, i] for i, name in enumerate(self.class_names)}
        return columns | {name: self.features[:, i] for i, name in enumerate(self.feature_names)}

    def verdicts(self) -> dict[str, int]:
        """How many cells got which verdict, in words."""
        counts = np.bincount(self.verdict, minlength=len(Verdict))
        return {verdict.word: int(counts[verdict]) for verdict in Verdict if counts[verdict]}

    def expected(self) -> dict[str, float]:
        """Sums of probabilities: `wanted` among all cells in the gate, and among the `sorted` how many are wanted."""
        is_sorted = (self.verdict == Verdict.SORTED) | (self.verdict == Verdict.WITH_ANOTHER)
        return {
            "wanted": float(self.p_wanted[self.verdict != Verdict.OUTSIDE_GATE].sum()),
            "sorted": float(np.count_nonzero(is_sorted)),
            "sorted_wanted": float(self.p_wanted[is_sorted].sum()),
        }

    def pictured(self, share: float) -> npt.NDArray[np.bool_]:
        """Whose pictures are kept: those that were or might have been sorted, and this share of the others."""
        return drawn(self.event_id, share) | np.isin(self.verdict, (Verdict.SORTED, *NEARLY))

    def with_pictures(self, crops: Sequence[Crops], rows: Sequence[int], glowing: bool = False) -> "SortEvents":
        """The same with pictures of the cells in `rows`; `glowing`: they are brighter than the background."""
        if not rows:
            return self
        pictures = glowing_pictures(np.stack(crops)) if glowing else as_pictures(np.stack(crops))
        return replace(self, crops=pictures, crop_rows=np.array(rows, np.intp))


def events_of(
    frame_index: int, cells: FlowCells, looks: Looks, test: SequentialTest, features: Floats,
    feature_names: tuple[str, ...], class_names: tuple[str, ...], verdict: npt.NDArray[np.uint8],
    decisions: Sequence[Decision],
) -> SortEvents:  # fmt: skip
    """Of the cells that have left the view; `looks`, `features` and `verdict` are row by row as `cells`."""
    gone = np.flatnonzero(cells.gone)
    n_looks = looks.n_classified[gone]
    llr = test.joined(looks.llr_sum[gone], n_looks)
    events = SortEvents(
        frame_index=frame_index, event_id=cells.id[gone], last_ns=cells.last_ns[gone], y_px=cells.y_px[gone],
        looks=cells.looks[gone], looks_classified=n_looks.astype(np.int32), speed_um_s=cells.speed_um_s[gone],
        arrival_ns=cells.arrival_ns[gone], sigma_ms=cells.sigma_ms[gone], llr=llr, p_wanted=test.p_wanted(llr),
        p_class=test.p_class(llr, looks.log_likelihood_sums[gone], n_looks), class_names=class_names,
        features=features[gone], feature_names=feature_names, verdict=verdict[gone],
        decision_n=np.full(len(gone), NO_PULSE, np.int32), at_ns=np.zeros(len(gone), np.int64),
        width_ms=np.zeros(len(gone)),
    )  # fmt: skip
    for n, decision in enumerate(decisions):
        assert isinstance(decision.command, PulseSorter)
        row = np.searchsorted(events.event_id, decision.track_id or 0)
        events.decision_n[row], events.at_ns[row], events.width_ms[row] = (
            n,
            decision.command.at_ns,
            decision.command.width_ms,
        )
    return events


def drawn(event_id: npt.NDArray[np.int64], share: float) -> npt.NDArray[np.bool_]:
    """This share of cells, by their ids alone: the same in every replay."""
    spread = event_id.astype(np.uint64) * HASH >> np.uint64(11)
    picked: npt.NDArray[np.bool_] = spread.astype(np.float64) < share * 2.0**53
    return picked


def as_pictures(crops: Crops) -> npt.NDArray[np.uint8]:
    """Crops as the classifier sees them, (background − pixel) / background, as pictures with a grey background."""
    return np.clip(np.rint(CROP_BACKGROUND * (1 - crops)), 0, 255).astype(np.uint8)


def glowing_pictures(crops: Crops) -> npt.NDArray[np.uint8]:
    """Crops of cells that shine, (pixel − background) / background, each on a dark ground up to its brightest pixel."""
    brightest = np.maximum(crops.max(axis=(1, 2), keepdims=True), np.float32(1e-6))
    shares: Crops = crops / brightest
    return np.clip(np.rint(GLOW_BACKGROUND + (255 - GLOW_BACKGROUND) * shares), 0, 255).astype(np.uint8)
