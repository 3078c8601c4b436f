"""Once a sort is prepared nothing is compiled any more, for a first cell must not wait for that; and it leaves no trace."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from acquisition.clock import SimulatedClock
from acquisition.frame import Frame
from acquisition.microscope import Imaging
from realtime.config import load_config
from realtime.sort.classifying import classifier_of
from realtime.sort.settings import SortSettings
from realtime.sort.warm_up import warm_up
from realtime.sorting import Sorting
from tests.flow_rig import DiscFlow, flow_config

ROOT = Path(__file__).resolve().parents[1]
# In a process of its own, since other tests compile the same functions.
SCRIPT = """
import sys
from msgspec.structs import replace
from acquisition.clock import SimulatedClock
from acquisition.frame import Frame
from realtime.config import load_config
from realtime.sorting import Sorting
from tests.test_realtime_sort_warm_up import stacks

def compiled():
    modules = [module for name, module in sys.modules.items() if name.startswith(("models.", "tracking."))]
    found = [one for module in modules for one in vars(module).values() if hasattr(one, "nopython_signatures")]
    return {f"{one.__module__}.{one.__name__}{signature}" for one in found for signature in one.signatures}

config = load_config(sys.argv[1])
prepared = Sorting.from_config(config, SimulatedClock())
prepared.prepare(16 * 64, 256)
before = compiled()
for dtype in ("uint8", "uint16"):
    sorting = Sorting(config.sort, prepared.classifier, SimulatedClock())
    looked = [sorting.look(Frame(replace(f.header, dtype=dtype), f.pixels.astype(dtype))) for f in stacks(30)]
    assert sum(len(analysis.events) for analysis in looked) > 30
print(len(before), *sorted(compiled() - before), sep=chr(10))
"""


def test_nothing_is_compiled_in_the_loop(tmp_path: Path) -> None:
    answer = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(flow_config(tmp_path))], cwd=ROOT, capture_output=True, text=True, check=True
    )
    n_compiled, *in_the_loop = answer.stdout.splitlines()
    assert int(n_compiled) > 5, "hardly anything is compiled: this test looks in the wrong place"
    assert in_the_loop == []


def test_preparing_leaves_no_trace(tmp_path: Path) -> None:
    """Prepared or not, the same pulses; only the first stack takes longer."""
    config = load_config(flow_config(tmp_path, microscope={"wanted_share": 0.3}))
    prepared, plain = (Sorting.from_config(config, SimulatedClock()) for _ in range(2))
    prepared.prepare(16 * 64, 256)
    for frame in stacks(30):
        one, other = prepared.look(frame), plain.look(frame)
        assert one is not None
        assert other is not None
        assert one.decisions == other.decisions
        assert np.array_equal(one.events.event_id, other.events.event_id)


@pytest.mark.parametrize("um_per_px", [0.05, 0.5, 20.0])
@pytest.mark.parametrize("finder", [{}, {"least_area_um2": 5_000.0, "threshold": 1_000.0}])
def test_cells_are_seen_whatever_is_set(tmp_path: Path, um_per_px: float, finder: dict[str, float]) -> None:
    sort: Any = {"finder": {"background_strips": 64, **finder}}
    config = load_config(flow_config(tmp_path, sort=sort, classifier={"um_per_px": [um_per_px, um_per_px]}))
    sorts: list[Sorting] = []

    def fresh(settings: SortSettings) -> Sorting:
        sorts.append(Sorting(settings, classifier_of(config), SimulatedClock()))
        return sorts[-1]

    assert config.sort is not None
    warm_up(fresh, config.sort, (um_per_px, um_per_px))
    assert [sorting._looks is not None and sorting._looks.n_classified.sum() > 0 for sorting in sorts] == [True, True]


def stacks(n: int) -> list[Frame]:
    """Of a channel with discs."""
    clock, flow = SimulatedClock(), DiscFlow()
    flow.open(clock, Imaging(interval_ms=0.5, exposure_ms=0.01))
    flow.start()
    frames: list[Frame] = []
    while len(frames) < n:
        clock.sleep_s(max(0.0, flow.ready_in_s()))
        if (frame := flow.poll_frame()) is not None:
            frames.append(frame)
    return frames
