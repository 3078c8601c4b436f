"""Before the first frame the tracker has run everything that is compiled, even if warm-up's frames show no cell."""

import subprocess
import sys
from pathlib import Path

from tests.tiny_config import write_tiny

ROOT = Path(__file__).resolve().parents[1]
# In a process of its own, since other tests compile the same functions.
SCRIPT = """
import sys
from realtime.config import load_config
from realtime.inference import perception_from
from realtime.inline import inline_run
from realtime.processes.inference import warm_up_tracker

def compiled():
    modules = [module for name, module in sys.modules.items() if name.startswith("tracking.")]
    found = [one for module in modules for one in vars(module).values() if hasattr(one, "nopython_signatures")]
    return {f"{one.__module__}.{one.__name__}{signature}" for one in found for signature in one.signatures}

config = load_config(sys.argv[1], ["microscope.n_cells=60", "microscope.specimen_um=[90, 90]"])
with inline_run(config, "run", None, "", 3.0) as run:
    warm_up_tracker(config.tracker.build(), run.inference.perception)
    before = compiled()
    run.image()
    print(len(before), *sorted(compiled() - before), sep=chr(10))
"""


def test_nothing_of_the_tracker_is_compiled_in_the_loop(tmp_path: Path) -> None:
    answer = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(write_tiny(tmp_path))], cwd=ROOT, capture_output=True, text=True, check=True
    )
    n_compiled, *in_the_loop = answer.stdout.splitlines()
    assert int(n_compiled) > 2, "hardly anything is compiled: this test looks in the wrong place"
    assert in_the_loop == []
