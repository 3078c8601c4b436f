"""Data folders: which images serve for what, and what is refused."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from drawn_cells import SPLITS, data_folder

from models.training.data import DataError, DataRules, find_data
from models.training.images import examples, small_numbers
from models.training.splitting import folded, group_of, reduced

DISCS = DataRules(name="discs", where={"dye": "dapi"}, licence="CC0 1.0")


def test_images_are_chosen_by_the_columns_of_the_table(tmp_path: Path) -> None:
    (data,) = find_data([data_folder(tmp_path / "discs")], [DISCS])
    assert data.rules.licence == "CC0 1.0"
    assert [each.name for each in examples([data], "val")] == ["e.png", "f.png"]
    (data,) = find_data([tmp_path / "discs"], [DataRules(name="discs", where={"group": "well 0"})])
    assert [row["file"] for row in data.rows] == ["a.png", "b.png"]


def test_a_folder_of_data_sets_gives_those_that_the_recipe_names_in_its_order(tmp_path: Path) -> None:
    for name in ("one", "two", "three"):
        data_folder(tmp_path / name)
    known = [DataRules(name="two"), DataRules(name="one")]
    assert [each.name for each in find_data([tmp_path], known)] == ["two", "one"]
    given = [tmp_path / "three", tmp_path / "one", tmp_path / "two"]
    assert [each.name for each in find_data(given, known)] == ["two", "one", "three"]


def test_a_folder_without_a_table_is_split_by_name_with_a_warning(tmp_path: Path) -> None:
    names = {f"{i}.png": "" for i in range(10)}
    (data,) = find_data([data_folder(tmp_path / "mine", names, table=False)], [])
    assert (len(data.files("train")), len(data.files("val"))) == (8, 2)
    assert "keep them together in a splits.csv" in data.warning
    (again,) = find_data([tmp_path / "mine"], [], seed=0)
    assert again.rows == data.rows
    assert any(find_data([tmp_path / "mine"], [], seed=seed)[0].rows != data.rows for seed in (1, 2, 3))


REFUSED = {
    "nowhere": ("missing", [DISCS], "is not a folder"),
    "not a data set": (".", [DISCS], "no folder that the recipe names"),
    "no such column": ("discs", [DataRules(name="discs", where={"dyes": "dapi"})], "has no column dyes; it has file"),
    "nothing left": ("discs", [DataRules(name="discs", where={"dye": "gfp"})], 'and dye "gfp"; there is nothing'),
}


@pytest.mark.parametrize(("folder", "known", "words"), REFUSED.values(), ids=REFUSED)
def test_wrong_folders_are_refused(tmp_path: Path, folder: str, known: list[DataRules], words: str) -> None:
    data_folder(tmp_path / "data" / "discs")
    root = tmp_path if folder == "." else tmp_path / "data"
    with pytest.raises(DataError, match=words):
        find_data([root / folder], known)


def test_two_folders_of_one_name_are_refused(tmp_path: Path) -> None:
    folders = [data_folder(tmp_path / "monday" / "discs"), data_folder(tmp_path / "tuesday" / "discs")]
    with pytest.raises(DataError, match="have the same name"):
        find_data(folders, [])


BAD_TABLES = {
    "an image for two purposes": (b"file,split\na.png,train\na.png,val\n", "names a.png 2 times"),
    "not UTF-8": (b"file,split\na.png,train\n\xe4.png,val\n", "cannot be read as CSV"),
    "a line cut short": (b"file,split\na.png\n", 'no image has split "train"'),
}


@pytest.mark.parametrize("name", BAD_TABLES)
def test_a_table_that_cannot_be_used_is_refused(tmp_path: Path, name: str) -> None:
    content, words = BAD_TABLES[name]
    (data_folder(tmp_path / "mine") / "splits.csv").write_bytes(content)
    with pytest.raises(DataError, match=words):
        find_data([tmp_path / "mine"], [])


def test_images_without_labels_and_labels_of_another_size_are_refused(tmp_path: Path) -> None:
    (tmp_path / "bare" / "images").mkdir(parents=True)
    with pytest.raises(DataError, match="no labels/"):
        find_data([tmp_path / "bare"], [])
    (data,) = find_data([data_folder(tmp_path / "discs")], [DISCS])
    cv2.imwrite(str(tmp_path / "discs" / "labels" / "e.png"), np.zeros((96, 96), np.uint16))
    with pytest.raises(DataError, match="112 × 96 px, labels/e.png 96 × 96"):
        list(examples([data], "val"))


def test_large_label_numbers_fit_into_16_bits() -> None:
    labels = np.array([[0, 70_000], [3, 70_000]], np.int32)
    np.testing.assert_array_equal(small_numbers(labels), [[0, 2], [1, 2]])


def test_folds_hold_out_every_image_once_and_keep_groups_together(tmp_path: Path) -> None:
    (data,) = find_data([data_folder(tmp_path / "discs")], [DISCS])
    parts = [folded(data, number, 3, seed=0) for number in range(3)]
    assert sorted(name for part in parts for name in part.files("val")) == sorted(SPLITS)
    for part in parts:
        sides = [{group_of(row) for row in part.rows if row["split"] == split} for split in ("train", "val")]
        assert not sides[0] & sides[1]


def test_a_smaller_fraction_is_part_of_a_larger_one(tmp_path: Path) -> None:
    (data,) = find_data([data_folder(tmp_path / "discs")], [DISCS])
    half, all_of_it = reduced(data, 0.5, seed=0), reduced(data, 1.0, seed=0)
    assert set(half.files("train")) < set(all_of_it.files("train")) == set(data.files("train"))
    assert half.files("val") == data.files("val")
