"""What must be true of any scenario, whole or degraded, and how far its detections are from its truth."""

import numpy as np

from models.cells import Floats
from tracking.scenarios import Scenario


def check_exact(scenario: Scenario) -> None:
    """Truth, labels, detections and times say the same of every frame."""
    truth, half_um = scenario.truth, scenario.recipe.half_um
    assert (np.abs(truth.xy_um) <= half_um).all()
    assert len(scenario.frames) == len(scenario.detected) == scenario.recipe.n_frames
    times = [cells.t_ns for cells in scenario.frames]
    assert times == sorted(set(times))
    for index, (cells, detected) in enumerate(zip(scenario.frames, scenario.detected, strict=True)):
        rows = np.flatnonzero(truth.frame == index)
        assert cells.frame_index == index
        assert (truth.t_ns[rows] == cells.t_ns).all()
        assert len(set(truth.track[rows].tolist())) == len(rows)
        by_truth = {(int(truth.label[r]), int(truth.track[r])) for r in rows if truth.label[r]}
        by_row = {(int(label), int(track)) for label, track in zip(cells.label, detected, strict=True) if track}
        assert by_truth == by_row
        assert len({label for label, _ in by_row}) == len({track for _, track in by_row}) == len(by_row)
        assert (np.abs(cells.xy_um) <= half_um).all()
        assert np.allclose(cells.p_class.sum(axis=1), 1)
        assert (cells.area_um2 > 0).all()
        low, high = cells.bbox_px[:, :2], cells.bbox_px[:, 2:]
        assert (low <= cells.xy_px).all()
        assert (cells.xy_px < high).all()
        assert (high <= scenario.recipe.shape[::-1]).all()


def found_rows(scenario: Scenario) -> tuple[Floats, Floats, Floats]:
    """Of all sightings with a label: offset `[F, 2]`, area and intensity of the detection over the true ones."""
    truth, offset, area, counts = scenario.truth, [], [], []
    for index, cells in enumerate(scenario.frames):
        rows = np.flatnonzero((truth.frame == index) & (truth.label > 0))
        own = np.searchsorted(cells.label, truth.label[rows])
        offset.append(cells.xy_um[own] - truth.xy_um[rows])
        area.append(cells.area_um2[own] / truth.area_um2[rows])
        counts.append(cells.mean_intensity[own] / truth.mean_intensity[rows])
    return np.concatenate(offset), np.concatenate(area), np.concatenate(counts)
