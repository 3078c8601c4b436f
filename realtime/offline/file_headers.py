"""Headers for images that come from files: as if a microscope whose stage stands at the first pixel had taken them."""

from acquisition.clock import NS_PER_S
from acquisition.frame import FrameHeader, PixelType, StagePosition


def file_header(
    shape: tuple[int, int], dtype: PixelType, um_per_px: float, index: int = 0, interval_s: float = 0.0
) -> FrameHeader:
    """Of the image number `index` of a series; time begins at the first one, µm at its first pixel."""
    return FrameHeader(
        index=index, t_ns=round(index * interval_s * NS_PER_S), t_read_ns=0, height_px=shape[0], width_px=shape[1],
        dtype=dtype, channel="", exposure_ms=0.0, interval_ms=1000 * interval_s, light_mw=0.0, stage=StagePosition(),
        stage_from_pixel=(um_per_px, 0.0, 0.0, 0.0, um_per_px, 0.0), um_per_px=um_per_px,
    )  # fmt: skip
