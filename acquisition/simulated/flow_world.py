"""Cells on their way through a channel: who comes when, where, how fast, and when each is at the junction.

A pump pulsates, and all cells with it. In a time that runs as fast as the flow does ("flow time", seconds), every cell
goes at one speed: it is in the middle of the view at its `passing_s` and reaches any place at a known flow time.
"""

import threading
from collections import deque
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import ndtr, ndtri

from acquisition.clock import NS_PER_S
from acquisition.simulated.flow_settings import Flow, FlowCellSettings
from acquisition.simulated.flow_sprites import FlowSprites
from acquisition.simulated.random_streams import random_stream

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
BLOCK = 512
"""Cells that are made together."""
SLOWEST = 0.05
"""No cell is slower than this share of the speed on the axis: what creeps along a wall sticks to it."""
CONTRAST_SPREAD = 0.06
SIZE_SPREAD = 0.03
MOST_SPREADS = 3.0


@dataclass(frozen=True)
class FlowingCells:
    """Row i of every array is the same cell; in the order of `passing_s`, which is that of `id`."""

    id: Ints
    kind: Ints  # place among the specimen's classes
    sprite: Ints
    passing_s: Floats  # flow time at which the centre is in the middle of the view
    y_um: Floats  # distance from the axis, downwards in the image
    speed_um_s: Floats  # along the flow, per second of flow time: its mean speed
    angle_rad: Floats
    turning_rad_s: Floats
    contrast: Floats  # of the sprite's own
    size: Floats  # of the sprite's own
    arrival_ns: Ints  # centre at the junction, run's clock
    entered_ns: Ints  # centre at the upstream edge of the view

    def __len__(self) -> int:
        return len(self.id)

    def __getitem__(self, rows: slice) -> "FlowingCells":
        return FlowingCells(*(getattr(self, name)[rows] for name in self.__dataclass_fields__))

    def followed_by(self, others: "FlowingCells") -> "FlowingCells":
        """Both, one after the other."""
        return FlowingCells(
            *(np.concatenate([getattr(self, name), getattr(others, name)]) for name in self.__dataclass_fields__)
        )


class Pump:
    """The way between the run's clock and flow time."""

    def __init__(self, flow: Flow, opened_ns: int, phase_rad: float) -> None:
        self._opened_ns, self._phase_rad = opened_ns, phase_rad
        self._share, self._rad_s = flow.pulsation, 2 * np.pi * flow.pulsation_hz

    def flow_s(self, t_ns: Ints) -> Floats:
        """Flow time at moments of the run's clock."""
        return self._carried_s((t_ns - self._opened_ns) / NS_PER_S)

    def t_ns(self, flow_s: Floats) -> Ints:
        """The way back, by Newton's method: the flow never stands, so that it ends within a nanosecond."""
        t_s = flow_s.copy()
        for _ in range(8):
            t_s -= (self._carried_s(t_s) - flow_s) / (1 + self._share * np.sin(self._rad_s * t_s + self._phase_rad))
        return self._opened_ns + np.rint(t_s * NS_PER_S).astype(np.int64)

    def _carried_s(self, t_s: Floats) -> Floats:
        """The integral of 1 + share · sin(ωt + φ)."""
        swing = np.cos(self._phase_rad) - np.cos(self._rad_s * t_s + self._phase_rad)
        carried_s: Floats = t_s + self._share / self._rad_s * swing
        return carried_s


