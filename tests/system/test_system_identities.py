"""The inference process is killed: the next one goes on with the same identities, and gives no id a second time."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from pyarrow import parquet

from acquisition.commands import MoveStage
from models.cells import Floats
from realtime.replay import replay
from realtime.tracker_memory import FILE
from realtime.wire import FrameAnalysed, InferenceStarted
from tests.system.runs import STEADY, Recorded, Run, Table, of_kind, simulated_config
from tests.system.test_system_inference_lost import decided_after

FOLLOW: Table = {"use": "follow"}
SAME_UM = 2.0
"""Simulated cells move far less in the seconds between two processes."""


@dataclass
class Told:
    """The tracks of one frame, as a user reads them."""

    alive: set[int] = field(default_factory=set)
    seen_um: dict[int, Floats] = field(default_factory=dict)
    """Where those are that have a cell."""
    confirmed: set[int] = field(default_factory=set)


def told_by(folder: Path) -> dict[int, Told]:
    """By frame."""
    found: defaultdict[int, Told] = defaultdict(Told)
    for row in parquet.read_table(folder / "tracks.parquet").to_pylist():
        told, track = found[row["frame_index"]], row["track_id"]
        told.alive.add(track)
        if row["label"]:
            told.seen_um[track] = np.array([row["x_um"], row["y_um"]])
        if row["confirmed"]:
            told.confirmed.add(track)
    return found


def near(at_um: Floats, others_um: Iterable[Floats]) -> bool:
    return any(np.hypot(*(at_um - other)) < SAME_UM for other in others_um)


def test_identities_outlive_the_process_that_is_killed(tmp_path: Path) -> None:
    config = simulated_config(tmp_path, (FOLLOW, STEADY), inference={"save_tracker_s": 0.2}, microscope={"n_cells": 12})
    with Run(config, tmp_path / "session") as run:
        run.take_frames(9)
        run.order(MoveStage(x_um=30.0, y_um=10.0))  # other cells come into view, some of them after the last save
        run.take_frames(5)
        killed_ns = run.signal("inference")
        run.step_until(lambda: decided_after(run, killed_ns), "inference decides again")
        run.order(MoveStage(x_um=-30.0, y_um=-40.0))
        run.take_frames(5)
        result = run.finish()
        assert result.ok, result.reason

    recorded, told = Recorded(run.folder), told_by(run.folder)
    begun, resumed = of_kind(InferenceStarted, recorded.messages)
    first, second = (
        [told[a.frame_index] for a in of_kind(FrameAnalysed, recorded.messages) if a.incarnation == incarnation]
        for incarnation in (begun.incarnation, resumed.incarnation)
    )
    assert begun.from_frame is None
    assert resumed.from_frame is not None
    saved, used = told[resumed.from_frame], set().union(*(frame.alive for frame in first))
    assert resumed.ids_used >= max(used)

    here_um = second[0].seen_um
    survivors = {i for i, at in saved.seen_um.items() if i in saved.confirmed and near(at, here_um.values())}
    assert len(survivors) >= 3
    assert survivors <= here_um.keys()
    assert all(near(saved.seen_um[i], [here_um[i]]) for i in survivors)

    later = set().union(*(frame.alive for frame in second))
    assert later - used, "no cell came into view: this run shows nothing"
    assert min(later - used) > resumed.ids_used
    assert later & used <= saved.alive, "an id came back that was forgotten"

    assert not (run.folder / FILE).exists(), "the run has ended: nobody will go on with it"
    again = replay(run.folder)
    assert (again.first_difference, again.n_unreadable) == (None, 0)
    assert again.n_decisions > 0
