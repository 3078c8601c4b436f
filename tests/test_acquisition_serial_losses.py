"""A serial sorter whose line, clock or computer fails: no pulse opens that was given up, and none at another moment."""

import sys

import pytest

from acquisition.clock import NS_PER_MS, NS_PER_S, Clock, SystemClock
from acquisition.microscope import MicroscopeError, RigGone
from acquisition.serial_protocol import TICK_RANGE
from acquisition.serial_sorter import SerialSorter

if sys.platform == "win32":
    pytest.skip("Windows has no pseudo-terminals", allow_module_level=True)

from tests.serial_peer import SerialPeer
from tests.test_acquisition_serial_sorter import CLOCK, WINDOW_MS, in_ms, peer, report_of, reports_until, sorter, turned

__all__ = ["peer", "sorter"]


class HeldClock(SystemClock):
    """The machine's clock, of a computer that now and then does nothing for a while."""

    def __init__(self) -> None:
        self.held_ns = 0

    def now_ns(self) -> int:
        return super().now_ns() + self.held_ns


def opened(peer: SerialPeer, clock: Clock, **settings: float) -> SerialSorter:
    sorter = SerialSorter(port=peer.port, **settings)  # type: ignore[arg-type]
    sorter.open(clock)
    return sorter


def n_told(peer: SerialPeer, word: str) -> int:
    return sum(said[0] == word for said in list(peer.heard))


def test_what_was_cancelled_stays_shut_although_the_first_word_of_it_was_lost(
    peer: SerialPeer, sorter: SerialSorter
) -> None:
    sorter.fire_at(in_ms(200), WINDOW_MS, "cell")
    peer.deaf_to = {"safe"}
    sorter.cancel_pulses()
    assert not turned(sorter, 10)
    peer.deaf_to = set()
    report = report_of(sorter)
    assert (report.status, report.detail) == ("refused", "cancelled: safe")
    before = n_told(peer, "safe")
    turned(sorter, 250)
    assert not peer.gate
    assert n_told(peer, "safe") == before, "it is told again only until it has answered"


def test_a_gate_that_opens_after_all_was_cancelled_ends_the_run(peer: SerialPeer) -> None:
    """At once, not when the last of the pulses that were cancelled would have been over."""
    sorter = opened(peer, SystemClock(), worst_clock_ms=1e9)
    sorter.fire_at(in_ms(60_000), WINDOW_MS, "cell")
    sorter.cancel_pulses()
    assert report_of(sorter).detail == "cancelled: safe"
    peer.stuck = True
    with pytest.raises(MicroscopeError, match="nobody asked"):
        turned(sorter, 1000)
    peer.stuck = False
    sorter.close()


def test_a_clock_that_jumped_takes_its_pulses_with_it(peer: SerialPeer) -> None:
    """They are told as failed, so they must not come, even if it was this computer's own clock that jumped."""
    clock = HeldClock()
    sorter = opened(peer, clock)
    sorter.fire_at(clock.now_ns() + 200 * NS_PER_MS, WINDOW_MS, "cell")
    assert not turned(sorter, 10)
    clock.held_ns += NS_PER_S // 10
    report = report_of(sorter)
    assert (report.status, "its clock jumped" in report.detail) == ("failed", True)
    turned(sorter, 300)
    assert not peer.gate
    sorter.close()


def test_a_computer_that_was_held_has_heard_no_silence(peer: SerialPeer) -> None:
    """What came meanwhile may not have been read yet when it goes on."""
    clock = HeldClock()
    sorter = opened(peer, clock, silent_ms=150.0)
    peer.silent = True
    n_pings = n_told(peer, "ping")
    reports_until(sorter, lambda told: n_told(peer, "ping") > n_pings)
    clock.held_ns += 2 * NS_PER_S
    sorter.reports()
    with pytest.raises(RigGone, match="silent for"):
        turned(sorter, 1000)
    peer.silent = False
    sorter.close()


def test_no_pulse_is_so_far_ahead_that_the_device_would_take_its_tick_for_another(peer: SerialPeer) -> None:
    sorter = opened(peer, SystemClock(), worst_clock_ms=1e9)
    one_turn_ms = TICK_RANGE / 1000
    sorter.fire_at(in_ms(one_turn_ms + 40), WINDOW_MS, "cell")
    report = report_of(sorter)
    assert (report.status, "counts only 2147 s ahead" in report.detail) == ("refused", True)
    turned(sorter, 80)
    assert not peer.gate
    sorter.close()


def test_a_device_that_counts_nothing_is_not_opened(peer: SerialPeer) -> None:
    peer.ticks_per_s = 0
    with pytest.raises(MicroscopeError, match="nothing at .* answers as a sorter"):
        opened(peer, SystemClock(), open_s=0.3)


def test_what_was_said_before_the_port_vanished_is_still_told() -> None:
    """Its outcome would else be that nobody knows whether the gate opened."""
    peer = SerialPeer().start()
    sorter = opened(peer, SystemClock())
    sorter.fire_at(in_ms(30), WINDOW_MS, "cell")
    CLOCK.sleep_s(0.1)  # nobody asks for reports
    peer.stop()
    (report,) = sorter.reports()
    assert (report.name, report.status) == ("cell", "done")
    with pytest.raises(RigGone):
        turned(sorter, 2000)
    with pytest.raises(RigGone):
        sorter.close()
