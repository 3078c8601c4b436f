"""Which decisions become orders, and what the acquisition process believes of the others' heartbeats."""

import math
from typing import Any

import msgspec
import pytest

from acquisition.clock import NS_PER_MS
from acquisition.commands import SetLight
from realtime.decisions import Decision
from realtime.processes.open_decisions import OpenDecisions
from realtime.processes.watch import Watch
from realtime.wire import DecisionMade, Heartbeat

RUN, NOW_NS = "run-a", 1000 * NS_PER_MS


def made(run: str = RUN, **changes: Any) -> DecisionMade:
    plain = Decision(command=SetLight(1.0), reason="r", id="7.p.0", frame_index=7, policy="p", deadline_ns=2 * NOW_NS)
    decision = msgspec.structs.replace(plain, **changes)
    return DecisionMade(run=run, decision=decision, exposed_ns=1, decided_ns=2, sent_ns=3)


def test_an_id_counts_once() -> None:
    decisions = OpenDecisions(RUN)
    assert decisions.admit(made())
    assert not decisions.admit(made(reason="again"))
    assert decisions.close("7.p.0") == made()
    assert not decisions.admit(made()), "also after its outcome"
    assert decisions.close("7.p.0") is None


def test_a_decision_of_another_run_takes_no_id_away() -> None:
    decisions, foreign = OpenDecisions(RUN), made("run-b")
    assert decisions.admit(foreign), "it is owed an outcome"
    assert decisions.reason_against(foreign, NOW_NS) == "it belongs to run run-b; this is run run-a"
    assert decisions.close("7.p.0") == foreign
    assert decisions.admit(made())
    assert decisions.admit(foreign)
    assert decisions.close("7.p.0") == foreign, "refused at once, while ours waits for its outcome"
    assert decisions.close("7.p.0") == made()


@pytest.mark.parametrize(
    ("changes", "words"),
    [({}, None), ({"deadline_ns": None}, "it has no deadline_ns")],
)
def test_every_decision_expires(changes: dict[str, Any], words: str | None) -> None:
    reason = OpenDecisions(RUN).reason_against(made(**changes), NOW_NS)
    assert reason is None if words is None else words in (reason or "")


def test_figures_that_are_no_numbers_are_not_believed() -> None:
    watch = Watch(silence_ms=100.0)
    watch.arrive("inference", 0)
    figures = {"cells": 3.0, "tracks": math.nan, "speed": math.inf}
    watch.hear("inference", Heartbeat(run=RUN, role="inference", pid=1, progress=1, figures=figures), 1, NOW_NS)
    assert watch.figures == {"inference_cells": 3.0}
