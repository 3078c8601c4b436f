"""What a segmenter and a classifier make of true nuclei: jitter, misses, false ones, two as one, one as two."""

import math
from dataclasses import dataclass, replace

import numpy as np
from scipy.spatial import cKDTree
from scipy.special import expit, ndtri

from acquisition.frame import Affine, StagePosition, affine_at
from models.cells import NO_FEATURES, Cells, Floats
from tracking.scenario_recipes import Recipe
from tracking.scenario_world import Nuclei
from tracking.tracks import Bools, Ints

NOBODY = -1
"""In `owner`: this detection is of no nucleus."""
HALVES_APART = 8 / (3 * math.pi)
"""Centroids of the two halves of a disc are so many radii apart."""
SMALLER_HALF, SMALLER_FRAGMENT = (0.35, 0.5), (0.15, 0.4)
"""Area of the smaller piece, as a share: of a nucleus that is cut in two, and of one that falls into pieces."""
FRAGMENTS = 0.4
"""Chance that a nucleus in the second half of dying is seen in two pieces."""
FALSE_AREA, FALSE_AREA_SPREAD = 0.3, 0.6
"""Median area of false detections, in average nuclei, and its logarithm's standard deviation."""
FALSE_COUNTS = (0.4, 1.0)
"""Intensity of false detections, in average nuclei."""
FALSE_CONDENSED = 0.2
"""Share of false detections that look condensed: bright dirt."""
CLASS_SPREAD = 1.5
"""Standard deviation of the logit of a class probability, from look to look."""


@dataclass(frozen=True)
class Spots:
    """Detections, before they are given to anybody; row i of every array is the same one."""

    owner: Ints  # [S] row of its nucleus, or NOBODY
    xy_um: Floats  # [S, 2]
    area_um2: Floats  # [S]
    counts: Floats  # [S]
    condensed: Floats  # [S]

    def __len__(self) -> int:
        return len(self.owner)

    def __getitem__(self, rows: Bools | Ints) -> "Spots":
        return Spots(*(getattr(self, name)[rows] for name in self.__dataclass_fields__))

    def followed_by(self, others: "Spots") -> "Spots":
        """These rows, then the others'."""
        return Spots(
            *(np.concatenate([getattr(s, name) for s in (self, others)]) for name in self.__dataclass_fields__)
        )


@dataclass(frozen=True)
class Detections:
    """One frame as a segmenter sees it, and whose each detection is."""

    cells: Cells
    truth: Ints  # [N] true track of each row of cells, 0 = nobody's
    label: Ints  # [nuclei] label of each nucleus's detection, 0 = it has none


