"""Waiting in tests: ask, sleep on the test's clock as long as the rig says, and fail loudly at a deadline."""

from collections.abc import Callable

from acquisition.clock import NS_PER_S, Clock
from acquisition.frame import Frame
from acquisition.microscope import Microscope

SHORTEST_S = 0.0002  # lets a simulated clock go on while a frame that is due is not there yet


def next_frame(microscope: Microscope, clock: Clock, timeout_s: float = 10.0) -> Frame:
    """The next frame, or a failure after `timeout_s` on `clock`."""
    deadline_ns = clock.now_ns() + round(timeout_s * NS_PER_S)
    while (frame := microscope.poll_frame()) is None:
        assert clock.now_ns() < deadline_ns, f"no frame within {timeout_s:g} s; state: {microscope.state()}"
        clock.sleep_s(min(timeout_s, max(SHORTEST_S, microscope.ready_in_s())))
    return frame


def next_frames(microscope: Microscope, clock: Clock, n: int, timeout_s: float = 10.0) -> list[Frame]:
    """The next `n` frames, each within `timeout_s`."""
    return [next_frame(microscope, clock, timeout_s) for _ in range(n)]


def wait_until(condition: Callable[[], bool], clock: Clock, what: str, timeout_s: float = 10.0) -> None:
    """Return when `condition` holds, or fail after `timeout_s` on `clock`, saying `what` was waited for."""
    deadline_ns = clock.now_ns() + round(timeout_s * NS_PER_S)
    while not condition():
        assert clock.now_ns() < deadline_ns, f"not within {timeout_s:g} s: {what}"
        clock.sleep_s(0.001)
