"""Who left a socket before being let in, told from connection events; and a flood of refusals is few words."""

import pytest

from realtime.refusals import IN_FULL, Handshakes, Refusals

IN, OK, OUT = "ACCEPTED", "HANDSHAKE_SUCCEEDED", "DISCONNECTED"
BAD_KEY, TIMED_OUT = "HANDSHAKE_FAILED_AUTH", "HANDSHAKE_FAILED_NO_DETAIL"
CASES: dict[str, tuple[list[tuple[str, int]], list[str]]] = {
    "one of ours comes and goes": ([(IN, 1), (OK, 0), (OUT, 1)], []),
    "no ZeroMQ": ([(IN, 1), (OUT, 1)], ["it does not speak ZeroMQ"]),
    "unknown key": ([(IN, 1), (BAD_KEY, 400), (OUT, 1)], [BAD_KEY]),
    "again and again": ([(IN, 1), (BAD_KEY, 400), (OUT, 1)] * 3, [BAD_KEY] * 3),
    "the same socket number, first ours, then not": ([(IN, 1), (OK, 0), (OUT, 1), (IN, 1), (OUT, 1)], ["ZeroMQ"]),
    "one that says nothing, ours meanwhile": (
        [(IN, 1), (IN, 2), (OK, 0), (OUT, 2), (TIMED_OUT, 0), (OUT, 1)],
        [TIMED_OUT],
    ),
    "here before we listened": ([(OK, 0), (OUT, 7)], []),
}


@pytest.mark.parametrize("name", CASES)
def test_who_is_refused(name: str) -> None:
    events, expected = CASES[name]
    handshakes = Handshakes()
    refused = [words for event in events if (words := handshakes.refused(*event))]
    assert len(refused) == len(expected)
    for words, why in zip(refused, expected, strict=True):
        assert why in words


def test_every_refusal_counts_and_the_first_of_each_reason_are_told() -> None:
    refusals = Refusals()
    for i in range(10):
        refusals.add("message", f"m{i}")
        refusals.add("handshake", f"h{i}")
    assert refusals.counts == {"message": 10, "handshake": 10}
    assert refusals.take_texts() == [f"{kind}{i}" for i in range(IN_FULL) for kind in "mh"]
    refusals.add("message", "one more")
    assert refusals.take_texts() == []