class Detector:
    """Looks at nuclei, frame by frame; remembers gaps, clumps and lasting false detections."""

    def __init__(self, recipe: Recipe, rng: np.random.Generator) -> None:
        self.recipe = recipe
        self._rng, self._class_rng = rng.spawn(2)  # apart: with and without classes it finds the same cells
        self._gaps = np.empty((0, 2), np.int64)  # track, frame in which it is seen again
        self._clumps = np.empty((0, 3), np.int64)  # two tracks, frame in which they are two again
        self._false = self._new_false(0)
        scale = recipe.um_per_px
        self._affine: Affine = affine_at(StagePosition(), (scale, 0.0, 0.0, scale), recipe.shape)

    def look(self, index: int, t_ns: int, nuclei: Nuclei) -> Detections:
        """Detections in one frame, in random order, labelled 1, 2, 3 …"""
        spots = Spots(np.arange(len(nuclei)), nuclei.xy_um, nuclei.area_um2, nuclei.counts, nuclei.condensed)
        spots, single = self._merged(index, nuclei, spots)
        seen = self._seen(index, nuclei)[spots.owner]
        spots = self._cut(spots[seen], single[seen], nuclei.decay).followed_by(self._false_ones(index, len(nuclei)))
        spots = self._measured(spots[self._rng.permutation(len(spots))])
        own = spots.owner != NOBODY
        label, truth = np.zeros(len(nuclei), np.int64), np.zeros(len(spots), np.int64)
        label[spots.owner[own]] = np.flatnonzero(own) + 1
        truth[own] = nuclei.track[spots.owner[own]]
        return Detections(self._cells(index, t_ns, spots), truth, label)

    def _seen(self, index: int, nuclei: Nuclei) -> Bools:
        """False for nuclei that are missed in this frame, alone or for some frames on end."""
        recipe, rng = self.recipe, self._rng
        self._gaps = self._gaps[self._gaps[:, 1] > index]
        begins = nuclei.track[(rng.random(len(nuclei)) < recipe.gap_rate) & ~np.isin(nuclei.track, self._gaps[:, 0])]
        until = index + rng.integers(2, recipe.gap_frames + 1, len(begins))
        self._gaps = np.concatenate([self._gaps, np.stack([begins, until], axis=1)])
        return (rng.random(len(nuclei)) >= recipe.miss_rate) & ~np.isin(nuclei.track, self._gaps[:, 0])

    def _merged(self, index: int, nuclei: Nuclei, spots: Spots) -> tuple[Spots, Bools]:
        """Clumped nuclei as one spot, which the larger one owns; and which spots are no clumps."""
        if self.recipe.merge_rate == 0:
            return spots, np.ones(len(spots), np.bool_)
        pairs = self._clumped(index, nuclei)
        swap = spots.area_um2[pairs[:, 0]] < spots.area_um2[pairs[:, 1]]
        larger, smaller = np.where(swap[:, None], pairs[:, ::-1], pairs).T
        weight = spots.area_um2[pairs] / spots.area_um2[pairs].sum(axis=1, keepdims=True)  # [pairs, 2]
        xy_um, area_um2 = spots.xy_um.copy(), spots.area_um2.copy()
        counts, condensed = spots.counts.copy(), spots.condensed.copy()
        xy_um[larger] = (spots.xy_um[pairs] * weight[:, :, None]).sum(axis=1)
        area_um2[larger] = spots.area_um2[pairs].sum(axis=1)
        counts[larger] = (spots.counts[pairs] * weight).sum(axis=1)
        condensed[larger] = spots.condensed[pairs].max(axis=1)
        single, left = np.ones(len(spots), np.bool_), np.ones(len(spots), np.bool_)
        single[larger], left[smaller] = False, False
        return Spots(spots.owner, xy_um, area_um2, counts, condensed)[left], single[left]

    def _clumped(self, index: int, nuclei: Nuclei) -> Ints:
        """Pairs of rows that are segmented as one in this frame, `[P, 2]`; nobody is in two."""
        i, j = _touching_pairs(nuclei, self.recipe.touching).T
        touching = np.sort(nuclei.track[np.stack([i, j], axis=1)], axis=1)
        begins = (self._rng.random(len(i)) < self.recipe.merge_rate) & ~(nuclei.fresh[i] & nuclei.fresh[j])
        until = index + self._rng.integers(1, self.recipe.merge_frames + 1, np.count_nonzero(begins))
        still = self._clumps[(self._clumps[:, 2] > index) & _contains(touching, self._clumps[:, :2])]
        taken: set[int] = set()
        kept = []
        for one, other, end in [*still.tolist(), *np.column_stack([touching[begins], until]).tolist()]:
            if not taken & {one, other}:
                taken |= {one, other}
                kept.append((one, other, end))
        self._clumps = np.array(kept, np.int64).reshape(-1, 3)
        order = np.argsort(nuclei.track)
        return order[np.searchsorted(nuclei.track, self._clumps[:, :2], sorter=order)]

    def _cut(self, spots: Spots, single: Bools, decay: Floats) -> Spots:
        """Some spots in two: the owner keeps the larger piece, the smaller one is nobody's."""
        falling_apart = decay[spots.owner] > 0.5
        chance = np.where(falling_apart, FRAGMENTS, self.recipe.cut_rate)
        cut = np.flatnonzero(single & (self._rng.random(len(spots)) < chance))
        least, most = np.where(falling_apart[cut], np.array(SMALLER_FRAGMENT)[:, None], np.array(SMALLER_HALF)[:, None])
        share = self._rng.uniform(least, most)
        angle_rad = self._rng.uniform(0, 2 * math.pi, cut.size)
        apart_um = HALVES_APART * np.sqrt(spots.area_um2[cut] / math.pi)
        way_um = np.stack([np.cos(angle_rad), np.sin(angle_rad)], axis=1) * apart_um[:, None]
        small = replace(
            spots[cut],
            owner=np.full(cut.size, NOBODY),
            xy_um=spots.xy_um[cut] - way_um * (1 - share)[:, None],
            area_um2=spots.area_um2[cut] * share,
        )
        xy_um, area_um2 = spots.xy_um.copy(), spots.area_um2.copy()
        xy_um[cut] += way_um * share[:, None]
        area_um2[cut] *= 1 - share
        return replace(spots, xy_um=xy_um, area_um2=area_um2).followed_by(small)

    def _false_ones(self, index: int, n_nuclei: int) -> Spots:
        """Detections of nothing; each stays for some frames."""
        recipe, rng = self.recipe, self._rng
        stays = rng.random(len(self._false)) >= 1 / recipe.false_frames
        expected = recipe.false_rate * n_nuclei / (recipe.false_frames if index else 1)
        self._false = self._false[stays].followed_by(self._new_false(int(rng.poisson(expected))))
        return self._false

    def _new_false(self, n: int) -> Spots:
        recipe, rng = self.recipe, self._rng
        return Spots(
            owner=np.full(n, NOBODY),
            xy_um=rng.uniform(-recipe.half_um, recipe.half_um, (n, 2)),
            area_um2=recipe.area_um2 * FALSE_AREA * rng.lognormal(0.0, FALSE_AREA_SPREAD, n),
            counts=recipe.counts * rng.uniform(*FALSE_COUNTS, n),
            condensed=(rng.random(n) < FALSE_CONDENSED).astype(np.float64),
        )

    def _measured(self, spots: Spots) -> Spots:
        """With the errors of measurement, and never outside the field."""
        recipe, rng, n = self.recipe, self._rng, len(spots)
        spots = _cut_by_edge(spots, recipe.half_um)
        limit_um = recipe.half_um - recipe.um_per_px / 2
        xy_um = spots.xy_um + recipe.jitter_um * rng.standard_normal((n, 2))
        return replace(
            spots,
            xy_um=np.clip(xy_um, -limit_um, limit_um),
            area_um2=spots.area_um2 * np.exp(recipe.area_noise * rng.standard_normal(n)),
            counts=spots.counts * np.exp(recipe.intensity_noise * rng.standard_normal(n)),
        )

    def _cells(self, index: int, t_ns: int, spots: Spots) -> Cells:
        recipe, (height, width) = self.recipe, self.recipe.shape
        xy_px = (spots.xy_um - [self._affine[2], self._affine[5]]) / recipe.um_per_px
        radius_px = np.sqrt(spots.area_um2 / math.pi)[:, None] / recipe.um_per_px
        bbox_px = np.hstack([np.floor(xy_px - radius_px), np.ceil(xy_px + radius_px) + 1])
        return Cells(
            frame_index=index,
            t_ns=t_ns,
            label=np.arange(1, len(spots) + 1, dtype=np.int32),
            xy_um=spots.xy_um,
            xy_px=xy_px,
            area_um2=spots.area_um2,
            bbox_px=np.clip(bbox_px, 0, [width, height, width, height]).astype(np.int32),
            mean_intensity=spots.counts,
            features=np.empty((len(spots), 0)),
            feature_names=NO_FEATURES,
            p_class=self._p_class(spots.condensed > 0.5),
            class_names=recipe.class_names,
            stage_from_pixel=self._affine,
            shape=recipe.shape,
        )

    def _p_class(self, condensed: Bools) -> Floats:
        """`[S, K]`: a classifier that is wrong as often as the recipe says, and then mostly unsure."""
        if len(self.recipe.class_names) == 1:
            return np.ones((len(condensed), 1))
        mean = -CLASS_SPREAD * ndtri(self.recipe.class_error)
        logit = np.where(condensed, mean, -mean) + CLASS_SPREAD * self._class_rng.standard_normal(len(condensed))
        p = expit(logit)
        return np.stack([1 - p, p], axis=1)


