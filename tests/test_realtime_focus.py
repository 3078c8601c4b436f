"""The search for the focus, by itself and in `follow`, with a drive that is late, slow or deaf."""

import math
from collections.abc import Collection

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from acquisition.commands import MoveStage
from acquisition.frame import StagePosition
from realtime.focus_search import MOST_STEPS, FocusSearch, sharpest
from realtime.policies.follow import Follow
from tests.scenes import cells_at, header, scene

INTERVAL_MS = 100.0


def sharpness_at(off_um: float) -> float:
    """As blur that grows with the square of the defocus makes it."""
    return 1.0 / (1.0 + 0.15 * off_um**2)


class Drive:
    """A focus drive with a plane of focus at `plane_um` that drifts."""

    def __init__(
        self, plane_um: float, latency: int = 0, um_per_frame: float = math.inf, deaf_to: Collection[int] = (),
        drift_um: float = 0.0, noise: float = 0.0,
    ) -> None:  # fmt: skip
        self.plane_um, self.latency, self.um_per_frame, self.deaf_to = plane_um, latency, um_per_frame, deaf_to
        self.drift_um, self.noise = drift_um, noise
        self.z_um = self.target_um = 0.0
        self.n_asked = self.k = 0
        self._waiting: list[tuple[int, float]] = []
        self._rng = np.random.default_rng(5)

    def seen(self) -> float:
        return sharpness_at(self.z_um - self.plane_um) + self._rng.normal(0, self.noise)

    def obey(self, moves: list[MoveStage]) -> None:
        for move in moves:
            assert move.x_um is None
            assert move.z_um is not None
            if self.n_asked not in self.deaf_to:
                self._waiting.append((self.k + self.latency, move.z_um))
            self.n_asked += 1
        while self._waiting and self._waiting[0][0] <= self.k:
            self.target_um = self._waiting.pop(0)[1]
        way_um = self.target_um - self.z_um
        self.z_um += way_um if abs(way_um) <= self.um_per_frame else math.copysign(self.um_per_frame, way_um)
        self.plane_um += self.drift_um
        self.k += 1


def search(drive: Drive, step_um: float = 1.0, most_frames: int = 200, blind_in: Collection[int] = ()) -> int:
    """Until the search is over; how many frames it took."""
    focus = FocusSearch(step_um, patience_ms=1500.0)
    focus.begin(drive.z_um)
    for k in range(most_frames):
        frame = msgspec.structs.replace(header(k, interval_ms=INTERVAL_MS), stage=StagePosition(z_um=drive.z_um))
        move = focus.turn(frame, math.nan if k in blind_in else drive.seen())
        drive.obey([] if move is None else [move])
        if not focus.under_way:
            return k
    return most_frames


@pytest.mark.parametrize(
    ("looks", "where"),
    [((1.0, 2.0, 1.0), 0.0), ((1.0, 2.0, 2.0), 0.5), ((0.0, 1.0, 2.0), 1.0), ((3.0, 1.0, 2.0), -1.0), ((1.0, 1.0, 1.0), 0.0)],
)  # fmt: skip
def test_the_parabola_says_where(looks: tuple[float, float, float], where: float) -> None:
    assert sharpest(looks) == pytest.approx(where)


@settings(max_examples=40, deadline=None)
@given(
    plane_um=st.floats(-3.5, 3.5), latency=st.integers(0, 4), um_per_frame=st.sampled_from([math.inf, 0.4]),
    deaf_to=st.frozensets(st.integers(0, 12), max_size=2),
)  # fmt: skip
def test_the_focus_is_found_whatever_the_drive_does(
    plane_um: float, latency: int, um_per_frame: float, deaf_to: frozenset[int]
) -> None:
    drive = Drive(plane_um, latency, um_per_frame, deaf_to)
    assert search(drive) < 200
    assert abs(drive.z_um - plane_um) < 0.3


def test_a_drive_that_does_not_move_ends_the_search() -> None:
    drive = Drive(0.7, deaf_to=range(99))
    assert search(drive) < 120
    assert drive.z_um == 0


def test_a_look_that_says_nothing_leads_back_to_the_start() -> None:
    drive = Drive(5.0)
    search(drive, blind_in=range(3, 99))
    assert drive.z_um == pytest.approx(0)


def test_it_does_not_run_away_where_nothing_is_ever_sharper() -> None:
    drive = Drive(500.0)
    assert search(drive) < 200
    assert abs(drive.z_um) <= MOST_STEPS + 1e-9


# --- in follow ------------------------------------------------------------------------------------------------


def followed(drive: Drive, policy: Follow, frames: int, x_um: float = 0.0, n_cells: int = 3) -> list[float]:
    """Distance from focus in each frame."""
    errors = []
    for _ in range(frames):
        frame = msgspec.structs.replace(header(drive.k, interval_ms=INTERVAL_MS), stage=StagePosition(z_um=drive.z_um))
        here = [(x_um + 30.0 * n, 0.0) for n in range(n_cells)]
        cells = cells_at(frame, here, features={"sharpness": [drive.seen()] * n_cells})
        moves = [decision.command for decision in policy.decide(scene(frame, cells))]
        errors.append(abs(drive.z_um - drive.plane_um))
        drive.obey([move for move in moves if isinstance(move, MoveStage) and move.z_um is not None])
    return errors


@pytest.mark.parametrize("on", ["cell", "view"])
def test_follow_keeps_the_focus_while_it_drifts(on: str) -> None:
    policy = Follow(focus_every_s=5.0, focus_step_um=1.5, focus_on=on)
    drive = Drive(0.0, latency=1, drift_um=0.005, noise=0.002)
    errors = followed(drive, policy, 2000)
    assert drive.plane_um == pytest.approx(10.0)
    assert np.mean(errors[100:]) < 0.8
    assert max(errors[100:]) < 2.6, "a step, and what has drifted meanwhile"
    held = Drive(0.0, drift_um=0.005)
    assert followed(held, Follow(), 2000)[-1] > 9


def test_follow_does_not_move_sideways_while_it_searches() -> None:
    policy = Follow(focus_every_s=2.0)
    drive = Drive(1.0, latency=2)
    kinds, moves = [], list[MoveStage]()
    for _ in range(60):
        frame = msgspec.structs.replace(header(drive.k, interval_ms=INTERVAL_MS), stage=StagePosition(z_um=drive.z_um))
        cells = cells_at(frame, [(0.2 * drive.k, 0.0)], features={"sharpness": [drive.seen()]})
        moves.clear()
        for decision in policy.decide(scene(frame, cells)):
            assert isinstance(decision.command, MoveStage)
            kinds.append("z" if decision.command.z_um is not None else "x")
            under_way = policy._focus.under_way
            assert kinds[-1] == "z" or not under_way
            moves += [decision.command] if kinds[-1] == "z" else []
        drive.obey(moves)
    assert {"x", "z"} == set(kinds)


def test_follow_does_not_search_without_cells() -> None:
    policy = Follow(focus_every_s=0.5)
    assert followed(Drive(1.0), policy, 20, n_cells=0) == [1.0] * 20
