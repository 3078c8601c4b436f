"""`reflexscope evaluate tracking` as a person meets it: figures as tables and JSON, and mistakes in one line."""

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from test_realtime_cli import Command
from test_realtime_tracking_scores import ALONE, LEFT, RIGHT, TRUTH, Movie
from tracked_movies import Drawn, at, write_movie

from realtime.offline.mask_scores import score_folders
from realtime.offline.tracking_scores import as_json

WITHOUT_DIVISION: Movie = TRUTH | {LEFT: Drawn(at("0", 4, 7)), RIGHT: Drawn(at("2", 4, 7))}


@pytest.fixture
def reflexscope(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    return Command(monkeypatch, capsys)


@pytest.fixture
def truth(tmp_path: Path) -> Path:
    write_movie(tmp_path / "01_GT" / "TRA", TRUTH, truth=True)
    return tmp_path / "01_GT"


@pytest.fixture
def result(tmp_path: Path) -> Path:
    return write_movie(tmp_path / "RES", WITHOUT_DIVISION)


def test_json_holds_every_figure(reflexscope: Command, truth: Path, result: Path) -> None:
    answer = reflexscope("evaluate", "tracking", truth, result, "--json")
    assert (answer.status, answer.err) == (0, "")
    assert json.loads(answer.out) == as_json(score_folders(truth, result))


def test_the_tables_say_the_same_to_people(reflexscope: Command, truth: Path, result: Path) -> None:
    answer = reflexscope("evaluate", "tracking", truth / "TRA", result)
    assert answer.status == 0, answer.err
    lines = [" ".join(line.split()) for line in answer.out.splitlines()]
    assert lines == [
        "divisions found false missed precision recall F1",
        "exactly 0 0 1 0.000 0.000 0.000",
        "± 1 frame 0 0 1 0.000 0.000 0.000",
        "± 2 frames 0 0 1 0.000 0.000 0.000",
        "TRA 0.9868 DET 1.0000 LNK 0.8889 SEG not known",
        "AOGM 3 of 20 cells and 18 links: cells 0 missed, 0 false, 0 to be split; links 2 missed, 0 false, "
        "0 of the wrong kind",
        "complete tracks: 4 of 4 true and 4 of the result (CT 1.000); whatever the ids, the same",
        "identity switches 0, fragmentations 0",
        "a cell counts as found if its mask covers more than half of the true one",
    ]


def test_seg_is_known_where_the_truth_has_masks(reflexscope: Command, truth: Path, result: Path) -> None:
    write_movie(truth / "SEG", TRUTH, truth=True)
    (truth / "SEG" / "man_track.txt").unlink()
    figures = json.loads(reflexscope("evaluate", "tracking", truth, result, "--json").out)
    assert figures["SEG"] == 1


def edit_table(path: Path, old: str, new: str) -> None:
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))


MISTAKES: dict[str, tuple[Callable[[Path], object], str]] = {
    "no such folder": (lambda res: res.rename(res.with_name("gone")), "RES does not exist"),
    "no table": (lambda res: (res / "res_track.txt").unlink(), "RES holds no res_track.txt or man_track.txt"),
    "a frame in the middle": (lambda res: (res / "mask003.tif").unlink(), "RES lacks frame 3 between 0 and 7"),
    "fewer frames": (lambda res: (res / "mask007.tif").unlink(), "RES has frames 0 to 6, its truth .*TRA has frames 0 to 7"),
    "another size": (lambda res: write_movie(res, TRUTH, height_px=12), "RES is 48 × 12 px, its truth .*TRA is 48 × 10 px"),
    "a mask without a line": (lambda res: edit_table(res / "res_track.txt", "4 0 7 0\n", ""), r"res_track.txt.* label 4"),
    "a line without a mask": (
        lambda res: edit_table(res / "res_track.txt", "4 0 7 0\n", "4 0 7 0\n9 1 2 0\n"), r"res_track.txt.* label 9",
    ),
    "not numbers": (lambda res: edit_table(res / "res_track.txt", "4 0 7", "4 zero 7"), "line 4.*four whole numbers"),
    "no cells": (lambda res: write_movie(res, {}), "RES: no frame shows a cell"),
}  # fmt: skip


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes_are_one_line(reflexscope: Command, truth: Path, result: Path, mistake: str) -> None:
    break_it, words = MISTAKES[mistake]
    break_it(result)
    assert_said(words, reflexscope.mistake("evaluate", "tracking", truth, result))


def test_a_mask_of_an_unknown_frame_in_seg(reflexscope: Command, truth: Path, result: Path) -> None:
    write_movie(truth / "SEG", {ALONE: TRUTH[ALONE]})
    (truth / "SEG" / "mask007.tif").rename(truth / "SEG" / "mask017.tif")
    assert_said("mask017.tif: its name must end", reflexscope.mistake("evaluate", "tracking", truth, result))


def test_without_the_library_it_says_what_to_install(
    reflexscope: Command, truth: Path, result: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ctc_metrics", None)
    said = reflexscope.mistake("evaluate", "tracking", truth, result)
    assert 'pip install "reflexscope[evaluate]"' in said


def assert_said(words: str, said: str) -> None:
    assert re.search(words, said), said
