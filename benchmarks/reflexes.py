"""The whole reflex on a desk machine: simulated microscope, networks, tracker and policies as separate processes, 20 frames/s.

512×512, 100 nuclei with real texture, `nuclei-fast`, `mitosis`, the tracker, four policies and one in the shadow. One policy asks
for something on every frame, so that every analysed frame meets an outcome. The microscope itself, which on a rig costs nothing,
takes its share of the machine.
"""

import shutil
import tempfile
from pathlib import Path

import msgspec

from benchmarks.tables import Report
from realtime.config import load_config
from realtime.processes.supervisor import Supervisor

CONFIG = Path(__file__).with_name("reflexes.toml")
SECONDS = 120.0


def main(report: Report) -> None:
    with tempfile.TemporaryDirectory(dir=".", prefix="benchmark-") as root:
        folder = Path(root) / "session"
        with Supervisor(load_config(CONFIG), folder, SECONDS) as supervisor:
            supervisor.start()
            result = supervisor.supervise()
        assert result.ok, result.reason
        summary = msgspec.json.decode((folder / "summary.json").read_bytes())
        shutil.rmtree(folder)
    columns = ("p50_ms", "p99_ms", "p99_9_ms", "max_ms")
    rows = [(stage, *(f"{row[c]:.2f}" for c in columns)) for stage, row in summary["latency"].items()]
    outcomes = {policy: dict(counts) for policy, counts in summary["decisions"].items()}
    report.table(
        "Reflexes: the simulated laboratory with networks, tracker and policies, on two cores",
        f"512×512, 100 nuclei, 20 frames/s, {SECONDS:.0f} s, separate processes; {summary['frames_recorded']} frames recorded, "
        f"{summary['frames_lost_by_camera']} lost by the camera, {summary['frames_skipped_by_inference']} skipped by inference. "
        f"Decisions by outcome: {outcomes}. `exposed_to_done` is the decisions' age when the devices had obeyed.",
        ("stage", *columns),
        rows,
    )


if __name__ == "__main__":
    main(Report())
