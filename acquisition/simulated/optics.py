"""What the light goes through: a point spread function that widens out of focus, vignetting, and a plane of focus that
wanders with time alone."""

import math

import cv2
import numpy as np
import numpy.typing as npt

from acquisition.simulated.random_streams import random_stream
from acquisition.simulated.settings import Optics

Image = npt.NDArray[np.float32]

WALK_S = 10.0
"""The focus wanders in straight lines of so many seconds."""
BLOCK = 1024
REACH = 3.5
"""A point is spread over so many standard deviations on each side: the rest is a thousandth, and goes to those in reach."""
MOST_BLUR_UM = 30.0
"""Beyond it all cells are one haze, and more of it would change nothing but the work."""
COARSE_PX = 6.0
"""A wider blur is made of every second pixel: nothing finer is left in it."""


class Focus:
    """Height of the stage at which the specimen is sharp, a function of seed and time: 0 at first, then drift and a walk."""

    def __init__(self, optics: Optics, seed: int) -> None:
        self._optics, self._seed = optics, seed
        self._walk_um = np.zeros(1)

    def plane_um(self, t_s: float) -> float:
        """So many seconds after the microscope was opened."""
        drift_um = self._optics.focus_drift_um_h * t_s / 3600
        if self._optics.focus_wander_um == 0:
            return drift_um
        place = max(0.0, t_s / WALK_S)
        while place + 1 >= len(self._walk_um):
            self._walk_on()
        first = int(place)
        before, after = self._walk_um[first : first + 2]
        return drift_um + float(before + (place - first) * (after - before))

    def _walk_on(self) -> None:
        rng = random_stream(self._seed, "focus", len(self._walk_um) // BLOCK)
        step_um = self._optics.focus_wander_um * math.sqrt(WALK_S / 3600)
        further_um = self._walk_um[-1] + np.cumsum(rng.normal(0.0, step_um, BLOCK))
        self._walk_um = np.concatenate([self._walk_um, further_um])


def blur_um(optics: Optics, defocus_um: float, sharp_um: float = 0.0) -> float:
    """Standard deviation of the point spread function; `sharp_um` of it is in the picture already."""
    variance = optics.blur_um**2 + (optics.defocus_blur * defocus_um) ** 2 - sharp_um**2
    return min(math.sqrt(max(0.0, variance)), MOST_BLUR_UM)


def reach_px(sigma_px: float) -> int:
    """How far outside a view things lie whose light still falls into it."""
    return math.ceil(REACH * sigma_px)


def blurred(image: Image, sigma_px: float) -> Image:
    """The image spread by a Gaussian, the sum of its light kept; what leaves at the edges is lost."""
    if sigma_px < 0.1:
        return image
    if sigma_px > COARSE_PX:
        return _blurred_coarsely(image, sigma_px)
    size = 2 * reach_px(sigma_px) + 1
    return np.asarray(cv2.GaussianBlur(image, (size, size), sigma_px, borderType=cv2.BORDER_CONSTANT), np.float32)


def _blurred_coarsely(image: Image, sigma_px: float) -> Image:
    height_px, width_px = image.shape
    padded = np.pad(image, ((0, height_px % 2), (0, width_px % 2)))
    halved = cv2.resize(padded, (padded.shape[1] // 2, padded.shape[0] // 2), interpolation=cv2.INTER_AREA)
    spread = blurred(np.asarray(halved, np.float32), math.sqrt(sigma_px**2 / 4))
    full = cv2.resize(spread, (padded.shape[1], padded.shape[0]), interpolation=cv2.INTER_LINEAR)
    return np.ascontiguousarray(full[:height_px, :width_px], np.float32)


def vignette(shape: tuple[int, int], middle_px: tuple[float, float], corner_px: float, darker: float) -> Image:
    """Share of the light that reaches each pixel `[H, W]`: 1 in the middle (x, y), 1 − `darker` so far from it."""
    y_px, x_px = np.ogrid[: shape[0], : shape[1]]
    away = np.hypot(x_px - middle_px[0], y_px - middle_px[1]) / corner_px
    return np.asarray(1 - darker * away**2, np.float32)
