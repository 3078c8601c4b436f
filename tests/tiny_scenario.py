"""A scenario of a few cells with four arms, scored in a second."""

from pathlib import Path

from realtime.config import read_tables
from realtime.scoring.arms import Scenario, scenario_of

TINY = """
[rig]
name = "tiny crowd"

[microscope]
use = "simulated"
height_px = 96
width_px = 96
specimen_um = [63.0, 63.0]
n_cells = 10
nucleus_um = 10.0
time_factor = 60.0
cycle_min = 300.0
mitosis_min = 20.0

[imaging]
interval_ms = 4000.0

[limits]
x_um = [0.0, 0.0]
y_um = [0.0, 0.0]
interval_ms = [100.0, 100000.0]

[segmenter]
use = "threshold"

[classifier]
use = "ranges"
classes = [{ name = "mitotic", feature = "mean_intensity", low = 1700.0 }]

[[policy]]
use = "pace"
signal = "class:mitotic"
dwell_s = 1.0
fast_interval_ms = 500.0
slow_interval_ms = 4000.0

[score]
duration_s = 90.0
fast_interval_ms = 500.0
start_within_ms = 9000.0
coverage = 0.8
margin_um = 6.0

[[score.arm]]
name = "pace"
policies = ["pace"]

[[score.arm]]
name = "fast"
set = { "imaging.interval_ms" = 500.0 }

[[score.arm]]
name = "stopped"
light_of = "pace"
set = { "imaging.interval_ms" = 500.0 }

[[score.arm]]
name = "spread"
light_of = "pace"
by = "interval"
"""


def write_tiny(folder: Path, old: str = "", new: str = "") -> Path:
    assert old in TINY
    path = folder / "tiny.toml"
    path.write_text(TINY.replace(old, new, 1) if old else TINY, encoding="utf-8")
    return path


def tiny(folder: Path, *overrides: str) -> Scenario:
    path = write_tiny(folder)
    return scenario_of(read_tables(path, overrides), folder)
