"""Who is who in a flow, how fast, and when at the junction: looks at cells → cells with arrival times."""

import numpy as np

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

    def __init__(self, settings: FlowSettings, um_per_px: float, width_px: int, exposure_ms: float = 0.0) -> None:
        """`exposure_ms` of a strip: a cell is seen where it was in the middle of it, and times are those of its end."""
        self.settings = settings
        self._um_per_px = um_per_px
        self._memory = FlowMemory(_channel(settings, um_per_px, width_px, exposure_ms))

    def skip_ids(self, used: int) -> None:
        """New cells get higher ids than this: those up to it had another tracker's cells."""
        self._memory.learned["next_id"] = used + 1

    def update(self, sightings: Sightings, strips_t_ns: tuple[int, ...]) -> FlowCells:
        """One stack on; `strips_t_ns` are the times of all its strips, with or without cells."""
        memory, times = self._memory, np.array(strips_t_ns, np.int64)
        looks, start = looks_of(sightings, len(times), memory.channel)
        out: Records = np.empty(int(memory.learned["cells"][0]) + len(looks), OUT)
        cell_of = np.empty(len(looks), np.int64)
        n = follow(
            memory.cells, memory.spots, memory.before, memory.profile, memory.learned, memory.channel,
            looks, start, times, out, cell_of,
        )  # fmt: skip
        rows = out[:n][np.argsort(out["id"][:n])]
        return _flow_cells(rows, cell_of, self._um_per_px)


def warm_up() -> None:
    """Compile (or load from the cache) before the run begins."""
    tracker = FlowTracker(FlowSettings(junction_um=100.0, speed_um_s=1e4), 0.5, 64)
    none, places = np.empty(0), np.empty((0, 2))
    nothing = Sightings(
        strip=np.empty(0, np.int32), t_ns=np.empty(0, np.int64), xy_px=places, bbox_px=np.empty((0, 4), np.int32),
        whole=np.empty(0, bool), area_um2=none, contrast=none, features=np.empty((0, 0)), feature_names=(),
    )  # fmt: skip
    tracker.update(nothing, (0, 1_000_000))


def _channel(settings: FlowSettings, um_per_px: float, width_px: int, exposure_ms: float) -> Records:
    """One record of what does not change."""
    channel: Records = np.zeros(1, CHANNEL)
    channel["um_per_px"], channel["out_um"] = um_per_px, width_px * um_per_px / 2
    channel["mid_px"], channel["sign"] = (width_px - 1) / 2, 1 if settings.direction == "right" else -1
    channel["junction_um"], channel["drift"] = settings.junction_um, settings.drift
    channel["seen_before_s"] = exposure_ms / 2000
    channel["speed_um_s"] = settings.speed_um_s
    channel["spread_um_s"] = settings.speed_spread * settings.speed_um_s
    return channel


def _flow_cells(rows: Records, cell_of: Rows, um_per_px: float) -> FlowCells:
    columns = {name: np.ascontiguousarray(rows[name]) for name in OUT.names or ()}
    return FlowCells(y_px=columns.pop("y_um") / um_per_px, cell_of=cell_of, **columns)
