"""When images are due, which of a camera's are wanted, when each was exposed, and under which settings."""

from collections import deque
from dataclasses import dataclass

from acquisition.clock import NS_PER_MS, NS_PER_S

WINDOW_NS = 5 * NS_PER_S
JITTER = 0.1
"""Share of its own period by which a camera's images may come early."""


class ExposureEnds:
    """The end of each exposure on the run's clock, from the camera's time and from when the image was seen.

    The camera's time is even but has an unknown zero; the moment at which an image is seen is on our clock
    but late by a varying delay. Their difference is never smaller than the zero plus the least delay, so its
    minimum over the last 5 to 10 s is taken for the zero; the window lets it follow a camera clock that
    drifts. The result is late by the least delay in that window (transfer and polling; in process about 0.1
    ms, and the read-out where a driver stamps images after it) and off by the drift within it (at 50 ppm 0.5
    ms). It rises strictly and is never after the moment at which the image was seen. Without camera time it
    is that moment.
    """

    def __init__(self) -> None:
        self._last_ns = -1
        self.restart()

    def restart(self) -> None:
        """A new sequence: the camera's time begins anew."""
        self._window_end_ns = 0
        self._zero_ns: int | None = None
        self._next_zero_ns = 0

    def end_ns(self, camera_ms: float | None, seen_ns: int) -> int:
        """When the exposure of the next image ended."""
        ended_ns = seen_ns if camera_ms is None else self._zero(camera_ms, seen_ns) + round(camera_ms * NS_PER_MS)
        self._last_ns = max(ended_ns, self._last_ns + 1)
        return self._last_ns

    def _zero(self, camera_ms: float, seen_ns: int) -> int:
        """The camera's zero on our clock: least difference in this window and the one before."""
        zero_ns = seen_ns - round(camera_ms * NS_PER_MS)
        if seen_ns >= self._window_end_ns:
            self._zero_ns = zero_ns if self._zero_ns is None else self._next_zero_ns
            self._next_zero_ns = zero_ns
            self._window_end_ns = seen_ns + WINDOW_NS
        self._next_zero_ns = min(self._next_zero_ns, zero_ns)
        assert self._zero_ns is not None
        return min(self._zero_ns, self._next_zero_ns)


class Spacing:
    """Chooses among a camera's images those an interval apart, and counts the wanted ones that were lost.

    An image is wanted if it ends no sooner than the interval asks, but for a tenth of the camera's period, so
    that of a camera which keeps the interval by itself all images are wanted. A faster one is thinned evenly
    and never above the rate that was asked for.
    """

    def __init__(self) -> None:
        self._kept_ns: int | None = None
        self._previous_ns = 0
        self._period_ns = 0.0
        self._missing = 0

    def next_ns(self, interval_ns: int) -> int | None:
        """The earliest end of exposure that would be wanted; None if the very next image is."""
        return None if self._kept_ns is None else self._kept_ns + interval_ns - round(self._period_ns * JITTER)

    def restart(self, now_ns: int) -> None:
        """The camera begins a new sequence."""
        self._previous_ns, self._missing = now_ns, 0

    def lost_before(self, ended_ns: int, missing: int, interval_ns: int) -> int | None:
        """How many wanted images were lost right before this one; None if this one is not wanted.

        `missing`: images between this and the one before that never reached us.
        """
        self._period_ns = (ended_ns - self._previous_ns) / (missing + 1)
        self._previous_ns = ended_ns
        self._missing += missing
        since_ns = interval_ns if self._kept_ns is None else ended_ns - self._kept_ns
        if since_ns < interval_ns - self._period_ns * JITTER:
            return None
        slots = self._missing if self._kept_ns is None else round(since_ns / interval_ns) - 1
        lost = min(self._missing, max(slots, 0))
        self._kept_ns, self._missing = ended_ns, 0
        return lost


class SnapTimes:
    """When the next single image is to be begun: on a grid of intervals, unless a whole one was missed."""

    def __init__(self) -> None:
        self.restart()

    def restart(self) -> None:
        """The next image may begin at once."""
        self._begun_ns: int | None = None

    def due_in_s(self, now_ns: int, interval_ns: int) -> float:
        """Time left before the next image; 0 if it is due."""
        return 0.0 if self._begun_ns is None else max(0.0, (self._begun_ns + interval_ns - now_ns) / NS_PER_S)

    def begin(self, now_ns: int, interval_ns: int) -> None:
        """An image is begun now."""
        late = self._begun_ns is None or now_ns - self._begun_ns >= 2 * interval_ns
        self._begun_ns = now_ns if late or self._begun_ns is None else self._begun_ns + interval_ns


@dataclass(frozen=True)
class InForce:
    """How images are taken from `since_ns` on."""

    since_ns: int
    exposure_ms: float
    interval_ms: float
    light_mw: float
    channel: str
    roi_px: tuple[int, int, int, int]

    @property
    def image_mj(self) -> float:
        """Light energy of one image."""
        return self.light_mw * self.exposure_ms / 1000


class Settings:
    """The settings now, and those of images that were already being exposed when they changed."""

    def __init__(self, first: InForce) -> None:
        self.now = first
        self._history: deque[InForce] = deque([first])

    @property
    def most_image_mj(self) -> float:
        """The most that an image after the last one of `of_image` can have taken."""
        return max(settings.image_mj for settings in self._history)

    def change(self, settings: InForce) -> None:
        """From now on. Older settings are forgotten once an image has gone past them."""
        self.now = settings
        self._history.append(settings)

    def of_image(self, ended_ns: int, previous_ended_ns: int) -> InForce:
        """The newest settings that were in force when this image's exposure began.

        It began after the previous image's end, and not longer before its own end than the exposure lasts.
        """
        while len(self._history) > 1:
            older, newer = self._history[0], self._history[1]
            longest_ns = round(max(older.exposure_ms, newer.exposure_ms) * NS_PER_MS)
            if newer.since_ns > max(previous_ended_ns, ended_ns - longest_ns):
                break
            self._history.popleft()
        return self._history[0]


class ImageDose:
    """Light energy of all images, each at the settings that it was taken with."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.mj = 0.0

    def taken(self, n: int, ended_ns: int, previous_ended_ns: int) -> None:
        """`n` images, of which the last was exposed then; those before it were lost."""
        self.mj += n * self._settings.of_image(ended_ns, previous_ended_ns).image_mj

    def dropped(self, n: int) -> None:
        """`n` images that nobody looked at: when they were taken is not known, so each counts as the dearest."""
        self.mj += n * self._settings.most_image_mj
