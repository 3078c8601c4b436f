"""How cells are expected to move: straight on, at an exponentially smoothed velocity, in true time."""

import numpy as np

from models.cells import Floats


def predicted_um(seen_um: Floats, velocity_um_s: Floats, unseen_s: Floats) -> Floats:
    """Where tracks are now that were last seen at `seen_um[M, 2]`, `unseen_s[M]` ago."""
    return seen_um + velocity_um_s * unseen_s[:, None]


def smoothed_velocity(
    velocity_um_s: Floats, moved_um: Floats, took_s: Floats, weight: float, top_um_s: float
) -> Floats:
    """The velocity after moving by `moved_um[M, 2]` in `took_s[M]`; `weight` is the newest step's share.

    Never faster than `top_um_s`: at short intervals a little jitter of the outline looks like a great
    velocity, which would throw the prediction far off once the interval grows. Where no time has passed,
    nothing changes.
    """
    took = took_s[:, None]
    newest_um_s = np.divide(moved_um, took, out=velocity_um_s.copy(), where=took > 0)
    smooth = (1.0 - weight) * velocity_um_s + weight * newest_um_s
    speed_um_s = np.linalg.norm(smooth, axis=1, keepdims=True)
    capped: Floats = smooth * (top_um_s / np.maximum(speed_um_s, top_um_s))
    return capped
