"""Who is who in a flow, how fast, and when at the junction: looks at cells → cells with arrival times."""

import numpy as np

from acquisition.clock import NS_PER_MS
from models.sightings import Sightings
from tracking.flow_cells import FlowCells
from tracking.flow_links import Rows
from tracking.flow_looks import looks_of
from tracking.flow_pass import follow
from tracking.flow_settings import FlowSettings
from tracking.flow_state import CHANNEL, OUT, FlowMemory, Records


class FlowTracker:
    """Follows cells that all go one way, each at a speed of its own that hardly changes on its way to the junction.

    Strips are taken one by one, however they are put into stacks: the same strips give the same cells.
    """

    def __init__(self, settings: FlowSettings, um_per_px: float, width_px: int) -> None:
        self.settings = settings
        self._um_per_px = um_per_px
        self._memory = FlowMemory(_channel(settings, um_per_px, width_px))

    def skip_ids(self, used: int) -> None:
        """New cells get higher ids than this: those up to it had another tracker's cells."""
        self._memory.learned["next_id"] = used + 1

    def update(self, sightings: Sightings, strips_t_ns: tuple[int, ...], exposure_ms: float = 0.0) -> FlowCells:
        """One stack on; `strips_t_ns` are the ends of exposure of all its strips, with or without cells.

        A cell is seen where it was in the middle of the exposure.
        """
        memory, half_ns = self._memory, round(exposure_ms * NS_PER_MS / 2)
        times = np.array(strips_t_ns, np.int64) - half_ns
        looks, start = looks_of(sightings, len(times), memory.channel)
        out: Records = np.empty(int(memory.learned["cells"][0]) + len(looks), OUT)
        cell_of = np.empty(len(looks), np.int64)
        n = follow(
            memory.cells, memory.spots, memory.before, memory.profile, memory.learned, memory.channel,
            looks, start, times, out, cell_of,
        )  # fmt: skip
        rows = out[:n][np.argsort(out["id"][:n])]
        rows["last_ns"] += half_ns
        return _flow_cells(rows, cell_of, self._um_per_px)


def _channel(settings: FlowSettings, um_per_px: float, width_px: int) -> Records:
    """One record of what does not change."""
    channel: Records = np.zeros(1, CHANNEL)
    channel["um_per_px"], channel["out_um"] = um_per_px, width_px * um_per_px / 2
    channel["mid_px"], channel["sign"] = (width_px - 1) / 2, 1 if settings.direction == "right" else -1
    channel["junction_um"], channel["drift"] = settings.junction_um, settings.drift
    channel["speed_um_s"] = settings.speed_um_s
    channel["spread_um_s"] = settings.speed_spread * settings.speed_um_s
    return channel


def _flow_cells(rows: Records, cell_of: Rows, um_per_px: float) -> FlowCells:
    columns = {name: np.ascontiguousarray(rows[name]) for name in OUT.names or ()}
    return FlowCells(y_px=columns.pop("y_um") / um_per_px, cell_of=cell_of, **columns)
