"""Whole sorts whose pulses leave the program: a state device of a real MMCore, and a microcontroller on a serial line."""

import itertools
import sys
from pathlib import Path

import pytest

from acquisition.clock import NS_PER_MS
from acquisition.commands import Outcome, PulseSorter
from realtime.config import RunConfig, load_config
from realtime.decisions import Decision
from realtime.inline import inline_run
from realtime.wire import AnyMessage, OutcomeReached, StripsSorted

CONFIGS = Path(__file__).parents[1] / "hardware_configs"
FLOWING = [
    "imaging.interval_ms=1.0", "microscope.strips=4", "microscope.appearance='drawn'", "microscope.events_per_s=100.0",
    "microscope.flow.speed_um_s=25000.0", "sort.flow.speed_um_s=25000.0", "sort.finder.background_strips=64",
    "classifier.use='features'", "sort.gate={ classes = ['particle'], where = { area_um2 = [20.0, 1000.0] } }",
    "sort.pulse.worst_sigma_ms=1.0",
]  # fmt: skip
"""The shipped sort at a quarter of its speed, so that one process can do all of it; it sorts by size."""


LONGEST_S = 20.0


def sorted_in(config: RunConfig, n_done: int) -> tuple[dict[str, Decision], dict[str, Outcome]]:
    """Every decision by its id, and its outcome, of a run that ends once so many pulses have come."""
    heard: list[AnyMessage] = []
    done = itertools.count(1)

    def hear(message: AnyMessage) -> None:
        heard.append(message)
        if isinstance(message, OutcomeReached) and message.outcome.status == "done" and next(done) == n_done:
            inline.loop.stop("enough")

    with inline_run(config, "run", None, "", LONGEST_S, hear=hear) as inline:
        end = inline.image()
    assert end.reason == "enough"
    stacks = [message for message in heard if isinstance(message, StripsSorted)]
    decisions = {decision.id: decision for stack in stacks for decision in stack.decisions}
    outcomes = {m.outcome.decision_id: m.outcome for m in heard if isinstance(m, OutcomeReached)}
    assert set(outcomes) == set(decisions), "every pulse has its outcome"
    return decisions, outcomes


def moment_ns(decision: Decision) -> int:
    assert isinstance(decision.command, PulseSorter)
    return decision.command.at_ns


def width_us(decision: Decision) -> int:
    assert isinstance(decision.command, PulseSorter)
    return round(decision.command.width_ms * 1000)


def test_beads_that_flow_past_the_demo_camera_switch_its_state_device() -> None:
    pytest.importorskip("mm_test_adapters", reason="needs the device adapters of the extra `demo`")
    config = load_config(CONFIGS / "sorter_micromanager.toml")
    decisions, outcomes = sorted_in(config, n_done=4)
    done = [outcome for outcome in outcomes.values() if outcome.status == "done"]
    tolerance_ns = config.limits.pulse_tolerance_ms * NS_PER_MS
    for outcome in done:
        opened_ns = moment_ns(decisions[outcome.decision_id]) + float(outcome.detail.split()[2]) * NS_PER_MS
        assert 0 <= opened_ns - moment_ns(decisions[outcome.decision_id]) <= tolerance_ns


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no pseudo-terminals")
def test_a_serial_sorter_is_told_of_exactly_the_pulses_that_were_decided() -> None:
    from tests.serial_peer import SerialPeer

    peer = SerialPeer().start()
    try:
        config = load_config(CONFIGS / "sorter_serial.toml", [*FLOWING, f"sorter.port={peer.port}"])
        decisions, outcomes = sorted_in(config, n_done=8)
    finally:
        peer.stop()
    asked = [(moment_ns(decision), width_us(decision)) for decision in decisions.values()]
    told = [(peer.tick_ns(int(said[2])), int(said[3])) for said in peer.heard if said[0] == "fire"]
    for tick_ns, ticks in told:
        assert [width for at_ns, width in asked if abs(tick_ns - at_ns) < 0.2 * NS_PER_MS] == [ticks]
    done = [moment_ns(decisions[name]) for name, outcome in outcomes.items() if outcome.status == "done"]
    for at_ns in done:
        assert sum(abs(opened_ns - at_ns) < 0.2 * NS_PER_MS for _, opened_ns, _ in peer.gate) == 1
    assert [said[0] for said in peer.heard if said[0] not in ("ping", "fire")][-2:] == ["safe", "safe"]
