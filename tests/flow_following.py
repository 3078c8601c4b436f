"""A flow tracker on a scene whose truth is known: what it said, and how good that was."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tracking.flow import FlowTracker
from tracking.flow_scenes import FlowScene
from tracking.flow_settings import FlowSettings


@dataclass(frozen=True)
class Followed:
    """All that a tracker said about a scene."""

    cell_of: npt.NDArray[np.int64]  # of each sighting of the scene: an id, or −1
    gone: dict[int, tuple[int, float, int, float, int]]
    """Id → arrival_ns, sigma_ms, looks, speed_um_s, last_ns, as last told."""
    most_in_view: int


def tracker_for(scene: FlowScene, **settings: object) -> FlowTracker:
    """With the settings of a scene's flow, as far as nothing else is asked for."""
    flow = scene.flow
    chosen = {"junction_um": flow.junction_um, "speed_um_s": flow.speed_um_s} | settings
    return FlowTracker(FlowSettings(**chosen), flow.um_per_px, flow.width_px)  # type: ignore[arg-type]


def followed(
    scene: FlowScene, stack: int = 16, tracker: FlowTracker | None = None, exposure_ms: float = 0.0
) -> Followed:
    """The whole scene, in stacks of so many strips."""
    tracker = tracker or tracker_for(scene)
    cell_of, gone, most = [np.empty(0, np.int64)], {}, 0
    for sightings, times in scene.stacks(stack):
        cells = tracker.update(sightings, times, exposure_ms)
        cell_of.append(cells.cell_of)
        most = max(most, int((~cells.gone).sum()))
        for i in np.flatnonzero(cells.gone):
            assert int(cells.id[i]) not in gone, "a cell goes once"
            gone[int(cells.id[i])] = (
                int(cells.arrival_ns[i]), float(cells.sigma_ms[i]), int(cells.looks[i]), float(cells.speed_um_s[i]),
                int(cells.last_ns[i]),
            )  # fmt: skip
    return Followed(np.concatenate(cell_of), gone, most)


@dataclass(frozen=True)
class Quality:
    """How good it was, over cells that were seen whole at least twice."""

    right: float
    """Share of cells of which all whole looks have one id, which no other cell has."""
    mixed: float
    """Share of cells that share an id with another."""
    error_us: npt.NDArray[np.float64]
    """Of the arrivals of cells that were followed, as told when they left."""
    surprise: npt.NDArray[np.float64]
    """The same in standard errors."""


def quality(scene: FlowScene, result: Followed) -> Quality:
    """Against the truth."""
    true, whole = np.concatenate(scene.cell_of), np.concatenate([each.whole for each in scene.strips])
    cells_of: dict[int, set[int]] = {}
    for cell, told in zip(true.tolist(), result.cell_of.tolist(), strict=True):
        if told >= 0 and cell >= 0:
            cells_of.setdefault(told, set()).add(cell)
    n_right, n_mixed, errors = 0, 0, []
    order = np.argsort(true, kind="stable")
    cells, first = np.unique(true[order], return_index=True)
    groups = np.split(order, first[1:])
    seen = [(cell, rows[whole[rows]]) for cell, rows in zip(cells.tolist(), groups, strict=True)]
    seen = [(cell, rows) for cell, rows in seen if cell >= 0 and len(rows) > 1]
    for cell, rows in seen:
        ids = result.cell_of[rows]
        own = [told for told in set(ids.tolist()) if told >= 0]
        n_mixed += any(len(cells_of[told]) > 1 for told in own)
        n_right += len(own) == 1 and (ids >= 0).all() and len(cells_of[own[0]]) == 1
        best = max(own, key=lambda told: int((ids == told).sum()), default=-1)
        if best in result.gone and len(cells_of[best]) == 1 and (ids == best).sum() > 1:
            arrival_ns, sigma_ms, *_ = result.gone[best]
            errors.append(((arrival_ns - scene.arrival_ns[cell]) / 1e3, sigma_ms * 1e3))
    error, sigma = np.array(errors).reshape(-1, 2).T
    return Quality(n_right / len(seen), n_mixed / len(seen), error, error / sigma)
