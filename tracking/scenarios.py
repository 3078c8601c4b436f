"""Hard cases for trackers, with exact truth: `make("crowd", seed=1)`.

A world of cells (scenario_world.py) is looked at by a pretended segmenter (scenario_detector.py), as a recipe
(scenario_recipes.py) says. Nothing here is measured; it is where trackers can be compared because all is known.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import msgspec
import numpy as np

from acquisition.clock import NS_PER_S
from models.cells import Cells, Labels
from tracking.lineages import Lineages
from tracking.scenario_detector import Detections, Detector
from tracking.scenario_recipes import PHASES, SCENARIOS, Recipe, growth_recipe
from tracking.scenario_world import Nuclei, World
from tracking.tracks import Bools, Ints

__all__ = [
    "PHASES", "SCENARIOS", "Recipe", "Scenario", "drop_frames", "endless", "every_other", "growth", "labels_of",
    "make", "miss_detections",
]  # fmt: skip


@dataclass(frozen=True)
class Scenario:
    """What a tracker is given, and what was true.

    `truth` has every cell whose centre is in the field, missed or not. Its `label` is that of the cell's detection
    in the frame, 0 if it has none; two nuclei segmented as one: the larger has the label; one as two: it is
    that of the larger piece. A track ends when its cell divides, dies, or is outside in any frame: whoever comes
    back is a new track without a parent, like daughters whose mother left before she divided.
    """

    name: str
    recipe: Recipe
    seed: int
    frames: list[Cells]  # in their order; labels are not drawn (see labels_of)
    truth: Lineages
    detected: list[Ints]  # a frame: true track of each row of its cells, 0 = nobody's


def make(name_or_recipe: str | Recipe, seed: int = 0) -> Scenario:
    """A scene. Raises KeyError for a name that is not in SCENARIOS."""
    if isinstance(name_or_recipe, Recipe):
        return _made("own recipe", name_or_recipe, seed)
    if name_or_recipe not in SCENARIOS:
        raise KeyError(f"no scenario {name_or_recipe!r}; there are {', '.join(SCENARIOS)}")
    return _made(name_or_recipe, SCENARIOS[name_or_recipe], seed)


def growth(n_cells: int, n_frames: int, seed: int = 0) -> Scenario:
    """A crowd for timing: the same density and the same rates of birth and death for any number of cells."""
    return _made(f"growth {n_cells}", growth_recipe(n_cells, n_frames), seed)


def endless(n_cells: int = 200, seed: int = 0) -> Iterator[Cells]:
    """The cells of such a crowd for ever: their number stays, their identities do not."""
    for _, found in _watched(growth_recipe(n_cells, n_frames=1), seed):
        yield found.cells


def every_other(scenario: Scenario) -> Scenario:
    """At half the frame rate: frames 0, 2, 4 …, counted anew."""
    return _only_frames(scenario, np.arange(0, len(scenario.frames), 2), f"{scenario.name}, every other frame")


def drop_frames(scenario: Scenario, share: float, seed: int = 0) -> Scenario:
    """Without this share of frames, anywhere but the first; the others are counted anew, at their old times."""
    n = len(scenario.frames)
    dropped = 1 + np.random.default_rng(seed).permutation(n - 1)[: round(share * (n - 1))]
    return _only_frames(
        scenario, np.setdiff1d(np.arange(n), dropped), f"{scenario.name}, {share:.0%} of frames dropped"
    )


def miss_detections(scenario: Scenario, share: float, seed: int = 0) -> Scenario:
    """Without this share of detections, false ones included; the others keep their labels."""
    rng = np.random.default_rng(seed)
    kept = [rng.random(len(cells)) >= share for cells in scenario.frames]
    truth, label = scenario.truth, scenario.truth.label.copy()
    for index, (cells, keep) in enumerate(zip(scenario.frames, kept, strict=True)):
        label[(truth.frame == index) & np.isin(label, cells.label[~keep])] = 0
    return replace(
        scenario,
        name=f"{scenario.name}, {share:.0%} of detections missed",
        frames=[_only_rows(cells, keep) for cells, keep in zip(scenario.frames, kept, strict=True)],
        truth=replace(truth, label=label),
        detected=[ids[keep] for ids, keep in zip(scenario.detected, kept, strict=True)],
    )


def labels_of(scenario: Scenario, frame: int) -> Labels:
    """The label image of a frame, `[H, W]`: discs of the cells' areas, cut where another centre is nearer."""
    cells, (height, width) = scenario.frames[frame], scenario.recipe.shape
    labels = np.zeros((height, width), np.int32)
    nearest_px = np.full((height, width), np.inf)
    radius_px = np.sqrt(cells.area_um2 / np.pi) / scenario.recipe.um_per_px
    for label, (x, y), radius, box in zip(cells.label, cells.xy_px, radius_px, cells.bbox_px, strict=True):
        window = slice(box[1], box[3]), slice(box[0], box[2])
        distance = np.hypot(np.arange(box[1], box[3])[:, None] - y, np.arange(box[0], box[2]) - x)
        own = (distance <= radius) & (distance < nearest_px[window])
        labels[window][own] = label
        nearest_px[window][own] = distance[own]
    column, row = np.rint(cells.xy_px).astype(int).T
    labels[row, column] = cells.label  # a tiny one beside a large one keeps a pixel at least
    return labels


