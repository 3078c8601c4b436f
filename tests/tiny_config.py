"""A small simulated rig for tests: eight cells in a small view, all three policies, a second of it in a blink."""

from pathlib import Path

TINY = """
[rig]
name = "tiny"

[microscope]
use = "simulated"
seed = 3
height_px = 128
width_px = 128
specimen_um = [200.0, 200.0]
n_cells = 8
time_factor = 60.0
speed_um_min = 1.0
cycle_min = 90.0
mitosis_min = 3.0

[imaging]
interval_ms = 100.0

[limits]
x_um = [-90.0, 90.0]
y_um = [-90.0, 90.0]
step_um = 60.0
moves_per_s = 1.0

[segmenter]
use = "threshold"

[classifier]
use = "ranges"
classes = [{ name = "mitotic", feature = "mean_intensity", low = 1900.0 }]
remainder = "interphase"

[tracker]
use = "causal"

[recorder]
min_free_gb = 0.0

[ring]
megabytes = 1.0

[[policy]]
use = "follow"
deadband_um = 2.0
step_um = 40.0

[[policy]]
use = "pace"
signal = "class:mitotic"
p_min = 0.7
dwell_s = 0.5
fast_interval_ms = 50.0
slow_interval_ms = 100.0

[[policy]]
use = "trigger"
class_name = "mitotic"
delay_ms = 60.0
"""


def write_tiny(folder: Path, changes: dict[str, str] | None = None) -> Path:
    """The config as a file; `changes` replaces pieces of its text, each of which must be there."""
    text = TINY
    for old, new in (changes or {}).items():
        assert old in text, f"{old!r} is not in the tiny config"
        text = text.replace(old, new)
    path = folder / "tiny.toml"
    path.write_text(text, encoding="utf-8")
    return path
