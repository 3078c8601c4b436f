"""`reflexscope track` as a person meets it, on a small drawn movie."""

import csv
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
import tifffile
from test_realtime_cli import Command
from tiny_config import write_tiny

from models.images import read_labels
from models.label_files import write_labels
from realtime.offline.ctc_files import read_ctc
from realtime.offline.geff_files import read_geff
from realtime.offline.track_table import read_track_table

SHAPE, N_FRAMES = (64, 80), 6
WAYS = {(15.0, 12.0): (1.5, 0.5), (60.0, 18.0): (-1.0, 0.8), (40.0, 50.0): (0.5, -1.0)}
"""Where a disc begins, x and y, and how far it goes from frame to frame, in pixels."""
RADIUS_PX = 6
FILES = {
    "res_track.txt", "tracks.parquet", "tracks.geff", "tracks.xml", "events.csv", "tracks.png", "lineage.svg", "lineage.png",
    *(f"mask{frame:03d}.tif" for frame in range(N_FRAMES)),
}  # fmt: skip


@pytest.fixture
def reflexscope(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    return Command(monkeypatch, capsys)


@pytest.fixture
def movie(tmp_path: Path) -> Path:
    """labels/ and images/: three discs on their ways, under other labels in every frame."""
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    rng = np.random.default_rng(4)
    for kind in ("labels", "images"):
        (tmp_path / kind).mkdir()
    for frame in range(N_FRAMES):
        labels = np.zeros(SHAPE, np.int32)
        for label, ((x0, y0), (dx, dy)) in zip(rng.permutation([3, 7, 9]).tolist(), WAYS.items(), strict=True):
            labels[(x - x0 - frame * dx) ** 2 + (y - y0 - frame * dy) ** 2 <= RADIUS_PX**2] = label
        write_labels(tmp_path / "labels" / f"seg_t{frame + 1}.tif", labels)
        tifffile.imwrite(tmp_path / "images" / f"t{frame:03d}.tif", (100 + 900 * (labels > 0)).astype(np.uint16))
    return tmp_path


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_every_file_of_a_tracked_movie(reflexscope: Command, movie: Path) -> None:
    out = movie / "new" / "out"
    answer = reflexscope(
        "track", movie / "labels", "--images", movie / "images", "--out", out, "--um-per-px", 0.5, "--interval-s", 60
    )
    assert (answer.status, answer.err) == (0, ""), "nothing but results where nobody watches"
    first, events, _, timing = answer.out.splitlines()[:4]
    assert first == f"6 frames, 18 cells, 3 tracks, 0 divisions → {out}"
    assert events.startswith("events: ")
    assert timing.startswith("the tracker alone: p50 ")
    assert "assumed" not in answer.out
    assert {file.name for file in out.iterdir()} >= FILES


def test_the_tracks_are_the_discs_in_every_format(reflexscope: Command, movie: Path) -> None:
    out = movie / "out"
    reflexscope("track", movie / "labels", "--out", out, "--um-per-px", 0.5, "--interval-s", 60)
    found = read_ctc(out, 0.5, 60.0)
    assert len(found.id) == len(WAYS)
    for track in found.id.tolist():
        rows = found.track == track
        (start, step) = min(WAYS.items(), key=lambda way: abs(0.5 * way[0][0] - found.xy_um[rows][0, 0]))
        expected_um = 0.5 * (np.array(start) + np.arange(N_FRAMES)[:, None] * np.array(step))
        np.testing.assert_allclose(found.xy_um[rows], expected_um, atol=0.2)
    for other in (read_track_table(out / "tracks.parquet"), read_geff(out / "tracks.geff")):
        for name in ("frame", "t_ns", "track", "xy_um", "area_um2", "id", "parent"):
            np.testing.assert_array_equal(getattr(other, name), getattr(found, name), err_msg=name)
    spots = ElementTree.parse(out / "tracks.xml").getroot().iter("Spot")
    assert sorted(spot.attrib["name"] for spot in spots) == sorted(map(str, found.track.tolist()))
    for frame in range(N_FRAMES):
        labels, mask = (
            read_labels(movie / "labels" / f"seg_t{frame + 1}.tif"),
            read_labels(out / f"mask{frame:03d}.tif"),
        )
        assert len(np.unique(labels + 100 * mask)) == len(np.unique(labels)) == len(np.unique(mask))


def test_events_are_listed_as_they_were_told(reflexscope: Command, movie: Path) -> None:
    reflexscope("track", movie / "labels", "--out", movie / "out")
    rows = rows_of(movie / "out" / "events.csv")
    assert list(rows[0]) == ["frame", "kind", "track", "others", "confidence", "late_frames"]
    assert [int(row["frame"]) for row in rows] == sorted(int(row["frame"]) for row in rows)
    assert {row["track"] for row in rows if row["kind"] in ("born", "entered")} == {"1", "2", "3"}


def test_what_had_to_be_assumed_is_said(reflexscope: Command, movie: Path) -> None:
    answer = reflexscope("track", movie / "labels", "--out", movie / "out")
    assert answer.out.endswith("assumed: 1 µm a pixel (--um-per-px), 300 s from frame to frame (--interval-s)\n")


def test_stacks_are_tracked_as_folders_are_and_say_their_scale(reflexscope: Command, movie: Path) -> None:
    for kind in ("labels", "images"):
        files = sorted((movie / kind).iterdir())
        options = {"imagej": True, "resolution": (2.0, 2.0), "metadata": {"unit": "um", "axes": "TYX"}}
        tifffile.imwrite(movie / f"{kind}.tif", np.stack([tifffile.imread(file) for file in files]), **options)
    answer = reflexscope("track", movie / "labels.tif", "--images", movie / "images.tif", "--out", movie / "out")
    assert (answer.status, answer.err) == (0, "")
    assert "6 frames, 18 cells, 3 tracks" in answer.out
    assert "assumed: 300 s" in answer.out
    image = ElementTree.parse(movie / "out" / "tracks.xml").getroot().find("Settings/ImageData")
    assert image is not None
    assert (image.attrib["filename"], image.attrib["pixelwidth"]) == ("images.tif", "0.5")


def test_intensities_are_those_of_the_images_and_unknown_without(reflexscope: Command, movie: Path) -> None:
    reflexscope("track", movie / "labels", "--images", movie / "images", "--out", movie / "with")
    assert set(read_track_table(movie / "with" / "tracks.parquet").mean_intensity.tolist()) == {1000.0}
    reflexscope("track", movie / "labels", "--out", movie / "without")
    assert np.isnan(read_track_table(movie / "without" / "tracks.parquet").mean_intensity).all()


def test_the_tracker_and_its_settings_are_those_asked_for(reflexscope: Command, movie: Path) -> None:
    tracker = "every_cell_is_new:EveryCellIsNew"
    answer = reflexscope(
        "track", movie / "labels", "--out", movie / "out", "--tracker", tracker, "--set", "tracker.first=5"
    )
    assert "18 tracks" in answer.out
    assert read_ctc(movie / "out").id.tolist() == list(range(5, 23))


def test_a_classifier_looks_at_the_images(reflexscope: Command, movie: Path) -> None:
    tiny = Path(__file__).parent / "tiny_classifier"
    words = ("track", movie / "labels", "--out", movie / "out", "--classifier", tiny)
    answer = reflexscope(*words, "--images", movie / "images", "--set", "classifier.scale=0.5")
    assert (answer.status, answer.err) == (0, "")
    assert "--classifier" in reflexscope.mistake(*words[:3], movie / "other", *words[4:])


def test_earlier_results_are_replaced_only_by_force(reflexscope: Command, movie: Path) -> None:
    out = movie / "out"
    reflexscope("track", movie / "labels", "--out", out)
    assert "holds files already: give another folder, or --force" in reflexscope.mistake(
        "track", movie / "labels", "--out", out
    )
    (movie / "labels" / f"seg_t{N_FRAMES}.tif").unlink()
    assert reflexscope("track", movie / "labels", "--out", out, "--force").status == 0
    assert not (out / f"mask{N_FRAMES - 1:03d}.tif").exists()
    assert read_ctc(out).n_frames == N_FRAMES - 1


def test_a_movie_without_cells_is_tracked_too(reflexscope: Command, tmp_path: Path) -> None:
    (tmp_path / "labels").mkdir()
    for frame in range(3):
        write_labels(tmp_path / "labels" / f"{frame}.tif", np.zeros(SHAPE, np.int32))
    answer = reflexscope("track", tmp_path / "labels", "--out", tmp_path / "out")
    assert (answer.status, answer.err) == (0, "")
    assert "3 frames, 0 cells, 0 tracks, 0 divisions" in answer.out
    assert "events: none" in answer.out


def _in_labels(movie: Path, name: str, pixels: np.ndarray[Any, Any]) -> None:
    tifffile.imwrite(movie / "labels" / name, pixels)


MISTAKES: dict[str, tuple[Any, tuple[str, ...], str]] = {
    "no labels": (lambda m: [f.unlink() for f in (m / "labels").iterdir()], (), "holds no image"),
    "no folder": (lambda m: (m / "labels").rename(m / "gone"), (), "labels does not exist; a folder of images"),
    "floats": (lambda m: _in_labels(m, "seg_t3.tif", np.full(SHAPE, 0.5, np.float32)), (), "labels are whole numbers"),
    "colour": (lambda m: _in_labels(m, "seg_t3.tif", np.zeros((*SHAPE, 3), np.uint8)), (), "colour of 3 samples"),
    "size": (lambda m: _in_labels(m, "seg_t3.tif", np.zeros((9, 9), np.uint8)), (), "must be of one size"),
    "gap": (lambda m: (m / "labels" / "seg_t3.tif").unlink(), (), "lacks frame 3 between 1 and 6"),
    "name": (
        lambda m: (m / "labels" / "seg_t3.tif").rename(m / "labels" / "t3b.tif"),
        (),
        "t3b.tif does not: rename it",
    ),
    "fewer images": (lambda m: (m / "images" / "t005.tif").unlink(), ("--images", "images"), "has 5 images"),
    "other images": (
        lambda m: [tifffile.imwrite(f, np.zeros((5, 5), np.uint8)) for f in (m / "images").iterdir()],
        ("--images", "images"),
        "they do not show the same",
    ),
    "into the labels": (lambda m: None, ("--out", "labels", "--force"), "results would lie among the images"),
    "tracker": (lambda m: None, ("--tracker", "nearest"), 'use = "nearest" is not built in'),
    "setting": (lambda m: None, ("--set", "tracker.speed=3"), "tracker.speed is not a setting"),
    "section": (
        lambda m: None,
        ("--set", "imaging.interval_ms=3"),
        "--set imaging.interval_ms=3: write tracker.key=value",
    ),
}


@pytest.mark.parametrize(("change", "words", "said"), MISTAKES.values(), ids=MISTAKES)
def test_mistakes_get_one_line(
    change: Any, words: tuple[str, ...], said: str, reflexscope: Command, movie: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    change(movie)
    monkeypatch.chdir(movie)
    assert said in reflexscope.mistake("track", "labels", "--out", "out", *words)
    assert not (movie / "out").exists(), "nothing half done is left"


# --- with hindsight -------------------------------------------------------------------------------------------


def test_the_answer_with_hindsight_lies_beside_the_live_one(reflexscope: Command, movie: Path) -> None:
    answer = reflexscope("track", movie / "labels", "--out", movie / "out")
    assert f"with hindsight: 3 tracks, 0 divisions → {movie / 'out' / 'refined'}" in answer.out
    assert FILES - {"events.csv"} <= {file.name for file in (movie / "out" / "refined").iterdir()}
    live, refined = (read_track_table(movie / "out" / part / "tracks.parquet") for part in ("", "refined"))
    assert refined.live_id is not None
    assert np.array_equal(refined.live_id, live.track)
    assert np.isnan(refined.mean_intensity).all(), "still not known"


def test_what_track_made_is_refined_already(reflexscope: Command, movie: Path) -> None:
    out = movie / "out"
    reflexscope("track", movie / "labels", "--images", movie / "images", "--out", out)
    assert f"see {out / 'refined'}" in reflexscope.mistake("refine", out)


def test_hindsight_looks_for_no_divisions_if_the_tracker_does_not(reflexscope: Command, movie: Path) -> None:
    answer = reflexscope("track", movie / "labels", "--out", movie / "out", "--set", "tracker.divisions=false")
    assert "with hindsight: 3 tracks, 0 divisions" in answer.out


def test_images_are_no_labels(reflexscope: Command, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    (tmp_path / "noise").mkdir()
    for frame in range(2):
        tifffile.imwrite(tmp_path / "noise" / f"t{frame:03d}.tif", rng.integers(0, 200, (64, 64)).astype(np.uint16))
    words = reflexscope.mistake("track", tmp_path / "noise", "--out", tmp_path / "out")
    assert "seems to hold images, not labels" in words


def test_refine_solves_a_session_again(reflexscope: Command, tmp_path: Path) -> None:
    config, session = write_tiny(tmp_path), tmp_path / "session"
    assert reflexscope("run", config, "--inline", "--duration", 2, "--out", session).status == 0
    assert reflexscope("refine", session).status == 0
    assert "refined_tracks.parquet, refined_tracks.geff" in reflexscope.mistake("refine", session)
    assert reflexscope("refine", session, "--force").status == 0
    live, refined = read_track_table(session / "tracks.parquet"), read_track_table(session / "refined_tracks.parquet")
    assert refined.live_id is not None
    assert set(refined.live_id.tolist()) <= {0, *live.id.tolist()}
    assert set(refined.frame.tolist()) <= set(live.frame.tolist())


def test_what_cannot_be_refined_is_said(reflexscope: Command, tmp_path: Path) -> None:
    assert "holds no tracks.parquet; give a session" in reflexscope.mistake("refine", tmp_path)
    (tmp_path / "tracks.parquet").mkdir()
    assert "no track was ever seen" in reflexscope.mistake("refine", tmp_path)
