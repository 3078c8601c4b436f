"""The lamp of the simulated microscope: when light falls on the specimen, how much, and where."""

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from acquisition.clock import NS_PER_MS, NS_PER_S
from acquisition.frame import StagePosition
from acquisition.microscope import MicroscopeError
from acquisition.simulated.settings import LightSettings

KEPT_RECORDS = 10_000
FOR_EVER_NS = 2**62

Stay = tuple[int, int, StagePosition]
"""From when to when, ns, and where."""


@dataclass(frozen=True)
class Light:
    """Light on the specimen, with one power and in one place."""

    begins_ns: int
    ends_ns: int
    light_mw: float
    stage: StagePosition
    """Where the stage was in the middle of that time; it went no further than a cell's width in all of it."""

    @property
    def energy_mj(self) -> float:
        return self.light_mw * (self.ends_ns - self.begins_ns) / NS_PER_S


@dataclass(frozen=True)
class _Glow:
    begins_ns: int
    ends_ns: int
    light_mw: float

    def energy_mj(self, until_ns: int) -> float:
        return self.light_mw * max(0, min(until_ns, self.ends_ns) - self.begins_ns) / NS_PER_S


class Lamp:
    """Lights the specimen while the camera exposes, or all the time that the camera runs; counts every millijoule."""

    def __init__(self, settings: LightSettings, way: Callable[[int, int], Iterable[Stay]]) -> None:
        """`way` tells where the stage was from one time, ns, to another that is over."""
        self.lit: deque[tuple[int, int]] = deque(maxlen=KEPT_RECORDS)
        """When light fell on the specimen, (on_ns, off_ns), the latest 10,000 times; the last may lie ahead."""
        self._settings, self._way = settings, way
        self._off_delay_ns = round(settings.off_delay_ms * NS_PER_MS)
        self._glows: deque[_Glow] = deque()
        """Light from now on and, where nobody has counted it yet, before: in order, none overlapping."""
        self._spent_mj = 0.0
        self._untold: list[Light] = []
        self._told_ns = 0

    @property
    def lit_share(self) -> float | None:
        """As Capabilities want it."""
        return None if self._settings.follows_camera else 1.0

    def check_power(self, light_mw: float) -> None:
        """Raise MicroscopeError for more than the lamp gives."""
        most_mw = self._settings.most_mw
        if light_mw > most_mw:
            raise MicroscopeError(f"simulated lamp: {light_mw:g} mW is more than it gives, {most_mw:g} mW at most")

    def start(self, now_ns: int, light_mw: float) -> None:
        """The camera starts: a lamp that does not follow it is on from now."""
        if not self._settings.follows_camera:
            self._shine(now_ns, FOR_EVER_NS, light_mw)

    def expose(self, begins_ns: int, ends_ns: int, light_mw: float) -> None:
        """The camera exposes; a lamp that is on anyway has `light_mw` by now."""
        if self._settings.follows_camera:
            self._shine(begins_ns, ends_ns + self._off_delay_ns, light_mw)

    def set_power(self, light_mw: float, at_ns: int) -> None:
        """Another power for a lamp that is on; one that follows the camera takes it with the next exposure."""
        if not self._settings.follows_camera and self._glows and self._glows[-1].ends_ns == FOR_EVER_NS:
            self._shine(at_ns, FOR_EVER_NS, light_mw)

    def stop(self, now_ns: int) -> None:
        """The camera stops, in the middle of an exposure perhaps; the light goes off as late as it always does."""
        self._cut(now_ns + self._off_delay_ns)

    def dose_mj(self, now_ns: int) -> float:
        """The energy until now."""
        self._count(now_ns)
        return self._spent_mj + sum(glow.energy_mj(now_ns) for glow in self._glows)

    def take(self, now_ns: int) -> list[Light]:
        """The light between the last call's time and `now_ns`, each piece once."""
        self._count(now_ns)
        taken, self._untold = self._untold, []
        if self._glows and self._glows[0].begins_ns < now_ns:
            taken += self._pieces(self._glows[0], now_ns)
        self._told_ns = now_ns
        return taken

    def _shine(self, begins_ns: int, ends_ns: int, light_mw: float) -> None:
        self._cut(begins_ns)
        if light_mw <= 0 and ends_ns != FOR_EVER_NS:
            return
        self._glows.append(_Glow(begins_ns, ends_ns, light_mw))
        if light_mw > 0:
            follows_on = self.lit and self.lit[-1][1] == begins_ns
            self.lit.append((self.lit.pop()[0] if follows_on else begins_ns, ends_ns))

    def _cut(self, at_ns: int) -> None:
        """No light from then on."""
        while self._glows and self._glows[-1].begins_ns >= at_ns:
            self._glows.pop()
        if self._glows and self._glows[-1].ends_ns > at_ns:
            self._glows[-1] = replace(self._glows[-1], ends_ns=at_ns)
        while self.lit and self.lit[-1][0] >= at_ns:
            self.lit.pop()
        if self.lit and self.lit[-1][1] > at_ns:
            self.lit[-1] = (self.lit[-1][0], at_ns)

    def _count(self, now_ns: int) -> None:
        """Put what is over to the account; it can no longer be cut."""
        while self._glows and self._glows[0].ends_ns <= now_ns:
            glow = self._glows.popleft()
            self._spent_mj += glow.energy_mj(glow.ends_ns)
            self._untold += self._pieces(glow, glow.ends_ns)

    def _pieces(self, glow: _Glow, until_ns: int) -> list[Light]:
        """The part of it that was not told yet."""
        begins_ns, ends_ns = max(glow.begins_ns, self._told_ns), min(glow.ends_ns, until_ns)
        if ends_ns <= begins_ns or glow.light_mw <= 0:
            return []
        return [Light(begins, ends, glow.light_mw, stage) for begins, ends, stage in self._way(begins_ns, ends_ns)]
