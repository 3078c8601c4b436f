"""The thread that owns a core: order, answers, time limits, and what follows a call that never returns."""

import signal
import threading
from collections.abc import Iterator

import pytest

from acquisition.clock import SystemClock
from acquisition.micromanager.core_thread import CoreThread
from acquisition.microscope import MicroscopeError, RigGone
from tests.polling import wait_until

LONG_S = 5.0
SOON_S = 0.05


@pytest.fixture
def core() -> Iterator[CoreThread]:
    thread = CoreThread("core under test")
    yield thread
    thread.end()


@pytest.fixture
def release() -> Iterator[threading.Event]:
    """Lets go of work that hangs in `release.wait`, at the latest when the test is over."""
    event = threading.Event()
    yield event
    event.set()


def test_all_work_runs_in_one_other_thread(core: CoreThread) -> None:
    threads = {core.call("where", threading.get_ident, LONG_S) for _ in range(20)}
    assert len(threads) == 1
    assert threading.get_ident() not in threads


def test_work_is_done_in_order_and_each_gets_its_own_answer(core: CoreThread) -> None:
    done: list[int] = []
    tickets = [core.submit(f"piece {i}", lambda i=i: done.append(i) or i * i, LONG_S) for i in range(50)]
    answers = [core.wait(ticket) for ticket in reversed(tickets)]
    assert done == list(range(50))
    assert answers == [i * i for i in reversed(range(50))]


@pytest.mark.parametrize(
    "error", [MicroscopeError("shutter stuck"), KeyError("x"), KeyboardInterrupt(), SystemExit(3)], ids=repr
)
def test_what_the_work_raises_reaches_the_caller_and_the_thread_goes_on(core: CoreThread, error: BaseException) -> None:
    def fail() -> None:
        raise error

    with pytest.raises(type(error)) as caught:
        core.call("fail", fail, LONG_S)
    assert caught.value is error
    assert core.call("next", lambda: "fine", LONG_S) == "fine"


def test_a_call_that_does_not_return_means_that_the_rig_is_gone(core: CoreThread, release: threading.Event) -> None:
    core.note("setXYPosition")
    with pytest.raises(RigGone, match=r"core under test: move the stage .* 0\.05 s .*setXYPosition"):
        core.call("move the stage", release.wait, SOON_S)
    assert core.gone


def test_after_that_every_call_fails_at_once_and_nothing_more_is_done(
    core: CoreThread, release: threading.Event
) -> None:
    ran: list[str] = []
    with pytest.raises(RigGone):
        core.call("hang", release.wait, SOON_S)
    clock = SystemClock()
    before_ns = clock.now_ns()
    for _ in range(100):
        with pytest.raises(RigGone, match="hang did not return"):
            core.call("later", lambda: ran.append("later"), LONG_S)
    core.end()
    assert clock.now_ns() - before_ns < 1e9, "no call and no end() may wait for a thread that hangs"
    release.set()
    wait_until(lambda: not thread_alive("core under test"), clock, "the abandoned thread ends by itself")
    assert not ran


def test_time_spent_behind_other_work_does_not_count(core: CoreThread, release: threading.Event) -> None:
    """A snap of seconds may be under way when a getter with a short limit is asked for."""
    snap = core.submit("snap", release.wait, LONG_S)
    getter = core.submit("getter", lambda: 7, SOON_S)
    assert getter.allowed_s == pytest.approx(LONG_S + SOON_S)
    release.set()
    assert core.wait(snap)
    assert core.wait(getter) == 7
    assert core.submit("after", lambda: None, SOON_S).allowed_s == pytest.approx(SOON_S)


def test_a_ticket_tells_when_it_is_done_without_waiting(core: CoreThread, release: threading.Event) -> None:
    ticket = core.submit("snap", release.wait, LONG_S)
    assert not ticket.done
    release.set()
    wait_until(lambda: ticket.done, SystemClock(), "the work is done")
    assert core.wait(ticket) is True


def test_an_overdue_ticket_is_given_up_without_waiting(core: CoreThread, release: threading.Event) -> None:
    ticket = core.submit("snap", release.wait, LONG_S)
    with pytest.raises(RigGone, match="snap"):
        core.wait(ticket, timeout_s=0.0)
    assert core.gone


@pytest.mark.skipif(not hasattr(signal, "pthread_kill"), reason="needs POSIX signals to interrupt one thread")
def test_ctrl_c_does_not_cut_into_a_call_and_answers_stay_in_step(core: CoreThread, release: threading.Event) -> None:
    """The waiting thread is interrupted; the call ends undisturbed, the next answer is the next call's own."""
    ended: list[bool] = []
    waiting, interrupted = threading.get_ident(), threading.Event()

    def interrupt(number: int, frame: object) -> None:
        if not interrupted.is_set():
            interrupted.set()
            raise KeyboardInterrupt

    def work() -> str:
        while not interrupted.wait(0.05):  # a signal that comes just before the wait begins does not end the wait
            signal.pthread_kill(waiting, signal.SIGINT)
        ended.append(release.wait(LONG_S))
        return "late answer"

    before = signal.signal(signal.SIGINT, interrupt)
    try:
        with pytest.raises(KeyboardInterrupt):
            core.call("long", work, LONG_S)
    finally:
        signal.signal(signal.SIGINT, before)
    release.set()
    assert core.call("short", lambda: "own answer", LONG_S) == "own answer"
    assert ended == [True]


def test_ending_waits_for_work_under_way_and_is_final(release: threading.Event) -> None:
    core = CoreThread("core under test")
    ticket = core.submit("last", lambda: "done", LONG_S)
    core.end()
    core.end()
    assert ticket.done
    assert not thread_alive("core under test")
    with pytest.raises(RigGone, match="closed"):
        core.call("too late", lambda: None, LONG_S)


def thread_alive(name: str) -> bool:
    return any(thread.name == name for thread in threading.enumerate())
