"""The microcontroller behind a serial port: meeting it, its clock, its watchdog, its word that the gate is shut."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

from msgspec import Meta

from acquisition.clock import NS_PER_MS, NS_PER_S, Clock
from acquisition.commands import AtLeastOne, Positive
from acquisition.microscope import MicroscopeError, RigGone
from acquisition.serial_clock import DeviceClock
from acquisition.serial_port import SerialPort
from acquisition.serial_protocol import PROTOCOL, line, ping

ANSWER_S = 0.3
"""A device that is alive has answered by then."""
TRIES = 3
HELLO_EVERY_S = 0.25
LEARN_EVERY_S = 0.004
LISTEN_EVERY_S = 0.0005
SOON_NS = 250 * NS_PER_MS
"""A clock is known once it is for pulses so far ahead."""
STUCK_NS = 100 * NS_PER_MS
AWAY_NS = 200 * NS_PER_MS
"""Who has not listened for so long may still have to be given what came meanwhile."""
TELL_AGAIN_NS = 50 * NS_PER_MS
"""So long after it was told to forget its pulses a device that has not said that it did is told again."""
JUMP_S = 0.05
"""A clock that is so far from where it should be is another one: the device was reset."""
PING_NUMBERS = 100_000
MOST_PINGS = 100
"""Pings of which the answer is awaited; older ones are lost."""
SHUT = "0"
"""Its word of its gate."""
UNARMED, OPEN = "2", "1"
"""What a ping's answer says of the device, besides that all is well: it fires nothing; its gate is open."""


@dataclass(kw_only=True)
class SerialSettings:
    """The `[sorter]` table for `use = "serial"`."""

    port: Annotated[str, Meta(min_length=1)]
    """`COM3`, `/dev/ttyACM0`, `/dev/serial/by-id/…`."""
    baud: AtLeastOne = 115200
    """Without meaning where the microcontroller is itself the USB device."""
    lead_ms: Positive = 3.0
    """A pulse that would reach the device later than so long before its moment is not sent."""
    worst_clock_ms: Positive = 0.1
    """While the device's clock is known less well than this (three standard errors), pulses are refused."""
    ping_ms: Positive = 20.0
    """How often its clock is asked for; more often while it is not known well enough."""
    silent_ms: Positive = 500.0
    """A device that owes an answer for so long is gone, and the run ends."""
    watchdog_ms: AtLeastOne = 1000
    """A device that has heard nothing for so long forgets its pulses and shuts its gate by itself."""
    open_s: Positive = 10.0
    """How long it may take to start (many boards restart when their port is opened) and to make its clock known."""

    def __post_init__(self) -> None:
        if self.watchdog_ms < 2 * self.ping_ms:
            raise ValueError(f"watchdog_ms {self.watchdog_ms:g} must be at least twice ping_ms, {self.ping_ms:g}")


@dataclass(frozen=True)
class Hello:
    """How a device introduces itself."""

    protocol: int
    ticks_per_s: int
    queue: int
    """Pulses that it can keep until their moments."""
    name: str

    @classmethod
    def of(cls, protocol: str, ticks_per_s: str, queue: str, name: str) -> "Hello":
        """Raises ValueError for what says nothing: a clock that does not count, or goes back."""
        if int(ticks_per_s) < 1:
            raise ValueError(ticks_per_s)
        return cls(int(protocol), int(ticks_per_s), int(queue), name)


