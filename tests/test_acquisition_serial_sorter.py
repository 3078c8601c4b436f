"""The serial sorter on a real pseudo-terminal, at whose other end a scripted device with a clock of its own sits."""

import sys
from collections.abc import Callable, Iterator

import pytest

from acquisition.clock import NS_PER_MS, SystemClock
from acquisition.microscope import MicroscopeError, RigGone
from acquisition.pulses import PulseReport
from acquisition.serial_protocol import TICK_RANGE
from acquisition.serial_sorter import SerialSorter

if sys.platform == "win32":
    pytest.skip("Windows has no pseudo-terminals", allow_module_level=True)

from tests.serial_peer import SerialPeer

CLOCK = SystemClock()
WINDOW_MS = 0.3


@pytest.fixture
def peer() -> Iterator[SerialPeer]:
    peer = SerialPeer().start()
    yield peer
    peer.stop()


@pytest.fixture
def sorter(peer: SerialPeer) -> Iterator[SerialSorter]:
    sorter = SerialSorter(port=peer.port)
    sorter.open(CLOCK)
    yield sorter
    peer.silent = peer.stuck = False
    peer.garble.clear()
    peer.unsaid.clear()
    sorter.close()


def in_ms(ms: float) -> int:
    return CLOCK.now_ns() + round(ms * NS_PER_MS)


def reports_until(
    sorter: SerialSorter, enough: Callable[[list[PulseReport]], bool], seconds: float = 5.0
) -> list[PulseReport]:
    """Turn as the loop does."""
    told: list[PulseReport] = []
    until_ns = in_ms(seconds * 1000)
    while not enough(told):
        assert CLOCK.now_ns() < until_ns, f"only {told}"
        told += sorter.reports()
        CLOCK.sleep_s(0.0005)
    return told


def report_of(sorter: SerialSorter, **settings: float) -> PulseReport:
    (report,) = reports_until(sorter, bool, **settings)
    return report


def turned(sorter: SerialSorter, ms: float) -> list[PulseReport]:
    until_ns = in_ms(ms)
    return reports_until(sorter, lambda told: CLOCK.now_ns() > until_ns)


# --- pulses ----------------------------------------------------------------------------------------------------------


def test_the_device_receives_exactly_the_right_lines(peer: SerialPeer, sorter: SerialSorter) -> None:
    at_ns = in_ms(30)
    sorter.fire_at(at_ns, WINDOW_MS, "cell 1")
    assert report_of(sorter).status == "done"
    sorter.cancel_pulses()
    sorter.close()
    told = [said for said in peer.heard if said[0] != "ping"]
    assert [said[0] for said in told] == ["hello", "safe", "watchdog", "fire", "safe", "safe"]
    assert told[0] == ("hello", "1")
    assert told[2] == ("watchdog", "1000")
    _, number, tick, width = told[3]
    assert (number, width) == ("1", "300")
    assert abs(peer.tick_ns(int(tick)) - at_ns) < 0.1 * NS_PER_MS
    assert peer.n_bad == 0
    pings = [said for said in peer.heard if said[0] == "ping"]
    assert [int(said[1]) for said in pings] == list(range(1, len(pings) + 1))
    assert {said[2:] for said in pings} == {("0000000000", "0")}


