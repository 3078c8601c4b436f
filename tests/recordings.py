"""Small tracked recordings whose every sighting is known, for tests of formats and pictures."""

import numpy as np
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from models.cells import Labels
from tracking.lineages import Lineages

N_FRAMES, MOST_TRACKS = 6, 9
SHAPE = (4, 12)
S = 1_000_000_000


def lineages_of(tracks: dict[int, tuple[list[int], int]], seed: int = 0) -> Lineages:
    """From id → (frames, parent); a track is one pixel, under another label in every frame."""
    rng = np.random.default_rng(seed)
    label = {frame: rng.permutation(np.arange(1, SHAPE[0] * SHAPE[1])) for frame in range(N_FRAMES)}
    sightings = sorted((frame, track) for track, (frames, _) in tracks.items() for frame in frames)
    frame, track = np.array(sightings, dtype=np.int64).reshape(-1, 2).T
    where = np.searchsorted(sorted(tracks), track)
    xy_px = np.stack([where % SHAPE[1], where // SHAPE[1]], axis=1).astype(float)
    return Lineages(
        frame=frame,
        t_ns=frame * 60 * S,
        track=track,
        label=np.array([label[f][w] for f, w in zip(frame, where, strict=True)], dtype=np.int64),
        xy_um=xy_px * 0.5,
        area_um2=np.full(len(frame), 0.25),
        mean_intensity=rng.uniform(10, 99, len(frame)),
        id=np.array(sorted(tracks), dtype=np.int64),
        parent=np.array([tracks[i][1] for i in sorted(tracks)], dtype=np.int64),
    )


def images_of(lineages: Lineages) -> list[Labels]:
    images = np.zeros((N_FRAMES, *SHAPE), np.int32)
    x, y = np.round(lineages.xy_um / 0.5).astype(int).T
    images[lineages.frame, y, x] = lineages.label
    return list(images)


@st.composite
def recordings(draw: st.DrawFn) -> Lineages:
    """Tracks with gaps, mothers who end before their daughters begin, and mothers whose division was told late."""
    ids = sorted(draw(st.sets(st.integers(1, 60), min_size=1, max_size=MOST_TRACKS)))
    tracks: dict[int, tuple[list[int], int]] = {}
    for track in ids:
        frames = sorted(draw(st.sets(st.integers(0, N_FRAMES - 1), min_size=1)))
        mothers = [mother for mother, (seen, _) in tracks.items() if seen[0] < frames[0]]
        tracks[track] = (frames, draw(st.sampled_from([0, *mothers])))
    return lineages_of(tracks, seed=draw(st.integers(0, 9)))


LATE = lineages_of({3: ([0, 1, 2, 3], 0), 7: ([2, 3, 4, 5], 3), 8: ([4, 5], 3)})
"""The division of 3 was told in frame 4: until then its id was on the cell that is 8 from then on."""
GAP = lineages_of({1: ([0, 1, 4, 5], 0), 2: ([0, 1, 2, 3, 4, 5], 0)})
DIVIDED = lineages_of({1: ([0, 1, 2], 0), 2: ([3, 4, 5], 1), 5: ([3, 4], 1), 6: ([0, 5], 0)})
same_folder = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=25, deadline=None)
slow_files = settings(same_folder, max_examples=6)  # a graph is dozens of small files


def assert_same(found: Lineages, expected: Lineages, *left_out: str) -> None:
    for name in set(Lineages.__dataclass_fields__) - set(left_out):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name), err_msg=name)
