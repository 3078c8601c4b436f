"""btrack as a peer of benchmarks/tracking.py: Kalman filter and Bayesian links, then its global optimiser.

Its wheel needs a C++ library of GCC 13 or later (`GLIBCXX_3.4.32`). On an older system its library can be built from the
sources that the wheel brings, with Eigen's headers as `eigen/`: `g++ -std=c++17 -O3 -fPIC -shared -DDEBUG=false
-DBUILD_SHARED_LIB -Iinclude -I… src/*.cc -o libs/libtracker.so`, in its folder.
"""

import contextlib
import logging
import os
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
import numpy as np

from benchmarks.tracking_answers import tracked
from models.cells import Cells
from tracking.lineages import Lineages

METAPHASE, ANAPHASE, INTERPHASE = 2, 3, 0


class BtrackSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Kalman filter and Bayesian links, then the global optimiser; defaults are those of its cell_config.json.

    (https://github.com/lowe-lab-ucl/btrack-examples, where lengths are in pixels)
    """

    px_per_um: float = 2.0
    """Its lengths are pixels of this size: it scales all of what follows alike."""
    search_px: float = 100.0
    max_lost: int = 5
    not_assigned: float = 0.1
    accuracy: float = 7.5
    start_sigma_px: float = 150.0
    process_sigma_px: float = 15.0
    measurement_sigma_px: float = 5.0
    visual: bool = False
    """Compare area and intensity, too."""
    anaphase_share: float = 0.0
    """Cells smaller than this share of their frame's median are called anaphase, mitotic ones metaphase; 0: no classes."""
    divisions: bool = True
    deaths: bool = True
    lambda_time: float = 5.0
    lambda_dist: float = 3.0
    lambda_link: float = 10.0
    lambda_branch: float = 50.0
    theta_dist_px: float = 20.0
    theta_time: float = 5.0
    dist_thresh_px: float = 40.0
    time_thresh: float = 2.0
    miss_rate: float = 0.1
    relax: bool = True
    optimiser_s: float = 60.0
    least_sightings: int = 1


def btrack(frames: Sequence[Cells], settings: BtrackSettings) -> Lineages:
    with btrack_session(frames, settings) as tracker:
        tracker.append(objects(frames, settings))
        tracker.track(step_size=len(frames))
        tracker.optimise()
        found = [(track.ID, track.parent, refs) for track, refs in zip(tracker.tracks, tracker.refs, strict=True)]
    starts = np.cumsum([0, *map(len, frames)])
    ids = np.zeros(starts[-1], np.int64)
    for track, _, refs in found:
        ids[[ref for ref in refs if ref >= 0]] = track
    sighted = set(np.unique(ids).tolist())
    parents = {track: int(parent) for track, parent, _ in found if parent != track and parent in sighted - {0}}
    return tracked(frames, np.split(ids, starts[1:-1]), parents)


@contextlib.contextmanager
def btrack_session(frames: Sequence[Cells], settings: BtrackSettings, approximate: bool = False) -> Iterator[Any]:
    """A tracker ready for these frames, and nothing printed; `approximate` links only within its search radius."""
    import btrack as bt

    logging.getLogger("btrack").setLevel(logging.CRITICAL)
    with _silent(), bt.BayesianTracker(verbose=False) as tracker:
        tracker.configure(_btrack_config(settings, frames))
        if approximate:
            tracker.update_method = bt.constants.BayesianUpdates.APPROXIMATE
        # Only track() does this (0.7.0), and without it step() links nothing.
        tracker._lib.set_update_features(tracker._engine, sum(u.value for u in tracker.tracking_updates))
        yield tracker


def _btrack_config(s: BtrackSettings, frames: Sequence[Cells]) -> Any:
    """The motion model of its cell_config.json: constant velocity."""
    from btrack.config import TrackerConfig
    from btrack.models import HypothesisModel, MotionModel

    straight_on = np.block([[np.eye(3), np.eye(3)], [np.zeros((3, 3)), np.eye(3)]])
    motion = MotionModel(
        measurements=3, states=6, A=straight_on, H=np.eye(3, 6), P=s.start_sigma_px * np.diag([0.1, 0.1, 0.1, 1, 1, 1]),
        G=s.process_sigma_px * np.array([0.5, 0.5, 0.5, 1, 1, 1]), R=s.measurement_sigma_px * np.eye(3),
        dt=1.0, accuracy=s.accuracy, max_lost=s.max_lost, prob_not_assign=s.not_assigned,
    )  # fmt: skip
    extra = ["P_branch"] * s.divisions + ["P_dead"] * s.deaths
    hypotheses = HypothesisModel(
        hypotheses=["P_FP", "P_init", "P_term", "P_link", *extra], lambda_time=s.lambda_time, lambda_dist=s.lambda_dist,
        lambda_link=s.lambda_link, lambda_branch=s.lambda_branch, eta=1e-10, theta_dist=s.theta_dist_px,
        theta_time=s.theta_time, dist_thresh=s.dist_thresh_px, time_thresh=s.time_thresh, apop_thresh=5,
        segmentation_miss_rate=s.miss_rate, apoptosis_rate=0.001, relax=s.relax,
    )  # fmt: skip
    places = np.concatenate([cells.xy_um for cells in frames]) * s.px_per_um
    low, high = places.min(axis=0) - 1, places.max(axis=0) + 1
    return TrackerConfig(
        motion_model=motion, hypothesis_model=hypotheses, max_search_radius=s.search_px,
        volume=((low[0], high[0]), (low[1], high[1])), features=["appearance"] if s.visual else [],
        tracking_updates=["MOTION", "VISUAL"] if s.visual else ["MOTION"],
        optimizer_options={"tm_lim": round(1000 * s.optimiser_s), "msg_lev": "GLP_MSG_OFF"},
    )  # fmt: skip


def objects(frames: Sequence[Cells], s: BtrackSettings) -> list[Any]:
    """What it tracks, in the order of frames and rows."""
    from btrack.btypes import PyTrackObject

    logs = [np.column_stack([np.log(c.area_um2 + 1e-6), np.log(c.mean_intensity + 1e-6)]) for c in frames]
    every = np.concatenate(logs)
    standard = [(log - every.mean(axis=0)) / (every.std(axis=0) + 1e-9) for log in logs]
    found: list[Any] = []
    for frame, cells in enumerate(frames):
        for row, (x, y) in enumerate((cells.xy_um * s.px_per_um).tolist()):
            entry = {"ID": len(found), "t": frame, "x": x, "y": y, "z": 0.0}
            entry |= {"label": _state(cells, row, s.anaphase_share)} if s.anaphase_share else {}
            thing = PyTrackObject.from_dict(entry)
            if s.visual:
                # It compares directions: a constant third component makes lengths count as well.
                thing.properties = {"appearance": np.append(standard[frame][row], 3.0)}
            found.append(thing)
    return found


def _state(cells: Cells, row: int, anaphase_share: float) -> int:
    if cells.area_um2[row] < anaphase_share * np.median(cells.area_um2):
        return ANAPHASE
    mitotic = "mitotic" in cells.class_names and cells.probability("mitotic")[row] > 0.5
    return METAPHASE if mitotic else INTERPHASE


@contextlib.contextmanager
def _silent() -> Iterator[None]:
    """Swallows what compiled code prints."""
    kept = os.dup(1), os.dup(2)
    with open(os.devnull, "w") as nowhere:
        os.dup2(nowhere.fileno(), 1)
        os.dup2(nowhere.fileno(), 2)
        try:
            yield
        finally:
            for number, descriptor in enumerate(kept, start=1):
                os.dup2(descriptor, number)
                os.close(descriptor)
