"""Who was in the pulses: by when cells were foretold to arrive, the probability of each to have been deflected."""

import numpy as np
import numpy.typing as npt
from scipy.special import ndtr

from acquisition.clock import NS_PER_MS
from models.cells import Floats
from realtime.session.tables import Columns

Bools = npt.NDArray[np.bool_]
Spans = npt.NDArray[np.int64]
"""`[P, 2]`: pulses from and to, at the junction, in ascending order."""
PULSES_NEAR = 4
"""Of pulses in order, so many before and after a cell's arrival are considered."""


def spans_of(events: Columns, fired: Bools, delay_ms: float) -> Spans:
    """Pulses of the cells `fired[E]`; `delay_ms` is the sorter's own."""
    opens_ns = events["at_ns"][fired] + round(delay_ms * NS_PER_MS)
    spans = np.stack((opens_ns, opens_ns + np.rint(events["width_ms"][fired] * NS_PER_MS).astype(np.int64)), axis=1)
    ascending: Spans = spans[np.argsort(spans[:, 0], kind="stable")]
    return ascending


def caught(arrival_ns: npt.NDArray[np.int64], spans: Spans) -> Bools:
    """Whether one who arrives then is in a pulse."""
    if not len(spans):
        return np.zeros(len(arrival_ns), np.bool_)
    last = np.searchsorted(spans[:, 0], arrival_ns, side="right") - 1
    in_last: Bools = (last >= 0) & (arrival_ns <= spans[last, 1])
    return in_last


def p_deflected(events: Columns, spans: Spans) -> Floats:
    """Probability of each event `[E]` to lie in a pulse: its arrival is normally distributed with its standard error.

    One without a standard error is at most as uncertain as its way is long.
    """
    if not len(spans):
        return np.zeros(len(events["event_id"]))
    arrival_ns = events["arrival_ns"]
    way_ns = np.maximum(arrival_ns - events["last_ns"], 1)
    sigma_ns = np.maximum(np.fmin(events["sigma_ms"] * NS_PER_MS, way_ns), 1.0)[:, None]
    near = np.searchsorted(spans[:, 0], arrival_ns)[:, None] + np.arange(-PULSES_NEAR, PULSES_NEAR)
    exists = (near >= 0) & (near < len(spans))
    ends = (spans[np.clip(near, 0, len(spans) - 1)] - arrival_ns[:, None, None]) / sigma_ns[..., None]
    p: Floats = np.minimum(np.where(exists, ndtr(ends[..., 1]) - ndtr(ends[..., 0]), 0.0).sum(axis=1), 1.0)
    return p
