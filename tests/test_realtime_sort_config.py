"""The `[sort]` section: what it takes, what it refuses, and that it comes back as it was."""

from pathlib import Path
from typing import Any

import pytest
from scripted_sort import ScriptedClassifier, settings_for, stack_of
from tiny_config import TINY

from acquisition.clock import SimulatedClock
from realtime.check import marked_config
from realtime.config import load_config, resolved
from realtime.plugins import ConfigError
from realtime.sort.gate import check_channel, check_scale
from realtime.sorting import Sorting

RIG = TINY[: TINY.index("[segmenter]")]
SORT = """
[classifier]
use = "scripted_sort:ScriptedClassifier"

[sort.gate]
classes = ["wbc"]

[sort.flow]
junction_um = 2000.0
speed_um_s = 100000.0
"""


def written(folder: Path, *more: str) -> Path:
    path = folder / "sort.toml"
    path.write_text("\n".join((RIG, SORT, *more)), encoding="utf-8")
    return path


def test_a_sort_needs_little(tmp_path: Path) -> None:
    config = load_config(written(tmp_path))
    assert config.sort is not None
    assert config.sort.gate.classes == ("wbc",)
    assert config.sort.pulse.window_ms == 0.3
    assert config.policies == {}
    assert Sorting.from_config(config, SimulatedClock()).description == "scripted"


def test_a_run_without_the_section_does_not_sort(tmp_path: Path) -> None:
    path = tmp_path / "tiny.toml"
    path.write_text(TINY, encoding="utf-8")
    config = load_config(path)
    assert config.sort is None
    assert "sort" not in resolved(config)


def test_it_comes_back_as_it_was(tmp_path: Path) -> None:
    overrides = [
        "sort.gate.where={ area_um2 = [20.0, 300.0] }",
        "sort.pulse.delay_ms=1.5",
        "sort.dry=true",
        "sort.looks=4",
    ]
    config = load_config(written(tmp_path), overrides)
    again = tmp_path / "again.toml"
    again.write_text(marked_config(config, {}), encoding="utf-8")
    assert resolved(load_config(again)) == resolved(config)
    assert load_config(again).sort == config.sort


def sections_of_a_run() -> list[str]:
    return ["segmenter", "tracker", "perception", "score", "policy"]


@pytest.mark.parametrize("section", sections_of_a_run())
def test_sections_that_have_no_part_in_a_sort_are_refused(tmp_path: Path, section: str) -> None:
    table = '[[policy]]\nuse = "pace"' if section == "policy" else f"[{section}]"
    with pytest.raises(ConfigError, match=rf"\[{section}\] has no part in a run with \[sort\]: remove one"):
        load_config(written(tmp_path, table))


WRONG: dict[str, tuple[str, str]] = {
    "a class that nobody names": ('sort.gate.classes=["wcb"]', r'no class is called "wcb" \(did you mean wbc\?\)'),
    "no class": ("sort.gate.classes=[]", "sort.gate.classes must be"),
    "all classes": ('sort.gate.classes=["wbc", "rbc", "debris"]', "names all classes"),
    "a feature that nobody measures": ("sort.gate.where={ area = [1.0, 2.0] }", '"area" is not measured.*area_um2'),
    "shares of other classes": (
        "sort.gate.shares={ wbc = 5.0, rcb = 95.0 }",
        "shares names wbc, rcb.* wbc, rbc, debris",
    ),
    "more looks than there are": ("sort.gate.least_looks=13", "gate.least_looks 13 is more than looks 12"),
    "pulses that are not allowed": ("limits.pulse_ms=0.2", "window_ms 0.3 is above limits.pulse_ms 0.2"),
    "pulses that come too soon": (
        "limits.pulse_recovery_ms=0.2",
        "recovery_ms 0.1 is below limits.pulse_recovery_ms 0.2",
    ),
    "an empty range": ("sort.gate.where={ area_um2 = [2.0, 1.0] }", r"where.area_um2 = \[2, 1\] is empty"),
    "no evidence could do": ("sort.gate.misses=0.999", "add up to less than 1"),
    "a certainty": ("sort.gate.false_triggers=0.0", "sort.gate.false_triggers must be a number > 0 and < 1"),
    "a pulse longer than the window": ("sort.pulse.least_ms=0.5", "least_ms 0.5 is longer than window_ms 0.3"),
    "a key that is not there": ("sort.gate.purity=0.9", "sort.gate.purity is not a setting"),
    "a part that is not there": ("sort.gates.misses=0.1", "sort.gates is not a setting"),
    "no looks": ("sort.looks=0", "sort.looks must be a whole number ≥ 1"),
    "a window without end": ("sort.pulse.window_ms=inf", "sort.pulse.window_ms must be a finite number"),
}


@pytest.mark.parametrize(("override", "message"), WRONG.values(), ids=WRONG.keys())
def test_a_mistake_is_named(tmp_path: Path, override: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_config(written(tmp_path), [override])


def test_what_has_no_default_must_be_given(tmp_path: Path) -> None:
    path = written(tmp_path)
    for needed in ("junction_um = 2000.0", "speed_um_s = 100000.0"):
        path.write_text((RIG + SORT).replace(needed, ""), encoding="utf-8")
        with pytest.raises(ConfigError, match=f"sort.flow.{needed.split()[0]} is missing"):
            load_config(path)


def test_a_policy_is_not_called_sort(tmp_path: Path) -> None:
    path = tmp_path / "tiny.toml"
    path.write_text(TINY.replace('use = "pace"', 'use = "pace"\nname = "sort"'), encoding="utf-8")
    with pytest.raises(ConfigError, match='must not be "sort"'):
        load_config(path)


def test_a_classifier_of_frames_cannot_sort(tmp_path: Path) -> None:
    text: Any = (RIG + SORT).replace("scripted_sort:ScriptedClassifier", "models.ranges:RangeClassifier")
    path = tmp_path / "sort.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match="has no method probabilities"):
        load_config(path)


CHANNELS = {
    "window longer than the view": ({"pulse__window_ms": 3.0}, "would be planned before all are seen"),
    "a pulse shared with a companion longer than the view": ({"pulse__window_ms": 0.75}, "would be planned before all"),
    "junction in the view": ({"flow__junction_um": 60.0}, "sooner than a pulse can be"),
    "a sorter that takes longer than the cells": ({"pulse__delay_ms": 19.3}, "sooner than a pulse can be"),
}


@pytest.mark.parametrize(("changes", "message"), CHANNELS.values(), ids=CHANNELS.keys())
def test_a_channel_that_cannot_be_sorted_is_refused(changes: dict[str, Any], message: str) -> None:
    header = stack_of(0).header
    check_channel(settings_for(), header)
    with pytest.raises(ConfigError, match=message):
        check_channel(settings_for(**changes), header)


@pytest.mark.parametrize(
    ("known", "is_fine"),
    [(None, True), ((0.5, 0.5), True), ((0.55, 0.6), True), ((0.65, 1.0), False), ((0.1, 0.4), False)],
)
def test_cells_must_be_as_large_as_the_classifier_knows_them(known: tuple[float, float] | None, is_fine: bool) -> None:
    """The camera's pixels are of 0.5 µm."""
    header, classifier = stack_of(0).header, ScriptedClassifier(um_per_px=known)
    if is_fine:
        check_scale(classifier, header)
        return
    with pytest.raises(ConfigError, match="those of the camera are 0.5 µm, so it would mistake them"):
        check_scale(classifier, header)
