"""The features by name: what a config may ask for, and how each follows from a frame's regions."""

from collections.abc import Callable

import numpy as np

from models.cells import Floats
from models.outline import hull_pixels, perimeters
from models.regions import Regions


def _eccentricity(regions: Regions) -> Floats:
    long, short = regions.variances_um2
    return np.sqrt(1.0 - np.divide(short, long, out=np.ones_like(long), where=long > 0))


def _orientation_rad(regions: Regions) -> Floats:
    covariance = regions.covariance_um2
    return 0.5 * np.arctan2(2 * covariance[:, 0, 1], covariance[:, 0, 0] - covariance[:, 1, 1])


def _perimeter_um(regions: Regions) -> Floats:
    return perimeters(regions.runs, len(regions), regions.labels) * regions.header.um_per_px


def _solidity(regions: Regions) -> Floats:
    return regions.n_pixels / hull_pixels(regions.runs, regions.totals.bbox_px)


def _corrected_mean(regions: Regions) -> Floats:
    return regions.mean_intensity - regions.background


def _snr(regions: Regions) -> Floats:
    """Photons and read-out make the noise; what the sample itself varies is signal."""
    camera = regions.camera
    signal_e = _corrected_mean(regions) * camera.e_per_count
    light_e = np.maximum(regions.mean_intensity - camera.offset_counts, 0.0) * camera.e_per_count
    noise_e = np.sqrt(light_e + camera.read_noise_e**2)
    return np.divide(signal_e, noise_e, out=np.full_like(signal_e, np.nan), where=noise_e > 0)


def _sharpness(regions: Regions) -> Floats:
    above = _corrected_mean(regions)
    return np.divide(regions.brenner, above**2, out=np.full_like(above, np.nan), where=above > 0)


FEATURES: dict[str, Callable[[Regions], Floats]] = {
    "eccentricity": _eccentricity,  # of the ellipse with the same second moments: 0 round, 1 a line
    "orientation_rad": _orientation_rad,  # of its long axis on the stage, from x towards y, −π/2 … π/2
    "major_um": lambda regions: 4 * np.sqrt(regions.variances_um2[0]),  # its full long axis
    "minor_um": lambda regions: 4 * np.sqrt(regions.variances_um2[1]),  # its full short axis
    "perimeter_um": _perimeter_um,
    "solidity": _solidity,  # share of its convex hull that a cell fills
    "max_intensity": lambda regions: regions.spread.highest,
    "min_intensity": lambda regions: regions.spread.lowest,
    "integrated_intensity": lambda regions: regions.totals.sum_counts,
    "sd_intensity": lambda regions: regions.spread.sd,
    "background_intensity": lambda regions: regions.background,  # median of a ring around the cell that is in no cell
    "corrected_mean_intensity": _corrected_mean,  # above that background
    "corrected_integrated_intensity": lambda regions: _corrected_mean(regions) * regions.n_pixels,
    "snr": _snr,  # of a pixel: what the cell adds to its background, over the noise that photons and read-out make
    "sharpness": _sharpness,  # Brenner's gradient over the squared brightness: highest in focus
    "texture_contrast": lambda regions: regions.texture.contrast,  # Haralick's, in counts squared
    "texture_correlation": lambda regions: regions.texture.correlation,  # Haralick's: 1 smooth, 0 grainy
    "neighbours": lambda regions: regions.neighbours.astype(np.float64),  # other cells within NEIGHBOUR_UM
}
