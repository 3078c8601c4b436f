"""True signal-to-noise ratio of cells: what a noiseless look at the specimen says about a frame's noise."""

import math

import numpy as np

from acquisition.frame import FrameHeader
from acquisition.simulated.microscope import SimulatedMicroscope
from acquisition.simulated.nuclei import Nuclei

STAINED = "nuclei"
"""The channel for which it is reckoned."""


def median_snr(nuclei: Nuclei, frame: FrameHeader, microscope: SimulatedMicroscope) -> float | None:
    """Of a pixel in the median one of `nuclei`; None without any, and in other channels.

    What a nucleus adds to the background, by the standard deviation of that pixel: shot noise of both, and read noise. As
    the feature `snr`, but of the sharp nucleus, before the lens has spread its light.
    """
    if not len(nuclei.id) or frame.channel != STAINED:
        return None
    light = frame.light_mw * frame.exposure_ms * microscope.sensor.binning**2
    signal_e = float(np.median(nuclei.brightness * nuclei.unbleached)) * microscope.brightness * light
    noise_e = math.sqrt(signal_e + microscope.background * light + microscope.sensor.read_noise_e**2)
    return signal_e / noise_e if noise_e > 0 else 0.0