class SerialDevice:
    """An open connection to a device. What it says of pulses is handed on; nothing waits but the methods that say so."""

    def __init__(
        self,
        settings: SerialSettings,
        clock: Clock,
        of_pulses: Callable[[tuple[str, ...]], None],
        was_reset: Callable[[str], None],
    ) -> None:
        """`of_pulses` raises ValueError for what says nothing; `was_reset` hears how that was noticed."""
        self._settings, self._clock, self._of_pulses, self._tell_reset = settings, clock, of_pulses, was_reset
        self.hello: Hello | None = None
        self.clock = DeviceClock(1_000_000)
        self.is_armed = False
        """It fires, and watches over us."""
        self.busy_until_ns = 0
        """The end of the last pulse that it was asked for: its gate may be open until then."""
        self._shut_word: str | None = None
        self._cancelled_ns: int | None = None
        """When it was told to forget its pulses, until it says that its gate is shut."""
        self._kept_up_ns, self._was_away = 0, False
        self._pings: dict[int, int] = {}
        self._n_pings = self._n_bad = self._pinged_ns = 0
        self._owes_since_ns: int | None = None
        self._port = SerialPort(settings.port, settings.baud, clock)

    @property
    def ticks_per_s(self) -> int:
        return self.hello.ticks_per_s if self.hello else 1_000_000

    def close(self) -> None:
        """Let go of the port."""
        self._port.close()

    # --- what it is told ------------------------------------------------------------------------------------------

    def send(self, *said: str | int) -> None:
        """Every line is owed an answer. Raises RigGone."""
        self._send(line(*said))

    def cancel(self) -> None:
        """Have it forget its pulses and shut its gate; `keep_up` tells it again until it says that it has."""
        self._shut_word, self._cancelled_ns = None, self._clock.now_ns()
        self.busy_until_ns = min(self.busy_until_ns, self._cancelled_ns)
        self.send("safe")

    def keep_up(self) -> None:
        """Listen, and ask for its clock when it is time. Raises RigGone if it is silent."""
        self.listen()
        now_ns = self._clock.now_ns()
        self._notice_time_away(now_ns)
        if self._cancelled_ns is not None and now_ns - self._cancelled_ns > TELL_AGAIN_NS:
            self.cancel()
        if self._owes_since_ns is not None and now_ns - self._owes_since_ns > self._settings.silent_ms * NS_PER_MS:
            raise RigGone(
                f"{self._where} has been silent for {(now_ns - self._owes_since_ns) / NS_PER_MS:.0f} ms "
                f"({self.losses()}); whether its gate is open cannot be known: look at it"
            )
        is_known = self.clock.uncertain_ms(now_ns + SOON_NS) <= self._settings.worst_clock_ms
        every_ms = self._settings.ping_ms if is_known else min(self._settings.ping_ms, LEARN_EVERY_S * 1000)
        if now_ns - self._pinged_ns >= every_ms * NS_PER_MS:
            self._ping()

    def _notice_time_away(self, now_ns: int) -> None:
        """Silence that nobody listened to is none; but only once, then it must have been heard again."""
        away_ns, self._kept_up_ns = now_ns - self._kept_up_ns, now_ns
        if away_ns > AWAY_NS and not self._was_away and self._owes_since_ns is not None:
            self._was_away, self._owes_since_ns = True, now_ns

    def _send(self, raw: bytes) -> None:
        self._port.send(raw)
        if self._owes_since_ns is None:
            self._owes_since_ns = self._clock.now_ns()

    def _ping(self) -> None:
        self._pinged_ns = self._clock.now_ns()
        self._n_pings = (self._n_pings + 1) % PING_NUMBERS
        self._pings[self._n_pings] = self._pinged_ns
        while len(self._pings) > MOST_PINGS:
            del self._pings[next(iter(self._pings))]
        self._send(ping(self._n_pings))

    def _arm(self) -> None:
        self.is_armed = False
        self.send("watchdog", self._settings.watchdog_ms)

    # --- what it says ---------------------------------------------------------------------------------------------

    def listen(self) -> None:
        """Understand what has come. Raises RigGone if nothing can come any more."""
        for came_ns, said in self._port.take():
            try:
                self._understand(came_ns, said)
                self._owes_since_ns, self._was_away = None, False
            except ValueError:
                self._port.n_garbled += 1

    def _understand(self, came_ns: int, said: tuple[str, ...]) -> None:
        match said:
            case ("ping", number, tick, state):
                self._pong(came_ns, int(number), int(tick), state)
            case ("safe", gate):
                self._shut_word = gate
                self._cancelled_ns = None if gate == SHUT else self._cancelled_ns
            case ("watchdog", _):
                self.is_armed = True
            case ("hello", protocol, ticks_per_s, queue, name):
                self.hello = self.hello or Hello.of(protocol, ticks_per_s, queue, name)
            case ("started",):
                self._was_reset("it started anew")
            case ("bad",):
                self._n_bad += 1
            case _:
                self._of_pulses(said)

    def _pong(self, came_ns: int, number: int, tick: int, state: str) -> None:
        """A ping's answer: one reading of the device's clock, and how the device is."""
        sent_ns = self._pings.pop(number, None)
        if sent_ns is None:
            return
        if abs(self.clock.off_s((sent_ns + came_ns) // 2, tick)) > JUMP_S + (came_ns - sent_ns) / NS_PER_S:
            self._was_reset("its clock jumped")
            return
        self.clock.observe(sent_ns, came_ns, tick)
        if state == UNARMED and self.is_armed:
            self._arm()
        if state == OPEN and sent_ns > self.busy_until_ns + STUCK_NS:
            raise MicroscopeError(f"{self._where}: its gate is open, but nobody asked for a pulse")

    def _was_reset(self, how: str) -> None:
        """Its clock is another one, and its pulses are forgotten: if it was not it that was reset, then now."""
        self._tell_reset(how)
        self.clock, self.is_armed = DeviceClock(self.ticks_per_s), False
        self._pings.clear()
        if self.hello is not None:
            self.cancel()
            self._arm()

    # --- what waits -----------------------------------------------------------------------------------------------

    def meet(self) -> None:
        """Have it introduce itself, shut its gate, arm it and learn its clock. Raises MicroscopeError."""
        self._introduce()
        self.shut()
        self._arm()
        self._learn_clock()

    def shut(self) -> None:
        """Its pulses are forgotten and its gate is shut, by its own word; raises MicroscopeError if it is not."""
        self._shut_word = None
        for _ in range(TRIES):
            self.send("safe")
            if self._wait(lambda: self._shut_word is not None, ANSWER_S):
                break
        if self._shut_word is None:
            raise RigGone(
                f"{self._where} does not say that its gate is shut; whether it is cannot be known: look at it. Its watchdog "
                f"should have shut it after {self._settings.watchdog_ms} ms"
            )
        if self._shut_word != SHUT:
            raise MicroscopeError(f"{self._where} was told to shut its gate and says that it is open; shut it by hand")

    def _introduce(self) -> None:
        open_s = self._settings.open_s
        for _ in range(max(1, round(open_s / HELLO_EVERY_S))):
            self.send("hello", PROTOCOL)
            if self._wait(lambda: self.hello is not None, HELLO_EVERY_S):
                break
        if self.hello is None:
            raise MicroscopeError(
                f"nothing at {self._settings.port} answers as a sorter within {open_s:g} s ({self.losses()}); is it the right "
                f"port, is its program loaded, and is it set to {self._settings.baud} baud?"
            )
        if self.hello.protocol != PROTOCOL:
            raise MicroscopeError(
                f"{self.hello.name} at {self._settings.port} speaks protocol {self.hello.protocol}, this program {PROTOCOL}; "
                "load a program onto it that follows docs/serial_sorter.md"
            )
        self.clock = DeviceClock(self.ticks_per_s)

    def _learn_clock(self) -> None:
        open_s, worst_ms = self._settings.open_s, self._settings.worst_clock_ms
        until_ns = self._clock.now_ns() + round(open_s * NS_PER_S)
        while not self.is_armed or self.clock.uncertain_ms(self._clock.now_ns() + SOON_NS) > worst_ms:
            if self._clock.now_ns() > until_ns:
                known_ms = self.clock.uncertain_ms(self._clock.now_ns() + SOON_NS)
                raise MicroscopeError(
                    f"{self._where}: after {open_s:g} s its clock is known to {known_ms:.3f} ms only, from pings that take "
                    f"{self.clock.round_trip_ms:.2f} ms at least ({self.losses()}); sorter.worst_clock_ms allows {worst_ms:g}: "
                    "use a faster connection"
                )
            self._ping()
            self._wait(lambda: False, LEARN_EVERY_S)

    def _wait(self, heard: Callable[[], bool], seconds: float) -> bool:
        """Listen until it was heard, or so long."""
        until_ns = self._clock.now_ns() + round(seconds * NS_PER_S)
        while True:
            self.listen()
            if heard():
                return True
            if self._clock.now_ns() > until_ns:
                return False
            self._clock.sleep_s(LISTEN_EVERY_S)

    # --- words ----------------------------------------------------------------------------------------------------

    @property
    def _where(self) -> str:
        return f"the sorter at {self._settings.port}"

    def losses(self) -> str:
        """How good the line is, in words."""
        return f"{self._port.n_garbled} lines from it and {self._n_bad} to it were garbled"
