"""How fast does the simulated laboratory draw, and how fast does it live? One thread."""

import math
import statistics
import time
from collections.abc import Callable

import cv2

from acquisition.clock import SimulatedClock
from acquisition.microscope import Imaging
from acquisition.simulated.microscope import SimulatedMicroscope
from acquisition.simulated.random_streams import random_stream
from acquisition.simulated.settings import Biology, Optics, SensorSettings
from acquisition.simulated.specimen import STEP_MIN, Culture, Specimen
from benchmarks.tables import Report

SIDE_PX, N_CELLS = 512, 300
N_FRAMES, LIFE_MIN = 150, 60.0
CULTURE = Culture(
    n_cells=0,
    size_um=(0.0, 0.0),
    nucleus_um=15.0,
    speed_um_min=0.5,
    persistence_min=20.0,
    cycle_min=1200.0,
    mitosis_min=40.0,
)
EVENTFUL = Biology(
    growth_fraction=0.9, death_per_h=0.005, bleach_j_cm2=50.0, harm_j_cm2=20.0, rare_per_h=0.01, transient_per_h=1.0
)
LOOKS = {
    "drawn, nuclei of 9 µm, in focus": (9.0, Optics(vignetting=0.3)),
    "drawn, nuclei of 17 µm, in focus": (17.0, Optics(vignetting=0.3)),
    "real sprites, nuclei of 17 µm, in focus": (17.0, Optics(vignetting=0.3, appearance="real")),
    "drawn, nuclei of 17 µm, up to 10 µm out of focus": (17.0, Optics(vignetting=0.3, focus_drift_um_h=-1.2e4)),
}
"""The last one's focus drifts away within its frames."""


def frame_row(name: str, nucleus_um: float, optics: Optics) -> tuple[str, ...]:
    """All that a frame needs: cells, point spread, vignetting, photons, noise, saturation."""
    clock = SimulatedClock()
    microscope = SimulatedMicroscope(
        height_px=SIDE_PX, width_px=SIDE_PX, n_cells=N_CELLS, nucleus_um=nucleus_um, optics=optics, biology=EVENTFUL,
        sensor=SensorSettings(full_well_e=30_000.0, hot_pixels=1e-4, bits=12),
    )  # fmt: skip
    microscope.open(clock, Imaging(interval_ms=20.0, exposure_ms=1.0))
    microscope.start()
    times_ms = []
    for _ in range(N_FRAMES):
        clock.sleep_s(0.02)
        times_ms.append(milliseconds(microscope.poll_frame))
    middle_ms = statistics.median(times_ms)
    return (
        name,
        str(len(microscope.truth().nuclei.id)),
        f"{middle_ms:.1f}",
        f"{max(times_ms):.1f}",
        f"{1000 / middle_ms:.0f}",
    )


def life_row(n_cells: int) -> tuple[str, ...]:
    """As dense as 100 cells in a view."""
    side_um = math.sqrt(n_cells / 100) * SIDE_PX * 0.65
    culture = Culture(**(CULTURE.__dict__ | {"n_cells": n_cells, "size_um": (side_um, side_um)}))
    world = Specimen(culture, random_stream(1, "specimen"), EVENTFUL)
    world.nuclei_at(1.0)
    took_ms = milliseconds(lambda: world.nuclei_at(1.0 + LIFE_MIN))
    return str(n_cells), f"{took_ms / (LIFE_MIN / STEP_MIN):.2f}", f"{took_ms / 1000 * 1440 / LIFE_MIN:.1f}"


def milliseconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return (time.perf_counter() - started) * 1000


def main(report: Report) -> None:
    cv2.setNumThreads(1)
    report.table(
        f"Simulated laboratory: a frame of {SIDE_PX}×{SIDE_PX}, about {N_CELLS} cells in view, one thread",
        f"{N_FRAMES} frames: the world's steps, cells, point spread, vignetting, shot and read noise, hot pixels, saturation.",
        ("what", "cells in view", "ms p50", "ms most", "frames/s"),
        [frame_row(name, *look) for name, look in LOOKS.items()],
    )
    report.table(
        "Simulated laboratory: a specimen's life, one thread",
        f"{LIFE_MIN:g} min of a dish as dense as 100 cells in a view, in steps of {STEP_MIN * 60:g} s.",
        ("cells", "ms a step", "s for a day of life"),
        [life_row(n_cells) for n_cells in (100, 1000, 5000)],
    )


if __name__ == "__main__":
    main(Report())
