"""Scores of tracking against whole runs of py-ctcmetrics on folders, and against traccuracy where it is installed."""

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import tifffile
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from tracked_movies import damaged

from realtime.offline.ctc_files import write_ctc
from realtime.offline.mask_scores import covered, score_folders
from realtime.offline.track_names import detected, same_detections
from realtime.offline.track_segments import edges_of
from realtime.offline.tracking_scores import quick_score, score_detections
from tracking.lineages import Lineages
from tracking.scenarios import Recipe, Scenario, labels_of, make

pytest.importorskip("ctc_metrics", reason='needs py-ctcmetrics of the extra "evaluate"')

SCENE = Recipe(n_cells=12, n_frames=16, field_um=160.0, um_per_px=1.0, division_rate_per_hour=1.0, miss_rate=0.05)
SEEDS = range(4)
Pixels = npt.NDArray[np.uint16]


@pytest.fixture(scope="module", params=SEEDS)
def scored(request: pytest.FixtureRequest) -> tuple[Scenario, Lineages]:
    """A scene of which some cells are missed, and a damaged result."""
    scenario = make(SCENE, request.param)
    return scenario, damaged(scenario.truth, request.param)


def write(folder: Path, lineages: Lineages, scenario: Scenario) -> Path:
    folder.mkdir(parents=True)
    write_ctc(folder, lineages, (labels_of(scenario, i) for i in range(len(scenario.frames))), len(scenario.frames))
    return folder


def as_truth(folder: Path) -> None:
    """The names that the Challenge's truth has; its masks are given as SEG, too."""
    for mask in folder.glob("mask*.tif"):
        seg = folder.parent / "SEG" / mask.name.replace("mask", "man_seg")
        seg.parent.mkdir(exist_ok=True)
        seg.write_bytes(mask.read_bytes())
        mask.rename(folder / mask.name.replace("mask", "man_track"))
    (folder / "res_track.txt").rename(folder / "man_track.txt")


def test_folders_score_what_the_challenges_own_program_gives(
    scored: tuple[Scenario, Lineages], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from ctc_metrics.scripts.evaluate import evaluate_sequence

    scenario, result = scored
    write(tmp_path / "01_GT" / "TRA", detected(scenario.truth), scenario)
    as_truth(tmp_path / "01_GT" / "TRA")
    res = write(tmp_path / "01_RES", result, scenario)
    for tracked in tmp_path.rglob("pieces.csv"):
        tracked.unlink()  # so that pieces are tracks for us, too: the Challenge knows nothing else
    ours = score_folders(tmp_path / "01_GT", res)
    names = ["Valid", "TRA", "DET", "LNK", "SEG", "CT", "BC", "MOTA"]
    theirs = evaluate_sequence(str(res), str(tmp_path / "01_GT"), names, threads=1)
    capsys.readouterr()
    assert theirs["Valid"] == 1
    expected = [theirs[name] for name in ("TRA", "DET", "LNK", "AOGM", "SEG", "CT", "IDSW")]
    graph = ours.graph
    assert [graph.tra, graph.det, graph.lnk, graph.aogm, ours.seg, ours.complete.f1, ours.identity_switches] == expected
    assert {t: (c.found, c.invented, c.missed) for t, c in ours.divisions.items()} == {
        t: tuple(theirs[f"{kind}_div({t})"] for kind in ("tp", "fp", "fn")) for t in ours.divisions
    }
    assert theirs["AOGM"] > 20
    assert theirs["gt_divisions"] > 3, "the case is not empty"


pixels = arrays(np.uint16, (6, 7), elements=st.integers(0, 4))


@settings(max_examples=60, deadline=None)
@given(truth=pixels, masks=pixels)
def test_masks_cover_the_true_cells_that_the_challenges_program_matches(truth: Pixels, masks: Pixels) -> None:
    from ctc_metrics.utils.representations import match

    assume(
        truth.any() and masks.any() and not truth.all() and not masks.all()
    )  # it takes the first label for background
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder) / name for name in ("truth.tif", "masks.tif")]
        for path, image in zip(paths, (truth, masks), strict=True):
            tifffile.imwrite(path, image)
        labels, _, true, found, iou = match(*map(str, paths))
    ours = covered(truth.astype(np.int32), masks.astype(np.int32))
    assert (ours.n_true, ours.true_label.tolist(), ours.found_label.tolist()) == (len(labels), true, found)
    assert ours.iou == pytest.approx(iou)


def test_labels_at_the_end_of_16_bits_match_as_any_others() -> None:
    image = np.zeros((6, 6), np.int32)
    image[1:4, 1:4] = 65_535
    pairs = covered(np.minimum(image, 40), image)
    assert (pairs.true_label.tolist(), pairs.found_label.tolist(), pairs.iou.tolist()) == ([40], [65_535], [1.0])


def test_sightings_have_the_errors_that_traccuracy_finds(
    scored: tuple[Scenario, Lineages], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("traccuracy", reason="needs traccuracy, which asks for an older click than ours")
    from traccuracy import NodeFlag
    from traccuracy.matchers import Matched
    from traccuracy.metrics import CTCMetrics, DivisionMetrics

    monkeypatch.setattr("tqdm.tqdm.monitor_interval", 0)  # its progress bars would leave a thread
    scenario, result = scored
    seen = detected(scenario.truth)
    pairs = [(int(t), int(r)) for t, r in same_detections(seen, result)]
    matched = Matched(traccuracy_graph(seen), traccuracy_graph(result), pairs, {})
    theirs = CTCMetrics().compute(matched).results
    errors, quick = score_detections(scenario.truth, result).errors, quick_score(scenario.truth, result)
    assert (errors.missing_nodes, errors.false_nodes) == (theirs["fn_nodes"], theirs["fp_nodes"])
    assert (errors.missing_edges, errors.false_edges) == (theirs["fn_edges"], theirs["fp_edges"])
    assert (quick.links.missed, quick.links.invented) == (theirs["fn_edges"], theirs["fp_edges"])
    divisions = DivisionMetrics().compute(matched).results["Frame Buffer 0"]
    # It does not mind a third daughter; the Challenge wants as many as there are.
    mothers = [matched.get_gt_pred_match(node) for node in matched.gt_graph.get_nodes_with_flag(NodeFlag.TP_DIV)]
    assert quick.divisions.found == sum(matched.pred_graph.graph.out_degree(mother) == 2 for mother in mothers)
    assert quick.divisions.found + quick.divisions.invented == divisions["Total Predicted Divisions"]


def traccuracy_graph(lineages: Lineages) -> Any:
    import networkx
    from traccuracy import TrackingGraph

    graph = networkx.DiGraph()
    graph.add_nodes_from((row, {"t": frame}) for row, frame in enumerate(lineages.frame.tolist()))
    graph.add_edges_from((mother, daughter) for mother, daughter in edges_of(lineages).tolist())
    return TrackingGraph(graph, label_key=None)
