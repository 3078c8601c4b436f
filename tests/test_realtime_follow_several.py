"""follow with several cells in turn: a view that holds one of them at a time, and a tracker that remembers the others."""

from dataclasses import dataclass, field

import numpy as np
import pytest

from acquisition.commands import MoveStage
from models.cells import Floats
from realtime.policies.follow import Follow
from tests.scenes import cells_at, header, scene, tracks_of
from tracking.tracks import TrackEvent

INTERVAL_MS = 100.0
HALF_UM = 32.0  # of the view


@dataclass
class Dish:
    """Cells that drift; those out of view coast on the tracker's word, which is right unless they have `gone`."""

    cells_um: Floats
    drift_um: Floats  # a frame
    gone: frozenset[int] = frozenset()
    latency: int = 1
    stage_um: Floats = field(default_factory=lambda: np.zeros(2))
    centred: list[int | None] = field(default_factory=list)
    """The cell that each frame has in its middle."""
    meant: set[int] = field(default_factory=set)
    """Whose turn it was."""
    refuses: bool = False

    def watch(self, policy: Follow, frames: int, divides: int | None = None) -> list[int]:
        """The cells in the order of their turns."""
        waiting = list[tuple[int, Floats]]()
        for k in range(frames):
            view = header(k, (self.stage_um[0], self.stage_um[1]), interval_ms=INTERVAL_MS, size_px=128)
            off_um = np.abs(self.cells_um - self.stage_um).max(axis=1)
            seen = [i for i in range(len(off_um)) if off_um[i] < HALF_UM - 1 and (k < 20 or i not in self.gone)]
            unseen = {i + 1: ((float(x), float(y)), k + 1) for i, (x, y) in enumerate(self.cells_um) if i not in seen}
            near = np.flatnonzero(np.linalg.norm(self.cells_um - self.stage_um, axis=1) < 4.0)
            self.centred.append(int(near[0]) if near.size and near[0] in seen else None)
            cells = cells_at(view, self.cells_um[seen])
            events = [TrackEvent("divided", 1, (7, 8))] if k == divides else []
            ids = [7 if i == 0 and divides is not None and k >= divides else i + 1 for i in seen]
            if divides is not None and k >= divides and 1 in unseen:
                unseen[7] = unseen.pop(1)
            tracks = tracks_of(cells, ids, unseen=unseen, events=events)
            for decision in policy.decide(scene(view, cells, tracks)):
                assert isinstance(decision.command, MoveStage)
                self.meant.add((decision.track_id or 0) - 1)
                if not self.refuses:
                    waiting.append((k + self.latency, np.array([decision.command.x_um, decision.command.y_um])))
            while waiting and waiting[0][0] <= k:
                self.stage_um = waiting.pop(0)[1]
            self.cells_um = self.cells_um + self.drift_um
        shown = [cell for cell in self.centred if cell is not None]
        return [cell for i, cell in enumerate(shown) if i == 0 or cell != shown[i - 1]]


def three(**table: object) -> Dish:
    """Three cells in view at first, which then drift apart until a view holds only one of them."""
    cells_um = np.array([[5.0, 0.0], [-20.0, 15.0], [20.0, 20.0]])
    drift_um = np.array([[0.3, -0.1], [-0.3, 0.0], [0.1, 0.4]])
    return Dish(cells_um, drift_um, **table)  # type: ignore[arg-type]


def follow(**table: object) -> Follow:
    settings = {"n_cells": 3, "dwell_s": 3.0, "reach_s": 3.0, "step_um": 60.0, "patience_ms": 400.0, "gain": 1.0}
    return Follow(**(settings | table))  # type: ignore[arg-type]


@pytest.mark.parametrize("latency", [0, 1, 3])
def test_each_cell_gets_its_turn_and_is_found_again_where_it_is_expected(latency: int) -> None:
    dish = three(latency=latency)
    turns = dish.watch(follow(), 900)
    assert turns[:6] == turns[3:9]
    assert sorted(turns[:3]) == [0, 1, 2]
    assert np.abs(dish.cells_um[0] - dish.cells_um[1]).max() > 500, "far out of each other's view"
    shares = np.bincount([cell for cell in dish.centred if cell is not None]) / len(dish.centred)
    assert min(shares) > 0.2


def test_a_cell_that_is_gone_is_given_up_and_the_others_go_on() -> None:
    dish = three(gone=frozenset({1}))
    turns = dish.watch(follow(give_up_missed=5), 600)
    assert set(turns[-6:]) == {0, 2}


def test_a_stage_that_refuses_does_not_stop_the_turns() -> None:
    dish = three(refuses=True)
    dish.watch(follow(), 300)
    assert dish.meant == {0, 1, 2}


def test_a_daughter_takes_her_mothers_place() -> None:
    policy = follow()
    dish = three()
    dish.watch(policy, 300, divides=60)
    assert set(policy._turns.ids) == {7, 2, 3}


def test_with_one_cell_there_is_nothing_to_take_turns_with() -> None:
    dish = Dish(np.array([[8.0, 0.0]]), np.array([[0.2, 0.0]]))
    assert dish.watch(follow(), 300) == [0]


def test_fewer_cells_than_asked_for_are_taken_as_they_come() -> None:
    dish = Dish(np.array([[8.0, 0.0], [60.0, 0.0]]), np.array([[0.0, 0.0], [-0.2, 0.0]]))
    turns = dish.watch(follow(), 900)
    assert turns[0] == 0
    assert 1 in turns
