"""The whole reflex on a desk machine: simulated microscope, networks, tracker and policies as separate processes, 20 frames/s.

512×512, 100 nuclei with real texture, `nuclei-fast`, `mitosis`, the tracker, four policies and one in the shadow. One policy asks
for something on every frame, so that every analysed frame meets an outcome. The microscope itself, which on a rig costs nothing,
takes its share of the machine.
"""

from pathlib import Path

import msgspec

from benchmarks.sessions import session_of
from benchmarks.tables import Report

CONFIG = Path(__file__).with_name("reflexes.toml")
SECONDS = 120.0


def main(report: Report) -> None:
    with session_of(CONFIG, SECONDS) as folder:
        summary = msgspec.json.decode((folder / "summary.json").read_bytes())
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
