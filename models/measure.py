"""Labels to Cells: the one place where pixels become stage micrometres.

Cells are visited as runs of pixels by compiled code, as often as the asked features need and no more (see
models/features.py). A frame has one channel, so intensities are those of the frame's channel and of no other.
"""

from collections.abc import Iterable
from difflib import get_close_matches

import numpy as np

from acquisition.calibration import UNCALIBRATED, CameraCalibration
from acquisition.frame import FrameHeader, StagePosition, stage_um
from models.cells import ONE_CLASS, Cells, Labels
from models.features import FEATURES
from models.regions import Regions
from models.runs import Image


def measure(
    header: FrameHeader,
    image: Image,
    labels: Labels,
    features: tuple[str, ...] = (),
    camera: CameraCalibration = UNCALIBRATED,
) -> Cells:
    """The cells of one frame in the order of their labels; `image` in camera counts, `labels` 0 = background.

    `features` names the extra columns to measure (keys of FEATURES). Every cell is of class `cell` until a
    classifier says more; `camera` is what signal-to-noise is reckoned with. Call `warm_up` once before the loop.
    """
    if not image.shape == labels.shape == header.shape:
        raise ValueError(
            f"frame {header.index}: image {list(image.shape)} and labels {list(labels.shape)} must both have "
            f"the header's shape {list(header.shape)}"
        )
    check_features(features)
    regions = Regions.of(header, image, labels, camera)
    columns = [FEATURES[name](regions) for name in features]
    return Cells(
        frame_index=header.index,
        t_ns=header.t_ns,
        label=regions.label,
        xy_um=stage_um(header.stage_from_pixel, regions.xy_px),
        xy_px=regions.xy_px,
        area_um2=regions.n_pixels.astype(np.float64) * header.um_per_px**2,
        bbox_px=regions.totals.bbox_px,
        mean_intensity=regions.mean_intensity,
        features=np.stack(columns, axis=1) if columns else np.empty((len(regions), 0)),
        feature_names=features,
        p_class=np.ones((len(regions), 1)),
        class_names=ONE_CLASS,
        labels=labels,
        stage_from_pixel=header.stage_from_pixel,
        shape=header.shape,
    )


def check_features(names: Iterable[str]) -> None:
    """Raise ValueError if one of these cannot be measured; to be called before a run starts."""
    for name in names:
        if name not in FEATURES:
            near = get_close_matches(name, FEATURES, n=1)
            hint = f"did you mean {near[0]!r}? " if near else ""
            raise ValueError(f"feature {name!r} is not known; {hint}features are {', '.join(FEATURES)}")


def warm_up() -> None:
    """Compile everything that is measured, or load it from the cache, before the loop begins."""
    header = FrameHeader(
        index=0, t_ns=0, t_read_ns=0, height_px=8, width_px=8, dtype="uint16", channel="", exposure_ms=1.0,
        interval_ms=1.0, light_mw=0.0, stage=StagePosition(), stage_from_pixel=(1.0, 0.0, 0.0, 0.0, 1.0, 0.0),
        um_per_px=1.0,
    )  # fmt: skip
    measure(header, np.zeros((8, 8), np.float32), np.eye(8, dtype=np.int32), tuple(FEATURES))
