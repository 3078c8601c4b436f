"""Image-activated sorting: how fast, how pure, how exactly, and does anything ever fire late?

The shipped simulated sorter (hardware_configs/sorter_simulated.toml) with other rates. What needs the machine's real time
(throughput, stalls) runs as separate processes; purity and yield run inline on simulated time, where no computer is late.
"""

import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec

from benchmarks.sessions import session_of
from benchmarks.sorting_stalls import late_pulses, stalled
from benchmarks.tables import Report
from realtime.config import load_config
from realtime.inline import inline_run
from realtime.session.header import session_toml
from realtime.sort.figures import sort_figures

CONFIG = Path("hardware_configs/sorter_simulated.toml")
LONG_S, SHORT_S, STALLED_S = 600.0, 30.0, 60.0
RATES = ((1000, 1000), (2000, 1000), (4000, 500), (4000, 1000), (4000, 2000), (6000, 1000), (8000, 500), (8000, 1000))
"""Strips and cells a second."""
STACK_MS = 4.0
SPEED_UM_S, TRANSIT_S = 150_000.0, 0.02
"""Of the flow at 4,000 strips a second, and from the middle of the view to the junction."""
CURVE = (100, 200, 500, 1000, 2000, 5000)
"""Cells a second at which purity and yield are measured, with several looks and with one."""
CELLS = 15_000
P99_MS = 10.0


def at_rate(strips_per_s: int, events_per_s: int) -> list[str]:
    """Overrides: the flow is so fast that a cell is seen about three times."""
    speed_um_s = SPEED_UM_S * strips_per_s / 4000
    junction_um = speed_um_s * TRANSIT_S
    return [
        f"imaging.interval_ms={1000 / strips_per_s}",
        f"imaging.exposure_ms={min(0.005, 100 / strips_per_s)}",
        f"microscope.strips={max(1, round(strips_per_s * STACK_MS / 1000))}",
        f"microscope.events_per_s={events_per_s}",
        f"microscope.flow.speed_um_s={speed_um_s}",
        f"microscope.flow.junction_um={junction_um}",
        f"sort.flow.speed_um_s={speed_um_s}",
        f"sort.flow.junction_um={junction_um}",
        f"sort.events_per_s={events_per_s}",
        "sort.crops_kept=0.01",
    ]


def main(report: Report) -> None:
    throughput(report)
    purity(report)
    stalls(report)


def throughput(report: Report) -> None:
    """Ten minutes at the rate that was asked for, half a minute at others."""
    rows = [_held((1000, 1000), LONG_S), *(_held(rate, SHORT_S) for rate in RATES[1:])]
    report.table(
        "Sorting: rates that two cores hold",
        "Strips of 64×256 in stacks of 4 ms, separate processes, simulation included. `scheduled` is from the end of exposure of "
        f"a cell's last strip until its pulse was checked and scheduled. Held: p99 below {P99_MS:g} ms, every strip analysed.",
        ("strips/s", "cells/s asked", "cells/s judged", "s", "pulses", "late", "scheduled p50", "p99", "p99.9", "max ms",
         "strips lost", "stacks skipped", "held"),
        rows,
    )  # fmt: skip


def _held(rate: tuple[int, int], seconds: float) -> tuple[str, ...]:
    with session_of(CONFIG, seconds, at_rate(*rate)) as folder:
        figures = sort_figures(folder)
        summary = msgspec.json.decode((folder / "summary.json").read_bytes())
    times, outcomes = figures["scheduled_ms"], figures["outcomes"]
    lost, skipped = summary["frames_lost_by_camera"], summary["frames_skipped_by_inference"]
    held = times["p99"] < P99_MS and not lost and not skipped
    quantiles = (f"{times[name]:.2f}" for name in ("p50", "p99", "p99_9", "max"))
    return (
        str(rate[0]), str(rate[1]), f"{figures['events_per_s']:.0f}", f"{seconds:.0f}", str(outcomes.get("done", 0)),
        str(outcomes.get("late", 0)), *quantiles, str(lost), str(skipped), "yes" if held else "no",
    )  # fmt: skip


def purity(report: Report) -> None:
    """By rate, with several looks and with one; and how well arrivals are foretold."""
    rows = []
    for events_per_s in CURVE:
        for looks in (12, 1):
            figures = inline_figures([*at_rate(4000, events_per_s), f"sort.looks={looks}"], CELLS / events_per_s)
            rows.append(_purity_row(events_per_s, looks, figures))
    report.table(
        "Sorting: purity and yield of a 5 % class",
        f"Inline on simulated time, 4,000 strips/s, {CELLS:,} cells a row. Purity: wanted ones among all that were "
        "deflected, debris included. Yield: wanted ones that were deflected among all that passed. Arrival errors are of sorted "
        "cells.",
        ("cells/s", "looks at most", "purity", "expected", "yield", "expected", "enrichment", "coincidences",
         "arrival error p50 µs", "p99", "in standard errors"),
        rows,
    )  # fmt: skip


def _purity_row(events_per_s: int, looks: int, figures: dict[str, Any]) -> tuple[str, ...]:
    true, expected, error = figures["true"], figures["expected"], figures.get("arrival_error_us", {})
    return (
        str(events_per_s), str(looks), f"{true['purity']:.4f}", f"{expected['purity']:.4f}", f"{true['yield']:.4f}",
        f"{expected['yield']:.4f}", f"{true['enrichment']:.1f}", str(figures["verdicts"].get("coincidence", 0)),
        f"{error.get('abs_p50', 0):.1f}", f"{error.get('abs_p99', 0):.1f}", f"{error.get('standard_errors_sd', 0):.2f}",
    )  # fmt: skip


def inline_figures(overrides: Iterable[str], seconds: float) -> dict[str, Any]:
    """The figures of an inline sort of so long on simulated time."""
    config = load_config(CONFIG, overrides)
    with tempfile.TemporaryDirectory(dir=".", prefix="benchmark-") as root:
        folder = Path(root) / "session"
        folder.mkdir()
        with inline_run(config, "benchmark", folder, session_toml("benchmark", config), seconds) as inline:
            inline.image()
        return sort_figures(folder)


def stalls(report: Report) -> None:
    """Processes stopped for 1 to 100 ms by the operating system, again and again."""
    rows = []
    for timing in ("own", "computer"):
        overrides = [*at_rate(4000, 500), f'microscope.sorter.timing="{timing}"']
        with session_of(CONFIG, STALLED_S, overrides, beside=stalled) as folder:
            figures, late = sort_figures(folder), late_pulses(folder)
        outcomes = figures["outcomes"]
        rows.append((
            timing, str(figures["sorted"]), str(outcomes.get("done", 0)), str(outcomes.get("late", 0)),
            str(outcomes.get("refused", 0)), str(late.n_fired_late), f"{late.worst_us:.0f}",
        ))  # fmt: skip
    report.table(
        "Sorting: processes stalled for 1–100 ms",
        f"Acquisition or inference stopped (SIGSTOP) for 1 to 100 ms two times a second, {STALLED_S:.0f} s, 500 cells/s. `own`: "
        "the sorter times pulses itself; `computer`: the acquisition process does. Fired late: opened further from its "
        "moment than limits.pulse_tolerance_ms allows.",
        ("timing", "pulses decided", "fired", "late", "refused", "fired late", "furthest from its moment, µs"),
        rows,
    )  # fmt: skip


if __name__ == "__main__":
    main(Report())
