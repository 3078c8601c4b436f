"""An analysis put into words: the messages that inference sends about a frame, inline or over the bus."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from acquisition.clock import Clock
from realtime.inference import Analysis
from realtime.policy import Scene
from realtime.wire import Column, DecisionMade, FrameAnalysed
from tracking.tracks import COASTING, TrackEvent


def decisions_made(run: str, analysis: Analysis, clock: Clock) -> Iterator[DecisionMade]:
    """One message a decision, each stamped when it is taken to be sent."""
    stamps = analysis.stamps
    for decision in analysis.decisions:
        yield DecisionMade(
            run=run,
            decision=decision,
            exposed_ns=stamps.exposed_ns,
            decided_ns=stamps.ends_ns[-1],
            sent_ns=clock.now_ns(),
        )


def analysed(run: str, analysis: Analysis, skipped: int, incarnation: int = 0) -> FrameAnalysed:
    """What was seen in a frame, for the recorder."""
    scene, stamps = analysis.scene, analysis.stamps
    return FrameAnalysed(
        run=run, frame_index=scene.frame.index, t_ns=scene.frame.t_ns, skipped=skipped, exposed_ns=stamps.exposed_ns,
        ends_ns=tuple(stamps.ends_ns), n_cells=len(scene.cells), n_tracks=len(scene.tracks),
        events=tuple(map(event_words, scene.tracks.events)),
        frame_mj=scene.dose.frame_mj, unbleached=scene.dose.unbleached, ended_j_cm2=analysis.ended_j_cm2,
        decisions=tuple(analysis.decisions), dropped=tuple(analysis.dropped), shadow=analysis.shadow,
        tracks=track_columns(scene), incarnation=incarnation,
    )  # fmt: skip


def event_words(event: TrackEvent) -> str:
    """Kind, track, other tracks; of a division also its probability and its lateness: `divided 9 17 18 p=0.93 late=1`."""
    sure = (f"p={event.confidence:.2f}", f"late={event.late_frames}") if event.kind == "divided" else ()
    return " ".join(map(str, (event.kind, event.track_id, *event.others, *sure)))


def track_columns(scene: Scene) -> dict[str, Column]:
    """One row a track; what only a visible cell has is NaN, and its label 0, while the track coasts."""
    tracks, cells = scene.tracks, scene.cells
    seen = tracks.cell_row != COASTING
    measured = {"area_um2": cells.area_um2, "mean_intensity": cells.mean_intensity}
    measured |= {name: cells.features[:, i] for i, name in enumerate(cells.feature_names)}
    columns: dict[str, npt.NDArray[Any]] = {
        "track_id": tracks.id, "parent_id": tracks.parent,
        "x_um": tracks.xy_um[:, 0], "y_um": tracks.xy_um[:, 1],
        "vx_um_s": tracks.velocity_um_s[:, 0], "vy_um_s": tracks.velocity_um_s[:, 1],
        "age_frames": tracks.age, "missed_frames": tracks.missed,
        "confirmed": tracks.confirmed.astype(np.uint8), "sigma_um": tracks.sigma_um,
        "label": np.zeros(len(tracks), dtype=np.int32),
    }  # fmt: skip
    dose = scene.dose.track_j_cm2
    columns["dose_j_cm2"] = dose if len(dose) == len(tracks) else np.full(len(tracks), np.nan)
    columns["label"][seen] = cells.label[tracks.cell_row[seen]]
    for name, values in measured.items():
        columns[name] = np.full(len(tracks), np.nan)
        columns[name][seen] = values[tracks.cell_row[seen]]
    columns |= {f"p_{name}": tracks.p_class[:, i] for i, name in enumerate(tracks.class_names)}
    return {name: Column.of(values) for name, values in columns.items()}
