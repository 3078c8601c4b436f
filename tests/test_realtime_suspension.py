"""A policy's suspension must be read again from the words in which it was told."""

import pytest

from realtime.suspension import failure_words, suspended_policy

ERRORS = [ValueError("no"), KeyError("oops"), RuntimeError("two\nlines"), ValueError("x" * 5000), ValueError("")]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_what_was_told_is_read_again(error: Exception) -> None:
    words = failure_words("my-policy", error, "my_lab.py, line 3 in decide, frame 7", 3)
    assert suspended_policy(words) == "my-policy"
    assert suspended_policy(f"{words} (4 times so far)") == "my-policy"


def test_a_single_failure_suspends_nobody() -> None:
    assert suspended_policy(failure_words("mine", ValueError("no"), "my_lab.py", None)) is None
    assert suspended_policy("policy mine took 9.0 ms on frame 3") is None
