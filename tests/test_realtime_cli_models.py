"""`segment`, `classify`, `evaluate` and `models` as a person meets them, on real files and two tiny trained networks."""

import csv
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import tifffile
from test_realtime_cli import Command

from models.features import FEATURES
from models.images import read_counts, read_labels
from models.label_files import write_labels
from models.manifest import shipped_names
from models.metrics import agreement, summary
from models.segmenter import NetworkSegmenter
from realtime import cli
from tests.contracts.test_segmenter_contract import discs

TINY = Path(__file__).parent / "tiny_model"
TINY_CLASSIFIER = Path(__file__).parent / "tiny_classifier"
SIZES = {"b2.png": (128, 128), "b10.tif": (96, 200), "a.png": (128, 128)}
Write = Callable[[Path], Any]


@pytest.fixture
def reflexscope(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    return Command(monkeypatch, capsys)


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Three fields of nine discs each, of two sizes and two formats."""
    folder = tmp_path / "images"
    folder.mkdir()
    for seed, (name, shape) in enumerate(SIZES.items()):
        write_image(folder / name, discs(shape, seed=seed).astype(np.uint16))
    return folder


def write_image(path: Path, pixels: np.ndarray[Any, Any], **options: Any) -> None:
    if path.suffix == ".png":
        path.write_bytes(cv2.imencode(".png", pixels)[1].tobytes())
    else:
        tifffile.imwrite(path, pixels, **options)


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def segmented(reflexscope: Command, out: Path, *words: object) -> Path:
    answer = reflexscope("segment", *words, "--model", TINY, "--out", out)
    assert answer.status == 0, answer.err
    return out


# --- segment --------------------------------------------------------------------------------------------------


def test_segment_writes_labels_under_the_names_of_the_images(
    reflexscope: Command, images: Path, tmp_path: Path
) -> None:
    answer = reflexscope("segment", images, "--model", TINY, "--out", tmp_path / "new" / "out")
    assert (answer.status, answer.err) == (0, ""), "nothing but results where nobody watches"
    assert "3 images, 27 cells" in answer.out
    assert re.search(r"tiny \([0-9a-f]{8}\), deep_watershed, OpenVINO", answer.out), "it says what it ran on"
    assert {file.name for file in (tmp_path / "new" / "out").iterdir()} == {"a.tif", "b2.tif", "b10.tif"}
    for name in SIZES:
        assert tifffile.imread((tmp_path / "new" / "out" / name).with_suffix(".tif")).dtype == np.uint16


def test_the_labels_are_those_of_the_segmenter_whatever_else_is_segmented(
    reflexscope: Command, images: Path, tmp_path: Path
) -> None:
    out = segmented(reflexscope, tmp_path / "out", images)
    for name in SIZES:
        segmenter = NetworkSegmenter(model=str(TINY))
        labels = segmenter.label(segmenter.infer(read_counts(images / name).astype(np.float32)))
        segmenter.close()
        assert np.array_equal(read_labels((out / name).with_suffix(".tif")), labels)


def test_the_method_and_the_zoom_are_those_asked_for(reflexscope: Command, images: Path, tmp_path: Path) -> None:
    answer = reflexscope(
        "segment",
        images / "a.png",
        "--model",
        TINY,
        "--out",
        tmp_path,
        "--method",
        "pixel_classes",
        "--engine",
        "onnxruntime",
    )
    assert re.search(r"tiny \([0-9a-f]{8}\), pixel_classes, ONNX Runtime", answer.out)
    small = discs((256, 256))[::2, ::2].astype(np.uint16)
    write_image(images / "small.png", small)
    answer = reflexscope("segment", images / "small.png", "--model", TINY, "--out", tmp_path, "--zoom", 2)
    assert "9 cells" in answer.out


def test_overlays_and_a_table_of_cells_on_request(reflexscope: Command, images: Path, tmp_path: Path) -> None:
    out = segmented(reflexscope, tmp_path / "out", images, "--overlay", "--csv")
    assert {file.name for file in (out / "overlays").iterdir()} == {"a.png", "b2.png", "b10.png"}
    rows = rows_of(out / "cells.csv")
    assert [row["image"] for row in rows] == ["a.png"] * 9 + ["b2.png"] * 9 + ["b10.tif"] * 9, "in natural order"
    assert list(rows[0]) == [
        "image", "label", "x_px", "y_px", "x0_px", "y0_px", "x1_px", "y1_px", "area_px", "mean_intensity",
    ]  # fmt: skip
    labels, pixels = read_labels(out / "b10.tif"), read_counts(images / "b10.tif")
    for row in rows[-9:]:
        y, x = np.nonzero(labels == int(row["label"]))
        assert (x.min(), y.min(), x.max() + 1, y.max() + 1) == tuple(
            int(row[f"{side}_px"]) for side in ("x0", "y0", "x1", "y1")
        )
        assert int(row["area_px"]) == x.size
        measured = [float(row[name]) for name in ("x_px", "y_px", "mean_intensity")]
        assert measured == pytest.approx([x.mean(), y.mean(), pixels[y, x].mean()], rel=1e-5)


def test_features_and_areas_are_in_micrometres_where_the_scale_is_known(
    reflexscope: Command, images: Path, tmp_path: Path
) -> None:
    out = segmented(reflexscope, tmp_path / "out", images, "--features", "all", "--um-per-px", 0.5)
    row = rows_of(out / "cells.csv")[0]
    assert set(FEATURES) <= set(row)
    assert float(row["area_um2"]) == pytest.approx(int(row["area_px"]) / 4)
    radius_um = (float(row["area_um2"]) / np.pi) ** 0.5
    assert float(row["major_um"]) == pytest.approx(2 * radius_um, rel=0.1)


def test_the_scale_of_an_ome_tiff_is_used(reflexscope: Command, tmp_path: Path) -> None:
    pixels = discs((128, 128)).astype(np.uint16)
    write_image(tmp_path / "a.ome.tif", pixels, metadata={"axes": "YX", "PhysicalSizeX": 2.0})
    write_image(tmp_path / "b.png", pixels)
    out = segmented(reflexscope, tmp_path / "out", tmp_path, "--csv")
    rows = rows_of(out / "cells.csv")
    assert [float(row["area_um2"]) / int(row["area_px"]) for row in rows[:9]] == pytest.approx([4.0] * 9)
    assert {row["area_um2"] for row in rows[9:]} == {""}, "what is not known is left empty"


def nan_tiff(path: Path) -> None:
    write_image(path, np.full((8, 8), np.nan, np.float32))


def short_tiff(path: Path) -> None:
    write_image(path, np.zeros((64, 64), np.uint16))
    path.write_bytes(path.read_bytes()[:4000])


BAD: dict[str, tuple[Write, str]] = {
    "absent.png": (lambda path: None, "cannot be read"),
    "nothing.tif": (lambda path: path.write_bytes(b""), "is empty (0 bytes)"),
    "text.tif": (lambda path: path.write_text("hello"), "neither a PNG nor a TIFF"),
    "short.tif": (short_tiff, "a damaged TIFF file"),
    "colour.png": (lambda path: write_image(path, np.zeros((8, 8, 3), np.uint8)), "RGB colour"),
    "float.tif": (lambda path: write_image(path, np.zeros((8, 8), np.float32)), "float32 pixels from 0 to 0"),
    "nan.tif": (nan_tiff, "64 of 64 are not a number (NaN)"),
    "stack.tif": (
        lambda path: write_image(path, np.zeros((5, 8, 8), np.uint16), photometric="minisblack"),
        "5 planes of 8 × 8 px; one 2-D image is needed",
    ),
}


@pytest.fixture
def bad_images(images: Path) -> Path:
    """All of BAD among the good ones."""
    for name, (write, _) in BAD.items():
        write(images / name)
    return images


def test_images_that_fail_do_not_lose_the_others(reflexscope: Command, bad_images: Path, tmp_path: Path) -> None:
    files = [bad_images / name for name in [*BAD, *SIZES]]
    answer = reflexscope("segment", *files, "--model", TINY, "--out", tmp_path / "out", "--csv", "--overlay")
    assert answer.status == cli.FAILED
    assert "3 images, 27 cells" in answer.out
    *errors, last = answer.err.splitlines()
    assert len(errors) == len(BAD)
    for name, (_, words) in BAD.items():
        said = [line for line in errors if line.startswith(f"error: {bad_images / name}") and words in line]
        assert len(said) == 1, (name, errors)
        assert name in last
    assert last.startswith(f"{len(BAD)} of {len(BAD) + 3} images failed: ")
    assert {file.name for file in (tmp_path / "out").glob("*.tif")} == {"a.tif", "b2.tif", "b10.tif"}
    assert {row["image"] for row in rows_of(tmp_path / "out" / "cells.csv")} == set(SIZES)


def test_an_image_without_scale_fails_for_features_only(reflexscope: Command, images: Path, tmp_path: Path) -> None:
    answer = reflexscope("segment", images, "--model", TINY, "--out", tmp_path, "--features", "solidity")
    assert answer.status == cli.FAILED
    assert "a.png does not say how large its pixels are; features need --um-per-px" in answer.err


def test_a_blank_image_has_no_cells(reflexscope: Command, tmp_path: Path) -> None:
    write_image(tmp_path / "dark.png", np.full((64, 64), 7, np.uint16))
    answer = reflexscope(
        "segment", tmp_path / "dark.png", "--model", TINY, "--out", tmp_path / "out", "--csv", "--overlay"
    )
    assert answer.status == 0
    assert "1 image, 0 cells" in answer.out
    assert read_labels(tmp_path / "out" / "dark.tif").max() == 0
    assert rows_of(tmp_path / "out" / "cells.csv") == []


def test_planes_of_a_stack_are_images_of_their_own_if_one_says_so(reflexscope: Command, tmp_path: Path) -> None:
    stack = np.stack([discs((96, 128), seed=i, n=4 + i).astype(np.uint16) for i in range(3)])
    write_image(tmp_path / "movie.tif", stack, photometric="minisblack")
    out = segmented(reflexscope, tmp_path / "out", tmp_path / "movie.tif", "--stack", "--csv", "--overlay")
    labels = tifffile.imread(out / "movie.tif")
    assert (labels.shape, labels.dtype) == (stack.shape, np.uint16)
    assert [plane.max() for plane in labels] == [4, 5, 6]
    assert [row["plane"] for row in rows_of(out / "cells.csv")] == ["0"] * 4 + ["1"] * 5 + ["2"] * 6
    assert len(list((out / "overlays" / "movie").iterdir())) == 3
    answer = reflexscope("evaluate", "segmentation", out / "movie.tif", out / "movie.tif", "--stack", "--per-image")
    assert "3 images, 15 true and 15 predicted objects" in answer.out
    assert "movie[2]" in answer.out


def test_results_are_not_overwritten_without_force(reflexscope: Command, images: Path, tmp_path: Path) -> None:
    out = segmented(reflexscope, tmp_path / "out", images / "a.png")
    before = (out / "a.tif").read_bytes()
    write_image(images / "a.png", np.zeros((40, 40), np.uint16))
    words = ("segment", images / "a.png", "--model", TINY, "--out", out)
    assert f"{out / 'a.tif'} exists already: give another --out, or --force" in reflexscope.mistake(*words)
    assert (out / "a.tif").read_bytes() == before
    assert reflexscope(*words, "--force").status == 0
    assert read_labels(out / "a.tif").shape == (40, 40)


def test_images_are_never_overwritten(reflexscope: Command, images: Path) -> None:
    words = ("segment", images / "b10.tif", "--model", TINY, "--out", images, "--force")
    assert f"labels would overwrite {images / 'b10.tif'}" in reflexscope.mistake(*words)
    assert read_counts(images / "b10.tif").shape == SIZES["b10.tif"]


def test_two_images_of_one_name_are_refused(reflexscope: Command, images: Path, tmp_path: Path) -> None:
    write_image(images / "A.tif", np.zeros((8, 8), np.uint16))
    said = reflexscope.mistake("segment", images, "--model", TINY, "--out", tmp_path / "out")
    assert "more than one image is called A, a" in said
    assert not (tmp_path / "out").exists()


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "splits.csv"
    path.write_text("file,split,ood\na.png,test,0\nb2.png,train,0\nb10.tif,test,1\n", encoding="utf-8")
    return path


def test_a_table_chooses_images(reflexscope: Command, images: Path, table: Path, tmp_path: Path) -> None:
    out = segmented(reflexscope, tmp_path / "out", images, "--list", table, "--where", "split=test", "--where", "ood=0")
    assert [file.name for file in out.iterdir()] == ["a.tif"]


MISTAKES: dict[str, tuple[list[str], str]] = {
    "model": (["--model", "nucleus"], 'model "nucleus" is neither shipped nor a folder'),
    "classifier": (["--model", str(TINY_CLASSIFIER)], "classifies cells; a segmenter is needed"),
    "method": (["--method", "stardist"], 'method must be "deep_watershed" or "pixel_classes", not "stardist"'),
    "engine": (["--engine", "cuda"], 'engine.use must be "auto", "onnxruntime"'),
    "feature": (["--features", "rondness"], "--features rondness: feature 'rondness' is not known"),
    "zoom": (["--zoom", "0"], "zoom must be a number > 0"),
    "far too much zoom": (["--zoom", "1000"], "zoom must be a number > 0 and ≤ 8, not 1000.0"),
    "where alone": (["--where", "split=test"], "give the table with --list FILE.csv"),
    "no table": (["--list", "none.csv"], "none.csv cannot be read as CSV"),
    "column": (["--list", "TABLE", "--where", "spilt=test"], "has no column spilt (did you mean split?)"),
    "value": (["--list", "TABLE", "--where", "split=val"], "no row left of TABLE; split is test, train"),
    "no equals": (["--list", "TABLE", "--where", "test"], "write column=value"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_one_line_and_makes_nothing(
    name: str, reflexscope: Command, images: Path, table: Path, tmp_path: Path
) -> None:
    given, words = MISTAKES[name]
    asked = ["--model", str(TINY)] * ("--model" not in given) + [word.replace("TABLE", str(table)) for word in given]
    said = reflexscope.mistake("segment", images, "--out", tmp_path / "out", *asked)
    assert words.replace("TABLE", str(table)) in said
    assert not (tmp_path / "out").exists()


def test_where_nothing_can_be_segmented_nothing_is_made(reflexscope: Command, tmp_path: Path) -> None:
    answer = reflexscope("segment", tmp_path / "none.tif", "--csv", "--model", TINY, "--out", tmp_path / "out")
    assert (answer.status, answer.out) == (1, "")
    assert "1 of 1 images failed: none.tif" in answer.err
    assert not (tmp_path / "out").exists()


def test_a_place_that_cannot_be_written_is_named(reflexscope: Command, images: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    said = reflexscope.mistake("segment", images, "--model", TINY, "--out", tmp_path / "file" / "out")
    assert f"--out {tmp_path / 'file' / 'out'}: " in said
    assert "cannot be written: Not a directory" in said
    (tmp_path / "out" / "cells.csv").mkdir(parents=True)
    said = reflexscope.mistake("segment", images, "--csv", "--force", "--model", TINY, "--out", tmp_path / "out")
    assert f"{tmp_path / 'out' / 'cells.csv'} cannot be written: Is a directory" in said


# --- evaluate segmentation ------------------------------------------------------------------------------------


@pytest.fixture
def judged(tmp_path: Path) -> tuple[Path, Path]:
    """Truth (PNG) and prediction (TIFF) of two images: one right, one of whose two cells is missed."""
    truth, prediction = tmp_path / "truth", tmp_path / "prediction"
    truth.mkdir()
    prediction.mkdir()
    labels = np.zeros((20, 20), np.int32)
    labels[2:8, 2:8], labels[12:18, 12:18] = 1, 2
    for name, found in (("a", labels), ("b", labels * (labels == 1))):
        write_image(truth / f"{name}.png", labels.astype(np.uint16))
        write_labels(prediction / f"{name}.tif", found)
    return truth, prediction


def test_evaluate_prints_the_figures_of_the_metrics(reflexscope: Command, judged: tuple[Path, Path]) -> None:
    answer = reflexscope("evaluate", "segmentation", *judged, "--json", "--per-image")
    figures = json.loads(answer.out)
    pairs = [(read_labels(judged[0] / f"{name}.png"), read_labels(judged[1] / f"{name}.tif")) for name in "ab"]
    expected = summary(agreement(*pair) for pair in pairs)
    assert figures["mean_average_precision"] == expected.mean_average_precision == 0.75
    assert figures["per_image"]["0.5"]["average_precision"] == 0.75
    assert figures["pooled"]["0.5"] == {
        "found": 3, "invented": 0, "missed": 1,
        "average_precision": 0.75, "precision": 1.0, "recall": 0.75, "f1": pytest.approx(6 / 7),
    }  # fmt: skip
    assert list(figures["pooled"]) == [f"{t:g}" for t in expected.pooled]
    assert figures["dice"] == {"per_image": pytest.approx(5 / 6), "pooled": pytest.approx(6 / 7)}
    assert figures["each_image"]["b"]["at"]["0.5"]["missed"] == 1
    assert figures["images"] == 2


def test_evaluate_prints_tables_for_people(reflexscope: Command, judged: tuple[Path, Path]) -> None:
    answer = reflexscope("evaluate", "segmentation", *judged, "--per-image", "--iou", "0.5,0.9")
    assert (answer.status, answer.err) == (0, "")
    lines = [line.split() for line in answer.out.splitlines()]
    assert ["b", "2", "1", "0.500", "0.500", "0.500", "0.667", "0", "0"] in lines
    assert ["0.5", "0.750", "1.000", "0.750", "0.833", "0.750", "1.000", "0.750", "0.857"] in lines
    assert lines.index(["b", *lines[1][1:]]) == 1, "the worst image comes first"
    assert "2 images, 4 true and 3 predicted objects" in answer.out


def test_two_files_of_any_names_are_compared(reflexscope: Command, judged: tuple[Path, Path]) -> None:
    answer = reflexscope("evaluate", "segmentation", judged[0] / "a.png", judged[1] / "b.tif", "--json")
    assert json.loads(answer.out)["pooled"]["0.5"]["missed"] == 1


def test_a_table_chooses_what_is_evaluated(reflexscope: Command, judged: tuple[Path, Path], tmp_path: Path) -> None:
    table = tmp_path / "list.csv"
    table.write_text("image,split\na.jpg,val\nb.jpg,test\n", encoding="utf-8")
    words = ("evaluate", "segmentation", *judged, "--list", table, "--where", "split=val", "--json")
    assert json.loads(reflexscope(*words).out)["pooled"]["0.5"]["missed"] == 0, "a alone, and b is no surplus"
    (judged[1] / "a.tif").unlink()
    assert f"{judged[1]} lacks a of {table}" in reflexscope.mistake(*words)


def extra(truth: Path, prediction: Path) -> None:
    write_labels(prediction / "c.tif", np.zeros((20, 20), np.int32))


def lacking(truth: Path, prediction: Path) -> None:
    (prediction / "b.tif").unlink()


def other_size(truth: Path, prediction: Path) -> None:
    write_labels(prediction / "b.tif", np.zeros((20, 21), np.int32))


def no_labels(truth: Path, prediction: Path) -> None:
    write_image(prediction / "b.tif", np.full((20, 20), 0.5, np.float32))


def twice(truth: Path, prediction: Path) -> None:
    write_image(prediction / "b.png", np.zeros((20, 20), np.uint16))


def emptied(truth: Path, prediction: Path) -> None:
    for file in prediction.iterdir():
        file.unlink()


UNEQUAL: list[tuple[Callable[[Path, Path], None], str]] = [
    (extra, "has files that TRUTH does not: c.tif"),
    (lacking, "lacks a prediction for b.png of TRUTH"),
    (other_size, "b.tif is 21 × 20 px, its truth TRUTH/b.png is 20 × 20 px"),
    (no_labels, "b.tif: float32 pixels from 0.5 to 0.5 with fractions; labels are whole numbers"),
    (twice, "has more than one image called b"),
    (emptied, "holds no image"),
]


@pytest.mark.parametrize(("spoil", "words"), UNEQUAL, ids=[spoil.__name__ for spoil, _ in UNEQUAL])
def test_missing_and_surplus_and_wrong_files_are_named(
    spoil: Callable[[Path, Path], None], words: str, reflexscope: Command, judged: tuple[Path, Path]
) -> None:
    spoil(*judged)
    said = reflexscope.mistake("evaluate", "segmentation", *judged)
    assert words.replace("TRUTH", str(judged[0])) in said


@pytest.mark.parametrize("iou", ["half", "0", "1.5", "0.5,,0.7"])
def test_thresholds_are_numbers_between_zero_and_one(reflexscope: Command, judged: tuple[Path, Path], iou: str) -> None:
    assert f"--iou {iou}: numbers above 0" in reflexscope.mistake("evaluate", "segmentation", *judged, "--iou", iou)


def test_a_folder_and_a_file_do_not_compare(reflexscope: Command, judged: tuple[Path, Path]) -> None:
    said = reflexscope.mistake("evaluate", "segmentation", judged[0], judged[1] / "a.tif")
    assert "must both be folders of label images, or both be one" in said
    said = reflexscope.mistake("evaluate", "segmentation", judged[0], judged[1] / "nowhere")
    assert f"{judged[1] / 'nowhere'} does not exist" in said


def test_real_fields_are_segmented_and_judged(reflexscope: Command, shared_data: Path, tmp_path: Path) -> None:
    data, table = shared_data / "bbbc039", tmp_path / "two.csv"
    table.write_text("file\nA09_s1.png\nI23_s5.png\n", encoding="utf-8")
    out = segmented(reflexscope, tmp_path / "out", data / "images", "--list", table)
    answer = reflexscope("evaluate", "segmentation", data / "labels", out, "--list", table, "--json")
    assert json.loads(answer.out)["pooled"]["0.5"]["f1"] > 0.85  # six thousand parameters that never saw a nucleus


# --- classify -------------------------------------------------------------------------------------------------

CLASSES = ("disc", "ring", "noise")


def crop(name: str, seed: int) -> np.ndarray[Any, Any]:
    """What the tiny classifier was trained to tell apart, 32 × 32 counts."""
    y, x = np.mgrid[:32, :32] - 15.5
    distance = np.hypot(x, y)
    shapes = {"disc": distance < 8, "ring": np.abs(distance - 8) < 2, "noise": distance < 0}
    return np.random.default_rng(seed).poisson(100.0 + 300 * shapes[name]).astype(np.uint16)


@pytest.fixture
def crops(tmp_path: Path) -> Path:
    """24 crops whose classes take turns; every second one is of split a."""
    np.savez(tmp_path / "crops.npz", images=np.stack([crop(CLASSES[i % 3], i) for i in range(24)]))
    rows = [f"{i},{CLASSES[i % 3]},{'ab'[i % 2]}" for i in range(24)]
    (tmp_path / "truth.csv").write_text("\n".join(["index,cls,split", *rows, ""]), encoding="utf-8")
    return tmp_path


def classified(reflexscope: Command, crops: Path, *words: object) -> Path:
    out = crops / "found.csv"
    answer = reflexscope("classify", crops / "crops.npz", "--model", TINY_CLASSIFIER, "--out", out, *words)
    assert answer.status == 0, answer.err
    return out


def test_classify_writes_a_row_a_crop(reflexscope: Command, crops: Path) -> None:
    rows = rows_of(classified(reflexscope, crops))
    assert list(rows[0]) == ["index", "class", "p_disc", "p_ring", "p_pair", "p_noise"]
    assert [row["index"] for row in rows] == [str(i) for i in range(24)]
    assert [row["class"] for row in rows] == [CLASSES[i % 3] for i in range(24)]
    for row in rows:
        p = {name.removeprefix("p_"): float(row[name]) for name in row if name.startswith("p_")}
        assert sum(p.values()) == pytest.approx(1, abs=1e-4)
        assert row["class"] == max(p, key=lambda name: p[name])


def test_groups_of_classes_add_up(reflexscope: Command, crops: Path) -> None:
    single = rows_of(classified(reflexscope, crops))
    grouped = rows_of(classified(reflexscope, crops, "--classes", "groups", "--force"))
    assert list(grouped[0]) == ["index", "class", "p_interphase", "p_mitotic", "p_artefact"]
    for one, group in zip(single, grouped, strict=True):
        assert float(group["p_mitotic"]) == pytest.approx(float(one["p_ring"]) + float(one["p_pair"]), abs=1e-4)


def test_crops_of_a_folder_keep_their_names(reflexscope: Command, tmp_path: Path) -> None:
    (tmp_path / "crops").mkdir()
    for name, kind in (("c10.png", "ring"), ("c9.png", "disc")):
        write_image(tmp_path / "crops" / name, crop(kind, 1))
    reflexscope("classify", tmp_path / "crops", "--model", TINY_CLASSIFIER, "--out", tmp_path / "found.csv")
    rows = [(row["index"], row["file"], row["class"]) for row in rows_of(tmp_path / "found.csv")]
    assert rows == [("0", "c9.png", "disc"), ("1", "c10.png", "ring")]


def test_crops_of_another_size_are_refused(reflexscope: Command, tmp_path: Path) -> None:
    np.savez(tmp_path / "crops.npz", images=np.zeros((3, 64, 64), np.uint8))
    words = ("classify", tmp_path / "crops.npz", "--model", TINY_CLASSIFIER, "--out", tmp_path / "found.csv")
    said = reflexscope.mistake(*words)
    assert "crops of 64 × 64 px" in said
    assert "looks at 32 × 32 px" in said


def test_a_folder_is_not_taken_for_the_name_of_a_table(reflexscope: Command, crops: Path) -> None:
    words = ("classify", crops / "crops.npz", "--model", TINY_CLASSIFIER, "--out", crops, "--force")
    assert f"--out {crops} is a folder" in reflexscope.mistake(*words)


def test_a_table_of_classes_is_not_overwritten_without_force(reflexscope: Command, crops: Path) -> None:
    out = classified(reflexscope, crops)
    words = ("classify", crops / "crops.npz", "--model", TINY_CLASSIFIER, "--out", out)
    assert f"{out} exists already" in reflexscope.mistake(*words)


def test_evaluate_judges_classes_and_groups(reflexscope: Command, crops: Path) -> None:
    out = classified(reflexscope, crops)
    words = ("evaluate", "classification", crops / "truth.csv", out, "--where", "split=a", "--groups", TINY_CLASSIFIER)
    figures = json.loads(reflexscope(*words, "--json").out)
    assert figures["classes"]["n"] == figures["groups"]["n"] == 12
    assert figures["classes"]["balanced_accuracy"] == 1
    assert figures["classes"]["n_of_class"] == [4, 4, 0, 4]
    assert figures["groups"]["class_names"] == ["interphase", "mitotic", "artefact"]
    assert figures["groups"]["auc_of_class"] == [1, 1, 1]
    answer = reflexscope(*words)
    assert "12 cells: balanced accuracy 1.000, accuracy 1.000" in answer.out
    assert ["ring", "4", "1.000", "1.000"] in [line.split() for line in answer.out.splitlines()]


def test_predicted_groups_are_judged_by_the_groups_of_the_truth(reflexscope: Command, crops: Path) -> None:
    out = classified(reflexscope, crops, "--classes", "groups")
    words = ("evaluate", "classification", crops / "truth.csv", out, "--json")
    figures = json.loads(reflexscope(*words, "--groups", TINY_CLASSIFIER).out)
    assert list(figures) == ["groups"]
    assert figures["groups"]["accuracy"] == 1
    assert "true classes disc, noise, ring are not among the columns p_…" in reflexscope.mistake(*words)


TABLES: dict[str, tuple[str, str, str]] = {
    "no index": ("cls\ndisc\n", "index,p_disc\n0,1\n", "truth.csv has no column index"),
    "no class": ("index,kind\n0,disc\n", "index,p_disc\n0,1\n", "truth.csv has no column class or cls or label"),
    "no probabilities": ("index,cls\n0,disc\n", "index,class\n0,disc\n", "no columns p_<class>"),
    "missing": ("index,cls\n0,disc\n7,disc\n", "index,p_disc\n0,1\n", "found.csv lacks index 7"),
    "surplus": ("index,cls\n0,disc\n", "index,p_disc\n0,1\n8,1\n", "rows without a truth in TRUTH: index 8"),
    "twice": ("index,cls\n0,disc\n", "index,p_disc\n0,1\n0,1\n", "found.csv has index 0 more than once"),
    "unknown class": ("index,cls\n0,dics\n", "index,p_disc\n0,1\n", "true classes dics are not among"),
    "no number": ("index,cls\n0,disc\n", "index,p_disc\n0,much\n", "a probability is no number"),
    "not 1": ("index,cls\n0,disc\n", "index,p_disc,p_ring\n0,1,1\n", "index 0: probabilities add up to 2"),
    "ragged": ("index,cls\n0\n", "index,p_disc\n0,1\n", "truth.csv, line 2: its cells do not match the columns"),
    "empty": ("index,cls\n", "index,p_disc\n0,1\n", "truth.csv holds no rows"),
}


@pytest.mark.parametrize("name", TABLES)
def test_tables_that_do_not_fit_are_refused(name: str, reflexscope: Command, tmp_path: Path) -> None:
    truth, found, words = TABLES[name]
    (tmp_path / "truth.csv").write_text(truth, encoding="utf-8")
    (tmp_path / "found.csv").write_text(found, encoding="utf-8")
    said = reflexscope.mistake("evaluate", "classification", tmp_path / "truth.csv", tmp_path / "found.csv")
    assert words.replace("TRUTH", str(tmp_path / "truth.csv")) in said


# --- models ---------------------------------------------------------------------------------------------------


def test_models_lists_what_is_shipped(reflexscope: Command) -> None:
    answer = reflexscope("models")
    assert answer.status == 0
    listed = [line.partition(":")[0] for line in answer.out.splitlines() if not line.startswith(" ")]
    assert (listed == shipped_names()) if shipped_names() else ("no models in" in answer.out)


def test_models_prints_a_card(reflexscope: Command, tmp_path: Path) -> None:
    for name in ("model.onnx", "manifest.toml"):
        (tmp_path / name).write_bytes((TINY / name).read_bytes())
    assert "has no card to read" in reflexscope.mistake("models", tmp_path)
    (tmp_path / "card.md").write_text("# Tiny\n\nFinds [bold]discs[/bold].\n", encoding="utf-8")
    assert reflexscope("models", tmp_path).out == "# Tiny\n\nFinds [bold]discs[/bold].\n"
    assert 'model "nucleii" is neither shipped' in reflexscope.mistake("models", "nucleii")
