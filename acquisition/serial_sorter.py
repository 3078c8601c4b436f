"""A sorter behind a serial port that times its pulses itself: a microcontroller that is told "open at tick n".

Its lines, its states and a sketch for such a microcontroller are in docs/serial_sorter.md. All is done in the loop's
thread and nothing waits there, but for open(), make_safe() and close().
"""

from dataclasses import dataclass, replace
from typing import Literal

from acquisition.clock import NS_PER_MS, NS_PER_S, Clock
from acquisition.microscope import MicroscopeError, RigGone
from acquisition.pulses import PulseReport
from acquisition.serial_device import SerialDevice, SerialSettings
from acquisition.serial_protocol import TICK_RANGE

OVERDUE_NS = 300 * NS_PER_MS
"""So long after its end a pulse of which nothing was heard is one of which nothing is known."""
NUMBERS = 1 << 16


@dataclass(frozen=True)
class _Pulse:
    """One that was handed over and of which the last word has not been heard."""

    name: str
    at_ns: int
    width_ms: float
    accepted: bool = False

    @property
    def end_ns(self) -> int:
        return self.at_ns + round(self.width_ms * NS_PER_MS)


@dataclass(kw_only=True)
class SerialSorter(SerialSettings):
    """Any device that speaks the protocol. It must be told of a pulse a few ms ahead, and keeps its moment to the µs."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self._link: SerialDevice | None = None
        self._pulses: dict[int, _Pulse] = {}
        self._reports: list[PulseReport] = []
        self._number = 0

    @property
    def rig_id(self) -> str:
        """What a second run must not open at the same time."""
        return f"sorter at {self.port}"

    # --- life -----------------------------------------------------------------------------------------------------

    def open(self, clock: Clock) -> str:
        """Connect, shut the gate, learn the device's clock; a description in words."""
        self._pulses.clear()
        self._reports.clear()
        self._clock = clock
        device = SerialDevice(self, clock, self._understand, self._was_reset)
        try:
            device.meet()
        except MicroscopeError:
            device.close()
            raise
        self._link = device
        hello = device.hello
        assert hello is not None
        rate = f"{hello.ticks_per_s} ticks/s, {device.clock.drift_ppm:+.0f} ppm"
        round_trip = f"round trip {device.clock.round_trip_ms:.2f} ms"
        return f"{hello.name} at {self.port} ({rate}; keeps {hello.queue} pulses; {round_trip})"

    def make_safe(self) -> None:
        """Gate shut, by the device's own word."""
        if self._link is not None:
            self._link.shut()

    def close(self) -> None:
        """Make safe and let go of the port."""
        device = self._link
        if device is None:
            return
        try:
            device.shut()
        finally:
            self._link = None
            device.close()

    # --- pulses ---------------------------------------------------------------------------------------------------

    def fire_at(self, at_ns: int, width_ms: float, name: str) -> None:
        """Sent at once, unless the device could not keep it; that is reported, too."""
        device = self._device()
        if reason := self._reason_against(device, at_ns):
            self._reports.append(PulseReport(name, "refused", reason))
            return
        number = self._number = (self._number + 1) % NUMBERS
        pulse = self._pulses[number] = _Pulse(name, at_ns, width_ms)
        device.busy_until_ns = max(device.busy_until_ns, pulse.end_ns)
        device.send("fire", number, device.clock.tick_at(at_ns), max(1, round(width_ms * device.ticks_per_s / 1000)))

    def reports(self) -> list[PulseReport]:
        """Hear what has come, keep the clock known, and say what has become of pulses."""
        device = self._device()
        try:
            device.keep_up()
        except MicroscopeError:
            if not self._reports:  # else what was heard before is told first: the next call meets the same trouble
                raise
        self._end_overdue(device)
        reports, self._reports = self._reports, []
        return reports

    def cancel_pulses(self) -> None:
        """Told to the device now; what it says to that comes with the next reports."""
        self._device().cancel()

    def _device(self) -> SerialDevice:
        if self._link is None:
            raise RigGone(f"the sorter at {self.port} is not open")
        return self._link

    def _reason_against(self, device: SerialDevice, at_ns: int) -> str | None:
        assert device.hello is not None
        ahead_s, most_s = (at_ns - self._clock.now_ns()) / NS_PER_S, TICK_RANGE / 2 / device.ticks_per_s
        if ahead_s > most_s:
            return f"{ahead_s:.0f} s before its moment, and the sorter counts only {most_s:.0f} s ahead"
        if not device.is_armed:
            return "the sorter was reset or has made itself safe, and is not ready again yet"
        if (known_ms := device.clock.uncertain_ms(at_ns)) > self.worst_clock_ms:
            allowed = f"sorter.worst_clock_ms allows {self.worst_clock_ms:g}"
            return f"the sorter's clock is known to {known_ms:.3f} ms only, {allowed}"
        if len(self._pulses) >= device.hello.queue:
            return f"the sorter keeps {device.hello.queue} pulses at most, and has them"
        return None

    # --- what the device says of pulses ---------------------------------------------------------------------------

    def _understand(self, said: tuple[str, ...]) -> None:
        match said:
            case ("accepted", number):
                if pulse := self._pulses.get(int(number)):
                    self._pulses[int(number)] = replace(pulse, accepted=True)
            case ("done", number, opened, shut):
                self._done(int(number), int(opened), int(shut))
            case ("rejected", number, "late"):
                self._end(int(number), "late", "it came too late for the sorter")
            case ("rejected", number, why):
                self._end(int(number), "refused", f"the sorter refused it: {why}")
            case ("cancelled", number, why):
                self._end(int(number), "refused", f"cancelled: {why}")
            case _:
                raise ValueError(said)

    def _done(self, number: int, opened: int, shut: int) -> None:
        pulse = self._pulses.get(number)
        if pulse is None:
            return
        device = self._device()
        opened_ns = device.clock.ns_at(opened, pulse.at_ns)
        off_ms = (opened_ns - pulse.at_ns) / NS_PER_MS
        width_ms = (shut - opened) % TICK_RANGE * 1000 / device.ticks_per_s
        known_ms = device.clock.uncertain_ms(pulse.at_ns)
        detail = (
            f"gate opened {off_ms:.3f} ms from its moment for {width_ms:.3f} ms, asked {pulse.width_ms:g}, by the sorter's "
            f"clock, which is known to {known_ms:.3f} ms"
        )
        self._end(number, "done", detail, opened_ns)

    def _end(
        self, number: int, status: Literal["done", "late", "refused", "failed"], detail: str, opened_ns: int = 0
    ) -> None:
        """A pulse's last word; a second one is not heard."""
        if pulse := self._pulses.pop(number, None):
            self._reports.append(PulseReport(pulse.name, status, detail, opened_ns))

    def _end_overdue(self, device: SerialDevice) -> None:
        """Pulses of which the last word was lost, or the order."""
        now_ns = self._clock.now_ns()
        for number, pulse in list(self._pulses.items()):
            if now_ns > pulse.end_ns + OVERDUE_NS:
                heard = "accepted it and never said what became of it" if pulse.accepted else "never acknowledged it"
                self._end(number, "failed", f"the sorter {heard}; whether it opened is not known ({device.losses()})")

    def _was_reset(self, how: str) -> None:
        for number in list(self._pulses):
            self._end(number, "failed", f"the sorter was reset ({how}) and has forgotten it")
