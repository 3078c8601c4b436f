"""A sorter's microcontroller in Python, at the other end of a real pseudo-terminal, with a clock of its own.

It does what docs/serial_sorter.md asks of a device, and on request what a device must not do.
"""

import os
import select
import tty
from dataclasses import dataclass, field
from threading import Event, Lock, Thread

from acquisition.clock import NS_PER_MS, SystemClock
from acquisition.serial_protocol import TICK_RANGE, BadLine, LineReader, line, words

CLOCK = SystemClock()


def signed(ticks: int) -> int:
    """A difference of two 32-bit counts, as a microcontroller takes it."""
    return (ticks + TICK_RANGE // 2) % TICK_RANGE - TICK_RANGE // 2


@dataclass
class SerialPeer:
    """Starts with `start`, ends with `stop`; what it was told and what its gate did are there to be read."""

    drift_ppm: float = 40.0
    first_tick: int = TICK_RANGE - 2_000_000
    """It wraps after two seconds."""
    ticks_per_s: int = 1_000_000
    """What it says; it really counts so many."""
    queue: int = 32
    protocol: int = 1
    heard: list[tuple[str, ...]] = field(default_factory=list)
    """Every line that was whole."""
    n_bad: int = 0
    gate: list[tuple[int, int, int]] = field(default_factory=list)
    """Of every pulse its number, and when the gate really opened and shut, ns."""
    silent: bool = False
    """It reads and says nothing."""
    unsaid: set[str] = field(default_factory=set)
    """Words that it does not say."""
    garble: set[str] = field(default_factory=set)
    """Words that arrive with a wrong checksum."""
    deaf_to: set[str] = field(default_factory=set)
    """Words that reach it with a wrong checksum."""
    stuck: bool = False
    """Its gate does not shut."""
    slow_s: float = 0.0
    """How much later than it could it answers a ping."""

    def start(self) -> "SerialPeer":
        self._master, self._slave = os.openpty()
        tty.setraw(self._slave)
        os.set_blocking(self._master, False)
        self.port = os.ttyname(self._slave)
        self._reader, self._lock, self._ended = LineReader(), Lock(), Event()
        self._begin(self.first_tick)
        self._thread = Thread(target=self._run, daemon=True)
        self._thread.start()
        return self

    def stop(self) -> None:
        self._ended.set()
        self._thread.join()
        for end in (self._master, self._slave):
            os.close(end)

    def reset(self) -> None:
        """Somebody pressed its button."""
        with self._lock:
            self._begin(12_345)
            self._say("started")

    def shout(self, raw: bytes) -> None:
        """Send just this."""
        os.write(self._master, raw)

    def tick_ns(self, tick: int) -> int:
        """When its clock showed `tick`, most lately."""
        return CLOCK.now_ns() + round(signed(tick - self._tick(CLOCK.now_ns())) * 1000 / self._rate)

    def _begin(self, tick: int) -> None:
        self._t0_ns, self._tick0, self._rate = CLOCK.now_ns(), tick, 1 + self.drift_ppm * 1e-6
        self._waiting: dict[int, tuple[int, int]] = {}
        self._watchdog_ns, self._heard_ns = 0, CLOCK.now_ns()

    def _tick(self, t_ns: int) -> int:
        return (self._tick0 + int((t_ns - self._t0_ns) / 1000 * self._rate)) % TICK_RANGE

    def _run(self) -> None:
        while not self._ended.is_set():
            select.select([self._master], [], [], self._idle_s())
            with self._lock:
                try:
                    data = os.read(self._master, 4096)
                except BlockingIOError:
                    data = b""
                for raw in self._reader.feed(data):
                    self._hear(raw)
                self._drive()

    def _idle_s(self) -> float:
        ends = [signed(shut - self._tick(CLOCK.now_ns())) for _, shut in self._waiting.values()]
        return max(0.0, min([5_000, *ends]) / 1e6)

    def _hear(self, raw: bytes) -> None:
        try:
            said = words(raw)
            if said[0] in self.deaf_to:
                raise BadLine(raw)
        except BadLine:
            self.n_bad += 1
            self._say("bad")
            return
        self.heard.append(said)
        self._heard_ns = CLOCK.now_ns()
        match said:
            case ("hello", _):
                self._say("hello", self.protocol, self.ticks_per_s, self.queue, "peer")
            case ("ping", number, _, _):
                self._pong(number)
            case ("watchdog", ms):
                self._watchdog_ns = int(ms) * NS_PER_MS
                self._say("watchdog", ms)
            case ("fire", number, tick, width):
                self._fire(int(number), int(tick), int(width))
            case ("safe",):
                self._make_safe("safe")

    def _pong(self, number: str) -> None:
        tick, state = self._tick(CLOCK.now_ns()), 1 if self.stuck else 0 if self._watchdog_ns else 2
        if self.slow_s:
            CLOCK.sleep_s(self.slow_s)
        self._say("ping", number, f"{tick:010d}", state)

    def _fire(self, number: int, tick: int, width: int) -> None:
        if not self._watchdog_ns:
            self._say("rejected", number, "unarmed")
        elif len(self._waiting) >= self.queue:
            self._say("rejected", number, "full")
        elif signed(tick - self._tick(CLOCK.now_ns())) <= 0:
            self._say("rejected", number, "late")
        elif any(signed(tick + width - a) > 0 and signed(b - tick) > 0 for a, b in self._waiting.values()):
            self._say("rejected", number, "overlap")
        else:
            self._waiting[number] = tick, (tick + width) % TICK_RANGE
            self._say("accepted", number)

    def _make_safe(self, why: str) -> None:
        for number in list(self._waiting):
            del self._waiting[number]
            self._say("cancelled", number, why)
        self._say("safe", int(self.stuck))

    def _drive(self) -> None:
        now_ns = CLOCK.now_ns()
        for number, (opened, shut) in list(self._waiting.items()):
            if signed(shut - self._tick(now_ns)) <= 0:
                del self._waiting[number]
                self.gate.append((number, self.tick_ns(opened), self.tick_ns(shut)))
                self._say("done", number, opened, shut)
        if self._watchdog_ns and now_ns - self._heard_ns > self._watchdog_ns:
            self._watchdog_ns = 0
            self._make_safe("watchdog")

    def _say(self, *said: str | int) -> None:
        if self.silent or said[0] in self.unsaid:
            return
        raw = line(*said)
        os.write(self._master, raw[:-2] + b"?\n" if said[0] in self.garble else raw)
