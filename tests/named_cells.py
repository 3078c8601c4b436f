"""Hand-made movies for tests of the tracker: cells with names among quiet bystanders, and what became of them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from models.cells import Cells
from tests.scenes import cells_at, header
from tracking.tracker import CausalTracker
from tracking.tracks import EventKind, TrackEvent, Tracks

INTERVAL_S = 60.0
DIAMETER_UM = 10.0
AREA_UM2 = np.pi / 4 * DIAMETER_UM**2
HALF_UM = 128.0
"""The field goes from minus to plus so much around the stage's position."""


@dataclass(frozen=True)
class Spot:
    """A cell in a frame; its area is a share of `AREA_UM2`. With a length it is a rod along x, else a disc."""

    x_um: float
    y_um: float
    area: float = 1.0
    counts: float = 1000.0
    mitotic: float = 0.0
    length_um: float = 0.0


Spots = Mapping[str, Spot]


def bystanders(frame: int, shift_um: tuple[float, float] = (0.0, 0.0), columns: int = 6) -> dict[str, Spot]:
    """Up to 36 cells 40 µm apart that hardly move; there is room around (0, 0)."""
    rng, own = np.random.default_rng(frame + 1), np.random.default_rng(0)
    sizes, brightness = own.normal(1.0, 0.1, 36), own.normal(1000.0, 150.0, 36)
    places = [(x, y) for x in range(-100, -100 + 40 * columns, 40) for y in range(-100, 101, 40)]
    return {
        f"bystander {n}": Spot(
            x + shift_um[0] + rng.normal(0, 0.3), y + shift_um[1] + rng.normal(0, 0.3), sizes[n], brightness[n]
        )
        for n, (x, y) in enumerate(places)
    }


def seen(
    spots: Spots,
    frame: int,
    t_s: float,
    stage: tuple[float, float] = (0.0, 0.0),
    classes: bool = False,
) -> Cells:
    """The cells of a frame, in the order of the spots."""
    view = header(frame, stage, t_ms=1000 * t_s)
    mitotic = np.array([spot.mitotic for spot in spots.values()])
    return cells_at(
        view,
        [(spot.x_um, spot.y_um) for spot in spots.values()],
        area_um2=[AREA_UM2 * spot.area for spot in spots.values()],
        mean_intensity=[spot.counts for spot in spots.values()],
        p_class={"interphase": 1 - mitotic, "mitotic": mitotic} if classes else None,
    )


def with_labels(cells: Cells, spots: Spots) -> Cells:
    """The same cells, seen from stage (0, 0), with their label image."""
    labels = np.zeros((512, 512), np.int32)
    pixel_um = np.arange(512) * 0.5 - HALF_UM + 0.25
    for label, spot in zip(cells.label, spots.values(), strict=True):
        dx, dy = np.abs(pixel_um - spot.x_um), np.abs(pixel_um - spot.y_um)[:, None]
        rod = (dx < spot.length_um / 2) & (dy < AREA_UM2 * spot.area / 2 / max(spot.length_um, 1))
        labels[rod if spot.length_um else dx**2 + dy**2 < AREA_UM2 * spot.area / np.pi] = label
    return replace(cells, labels=labels)


class Watch:
    """A tracker that looks at named cells, frame after frame, and everything that it told."""

    def __init__(self, tracker: CausalTracker | None = None, classes: bool = False) -> None:
        self.tracker = tracker or CausalTracker()
        self.classes = classes
        self.frame, self.t_s = -1, 0.0
        self.tracks: list[Tracks] = []
        self.ids: list[dict[str, int]] = []

    def see(
        self,
        spots: Spots,
        after_s: float = INTERVAL_S,
        stage: tuple[float, float] = (0.0, 0.0),
        looked: Callable[[Cells], Cells] = lambda cells: cells,
    ) -> Tracks:
        """The next frame; `looked` may add to its cells what spots do not have."""
        self.frame, self.t_s = self.frame + 1, self.t_s + after_s
        tracks = self.tracker.update(looked(seen(spots, self.frame, self.t_s, stage, self.classes)))
        names = list(spots)
        rows = tracks.cell_row.tolist()
        self.tracks.append(tracks)
        self.ids.append({names[row]: i for row, i in zip(rows, tracks.id.tolist(), strict=True) if row >= 0})
        return tracks

    def wait(self, spots: Spots, frames: int = 8) -> None:
        """Let the tracker get to know these cells among bystanders."""
        for _ in range(frames):
            self.see(bystanders(self.frame + 1) | dict(spots))

    def id_of(self, name: str, frame: int = -1) -> int:
        """The track that has this cell; in the last frame unless told."""
        return self.ids[frame][name]

    def ids_of(self, name: str) -> set[int]:
        """All tracks that ever had this cell."""
        return {ids[name] for ids in self.ids if name in ids}

    def told(self, *kinds: EventKind, since: int = 0) -> list[TrackEvent]:
        """Events of these kinds, of all kinds if none is named."""
        return [event for t in self.tracks[since:] for event in t.events if not kinds or event.kind in kinds]

    def kinds(self, track_id: int) -> list[str]:
        """What was told of a track, in order."""
        return [event.kind for event in self.told() if event.track_id == track_id]


def moved(spot: Spot, x_um: float, y_um: float) -> Spot:
    return replace(spot, x_um=spot.x_um + x_um, y_um=spot.y_um + y_um)


def same_identities(watch: Watch, names: Sequence[str]) -> bool:
    """Each of them had one track all the time, and no two the same."""
    ids = [watch.ids_of(name) for name in names]
    return all(len(own) == 1 for own in ids) and len(set.union(*ids)) == len(names)