@pytest.mark.parametrize("drift_ppm", [40.0, -80.0])
def test_pulses_keep_their_moments_on_a_clock_that_drifts_and_wraps(drift_ppm: float) -> None:
    peer = SerialPeer(first_tick=TICK_RANGE - 400_000, drift_ppm=drift_ppm).start()
    sorter = SerialSorter(port=peer.port)
    sorter.open(CLOCK)
    asked, told = {}, []
    for n in range(25):
        asked[f"cell {n}"] = in_ms(30)
        sorter.fire_at(asked[f"cell {n}"], WINDOW_MS, f"cell {n}")
        told += turned(sorter, 20)
    told += reports_until(sorter, lambda later: len(told) + len(later) == len(asked))
    sorter.close()
    peer.stop()
    ticks = [int(said[2]) for said in peer.heard if said[0] == "fire"]
    assert ticks != sorted(ticks), "the counter did wrap"
    assert {report.name: report.status for report in told} == dict.fromkeys(asked, "done")
    errors_ns = sorted(abs(a - b) for (_, a, _), b in zip(peer.gate, asked.values(), strict=True))
    assert errors_ns[len(errors_ns) // 2] < 0.05 * NS_PER_MS
    assert all(abs(report.opened_ns - asked[report.name]) < 0.2 * NS_PER_MS for report in told)


@pytest.mark.parametrize(
    ("at_ms", "status", "words"), [(-5.0, "late", "too late"), (10.0, "refused", "overlap")], ids=["late", "overlap"]
)
def test_what_the_device_rejects_is_told(sorter: SerialSorter, at_ms: float, status: str, words: str) -> None:
    at_ns = in_ms(15)
    if status == "refused":
        sorter.fire_at(at_ns, WINDOW_MS, "other")
    sorter.fire_at(at_ns if status == "refused" else in_ms(at_ms), WINDOW_MS, "cell")
    told = {r.name: r for r in reports_until(sorter, lambda told: any(r.name == "cell" for r in told))}
    assert (told["cell"].status, words in told["cell"].detail) == (status, True)
    assert told["cell"].opened_ns == 0


def test_more_than_it_can_keep_is_not_sent(peer: SerialPeer, sorter: SerialSorter) -> None:
    for n in range(peer.queue + 3):
        sorter.fire_at(in_ms(150 + n / 2), WINDOW_MS, str(n))
    told = reports_until(sorter, lambda told: len(told) == 3)
    assert [(r.status, "keeps 32 pulses" in r.detail) for r in told] == [("refused", True)] * 3
    sorter.cancel_pulses()
    told = reports_until(sorter, lambda told: len(told) == peer.queue)
    assert {(r.status, r.detail) for r in told} == {("refused", "cancelled: safe")}
    assert not peer.gate


# --- what can go wrong -----------------------------------------------------------------------------------------------


def test_half_lines_and_garbage_are_counted_and_do_no_harm(peer: SerialPeer, sorter: SerialSorter) -> None:
    for raw in (b"\xff\x00\x80", b"x" * 500, b"\n", b"done 1 5 6*00\n", b"ping x y z*\n", b"\r\n\r\n", b"fire"):
        peer.shout(raw)
    sorter.fire_at(in_ms(20), WINDOW_MS, "cell")
    assert report_of(sorter).status in ("done", "failed")  # half a line may have taken the answer after it with it
    sorter.fire_at(in_ms(20), WINDOW_MS, "next")
    report = report_of(sorter)
    assert (report.name, report.status) == ("next", "done")


@pytest.mark.parametrize(
    ("lost", "status", "words"),
    [
        ({"done"}, "failed", "accepted it"),
        ({"accepted", "done"}, "failed", "never acknowledged"),
        ({"accepted"}, "done", ""),
    ],
    ids=["done", "both", "accepted"],
)
@pytest.mark.parametrize("how", ["garble", "unsaid"])
def test_an_answer_that_is_lost_leaves_no_pulse_open(
    peer: SerialPeer, sorter: SerialSorter, how: str, lost: set[str], status: str, words: str
) -> None:
    setattr(peer, how, set(lost))
    sorter.fire_at(in_ms(10), WINDOW_MS, "cell")
    report = report_of(sorter)
    assert (report.status, words in report.detail) == (status, True)
    assert not turned(sorter, 10), "one report each"


def test_a_device_that_was_reset_has_forgotten_its_pulses_and_sorts_on(peer: SerialPeer, sorter: SerialSorter) -> None:
    sorter.fire_at(in_ms(200), WINDOW_MS, "cell")
    turned(sorter, 10)
    peer.reset()
    report = report_of(sorter)
    assert (report.status, "reset" in report.detail) == ("failed", True)
    sorter.fire_at(in_ms(20), WINDOW_MS, "too soon")
    assert report_of(sorter).status == "refused"
    told: list[PulseReport] = []
    while not any(report.status == "done" for report in told):
        sorter.fire_at(in_ms(20), WINDOW_MS, "again")
        told = reports_until(sorter, bool)
    assert abs(peer.gate[-1][1] - told[-1].opened_ns) < 0.3 * NS_PER_MS


def test_a_reset_that_nobody_announced_shows_in_the_clock(peer: SerialPeer, sorter: SerialSorter) -> None:
    peer.unsaid = {"started"}
    sorter.fire_at(in_ms(200), WINDOW_MS, "cell")
    turned(sorter, 10)
    peer.reset()
    assert "its clock jumped" in report_of(sorter).detail


def test_silence_ends_the_run(peer: SerialPeer) -> None:
    sorter = SerialSorter(port=peer.port, silent_ms=100.0)
    sorter.open(CLOCK)
    sorter.fire_at(in_ms(20), WINDOW_MS, "cell")
    peer.silent = True
    with pytest.raises(RigGone, match="silent for .* cannot be known"):
        turned(sorter, 1000)
    with pytest.raises(RigGone, match="does not say that its gate is shut"):
        sorter.close()
    sorter.close()


def test_a_loop_that_was_held_is_no_silence_but_the_watchdog_has_acted(peer: SerialPeer) -> None:
    sorter = SerialSorter(port=peer.port, silent_ms=100.0, watchdog_ms=60)
    sorter.open(CLOCK)
    sorter.fire_at(in_ms(150), WINDOW_MS, "cell")
    sorter.reports()
    CLOCK.sleep_s(0.2)
    report = report_of(sorter)
    assert (report.status, report.detail) == ("refused", "cancelled: watchdog")
    assert not peer.gate
    turned(sorter, 60)  # it is armed again
    sorter.fire_at(in_ms(20), WINDOW_MS, "next")
    assert report_of(sorter).status == "done"
    sorter.close()


def test_a_gate_that_nobody_asked_to_open_ends_the_run(peer: SerialPeer, sorter: SerialSorter) -> None:
    peer.stuck = True
    with pytest.raises(MicroscopeError, match="nobody asked"):
        turned(sorter, 1000)
    with pytest.raises(MicroscopeError, match="says that it is open"):
        sorter.make_safe()


def test_a_port_that_vanishes_is_a_rig_that_is_gone() -> None:
    peer = SerialPeer().start()
    sorter = SerialSorter(port=peer.port)
    sorter.open(CLOCK)
    peer.stop()
    with pytest.raises(RigGone, match="port"):
        turned(sorter, 2000)
    with pytest.raises(RigGone):
        sorter.close()
    sorter.close()


# --- opening ---------------------------------------------------------------------------------------------------------


def test_a_slow_line_makes_a_clock_that_is_not_known_well_enough(peer: SerialPeer) -> None:
    peer.unsaid = {"ping"}
    with pytest.raises(MicroscopeError, match="worst_clock_ms allows 0.1"):
        SerialSorter(port=peer.port, open_s=0.3).open(CLOCK)
    assert not any(said[0] == "fire" for said in peer.heard)


@pytest.mark.parametrize(
    ("changes", "words"),
    [({"silent": True}, "nothing at .* answers as a sorter"), ({"protocol": 7}, "speaks protocol 7, this program 1")],
    ids=["nobody", "another protocol"],
)
def test_what_is_no_such_sorter_is_not_opened(peer: SerialPeer, changes: dict[str, bool | int], words: str) -> None:
    for name, value in changes.items():
        setattr(peer, name, value)
    with pytest.raises(MicroscopeError, match=words):
        SerialSorter(port=peer.port, open_s=0.3).open(CLOCK)


def test_a_port_that_is_not_there_or_taken_is_told(peer: SerialPeer, sorter: SerialSorter) -> None:
    with pytest.raises(MicroscopeError, match="no-such-port at 115200 baud cannot be opened"):
        SerialSorter(port="no-such-port").open(CLOCK)
    with pytest.raises(MicroscopeError, match="does no other program use it"):
        SerialSorter(port=peer.port).open(CLOCK)


def test_a_watchdog_must_outlast_the_pings() -> None:
    with pytest.raises(ValueError, match="watchdog_ms 30 must be at least twice ping_ms, 20"):
        SerialSorter(port="COM3", watchdog_ms=30)


def test_closing_twice_and_making_safe_what_was_never_open_is_harmless(sorter: SerialSorter) -> None:
    SerialSorter(port="COM3").make_safe()
    sorter.close()
    sorter.close()
