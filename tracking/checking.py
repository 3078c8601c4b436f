"""Which cells a tracker takes: a mistake is named at once, before it has spoilt anything that is remembered."""

import numpy as np

from models.cells import Cells


def check(cells: Cells, last_t_ns: int, class_names: tuple[str, ...]) -> None:
    """Raise ValueError if these cells cannot follow those of `last_t_ns`, or hold places or sizes that are no numbers."""
    if cells.t_ns < last_t_ns:
        raise ValueError(
            f"frame {cells.frame_index} is of {cells.t_ns} ns, before the last one of {last_t_ns} ns; "
            "the tracker needs frames in the order of their time"
        )
    if cells.class_names != class_names:
        raise ValueError(
            f"frame {cells.frame_index} has classes {list(cells.class_names)}, but the run began with "
            f"{list(class_names)}: start a new tracker for other classes"
        )
    for name in ("xy_um", "area_um2", "p_class"):
        column = getattr(cells, name)
        if not np.isfinite(column).all():
            row = int(np.flatnonzero(~np.isfinite(column).reshape(len(cells), -1).all(axis=1))[0])
            raise ValueError(
                f"frame {cells.frame_index}: {name} of the cell with label {cells.label[row]} is {column[row]}; "
                "places, sizes and class probabilities must be finite numbers"
            )
