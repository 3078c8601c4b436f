"""Cell Tracking Challenge folders: round trips, and what the challenge's own readers accept."""

import csv
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from hypothesis import given
from recordings import (
    DIVIDED,
    GAP,
    LATE,
    N_FRAMES,
    SHAPE,
    S,
    assert_same,
    images_of,
    lineages_of,
    recordings,
    same_folder,
)

from models.label_files import write_labels
from realtime.offline.ctc_files import read_ctc, write_ctc
from realtime.offline.label_movie import open_series
from realtime.offline.track_segments import edges_of, families_of, pieces_of
from realtime.plugins import ConfigError
from tracking.lineages import Lineages


def ctc_folder(folder: Path, lineages: Lineages) -> Path:
    folder.mkdir(exist_ok=True)
    write_ctc(folder, lineages, images_of(lineages), N_FRAMES)
    return folder


def table_of(folder: Path) -> list[list[int]]:
    return [[int(word) for word in line.split()] for line in (folder / "res_track.txt").read_text("ascii").splitlines()]


# --- pieces of tracks -----------------------------------------------------------------------------------------


@given(recordings())
def test_edges_join_what_belongs_together_forward_in_time(lineages: Lineages) -> None:
    edges = edges_of(lineages)
    assert (lineages.frame[edges[:, 0]] < lineages.frame[edges[:, 1]]).all()
    assert len(np.unique(edges[:, 1])) == len(edges), "a sighting has one before it"
    family = families_of(lineages)
    assert np.array_equal(family[edges[:, 0]], family[edges[:, 1]])
    assert len(edges) == len(lineages) - len(np.unique(family)), "so that all of a family is connected"


def test_a_late_division_is_drawn_where_the_daughters_part() -> None:
    pieces = pieces_of(LATE)
    rows = np.stack([pieces.id, pieces.first, pieces.last, pieces.parent, pieces.track], axis=1)
    assert rows.tolist() == [[3, 0, 1, 0, 3], [7, 2, 5, 3, 7], [8, 4, 5, 9, 8], [9, 2, 3, 3, 3]]


# --- Cell Tracking Challenge ----------------------------------------------------------------------------------


@same_folder
@given(recordings())
def test_ctc_round_trip(tmp_path: Path, lineages: Lineages) -> None:
    folder = ctc_folder(tmp_path / "ctc", lineages)
    found = read_ctc(folder, um_per_px=0.5, interval_s=60)
    assert_same(found, lineages, "label", "mean_intensity")
    rows = table_of(folder)
    last = {label: end for label, _, end, _ in rows}
    assert all(parent == 0 or last[parent] < first for _, first, _, parent in rows), (
        "a mother ends before her daughters"
    )
    assert sum(end - first + 1 for _, first, end, _ in rows) == len(lineages), "no line spans a gap"


@pytest.mark.parametrize("lineages", [LATE, GAP, DIVIDED], ids=["late", "gap", "divided"])
def test_the_challenge_s_rules_are_kept_as_py_ctcmetrics_reads_them(lineages: Lineages, tmp_path: Path) -> None:
    validate = pytest.importorskip("ctc_metrics.scripts.validate", reason="py-ctcmetrics is not installed")
    assert validate.validate_sequence(str(ctc_folder(tmp_path / "01_RES", lineages)))["Valid"] == 1


@pytest.mark.parametrize("lineages", [LATE, GAP, DIVIDED], ids=["late", "gap", "divided"])
def test_traccuracy_reads_the_same_graph(lineages: Lineages, tmp_path: Path) -> None:
    loaders = pytest.importorskip("traccuracy.loaders", reason="traccuracy is not installed")
    graph = loaders.load_ctc_data(str(ctc_folder(tmp_path / "ctc", lineages))).graph
    assert (len(graph.nodes), len(graph.edges)) == (len(lineages), len(edges_of(lineages)))


def test_ids_are_kept_and_only_pieces_get_new_numbers(tmp_path: Path) -> None:
    folder = ctc_folder(tmp_path / "ctc", GAP)
    assert table_of(folder) == [[1, 0, 1, 0], [2, 0, 5, 0], [3, 4, 5, 1]]
    with (folder / "pieces.csv").open(encoding="ascii") as file:
        assert list(csv.reader(file)) == [["piece", "track"], ["1", "1"], ["3", "1"]]
    ctc_folder(folder, lineages_of({4: ([0, 1], 0)}))
    assert not (folder / "pieces.csv").exists(), "what an earlier writing said is gone"


def test_masks_are_16_bit_and_named_as_the_challenge_has_it(tmp_path: Path) -> None:
    folder = ctc_folder(tmp_path / "ctc", DIVIDED)
    assert sorted(file.name for file in folder.glob("*.tif")) == [f"mask{frame:03d}.tif" for frame in range(N_FRAMES)]
    masks = [tifffile.imread(folder / f"mask{frame:03d}.tif") for frame in range(N_FRAMES)]
    assert {mask.dtype.name for mask in masks} == {"uint16"}
    assert [sorted(set(mask[mask > 0].tolist())) for mask in masks] == [[1, 6], [1], [1], [2, 5], [2, 5], [2, 7]]


