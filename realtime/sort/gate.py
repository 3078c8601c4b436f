"""The cytometrist's gate on measured features, and whether the channel lets a sort do what its config asks."""

from typing import Protocol

import numpy as np
import numpy.typing as npt

from acquisition.frame import FrameHeader
from models.cells import Floats
from realtime.plugins import ConfigError
from realtime.sort.classifying import LookClassifier
from realtime.sort.settings import SortGate, SortSettings

SCALE_TOLERANCE = 1.2
"""Pixels may be larger or smaller by this factor than those by which a classifier knows cells."""


def inside(gate: SortGate, means: Floats, names: tuple[str, ...]) -> npt.NDArray[np.bool_]:
    """Which cells `[M]` have all features within the gate's ranges; `means[M, F]`. NaN is outside of any range."""
    is_inside = np.ones(len(means), np.bool_)
    for name, (low, high) in gate.where.items():
        values = means[:, names.index(name)]
        is_inside &= (low <= values) & (values <= high)
    return is_inside


class Seen(Protocol):
    """What is seen of a channel: a header of its stacks, or what a simulated one says beforehand."""

    @property
    def width_px(self) -> int: ...

    @property
    def um_per_px(self) -> float: ...

    @property
    def interval_ms(self) -> float: ...


def check_channel(settings: SortSettings, header: Seen) -> None:
    """Whether all who might be deflected by a pulse are seen before it is planned, and it before they are there.

    Asked with the first stack, for only the camera knows how large its view is. Raises ConfigError.
    """
    flow, pulse = settings.flow, settings.pulse
    view_um = header.width_px * header.um_per_px
    view_ms = view_um / (flow.speed_um_s * (1 + flow.speed_spread)) * 1000
    ahead_ms = pulse.window_ms + pulse.coincidence_ms + header.interval_ms
    way_ms = (flow.junction_um - view_um / 2) / flow.speed_um_s * 1000
    if ahead_ms >= view_ms:
        raise ConfigError(
            f"sort.pulse: window_ms {pulse.window_ms:g}, coincidence_ms {pulse.coincidence_ms:g} and the {header.interval_ms:g} "
            f"ms between strips are together longer than the {view_ms:.3g} ms for which the fastest cells are in view "
            f"({view_um:g} µm): a pulse would be planned before all are seen that it might deflect. Shorten the window, slow "
            "the flow or widen the view"
        )
    if way_ms <= pulse.delay_ms + pulse.window_ms / 2:
        raise ConfigError(
            f"sort.flow.junction_um {flow.junction_um:g}: cells are there {way_ms:.3g} ms after they leave the view, sooner "
            f"than a pulse can be (delay_ms {pulse.delay_ms:g}, half of window_ms {pulse.window_ms:g}); image them farther "
            "upstream, slow the flow or use a faster sorter"
        )


def check_scale(classifier: LookClassifier, header: FrameHeader) -> None:
    """Whether cells are as large in the strips as the classifier knows them. Raises ConfigError."""
    if classifier.um_per_px is None:
        return
    least, most = classifier.um_per_px
    if not least / SCALE_TOLERANCE <= header.um_per_px <= most * SCALE_TOLERANCE:
        raise ConfigError(
            f"[classifier]: {classifier.description} knows cells by pixels of {least:g} to {most:g} µm, but those of the camera "
            f"are {header.um_per_px:g} µm, so it would mistake them; use another magnification or binning, or a model of your "
            "own for these pixels"
        )
