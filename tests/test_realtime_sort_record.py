"""What a sort asks of the network, and what it records of every cell."""

from typing import Any

import numpy as np
import pytest
from scripted_sort import (
    OTHER,
    SIDE_PX,
    STRIP_NS,
    UNCLEAR,
    Passing,
    Script,
    ScriptedClassifier,
    crowd,
    run,
    scripted,
    settings_for,
    verdicts,
)

from acquisition.clock import NS_PER_MS
from realtime.sort.events import CROP_BACKGROUND, NEARLY, NO_PULSE
from realtime.sort.verdicts import Verdict
from realtime.sort.words import sorted_words
from realtime.wire import decode, encode

# --- how often the network is asked -----------------------------------------------------------------------------------


def asked(cells: list[Passing], **changes: Any) -> list[int]:
    sorting = scripted(cells, settings_for(**changes))
    run(sorting, 10)
    script: Any = sorting._view.finder if sorting._view else None
    assert isinstance(script, Script)
    return [n for n in script.crops_asked if n]


def test_one_batch_a_stack_and_no_more_looks_than_asked_for() -> None:
    assert asked([Passing(5.0)]) == [5]
    assert asked([Passing(5.0)], looks=2) == [2]
    assert asked([Passing(5.0), Passing(5.5)], crops_per_stack=3) == [3]


def test_a_decided_cell_is_not_looked_at_again() -> None:
    """It is in view for three stacks, and clear after the first."""
    assert asked([Passing(5.0, view_ms=9.0)]) == [12]
    assert asked([Passing(7.0, view_ms=9.0)]) == [5]
    assert asked([Passing(7.0, UNCLEAR, view_ms=9.0)]) == [5, 7]


def test_of_a_crowd_every_cell_gets_its_first_look_first() -> None:
    cells = [Passing(4.5 + 0.4 * i) for i in range(6)]
    (analysis,) = [a for a in run(scripted(cells, settings_for(crops_per_stack=6)), 2) if len(a.events)]
    assert set(analysis.events.looks_classified.tolist()) == {1}


# --- the record ---------------------------------------------------------------------------------------------------------


def test_the_record_of_an_event() -> None:
    analyses = run(scripted([Passing(5.0, (0.9, 0.999))], look_correlation=0.3), 10)
    (events,) = [a.events for a in analyses if len(a.events)]
    columns = {name: values.tolist() for name, values in events.columns().items()}
    assert columns["event_id"] == [1]
    assert columns["looks"] == columns["looks_classified"] == [5]
    assert columns["arrival_ns"] == [Passing(5.0).arrives_ns]
    assert (columns["verdict"], columns["decision_n"]) == ([Verdict.SORTED], [0])
    assert columns["at_ns"] == [Passing(5.0).arrives_ns - 150_000]
    assert sum(columns[f"p_{name}"][0] for name in events.class_names) == pytest.approx(1.0)
    assert columns["p_wbc"] == pytest.approx(columns["p_wanted"])
    assert (columns["area_um2"], columns["contrast"]) == ([100.0], pytest.approx([0.3]))
    assert events.crops.shape == (1, SIDE_PX, SIDE_PX)
    assert events.crops[0, 0, 0] == round(CROP_BACKGROUND * (1 - 0.999))


def test_pictures_of_all_who_might_be_sorted_and_of_the_configured_share_are_kept() -> None:
    cells = crowd(3)
    for share in (0.0, 0.3, 1.0):
        analyses = run(scripted(cells, settings_for(crops_kept=share)), 60)
        kept = [bool(row in set(a.events.crop_rows)) for a in analyses for row in range(len(a.events))]
        might_be = [v in (Verdict.SORTED, *NEARLY) for a in analyses for v in a.events.verdict]
        assert all(k for k, m in zip(kept, might_be, strict=True) if m)
        others = [k for k, m in zip(kept, might_be, strict=True) if not m]
        assert np.mean(others) == pytest.approx(share, abs=0.12)


def test_what_is_expected_adds_up() -> None:
    analyses = run(scripted(crowd(4)), 60)
    words = [sorted_words("run", analysis, 0) for analysis in analyses]
    sums = {key: sum(w.expected[key] for w in words) for key in ("wanted", "sorted", "sorted_wanted")}
    counts = [verdicts(analyses)[cell] for cell in verdicts(analyses)]
    assert sums["sorted"] == counts.count("sorted") + counts.count("with_another")
    assert sums["sorted_wanted"] == pytest.approx(sums["sorted"], rel=0.01)
    assert sums["wanted"] > sums["sorted_wanted"]
    for message in words:
        assert decode(encode(message), "run") == message


def test_without_a_pulse_the_record_says_so() -> None:
    (events,) = [a.events for a in run(scripted([Passing(5.0, OTHER)]), 10) if len(a.events)]
    assert (events.decision_n.tolist(), events.at_ns.tolist()) == ([NO_PULSE], [0])


def test_the_scripted_classifier_is_what_a_sort_asks_for() -> None:
    p = ScriptedClassifier().probabilities(np.full((2, SIDE_PX, SIDE_PX), 0.25, np.float32))
    assert p.sum(axis=1) == pytest.approx(1.0)
    assert STRIP_NS * 4 == NS_PER_MS