def _touching_pairs(nuclei: Nuclei, touching: float) -> Ints:
    """Rows of nuclei whose centres are nearer than `touching` times the sum of their radii, `[P, 2]`."""
    if len(nuclei) < 2:
        return np.empty((0, 2), np.int64)
    radius_um = touching * np.sqrt(nuclei.area_um2 / math.pi)
    pairs: Ints = cKDTree(nuclei.xy_um).query_pairs(2 * radius_um.max(), output_type="ndarray")
    distance_um = np.linalg.norm(nuclei.xy_um[pairs[:, 0]] - nuclei.xy_um[pairs[:, 1]], axis=1)
    near: Bools = distance_um < radius_um[pairs].sum(axis=1)
    return pairs[near]


def _contains(pairs: Ints, asked: Ints) -> Bools:
    """Which of the asked pairs of tracks are among these; both with the smaller number first."""
    numbers, asked_numbers = (p[:, 0] << 32 | p[:, 1] for p in (pairs, asked))
    return np.isin(asked_numbers, numbers)


def _cut_by_edge(spots: Spots, half_um: float) -> Spots:
    """What can be seen in the field of nuclei that reach beyond its edge: less area, with its middle further inside.

    A disc of radius 1 that is cut h from its centre lacks the area acos h − h √(1 − h²); the first moment of what
    is left is ⅔ (1 − h²)^1.5.
    """
    radius_um = np.sqrt(spots.area_um2 / math.pi)[:, None]
    h = np.clip((half_um - np.abs(spots.xy_um)) / radius_um, 0.0, 1.0)  # [S, 2]: of the nearer edge along each axis
    left = 1 - (np.arccos(h) - h * np.sqrt(1 - h**2)) / math.pi
    inwards_um = radius_um * 2 / 3 * (1 - h**2) ** 1.5 / (math.pi * left)
    return replace(
        spots, xy_um=spots.xy_um - np.sign(spots.xy_um) * inwards_um, area_um2=spots.area_um2 * left.prod(axis=1)
    )
