"""What is known of the rig's camera beyond its settings: how counts become photo-electrons."""

import msgspec

from acquisition.commands import NotNegative, Positive


class CameraCalibration(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The section `[camera]`. Measure these, or take them from the camera's test sheet: signal-to-noise is reckoned with them.

    From pairs of evenly lit images of rising brightness, the variance grows with the mean count by 1 / e_per_count and
    begins at the read noise (photon transfer curve; Janesick, Photon Transfer, SPIE Press 2007).
    """

    e_per_count: Positive = 1.0
    """Photo-electrons for one count."""
    offset_counts: NotNegative = 100.0
    """What the camera reads in the dark."""
    read_noise_e: NotNegative = 2.0
    """Standard deviation of a pixel's reading in the dark, in electrons."""


UNCALIBRATED = CameraCalibration()
"""What is taken for granted where nobody has measured."""
