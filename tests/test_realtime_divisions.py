"""A division leads to a decision at most two frames after both daughters can be seen, simulated and real."""

from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import numpy as np
import pytest

from acquisition.commands import SetInterval
from acquisition.frame import FrameHeader, stage_um
from models.cells import Floats
from realtime.config import RunConfig, load_config
from realtime.inference import Analysis
from realtime.inline import InlineRun, inline_run
from realtime.plugins import PolicyPlugin
from tests.tiny_config import write_tiny

CONFIGS = Path(__file__).resolve().parents[1] / "hardware_configs"
LATEST = 2
"""Frames, as the tracker promises: the first frame with both daughters is 0 late."""
INSIDE_UM = 8.0
"""A daughter nearer to the edge of the view may be cut off by it."""
FAST_MS, SLOW_MS = 50.0, 100.0
PACE = PolicyPlugin(
    "policy",
    "pace",
    {"events": ["divided"], "dwell_s": 0.0, "fast_interval_ms": FAST_MS, "slow_interval_ms": SLOW_MS},
)


@dataclass(frozen=True)
class Division:
    """A mother's daughters, and the frame in which this was first seen, or told, or answered."""

    frame: int
    daughters_um: Floats  # [2, 2]
    inside: bool = True
    """Whether both daughters are whole in the view."""

    def is_that_of(self, other: "Division", within_um: float) -> bool:
        """Whether both daughters are where the other's are, in whatever order."""
        apart = np.linalg.norm(self.daughters_um[:, None] - other.daughters_um, axis=2)
        return min(apart.trace(), apart[::-1].trace()) / 2 <= within_um


@dataclass
class Witness:
    """What the tracker told of divisions, and what was decided on them."""

    told: list[Division] = field(default_factory=list)
    answered: set[int] = field(default_factory=set)
    """Frames in which a faster rate was decided on."""
    frames: list[Analysis] = field(default_factory=list)

    def see(self, analysis: Analysis) -> None:
        tracks, frame = analysis.scene.tracks, analysis.scene.frame
        self.frames.append(analysis)
        for event in tracks.events:
            if event.kind == "divided":
                pair_um = tracks.xy_um[[tracks.row(daughter) for daughter in event.others]]
                self.told.append(Division(frame.index, pair_um, _are_inside(pair_um, frame)))
                assert event.late_frames <= LATEST
        if any(d.command == SetInterval(FAST_MS) for d in analysis.decisions):
            self.answered.add(frame.index)


def _are_inside(pair_um: Floats, frame: FrameHeader) -> bool:
    half_um = frame.um_per_px / 2 * np.array([frame.width_px, frame.height_px])
    return bool((np.abs(pair_um - (frame.stage.x_um, frame.stage.y_um)) < half_um - INSIDE_UM).all())


def only_pace(config: RunConfig) -> RunConfig:
    """With one policy: faster for a moment when a cell has divided."""
    return msgspec.structs.replace(config, policies={"pace": PACE})


def check(truth: list[Division], witness: Witness, within_um: float) -> None:
    """Every true division in the view is told and answered in time; nothing else is told there."""
    for division in (d for d in truth if d.inside):
        told = [t.frame for t in witness.told if t.is_that_of(division, within_um)]
        assert len(told) == 1, f"{division} was told in frames {told}"
        assert division.frame <= told[0] <= division.frame + LATEST
        assert told[0] in witness.answered
    false = [t for t in witness.told if t.inside and not any(t.is_that_of(d, within_um) for d in truth)]
    assert not false, "divisions were told that are none"


# --- real nuclei ----------------------------------------------------------------------------------------------

HELA_PX = {4: [[(101, 82), (109, 71)]], 8: [[(126, 58), (134, 58)], [(118, 93), (117, 107)]]}
"""Frame → middles of daughters seen for the first time, read off the movie by eye."""


def test_real_divisions_are_answered_within_two_frames() -> None:
    config = only_pace(load_config(CONFIGS / "replay.toml", ["microscope.repeat=1", "microscope.window_px=[190, 211]"]))
    witness = Witness()
    with inline_run(config, "run", None, "", None, witness.see) as run:
        end = run.image()
    assert end.ok
    frame = witness.frames[0].scene.frame
    truth = [
        Division(index, stage_um(frame.stage_from_pixel, np.array(pair, dtype=float)))
        for index, pairs in HELA_PX.items()
        for pair in pairs
    ]
    check(truth, witness, within_um=4.0)


# --- simulated nuclei -----------------------------------------------------------------------------------------

SEEN_UM = 2.0


@dataclass
class Dish:
    """The divisions that the simulated dish really had, each in the first frame with a cell for both daughters."""

    run: InlineRun | None = None
    divisions: list[Division] = field(default_factory=list)
    _waiting: dict[int, list[int]] = field(default_factory=dict)
    """Mother → daughters that were not both seen yet."""
    _known: set[int] = field(default_factory=set)

    def see(self, analysis: Analysis) -> None:
        assert self.run is not None
        nuclei = self.run.microscope.truth().nuclei  # type: ignore[attr-defined]  # the simulated microscope's own
        place = dict(zip(nuclei.id.tolist(), nuclei.xy_um, strict=True))
        for cell, mother in zip(nuclei.id.tolist(), nuclei.parent.tolist(), strict=True):
            if mother in self._known and cell not in self._known:
                self._waiting.setdefault(mother, []).append(cell)
        self._known |= place.keys()
        for mother, daughters in list(self._waiting.items()):
            pair_um = np.array([place[d] for d in daughters if d in place])
            if len(pair_um) == 2 and _has_cells(analysis, pair_um):
                frame = analysis.scene.frame
                self.divisions.append(Division(frame.index, pair_um, _are_inside(pair_um, frame)))
                del self._waiting[mother]


def _has_cells(analysis: Analysis, pair_um: Floats) -> bool:
    """Whether each of the two has a cell of its own."""
    apart_um = np.linalg.norm(pair_um[:, None] - analysis.scene.cells.xy_um, axis=2)
    nearest = apart_um.argmin(axis=1)
    return bool(nearest[0] != nearest[1] and apart_um.min(axis=1).max() <= SEEN_UM)


@pytest.mark.parametrize("seed", [3, 4, 5])
def test_simulated_divisions_are_answered_within_two_frames(tmp_path: Path, seed: int) -> None:
    fast_lives = ["microscope.cycle_min=30", f"microscope.seed={seed}"]
    config = only_pace(load_config(write_tiny(tmp_path), fast_lives))
    dish, witness = Dish(), Witness()

    def see(analysis: Analysis) -> None:
        dish.see(analysis)
        witness.see(analysis)

    with inline_run(config, "run", None, "", 12.0, see) as run:
        dish.run = run
        run.image()
    last = witness.frames[-1].scene.frame.index - LATEST
    truth = [division for division in dish.divisions if division.frame <= last]
    assert any(division.inside for division in truth), "no cell divided in the view: this run shows nothing"
    check(truth, witness, within_um=5.0)