class FlowWorld:
    """The sample. Cells are made in blocks, each from its own random numbers, so that it matters nowhere when."""

    def __init__(self, settings: FlowCellSettings, sprites: FlowSprites, opened_ns: int) -> None:
        self._settings, self._sprites = settings, sprites
        self.classes = tuple(settings.class_shares)
        self.pump = Pump(settings.flow, opened_ns, random_stream(settings.seed, "focus").uniform(0, 2 * np.pi))
        self.made: deque[FlowingCells] = deque()
        """Blocks that are not told yet: for who keeps the truth."""
        self._n_blocks, self._made_to_s = 0, 0.0
        self._cells = self._block()  # of the latest blocks
        self._lock = threading.Lock()

    def between(self, first_s: float, last_s: float) -> FlowingCells:
        """Cells of which something may be in the view between two flow times, and perhaps some more. In any thread."""
        view_um = self._settings.width_px * self._settings.um_per_px / 2 + self._sprites.reach_um
        away_s = view_um / (self._settings.flow.speed_um_s * SLOWEST)
        with self._lock:
            self._make(last_s + away_s, first_s - away_s)
            rows = np.searchsorted(self._cells.passing_s, (first_s - away_s, last_s + away_s))
            return self._cells[rows[0] : rows[1]]

    def make_until(self, t_ns: int) -> None:
        """Make all cells that can be at the junction by then."""
        with self._lock:
            self._make(float(self.pump.flow_s(np.array([t_ns]))[0]), -np.inf)

    def _make(self, until_s: float, since_s: float) -> None:
        while self._made_to_s < until_s:
            old = int(np.searchsorted(self._cells.passing_s, since_s)) - BLOCK
            self._cells = self._cells[max(0, old) :].followed_by(self._block())

    def _block(self) -> FlowingCells:
        settings, flow = self._settings, self._settings.flow
        random = random_stream(settings.seed, "specimen", self._n_blocks)
        passing_s = self._made_to_s + np.cumsum(random.exponential(1 / settings.events_per_s, BLOCK))
        shares = settings.class_shares
        kind = random.choice(len(shares), BLOCK, p=list(shares.values()))
        sprite = self._chosen(kind, random.random(BLOCK))
        room_um = np.maximum(0.0, flow.channel_um / 2 - self._sprites.radius_um[sprite])
        y_um = _focused_um(flow.focusing_um, room_um, random.random(BLOCK))
        normal = np.clip(random.standard_normal((5, BLOCK)), -MOST_SPREADS, MOST_SPREADS)
        share = np.maximum(SLOWEST, 1 - (2 * y_um / flow.channel_um) ** 2) * (1 + flow.slip * normal[0])
        speed_um_s = flow.speed_um_s * np.maximum(share, SLOWEST)
        to_junction_s = flow.junction_um / (speed_um_s * (1 + flow.unseen_slip * normal[4]))
        half_view_um = settings.width_px * settings.um_per_px / 2
        block = FlowingCells(
            id=self._n_blocks * BLOCK + np.arange(BLOCK), kind=kind, sprite=sprite, passing_s=passing_s,
            y_um=y_um, speed_um_s=speed_um_s, angle_rad=random.uniform(0, 2 * np.pi, BLOCK),
            turning_rad_s=np.deg2rad(flow.tumbling_deg_ms) * 1000 * normal[1],
            contrast=1 + CONTRAST_SPREAD * normal[2], size=1 + SIZE_SPREAD * normal[3],
            arrival_ns=self.pump.t_ns(passing_s + to_junction_s),
            entered_ns=self.pump.t_ns(passing_s - half_view_um / speed_um_s),
        )  # fmt: skip
        self._n_blocks, self._made_to_s = self._n_blocks + 1, float(passing_s[-1])
        self.made.append(block)
        return block

    def _chosen(self, kind: Ints, where: Floats) -> Ints:
        """One of the pictures of each cell's class."""
        chosen = np.empty(len(kind), dtype=np.int64)
        for k, name in enumerate(self.classes):
            rows, pool = kind == k, self._sprites.of_kind[name]
            chosen[rows] = pool[(where[rows] * len(pool)).astype(np.int64)]
        return chosen


def _focused_um(spread_um: float, room_um: Floats, where: Floats) -> Floats:
    """Normally distributed about the axis, but within ± `room_um`."""
    if spread_um == 0:
        return np.zeros_like(room_um)
    beyond = ndtr(-room_um / spread_um)
    y_um: Floats = spread_um * ndtri(beyond + where * (1 - 2 * beyond))
    return np.clip(y_um, -room_um, room_um)
