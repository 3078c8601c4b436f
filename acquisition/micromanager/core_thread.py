"""One worker thread that owns an instrument's core: no signal cuts into a call, and no call hangs the run.

Instrument libraries block in foreign code for as long as they like, and some answer the wrong question after
a call was left early. So all calls are made by one thread that nobody interrupts, and whoever asked waits
with a time limit.
"""

from collections.abc import Callable
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Any, Generic, TypeVar, cast

from acquisition.microscope import RigGone

T = TypeVar("T")
Work = Callable[[], T]


class Ticket(Generic[T]):
    """A piece of work handed to the thread; its answer can be collected once."""

    def __init__(self, what: str, work: Work[T], allowed_s: float) -> None:
        self.what = what
        self.allowed_s = allowed_s
        self._work = work
        self.done = False
        """True once the work has ended, well or not."""
        self._answers: SimpleQueue[tuple[T | None, BaseException | None]] = SimpleQueue()

    def run(self) -> None:
        """Do the work, in the worker thread. Whatever it raises belongs to the one who asked."""
        answer: T | None = None
        failure: BaseException | None = None
        try:
            answer = self._work()
        except BaseException as error:
            failure = error
        self.done = True
        self._answers.put((answer, failure))

    def collect(self, timeout_s: float) -> T:
        """The answer, or what the work raised; `queue.Empty` if there is none in time."""
        answer, error = self._answers.get(timeout=timeout_s)
        if error is not None:
            raise error
        return cast(T, answer)


class CoreThread:
    """Runs work in order, one piece at a time; the first to overrun its limit ends the service for good."""

    def __init__(self, name: str) -> None:
        self._tickets: SimpleQueue[Ticket[Any] | None] = SimpleQueue()
        self._latest: Ticket[Any] | None = None
        self._gone = ""
        self._calling = ""
        # Daemon: a thread that hangs in a driver cannot be ended, but it must not keep the process alive.
        self._thread = Thread(target=self._serve, name=name, daemon=True)
        self._thread.start()

    @property
    def gone(self) -> bool:
        """True once a call has overrun its limit: every later call raises RigGone at once."""
        return bool(self._gone)

    def note(self, call: str) -> None:
        """Name the foreign call that is about to be made, for the message if it never returns."""
        self._calling = call

    def call(self, what: str, work: Work[T], timeout_s: float) -> T:
        """The work's answer, or what it raised; RigGone if it takes longer than `timeout_s`."""
        return self.wait(self.submit(what, work, timeout_s))

    def submit(self, what: str, work: Work[T], timeout_s: float) -> Ticket[T]:
        """Start the work without waiting; it gets `timeout_s` from when the work before it must be over."""
        if self._gone:
            raise RigGone(self._gone)
        before = self._latest
        queued_s = before.allowed_s if before is not None and not before.done else 0.0
        ticket = Ticket(what, work, timeout_s + queued_s)
        self._latest = ticket
        self._tickets.put(ticket)
        return ticket

    def wait(self, ticket: Ticket[T], timeout_s: float | None = None) -> T:
        """Collect a ticket's answer, once; RigGone if it does not come within its limit or `timeout_s`.

        An exception in the waiting thread (Ctrl-C) leaves the work to finish; its answer is dropped.
        """
        if self._gone:
            raise RigGone(self._gone)
        limit_s = ticket.allowed_s if timeout_s is None else timeout_s
        try:
            return ticket.collect(limit_s)
        except Empty:
            raise RigGone(self._give_up(ticket)) from None

    def end(self) -> None:
        """Let the thread finish its work and end; one that hangs is left behind. Harmless if repeated."""
        self._tickets.put(None)
        if not self._gone:
            self._thread.join(1.0 if self._latest is None else self._latest.allowed_s)
            self._gone = f"{self._thread.name}: the connection is closed"

    def _give_up(self, ticket: Ticket[Any]) -> str:
        call = f" (last call: {self._calling})" if self._calling else ""
        self._gone = (
            f"{self._thread.name}: {ticket.what} did not return within {ticket.allowed_s:g} s{call}; the "
            "driver, the device or the server hangs. This run can only end: check the device's power and "
            "cable, then restart it and the program that drives it"
        )
        return self._gone

    def _serve(self) -> None:
        while (ticket := self._tickets.get()) is not None:
            ticket.run()
            if self._gone:
                return