def test_cells_without_a_track_are_left_out(tmp_path: Path) -> None:
    images = images_of(GAP)
    images[3][3, 11] = 99
    (tmp_path / "ctc").mkdir()
    write_ctc(tmp_path / "ctc", GAP, images, N_FRAMES)
    assert tifffile.imread(tmp_path / "ctc" / "mask003.tif")[3, 11] == 0


def test_truth_with_any_names_and_first_number(tmp_path: Path) -> None:
    tra = tmp_path / "01_GT" / "TRA"
    tra.mkdir(parents=True)
    for number, image in enumerate(([[5, 0, 7]], [[5, 7, 7]], [[0, 8, 9]]), 9):
        write_labels(tra / f"man_track{number}.tif", np.array(image, np.int32))
    (tra / "man_track.txt").write_text("5 9 10 0\n7 9 10 0\n8 11 11 7\n9 11 11 7\n", encoding="ascii")
    found = read_ctc(tmp_path / "01_GT", um_per_px=2.0, interval_s=3.0)
    assert found.divisions() == {7: [8, 9]}
    assert found.frame.tolist() == [0, 0, 1, 1, 2, 2]
    assert found.t_ns[-1] == 6 * S
    assert found.xy_um[3].tolist() == [3.0, 0.0]
    assert found.area_um2.tolist() == [4, 4, 4, 8, 4, 4]


Damage = Callable[[Path], Any]
BAD_FOLDERS: dict[str, tuple[Damage, str]] = {
    "no table": (lambda f: (f / "res_track.txt").unlink(), "holds no res_track.txt or man_track.txt"),
    "three numbers": (lambda f: (f / "res_track.txt").write_text("1 0 2\n"), "line 1: '1 0 2'; four whole numbers"),
    "twice": (lambda f: (f / "res_track.txt").write_text("1 0 2 0\n1 3 4 0\n"), "has label 1 more than once"),
    "unknown parent": (
        lambda f: (f / "res_track.txt").write_text("1 0 2 77\n"),
        "parents without a line of their own: 77",
    ),
    "backward": (lambda f: (f / "res_track.txt").write_text("1 3 2 0\n"), "label 1 would end before it begins"),
    "no pixels": (
        lambda f: (f / "res_track.txt").write_text("1 0 5 0\n2 3 5 1\n5 3 4 1\n6 0 0 0\n7 5 5 6\n"),
        "label 1 is in frame 3 by its line, but its mask has no such pixels",
    ),
    "no line": (
        lambda f: (f / "res_track.txt").write_text("1 0 2 0\n2 3 5 1\n6 0 0 0\n7 5 5 6\n"),
        "label 5 is in frame 3 of the masks, but no line says so (2 such cases)",
    ),
    "a frame is missing": (lambda f: (f / "mask002.tif").unlink(), "lacks frame 2 between 0 and 5"),
    "no number": (lambda f: (f / "mask002.tif").rename(f / "mask_b.tif"), "mask_b.tif does not"),
    "same number": (lambda f: write_labels(f / "t2.tif", np.zeros(SHAPE, np.int32)), "are both frame 2"),
    "another size": (
        lambda f: write_labels(f / "mask002.tif", np.zeros((5, 5), np.int32)),
        "mask002.tif is 5 × 5 px, but",
    ),
}


@pytest.mark.parametrize(("damage", "words"), BAD_FOLDERS.values(), ids=BAD_FOLDERS)
def test_ctc_folders_that_cannot_be_read(damage: Damage, words: str, tmp_path: Path) -> None:
    damage(ctc_folder(tmp_path / "ctc", DIVIDED))
    with pytest.raises(ConfigError) as error:
        read_ctc(tmp_path / "ctc")
    assert words in str(error.value)


def test_what_masks_cannot_hold_is_refused_in_words(tmp_path: Path) -> None:
    many = lineages_of({70_000: ([0], 0)})
    with pytest.raises(
        ConfigError, match="numbers go up to 70000, and masks of the Cell Tracking Challenge end at 65535"
    ):
        write_ctc(tmp_path, many, images_of(many), N_FRAMES)
    unlabelled = replace(GAP, label=np.where(GAP.frame == 5, 0, GAP.label))
    with pytest.raises(ConfigError, match="2 sightings of tracks have no pixels"):
        write_ctc(tmp_path, unlabelled, images_of(GAP), N_FRAMES)


def test_nothing_tracked_is_written_and_read_too(tmp_path: Path) -> None:
    nothing = lineages_of({})
    assert_same(read_ctc(ctc_folder(tmp_path / "ctc", nothing)), nothing, "mean_intensity")


def test_the_real_movie_s_truth_round_trips(shared_data: Path, tmp_path: Path) -> None:
    truth = shared_data / "tracking" / "mitocheck_hela_h2b" / "01_GT"
    lineages = read_ctc(truth, um_per_px=0.65, interval_s=300)
    assert lineages.divisions() == {3: [24, 25], 5: [21, 22], 11: [26, 27]}
    series = open_series(truth / "TRA")
    write_ctc(tmp_path, lineages, series.labels(), len(series))
    assert (tmp_path / "res_track.txt").read_text("ascii") == (truth / "TRA" / "man_track.txt").read_text("ascii")
    for written, true in zip(open_series(tmp_path).labels(), series.labels(), strict=True):
        assert np.array_equal(written, true)
