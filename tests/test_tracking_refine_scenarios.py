"""Hindsight, where all is known: it is no worse than the live answer in any scene, and better in most."""

import numpy as np
import pytest

from models.cells import Floats
from realtime.offline.tracking_scores import quick_score
from tracking.lineages import Lineages, live_lineages
from tracking.refine import refine
from tracking.scenarios import make
from tracking.tracker import CausalTracker


def live_answer(name: str, seed: int) -> tuple[Lineages, Lineages]:
    """Truth and live answer."""
    scenario, tracker = make(name, seed), CausalTracker()
    return scenario.truth, live_lineages((cells, tracker.update(cells)) for cells in scenario.frames)


@pytest.mark.parametrize(
    "name", ["walkers", "crowd", "dividing", "dying", "misses", "border", "touching", "everything"]
)
def test_hindsight_is_no_worse_than_live(name: str) -> None:
    truth, live = live_answer(name, seed=0)
    refined = refine(live)
    before, after = (quick_score(truth, answer) for answer in (live, refined))
    assert after.links.f1 >= before.links.f1
    assert after.divisions.f1 >= before.divisions.f1
    assert after.links.invented + after.links.missed <= 0.9 * (before.links.invented + before.links.missed)


def test_false_detections_go_and_cells_stay() -> None:
    truth, live = live_answer("false", seed=0)
    refined = refine(live)
    real = {(f, label) for f, label in zip(truth.frame.tolist(), truth.label.tolist(), strict=True) if label}

    def false_and_real(answer: Lineages) -> Floats:
        is_real = [key in real for key in zip(answer.frame.tolist(), answer.label.tolist(), strict=True)]
        return np.bincount(np.array(is_real, dtype=np.int64), minlength=2).astype(np.float64)

    (false_before, real_before), (false_after, real_after) = false_and_real(live), false_and_real(refined)
    assert false_after < 0.1 * false_before
    assert real_after > 0.999 * real_before


def test_the_same_again() -> None:
    _, live = live_answer("everything", seed=3)
    one, other = refine(live), refine(live)
    assert np.array_equal(one.track, other.track)
    assert np.array_equal(one.parent, other.parent)
