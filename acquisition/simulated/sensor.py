"""The chip of the simulated camera: expected photo-electrons → counts, with every noise a real one adds."""

import numpy as np
import numpy.typing as npt
from scipy.special import ndtr

from acquisition.frame import FrameHeader
from acquisition.simulated.compiling import compiled
from acquisition.simulated.random_streams import random_stream
from acquisition.simulated.settings import SensorSettings

Image = npt.NDArray[np.float32]
Counts = npt.NDArray[np.uint16]

HOT_E_S = (2e3, 2e5)
"""Dark electrons that a hot pixel collects in a second, evenly spread over the orders of magnitude."""
FEW = np.float32(2)
"""Up to so many electrons are drawn from the Poisson distribution itself, as long as there are no more than MOST_OF_FEW."""
MOST_OF_FEW = 8
MS_PER_US = 1e-3


class Sensor:
    """Turns light into counts. Pixels are those that are read: with binning, sums of neighbours.

    Deviates are drawn once, for two sensors, and each frame reads them from two places of its own, one for shot noise and
    one for read noise, which is much less work than drawing them anew. Frames thus share deviates, but at other pixels.
    """

    def __init__(self, settings: SensorSettings, seed: int, height_px: int, width_px: int) -> None:
        """`height_px` and `width_px` are of the chip; rows and columns that fill no binned pixel are not read."""
        self.settings, self._seed = settings, seed
        self.shape = (height_px // settings.binning, width_px // settings.binning)
        rng = random_stream(seed, "sensor")
        self._deviates = rng.standard_normal(2 * self.shape[0] * self.shape[1], dtype=np.float32)
        self._uniforms = ndtr(self._deviates)
        self._dark_e_s = _dark_e_s(settings, self.shape, rng)
        self._counts(np.zeros((1, 1), np.float32), (0, 0), (0, 0), 0.0)  # compiles, which must not happen in a run

    @property
    def n_summed(self) -> int:
        """Pixels of the chip in one that is read."""
        return self.settings.binning**2

    def read_ms(self, n_rows: int) -> float:
        """Time to read so many rows."""
        return n_rows * self.settings.row_us * MS_PER_US

    def shortest_interval_ms(self, exposure_ms: float, n_rows: int) -> float:
        """How soon a frame can follow another: streaming reads one while it exposes the next, snapping does not."""
        read_ms = self.read_ms(n_rows)
        return exposure_ms + read_ms if self.settings.mode == "snap" else max(exposure_ms, read_ms)

    def counts(self, electrons: Image, header: FrameHeader) -> Counts:
        """The pixels of one frame from the photo-electrons expected in each, `[H, W]`.

        They depend on nothing but the arguments and the seed.
        """
        spare = len(self._deviates) - electrons.size
        first, second = random_stream(self._seed, "frame", header.index).integers(spare, size=2, endpoint=True)
        exposure_s = header.exposure_ms / 1000
        return self._counts(electrons, self._corner_px(header), (int(first), int(second)), exposure_s)

    def _counts(self, electrons: Image, xy_px: tuple[int, int], places: tuple[int, int], exposure_s: float) -> Counts:
        settings, (first, second) = self.settings, places
        counts = np.empty(electrons.shape, np.uint16)
        _read_out(
            np.ascontiguousarray(electrons, np.float32), self._dark_e_s, xy_px, np.float32(exposure_s),
            self._deviates[first : first + electrons.size], self._uniforms[first : first + electrons.size],
            self._deviates[second : second + electrons.size], np.float32(settings.full_well_e * self.n_summed),
            np.float32(settings.read_noise_e), np.float32(1 / settings.e_per_count),
            np.float32(settings.offset_counts), np.float32(2**settings.bits - 1), counts,
        )  # fmt: skip
        return counts

    def _corner_px(self, header: FrameHeader) -> tuple[int, int]:
        """Where on the sensor (x, y) the first pixel of a frame lies: the stage stands in the middle of the whole."""
        x_um, y_um = header.stage_from_pixel[2], header.stage_from_pixel[5]
        height_px, width_px = self.shape
        x_px = (x_um - header.stage.x_um) / header.um_per_px + (width_px - 1) / 2
        y_px = (y_um - header.stage.y_um) / header.um_per_px + (height_px - 1) / 2
        return round(x_px), round(y_px)


def _dark_e_s(settings: SensorSettings, shape: tuple[int, int], rng: np.random.Generator) -> Image:
    """What each read pixel collects in the dark; hot pixels lie where the seed puts them."""
    n_summed = settings.binning**2
    dark_e_s = np.full(shape, settings.dark_e_s * n_summed, np.float32)
    n_hot = round(settings.hot_pixels * dark_e_s.size * n_summed)
    places = rng.integers(dark_e_s.size, size=n_hot)
    low, high = np.log(HOT_E_S)
    np.add.at(dark_e_s.reshape(-1), places, np.exp(rng.uniform(low, high, n_hot)).astype(np.float32))
    return dark_e_s


@compiled
def _read_out(
    electrons: Image, dark_e_s: Image, xy_px: tuple[int, int], exposure_s: np.float32,
    deviates: Image, uniforms: Image, read_deviates: Image, full_well_e: np.float32, read_noise_e: np.float32,
    counts_per_e: np.float32, offset: np.float32, most: np.float32, counts: Counts,
) -> None:  # fmt: skip
    """Shot noise, full well, read noise, gain, offset and rounding, pixel by pixel.

    Above FEW electrons the Poisson distribution is a normal one with its mean and variance, and its skewness by the first
    term of a Cornish-Fisher expansion.
    """
    height_px, width_px = electrons.shape
    for y in range(height_px):
        for x in range(width_px):
            i = y * width_px + x
            mean = electrons[y, x] + dark_e_s[xy_px[1] + y, xy_px[0] + x] * exposure_s
            if mean > FEW:
                z = deviates[i]
                collected = mean + np.sqrt(mean) * z + (z * z - np.float32(1)) * np.float32(1 / 6)
            else:
                collected, chance = np.float32(0), np.exp(-mean)
                fewer = chance
                for n in range(1, MOST_OF_FEW + 1):  # always so often: a loop that ends early is slower
                    collected += np.float32(uniforms[i] > fewer)
                    chance *= mean * np.float32(1 / n)
                    fewer += chance
            collected = min(max(collected, np.float32(0)), full_well_e)
            read = (collected + read_noise_e * read_deviates[i]) * counts_per_e + offset + np.float32(0.5)
            counts[y, x] = np.uint16(min(max(read, np.float32(0)), most))
