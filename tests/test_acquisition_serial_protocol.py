"""Lines, their checksums, and what the computer learns of a device's clock from pings."""

import math
import random

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from acquisition.clock import NS_PER_MS
from acquisition.serial_clock import LEAST_PINGS, DeviceClock
from acquisition.serial_protocol import LONGEST, TICK_RANGE, BadLine, LineReader, checksum, line, nearest, ping, words

WORDS = st.lists(st.text("abcdefghijklmnopqrstuvwxyz0123456789-", min_size=1, max_size=8), min_size=1, max_size=6)


def test_the_checksum_is_the_published_one() -> None:
    """CRC-8/SMBUS of the digits 1 to 9 is F4 in the catalogues of checksums."""
    assert checksum(b"123456789") == 0xF4
    assert line("fire", 17, 4294966000, 300) == b"fire 17 4294966000 300*4E\n"


@given(WORDS)
def test_what_was_said_is_understood(said: list[str]) -> None:
    raw = line(*said)
    assert words(raw[:-1]) == tuple(said)
    assert words(raw[:-1].lower()) == tuple(said)


@given(WORDS, st.data())
def test_one_wrong_byte_is_always_noticed(said: list[str], data: st.DataObject) -> None:
    raw = bytearray(line(*said)[:-1])
    place = data.draw(st.integers(0, len(raw) - 4))
    raw[place] ^= data.draw(st.integers(1, 255))
    with pytest.raises(BadLine):
        words(bytes(raw))


@given(st.binary(max_size=300))
@example(b"*")
@example(b"*00")
def test_nothing_that_comes_in_breaks_anything(raw: bytes) -> None:
    for text in LineReader().feed(raw):
        try:
            assert isinstance(words(text), tuple)
        except BadLine:
            assert text == b"" or len(text) <= len(raw)


@given(st.lists(WORDS, min_size=1, max_size=8), st.lists(st.integers(1, 30), min_size=1, max_size=40))
def test_lines_arrive_whole_however_they_are_cut(said: list[list[str]], cuts: list[int]) -> None:
    stream = b"".join(line(*one) for one in said if len(line(*one)) < LONGEST)
    reader, came, at = LineReader(), [], 0
    for cut in [*cuts, len(stream)]:
        came += [words(raw) for raw in reader.feed(stream[at : at + cut])]
        at += cut
    assert came == [tuple(one) for one in said if len(line(*one)) < LONGEST]


def test_an_endless_line_is_thrown_away_and_the_next_is_heard() -> None:
    reader = LineReader()
    came = [raw for _ in range(50) for raw in reader.feed(b"x" * 100)] + list(reader.feed(b"x\n" + line("safe", 0)))
    assert came[-1] == line("safe", 0)[:-1]
    assert set(came[:-1]) == {b""}


def test_question_and_answer_of_a_ping_are_equally_long() -> None:
    assert len(ping(3)) == len(line("ping", "00003", f"{TICK_RANGE - 1:010d}", 2))


@given(st.integers(0, 1 << 48), st.integers(-(1 << 30), 1 << 30))
def test_a_tick_beyond_32_bits_is_found_again(tick: int, off: int) -> None:
    assert nearest(tick % TICK_RANGE, tick + off) == tick


# --- the clock -------------------------------------------------------------------------------------------------------


@given(
    st.floats(-0.004, 0.004), st.integers(0, TICK_RANGE - 1), st.floats(0.02, 2.0), st.floats(0.0, 0.3), st.integers(0, 9)
)  # fmt: skip
def test_the_clock_is_known_as_well_as_it_says(
    drift: float, first: int, way_ms: float, jitter_ms: float, seed: int
) -> None:
    """Ways there and back take equally long at least; what comes on top differs from ping to ping."""
    dice, clock, t_ns = random.Random(seed), DeviceClock(1_000_000), 10**15

    def tick(at_ns: float) -> int:
        return (first + round((at_ns - 10**15) / 1000 * (1 + drift))) % TICK_RANGE

    def delay_ns() -> float:
        return NS_PER_MS * (way_ms + (dice.expovariate(1 / jitter_ms) if jitter_ms else 0.0))

    for _ in range(100):
        there, back = delay_ns(), delay_ns()
        clock.observe(t_ns, round(t_ns + there + back), tick(t_ns + there))
        t_ns += 20 * NS_PER_MS
    at_ns = t_ns + 20 * NS_PER_MS
    off_us = nearest(clock.tick_at(at_ns), tick(at_ns) + TICK_RANGE) - tick(at_ns) - TICK_RANGE
    assert abs(off_us) / 1000 <= clock.uncertain_ms(at_ns) + jitter_ms / 4 + 0.002
    assert abs(clock.ns_at(tick(at_ns), at_ns) - at_ns) / NS_PER_MS <= clock.uncertain_ms(at_ns) + jitter_ms / 4 + 0.002
    assert abs(clock.drift_ppm - drift * 1e6) < 100 + 1000 * jitter_ms


def test_nothing_is_known_before_there_are_enough_pings() -> None:
    clock = DeviceClock(1_000_000)
    for n in range(LEAST_PINGS - 1):
        clock.observe(n * NS_PER_MS, n * NS_PER_MS + 100_000, n * 1000 + 50)
        assert clock.uncertain_ms(n * NS_PER_MS) == math.inf
    clock.observe(20 * NS_PER_MS, 20 * NS_PER_MS + 100_000, 20_050)
    near, far = clock.uncertain_ms(30 * NS_PER_MS), clock.uncertain_ms(1000 * NS_PER_MS)
    assert near < far < math.inf
