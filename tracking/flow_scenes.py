"""Cells in a flow with exact truth, as sightings: where flow trackers can be measured, because all is known.

Cells come at random moments, go at the speed of their place across the channel, each a little faster or slower, and are
looked at strip by strip by a pretended finder, which errs, overlooks, cuts off and takes two for one.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from acquisition.clock import NS_PER_S
from models.cells import Floats
from models.sightings import Sightings
from tracking.tracks import Ints

CLUMP, DIRT = -2, -3
"""In `cell_of`: a sighting of several cells at once; of something that sticks to the glass."""

COLUMNS = ("t_ns", "xy_px", "bbox_px", "whole", "area_um2", "contrast", "features")


@dataclass(frozen=True)
class Flow:
    """How cells come and how they are seen; lengths in µm, times in s."""

    events_per_s: float = 500.0
    seconds: float = 2.0
    interval_s: float = 0.00025
    speed_um_s: float = 100_000.0
    """In the middle of the channel."""
    profile: float = 0.6
    """By this share cells at the edge of the view are slower."""
    focus_um: float = 4.0
    """Standard deviation of places across the channel."""
    scatter: float = 0.01
    """Standard deviation of speeds at one place, as a share."""
    slip: float = 0.0005
    """Standard deviation of what happens to a speed after the view, as a share."""
    error_px: float = 0.25
    """Standard deviation of a measured place."""
    missed: float = 0.01
    """Share of looks in which nothing is found."""
    height_px: int = 64
    width_px: int = 256
    um_per_px: float = 0.5
    junction_um: float = 2_000.0


@dataclass(frozen=True)
class FlowScene:
    """What a tracker is given, and what was true. Cells are counted from 0, in the order of their arrival in the view."""

    flow: Flow
    t_ns: Ints  # [S] of the strips
    strips: list[Sightings]  # one a strip
    cell_of: list[Ints]  # a strip: the cell of each sighting, or CLUMP or DIRT
    arrival_ns: Ints  # [C] at the junction
    speed_um_s: Floats  # [C] in the view
    y_um: Floats  # [C]

    def stacks(self, size: int) -> Iterator[tuple[Sightings, tuple[int, ...]]]:
        """What `FlowTracker.update` takes, stack after stack; the last one may be smaller."""
        for begin in range(0, len(self.strips), size):
            part = slice(begin, begin + size)
            yield stacked(self.strips[part]), tuple(self.t_ns[part].tolist())


def flow_scene(flow: Flow, seed: int = 0, t_ns: Ints | None = None, flow_s: Floats | None = None) -> FlowScene:
    """A scene; `t_ns` are the times of strips if they are not regular, `flow_s` by how much the flow has gone by then."""
    rng = np.random.default_rng(seed)
    stamps = np.rint(np.arange(0, flow.seconds, flow.interval_s) * NS_PER_S).astype(np.int64) if t_ns is None else t_ns
    gone_s = stamps / NS_PER_S if flow_s is None else flow_s
    cells = _Cells(flow, rng, float(gone_s[-1]))
    strips, cell_of = [], []
    for stamp, at_s in zip(stamps, gone_s, strict=True):
        sightings, cell = cells.seen(at_s)
        sightings.t_ns[:] = stamp
        strips.append(sightings)
        cell_of.append(cell)
    arrival = np.rint(cells.arrival_s * NS_PER_S).astype(np.int64) + stamps[-1] - round(gone_s[-1] * NS_PER_S)
    return FlowScene(flow, stamps, strips, cell_of, arrival, cells.speed_um_s, cells.y_um)


def stopped(flow: Flow, seed: int, after_s: float, until_s: float, share: float) -> FlowScene:
    """A flow that goes at this share of its speed for a while; arrivals are right for cells that come afterwards."""
    times = np.arange(0, flow.seconds, flow.interval_s)
    slow = np.clip(times - after_s, 0, until_s - after_s)
    return flow_scene(flow, seed, np.rint(times * NS_PER_S).astype(np.int64), times - (1 - share) * slow)


def since(scene: FlowScene, t_ns: int) -> FlowScene:
    """Its strips from this time on."""
    first = int(np.searchsorted(scene.t_ns, t_ns))
    return replace(scene, t_ns=scene.t_ns[first:], strips=scene.strips[first:], cell_of=scene.cell_of[first:])


def mirrored(scene: FlowScene) -> FlowScene:
    """The same, flowing to the left."""
    width = scene.flow.width_px
    strips, cell_of = [], []
    for strip, cell in zip(scene.strips, scene.cell_of, strict=True):
        xy, box = strip.xy_px * [-1, 1] + [width - 1, 0], strip.bbox_px.copy()
        box[:, [0, 2]] = width - strip.bbox_px[:, [2, 0]]
        strips.append(_in_order(replace(strip, xy_px=xy, bbox_px=box), np.argsort(xy[:, 0], kind="stable")))
        cell_of.append(cell[np.argsort(xy[:, 0], kind="stable")])
    return replace(scene, strips=strips, cell_of=cell_of)


def with_dirt(scene: FlowScene, xy_px: Floats, overlooked: float, seed: int = 0) -> FlowScene:
    """Something sticks to the glass at `xy_px[D, 2]`, and is not seen in this share of the strips."""
    rng = np.random.default_rng(seed)
    strips, cell_of = [], []
    for strip, cell in zip(scene.strips, scene.cell_of, strict=True):
        at = xy_px[rng.random(len(xy_px)) >= overlooked] + 0.1 * rng.normal(size=2)
        box = np.concatenate([np.maximum(at - 6, 0), at + 7], axis=1)
        rows = [np.array([*xy, *corners, 1.0, 30.0, 0.2]) for xy, corners in zip(at, box, strict=True)]
        both = stacked([strip, _sightings(rows)])
        both.strip[:], both.t_ns[:] = 0, strip.t_ns[0] if len(strip) else 0
        order = np.argsort(both.xy_px[:, 0], kind="stable")
        strips.append(_in_order(both, order))
        cell_of.append(np.concatenate([cell, np.full(len(at), DIRT)])[order])
    return replace(scene, strips=strips, cell_of=cell_of)


def _in_order(strip: Sightings, order: Ints) -> Sightings:
    columns = {name: getattr(strip, name)[order] for name in COLUMNS}
    return replace(strip, **columns)


class _Cells:
    """All cells of a scene."""

    def __init__(self, flow: Flow, rng: np.random.Generator, seconds: float) -> None:
        self.flow, self.rng = flow, rng
        length, height = flow.width_px * flow.um_per_px, flow.height_px * flow.um_per_px
        n = rng.poisson(flow.events_per_s * (seconds + 0.1))
        self.y_um = np.clip(rng.normal(height / 2, flow.focus_um, n), 0.12 * height, 0.88 * height)
        across = (self.y_um - height / 2) / (height / 2)
        self.speed_um_s = flow.speed_um_s * (1 - flow.profile * across**2) * (1 + flow.scatter * rng.normal(size=n))
        self.enters_s = np.sort(rng.uniform(-0.05, seconds + 0.05, n))
        self.leaves_s = self.enters_s + (length + 20) / self.speed_um_s
        out_s = (flow.junction_um - length / 2) / self.speed_um_s / (1 + flow.slip * rng.normal(size=n))
        self.arrival_s = self.enters_s + (length + 10) / self.speed_um_s + out_s
        self.radius_um = np.exp(rng.normal(np.log(4.0), 0.2, n))
        self.contrast = np.exp(rng.normal(np.log(0.2), 0.3, n))

    def seen(self, t_s: float) -> tuple[Sightings, Ints]:
        """One strip: what is found, and whose it is."""
        flow = self.flow
        near = np.flatnonzero((self.enters_s < t_s) & (t_s < self.leaves_s))
        x_um = (t_s - self.enters_s[near]) * self.speed_um_s[near] - 10  # from the edge of the view
        centres = np.stack([x_um, self.y_um[near]], axis=1) / flow.um_per_px - 0.5
        found = self.rng.random(len(near)) >= flow.missed
        near, centres = near[found], centres[found]
        centres = centres + flow.error_px * self.rng.normal(size=centres.shape)
        groups = _clumps(centres, self.radius_um[near] / flow.um_per_px)
        seen = (self._look(near[group], centres[group]) for group in groups)
        looks = sorted((look for look in seen if look is not None), key=lambda look: float(look[0][0]))
        return _sightings([row for row, _ in looks]), np.array([cell for _, cell in looks], np.int64)

    def _look(self, cells: Ints, centres: Floats) -> tuple[Floats, int] | None:
        """x, y, box, whole, area, contrast of one blob; None if nothing of it is in view."""
        flow = self.flow
        radius = self.radius_um[cells] / flow.um_per_px
        low, high = (centres - radius[:, None]).min(0), (centres + radius[:, None]).max(0)
        view = np.array([flow.width_px, flow.height_px])
        box_low, box_high = np.clip(np.floor(low), 0, view), np.clip(np.ceil(high) + 1, 0, view)
        if box_high[0] - box_low[0] < 3:
            return None
        whole = low[0] > 0 and high[0] < view[0] - 1
        weight = radius**2 * self.contrast[cells]
        x, y = weight @ centres / weight.sum()
        if not whole:
            x = (max(low[0], 0) + min(high[0], view[0] - 1)) / 2
        area = np.pi * (self.radius_um[cells] ** 2).sum() * (1 if whole else 0.5) * np.exp(0.05 * self.rng.normal())
        contrast = self.contrast[cells].mean() * np.exp(0.05 * self.rng.normal())
        row = np.array([x, y, *box_low, *box_high, whole, area, contrast])
        return row, int(cells[0]) if len(cells) == 1 else CLUMP


def _clumps(centres: Floats, radius: Floats) -> list[Ints]:
    """Cells that touch one another are seen as one."""
    label = np.arange(len(centres))
    for i in range(len(centres)):
        for j in range(i):
            if np.hypot(*(centres[i] - centres[j])) < 0.95 * (radius[i] + radius[j]):
                label[label == label[i]] = label[j]
    return [np.flatnonzero(label == each) for each in np.unique(label)]


def _sightings(rows: list[Floats]) -> Sightings:
    """Of one strip, from the rows of `_look`."""
    table = np.array(rows).reshape(-1, 9)
    n = len(table)
    return Sightings(
        strip=np.zeros(n, np.int32), t_ns=np.zeros(n, np.int64), xy_px=table[:, :2].copy(),
        bbox_px=table[:, 2:6].astype(np.int32), whole=table[:, 6] > 0, area_um2=table[:, 7].copy(),
        contrast=table[:, 8].copy(), features=np.empty((n, 0)), feature_names=(),
    )  # fmt: skip


def stacked(strips: list[Sightings]) -> Sightings:
    """Sightings of single strips as those of one stack."""
    place = np.repeat(np.arange(len(strips), dtype=np.int32), [len(each) for each in strips])
    columns = {name: np.concatenate([getattr(each, name) for each in strips]) for name in COLUMNS}
    return Sightings(strip=place, feature_names=strips[0].feature_names, **columns)