def _made(name: str, recipe: Recipe, seed: int) -> Scenario:
    seen: list[Nuclei] = []
    found: list[Detections] = []
    for (nuclei, detections), _ in zip(_watched(recipe, seed), range(recipe.n_frames), strict=False):
        seen.append(nuclei)
        found.append(detections)
    frames = [detections.cells for detections in found]
    return Scenario(name, recipe, seed, frames, _lineages(seen, found), [detections.truth for detections in found])


def _watched(recipe: Recipe, seed: int) -> Iterator[tuple[Nuclei, Detections]]:
    """Truth and detections of frame after frame, for ever."""
    life, eyes, pace = np.random.default_rng(seed).spawn(3)  # apart: worse eyes look at the same cells
    world, detector = World(recipe, life), Detector(recipe, eyes)
    index, t_s = 0, 0.0
    while True:
        nuclei = world.look()
        yield nuclei, detector.look(index, round(t_s * NS_PER_S), nuclei)
        interval_s = _interval_s(recipe, pace)
        world.advance(interval_s)
        if pace.random() < recipe.jump_rate:
            world.jump()
        index, t_s = index + 1, t_s + interval_s


def _interval_s(recipe: Recipe, rng: np.random.Generator) -> float:
    interval_s = recipe.interval_s * rng.uniform(1 - recipe.interval_spread, 1 + recipe.interval_spread)
    return interval_s * (int(rng.integers(2, 5)) if rng.random() < recipe.skip_rate else 1)


def _lineages(seen: list[Nuclei], found: list[Detections]) -> Lineages:
    frame = np.concatenate([np.full(len(nuclei), i) for i, nuclei in enumerate(seen)])
    t_ns = np.concatenate([np.full(len(n), f.cells.t_ns) for n, f in zip(seen, found, strict=True)])
    track, parent, area_um2, counts = (
        np.concatenate([getattr(nuclei, name) for nuclei in seen]) for name in ("track", "parent", "area_um2", "counts")
    )
    label = np.concatenate([detections.label for detections in found])
    xy_um = np.concatenate([nuclei.xy_um for nuclei in seen])
    order = np.lexsort((track, frame))
    ids, first = np.unique(track, return_index=True)
    return Lineages(
        frame[order], t_ns[order], track[order], label[order], xy_um[order], area_um2[order], counts[order],
        ids, parent[first],
    )  # fmt: skip


def _only_frames(scenario: Scenario, kept: Ints, name: str) -> Scenario:
    frames = [replace(scenario.frames[old], frame_index=new) for new, old in enumerate(kept.tolist())]
    truth = scenario.truth
    rows = np.isin(truth.frame, kept)
    frame = np.searchsorted(kept, truth.frame[rows])
    ids = np.unique(truth.track[rows])
    return Scenario(
        name=name,
        recipe=msgspec.structs.replace(scenario.recipe, n_frames=len(kept)),
        seed=scenario.seed,
        frames=frames,
        truth=Lineages(
            frame, truth.t_ns[rows], truth.track[rows], truth.label[rows], truth.xy_um[rows], truth.area_um2[rows],
            truth.mean_intensity[rows], ids, _known_ancestors(truth, ids),
        ),
        detected=[scenario.detected[old] for old in kept.tolist()],
    )  # fmt: skip


def _known_ancestors(truth: Lineages, ids: Ints) -> Ints:
    """The parent of each of these tracks; where she is not among them, the nearest ancestor who is, or 0."""
    parents, known = dict(zip(truth.id.tolist(), truth.parent.tolist(), strict=True)), {0, *ids.tolist()}
    found = []
    for track in ids.tolist():
        parent = parents[track]
        while parent not in known:
            parent = parents[parent]
        found.append(parent)
    return np.array(found, np.int64)


def _only_rows(cells: Cells, keep: Bools) -> Cells:
    columns = ("label", "xy_um", "xy_px", "area_um2", "bbox_px", "mean_intensity", "features", "p_class")
    return replace(cells, **{name: getattr(cells, name)[keep] for name in columns})
