"""Tracked movies for tests of scores: drawn ones whose scores can be counted by hand, and truth that was damaged at random."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from models.label_files import write_labels
from tracking.lineages import Lineages
from tracking.tracks import Ints

N_FRAMES, N_PLACES, PLACE_PX = 8, 6, 8
Places = Mapping[int, str]
"""Frame → the places in a row, 0 to 5, that a mask covers: "2", or "02" where it covers two."""


@dataclass(frozen=True)
class Drawn:
    """A track: where its mask is in which frame, and its mother."""

    places: Places
    parent: int = 0
    rows_px: int = 6
    """How high its masks are."""


def at(place: str, first: int, last: int) -> dict[int, str]:
    return dict.fromkeys(range(first, last + 1), place)


def write_movie(folder: Path, tracks: Mapping[int, Drawn], truth: bool = False, height_px: int = 10) -> Path:
    """Masks and the table of tracks, under the names of a result or of the truth."""
    folder.mkdir(parents=True, exist_ok=True)
    masks, table = ("man_track", "man_track.txt") if truth else ("mask", "res_track.txt")
    for frame in range(N_FRAMES):
        image = np.zeros((height_px, N_PLACES * PLACE_PX), np.int32)
        for label, track in tracks.items():
            for place in track.places.get(frame, ""):
                image[2 : 2 + track.rows_px, PLACE_PX * int(place) + 1 : PLACE_PX * (int(place) + 1) - 1] = label
        write_labels(folder / f"{masks}{frame:03d}.tif", image)
    rows = [f"{label} {min(t.places)} {max(t.places)} {t.parent}\n" for label, t in tracks.items()]
    (folder / table).write_text("".join(rows))
    return folder


def movie_lineages(tracks: Mapping[int, Drawn]) -> Lineages:
    """The same as sightings; the label of one is 1 more than the (first) place that it covers."""
    rows = sorted((frame, track, 1 + int(p[0])) for track, t in tracks.items() for frame, p in t.places.items())
    frame, track, label = np.array(rows, dtype=np.int64).reshape(-1, 3).T
    return sightings(frame, track, label, {track: t.parent for track, t in tracks.items()})


def sightings(frame: Ints, track: Ints, label: Ints, parent: Mapping[int, int]) -> Lineages:
    """Lineages of which nothing is known but who is who; parents that are never sighted are left out."""
    order = np.lexsort((track, frame))
    ids, nothing = np.unique(track), np.zeros(len(frame))
    parents = np.array([parent.get(i, 0) for i in ids.tolist()], dtype=np.int64)
    parents[~np.isin(parents, ids)] = 0
    return Lineages(
        frame[order], np.zeros(len(frame), np.int64), track[order], label[order], np.zeros((len(frame), 2)), nothing,
        nothing, ids, parents,
    )  # fmt: skip


def damaged(truth: Lineages, seed: int, n_mistakes: int = 12) -> Lineages:
    """A result with mistakes of every kind: sightings lost, tracks cut and swapped, divisions lost, invented, told late."""
    rng = np.random.default_rng(seed)
    keep = (rng.random(len(truth)) > 0.03) & (truth.label != 0)
    frame, track, label = truth.frame[keep], truth.track[keep].copy(), truth.label[keep]
    parent = dict(zip(truth.id.tolist(), truth.parent.tolist(), strict=True))
    for _ in range(n_mistakes):
        one, other = rng.choice(np.unique(track), 2, replace=False).tolist()
        since = int(rng.integers(1, truth.n_frames))
        mine, others = (track == one) & (frame >= since), (track == other) & (frame >= since)
        kind = rng.choice(["swap", "cut", "orphan", "late"])
        if kind == "swap":
            track[mine], track[others] = other, one
        elif kind == "cut":
            goes_on = mine.any() and frame[track == other].max() >= frame[mine].min()
            track[mine] = new = int(max(track.max(), *parent)) + 1
            parent = {i: new if mother == one else mother for i, mother in parent.items()}
            parent[new] = int(rng.choice([0, one, other if goes_on else one]))
        elif kind == "orphan":
            parent[one] = 0
        elif parent[one] and not np.isin(frame[track == one][:2], frame[track == parent[one]]).any():
            track[np.flatnonzero(track == one)[:2]] = parent[one]  # her mother's id stays on her for two frames
    # Whoever begins before the mother is no daughter of hers.
    first = {i: frame[track == i].min() for i in np.unique(track).tolist()}
    parent = {i: p for i, p in parent.items() if i in first and first.get(p, truth.n_frames) < first[i]}
    return sightings(frame, track, label, parent)
