"""Small scenes for tests: a header, the cells of a frame, the tracks that are alive, and all of it together.

Every array is read-only, so that whoever writes into a scene is found out.
"""

from collections.abc import Mapping, Sequence
from typing import Any, get_args

import msgspec
import numpy as np
import numpy.typing as npt

from acquisition.clock import NS_PER_MS
from acquisition.frame import FrameHeader, StagePosition, affine_at
from models.cells import Cells, Floats
from realtime.policy import Dose, Scene
from tracking.tracks import COASTING, EventKind, TrackEvent, Tracks

Points = Sequence[tuple[float, float]] | Floats
Numbers = Sequence[float] | Floats


def header(
    index: int = 0,
    stage: tuple[float, float] = (0.0, 0.0),
    *,
    t_ms: float | None = None,
    interval_ms: float = 50.0,
    size_px: int = 512,
    um_per_px: float = 0.5,
    **others: object,
) -> FrameHeader:
    """A frame's header; its time is its index times the interval unless `t_ms` is given."""
    t_ns = round((index * interval_ms if t_ms is None else t_ms) * NS_PER_MS)
    position = StagePosition(*stage)
    frame = FrameHeader(
        index=index,
        t_ns=t_ns,
        t_read_ns=t_ns + 2 * NS_PER_MS,
        height_px=size_px,
        width_px=size_px,
        dtype="uint16",
        channel="phase",
        exposure_ms=10.0,
        interval_ms=interval_ms,
        light_mw=1.0,
        stage=position,
        stage_from_pixel=affine_at(position, (um_per_px, 0.0, 0.0, um_per_px), (size_px, size_px)),
        um_per_px=um_per_px,
    )
    return msgspec.structs.replace(frame, **others)


def cells_at(
    frame: FrameHeader,
    xy_um: Points = (),
    *,
    p_class: Mapping[str, Numbers] | None = None,
    features: Mapping[str, Numbers] | None = None,
    mean_intensity: Numbers | None = None,
    area_um2: Numbers | None = None,
) -> Cells:
    """Cells at these stage positions, 10 × 10 pixels each; one class and no feature unless they are given."""
    xy = _points(xy_um)
    n = len(xy)
    middle_px = np.array([(frame.width_px - 1) / 2, (frame.height_px - 1) / 2])
    xy_px = (xy - (frame.stage.x_um, frame.stage.y_um)) / frame.um_per_px + middle_px
    corner = np.floor(xy_px).astype(np.int32)
    classes, measured = p_class or {"cell": [1.0] * n}, features or {}
    return Cells(
        frame_index=frame.index,
        t_ns=frame.t_ns,
        label=_frozen(np.arange(1, n + 1, dtype=np.int32)),
        xy_um=xy,
        xy_px=_frozen(xy_px),
        area_um2=_column(area_um2, n, 25.0),
        bbox_px=_frozen(np.hstack([corner - 5, corner + 5])),
        mean_intensity=_column(mean_intensity, n, 1000.0),
        features=_table(measured, n),
        feature_names=tuple(measured),
        p_class=_table(classes, n),
        class_names=tuple(classes),
        stage_from_pixel=frame.stage_from_pixel,
        shape=frame.shape,
    )


def tracks_of(
    cells: Cells,
    ids: Sequence[int] | None = None,
    *,
    age: int | Sequence[int] = 10,
    unseen: Mapping[int, tuple[tuple[float, float], int]] | None = None,
    velocity_um_s: Points | None = None,
    parent: Sequence[int] | None = None,
    events: Sequence[TrackEvent] = (),
) -> Tracks:
    """One track a cell, ids 1, 2, 3 … unless given.

    `unseen` adds tracks without a cell: id → (predicted position, frames missed).
    """
    coasting = unseen or {}
    seen = list(range(1, len(cells) + 1)) if ids is None else list(ids)
    n, n_unseen = len(seen), len(coasting)
    m, even = n + n_unseen, np.full((n_unseen, len(cells.class_names)), 1 / len(cells.class_names))
    return Tracks(
        frame_index=cells.frame_index,
        t_ns=cells.t_ns,
        id=_ints([*seen, *coasting]),
        parent=_ints([0] * m if parent is None else parent),
        xy_um=_frozen(np.vstack([cells.xy_um, _points([position for position, _ in coasting.values()])])),
        velocity_um_s=_frozen(np.zeros((m, 2))) if velocity_um_s is None else _points(velocity_um_s),
        sigma_um=_frozen(np.ones(m)),
        age=_ints([age] * m if isinstance(age, int) else age),
        missed=_ints([0] * n + [missed for _, missed in coasting.values()]),
        confirmed=_frozen(np.ones(m, dtype=bool)),
        p_class=_frozen(np.vstack([cells.p_class, even])),
        cell_row=_ints([*range(n), *[COASTING] * n_unseen]),
        class_names=cells.class_names,
        events=tuple(events),
    )


def scene(frame: FrameHeader, cells: Cells | None = None, tracks: Tracks | None = None, dose_mj: float = 0.0) -> Scene:
    """All of one frame; no cells and one track a cell unless given."""
    cells = cells_at(frame) if cells is None else cells
    return Scene(frame, cells, tracks_of(cells) if tracks is None else tracks, Dose(dose_mj))


def random_scene(index: int, n: int, rng: np.random.Generator, first_id: int = 1, **frame: object) -> Scene:
    """`n` cells of two classes and one feature, anywhere in the view, with ids from `first_id` on."""
    view = header(index, **frame)  # type: ignore[arg-type]
    half_um = view.width_px * view.um_per_px / 2
    p = rng.random(n)
    cells = cells_at(
        view,
        rng.uniform(-half_um, half_um, (n, 2)) + np.array([view.stage.x_um, view.stage.y_um]),
        p_class={"round": p, "flat": 1 - p},
        features={"roundness": rng.random(n)},
        mean_intensity=rng.uniform(200, 4000, n),
    )
    ids = range(first_id, first_id + n)
    kinds = rng.choice(get_args(EventKind), min(n, 3))
    others = {"divided": (first_id + n, first_id + n + 1), "merged": (first_id,), "split": (first_id,)}
    events = [TrackEvent(kind, i, others.get(kind, ())) for kind, i in zip(kinds.tolist(), ids, strict=False)]
    return scene(view, cells, tracks_of(cells, list(ids), age=rng.integers(0, 30, n).tolist(), events=events))


def _frozen(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    array.flags.writeable = False
    return array


def _points(xy: Points) -> Floats:
    return _frozen(np.array(xy, dtype=np.float64).reshape(-1, 2))


def _ints(values: Sequence[int]) -> npt.NDArray[np.int64]:
    return _frozen(np.array(values, dtype=np.int64))


def _column(values: Numbers | None, n: int, default: float) -> Floats:
    return _frozen(np.full(n, default) if values is None else np.array(values, dtype=np.float64))


def _table(columns: Mapping[str, Numbers], n: int) -> Floats:
    """`[n, columns]`, also without any column."""
    return _frozen(np.array([*columns.values()], dtype=np.float64).reshape(len(columns), n).T.copy())
