"""Pulses on a real MMCore: the state device is switched at its moment, read back, and not at all when it is late."""

from collections.abc import Iterator

import msgspec
import pytest

from acquisition.clock import NS_PER_MS
from acquisition.commands import PulseSorter, SafeState
from tests.micromanager_rigs import CLOCK, LIMITS, Open, RealDesk, open_rig, watched

__all__ = ["open_rig", "watched"]

from tests.micromanager_cores import Watched

TOLERANCE_MS = 20.0
STRIPS = msgspec.structs.replace(LIMITS, pulse_tolerance_ms=TOLERANCE_MS)


class Witness:
    """Sees every order to the trigger in the core's own thread, and asks the device itself how it stands."""

    def __init__(self, watched: Watched) -> None:
        self._watched = watched
        self.edges: list[tuple[str, int]] = []
        watched.at["setProperty"] = self._see

    def _see(self) -> None:
        _, (device, _, value) = self._watched.calls[-1]
        if device == "Trigger":
            self.edges.append((str(value), CLOCK.now_ns()))

    @property
    def state(self) -> int:
        return int(self._watched.core.getState("Trigger"))


@pytest.fixture
def desk(open_rig: Open) -> Iterator[RealDesk]:
    desk = RealDesk(open_rig(roi_px=(0, 224, 256, 64)), limits=STRIPS)
    yield desk
    desk.loop.finish()


def in_ms(ms: float, width_ms: float) -> PulseSorter:
    return PulseSorter(CLOCK.now_ns() + round(ms * NS_PER_MS), width_ms=width_ms)


@pytest.mark.parametrize("width_ms", [0.3, 2.0, 15.0])
def test_the_state_device_is_switched_at_its_moment(desk: RealDesk, watched: Watched, width_ms: float) -> None:
    desk.more(2)
    witness, pulse = Witness(watched), in_ms(40, width_ms)
    status, detail = desk.outcome(pulse)
    if width_ms > 1:
        assert witness.state == 1, "the device says that it is open"
    desk.turn_until(lambda: len(witness.edges) == 2)
    assert (status, "from its moment" in detail) == ("done", True)
    (on, opened_ns), (off, shut_ns) = witness.edges
    assert (on, off, witness.state) == ("1", "0", 0)
    assert 0 <= opened_ns - pulse.at_ns < TOLERANCE_MS * NS_PER_MS
    assert shut_ns - opened_ns >= 0.9 * width_ms * NS_PER_MS


def test_frames_go_on_while_pulses_come(desk: RealDesk, watched: Watched) -> None:
    witness = Witness(watched)
    pulses = [in_ms(40 + 10 * n, 0.3) for n in range(10)]
    asked = [desk.ask(pulse) for pulse in pulses]
    desk.turn_until(lambda: all(name in desk.outcomes for name in asked))
    done = [pulse for name, pulse in zip(asked, pulses, strict=True) if desk.outcomes[name].status == "done"]
    assert len(done) >= 8, "this machine may be held now and then"
    assert len([value for value, _ in witness.edges if value == "1"]) >= len(done)
    assert len(desk.frames) > 3


def test_a_pulse_that_the_process_slept_through_does_not_switch_it(desk: RealDesk, watched: Watched) -> None:
    desk.more(2)
    witness = Witness(watched)
    name = desk.ask(in_ms(30, 2.0))
    desk.turn_until(lambda: bool(desk.loop._desk.gate.recent_ns(CLOCK.now_ns())))
    CLOCK.sleep_s(0.035 + TOLERANCE_MS / 1000)
    desk.turn_until(lambda: name in desk.outcomes)
    assert desk.outcomes[name].status == "late"
    assert (witness.edges, witness.state) == ([], 0)


def test_the_safe_state_keeps_it_shut(desk: RealDesk, watched: Watched) -> None:
    name = desk.ask(in_ms(500, 2.0))
    desk.more(1)
    witness = Witness(watched)
    assert desk.outcome(SafeState())[0] == "done"
    assert desk.outcomes[name].status == "refused"
    CLOCK.sleep_s(0.6)
    assert ("1" not in [value for value, _ in witness.edges], witness.state) == (True, 0)
