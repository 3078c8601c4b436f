"""A colour for each family of cells: the same hue in every picture of a recording, as bright as the ground asks for."""

import colorsys

GOLDEN = 0.618034
"""The golden section of the circle of hues: numbers that are near one another get hues that are far apart."""
ON_WHITE, ON_DARK = 0.42, 0.66
"""How bright a colour must look to be seen on paper, and on an image: 0 is black, 1 is white."""
SEEN = (0.299, 0.587, 0.114)
"""Shares of red, green and blue in how bright a colour looks (ITU-R BT.601)."""


def family_colour(founder: int, brightness: float) -> tuple[int, int, int]:
    """Red, green, blue of a family, named by its oldest track."""
    pure = colorsys.hsv_to_rgb(founder * GOLDEN % 1.0, 0.85, 1.0)
    seen = sum(share * part for share, part in zip(SEEN, pure, strict=True))
    if seen > brightness:
        mixed = [part * brightness / seen for part in pure]
    else:
        mixed = [part + (1 - part) * (brightness - seen) / (1 - seen) for part in pure]
    red, green, blue = (round(255 * part) for part in mixed)
    return red, green, blue
