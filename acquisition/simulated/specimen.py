"""The world under the simulated microscope: cells that wander, keep apart, divide, suffer from light and die.

The specimen's history depends on its seed and on the light that falls on it, never on when or where somebody looks.
"""

import math
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from threading import Lock

import numpy as np

from acquisition.simulated import biology as bio
from acquisition.simulated.biology import Bools, Floats, Ints
from acquisition.simulated.cells import CELL, Cells, moved_um, not_yet_parted_um
from acquisition.simulated.crowding import push_um
from acquisition.simulated.fates import Fates
from acquisition.simulated.history import History, TrueEvent, TruthKind
from acquisition.simulated.nuclei import PARTING, RARE_RADIUS, Nuclei, half_axes_um, mean_brightness
from acquisition.simulated.settings import Biology

STEP_MIN = 1 / 6
"""The world moves on in steps of 10 s of the specimen's time; within a step cells move in straight lines."""
LARGEST_GROWTH = 3.0
"""A culture so many times as dense as at the start is confluent: its cells stop growing, as in a dish."""
CLEARANCE = 1.25
"""Nuclei closer than so many diameters, centre to centre, push each other apart: cytoplasm lies between."""
ACROSS = (bio.PROMETAPHASE, bio.METAPHASE)
"""Phases in which the chromatin's long axis is the plate's, at right angles to the way in which the daughters will part."""


@dataclass(frozen=True)
class Culture:
    """What kind of cells grow here; the specimen is centred on (0, 0)."""

    n_cells: int
    size_um: tuple[float, float]
    nucleus_um: float
    speed_um_min: float
    persistence_min: float
    cycle_min: float
    mitosis_min: float


@dataclass(frozen=True)
class Illumination:
    """Light that has fallen evenly on a rectangle, when all of it was there."""

    t_min: float
    low_um: tuple[float, float]
    high_um: tuple[float, float]
    j_cm2: float


class Specimen:
    """Cells in a dish. Light must be told in order and before the nuclei are asked for that it has fallen on."""

    def __init__(self, culture: Culture, rng: np.random.Generator, biology: Biology = Biology()) -> None:
        self.culture, self.biology = culture, biology
        self._rng = rng
        self._fates = Fates(biology, rng.spawn(1)[0])
        self._history = History()
        self._lights: deque[Illumination] = deque()
        self._n_ids = 0
        self._t_min = self._seen_min = 0.0  # when the present step began; the latest time anybody has seen
        self._lock = Lock()
        self._cells = self._seeded()

    def illuminate(self, lights: Iterable[Illumination]) -> None:
        """Light that bleaches and harms; it is reckoned with when the time it fell is over."""
        with self._lock:
            self._lights.extend(lights)

    def nuclei_at(self, t_min: float) -> Nuclei:
        """All nuclei at `t_min` after the start; times must grow, but for a fraction of a step."""
        with self._lock:
            while self._lights and self._lights[0].t_min < t_min:
                light = self._lights.popleft()
                self._advance_to(light.t_min)
                self._shine(light)
            self._advance_to(t_min)
            self._seen_min = max(self._seen_min, t_min)
            return self._nuclei(t_min)

    def history(self, opened_ns: int, ns_per_min: float) -> list[TrueEvent]:
        """What has happened until the latest moment that `nuclei_at` was asked for, which does not wait for the telling."""
        with self._lock:
            history, seen_min = self._history.copy(), self._seen_min
        return history.told(seen_min, opened_ns, ns_per_min)

    def _nuclei(self, t_min: float) -> Nuclei:
        cells, way = self._cells, (t_min - self._t_min) / STEP_MIN
        progress = np.minimum(cells["progress"] + way * cells["pace"], 1 - 1e-12)
        mitosis, dead, rare = self._mitosis_share(cells), t_min >= cells["died_min"], t_min < cells["rare_until_min"]
        rare &= ~dead
        phase, share = self._phases(cells, progress)
        share[dead] = np.clip((t_min - cells["died_min"][dead]) / bio.APOPTOSIS_MIN, 0.0, 1.0)
        phase[dead] = bio.DEAD
        through = np.minimum(progress / (1 - mitosis), 1.0)
        semi_um = half_axes_um(cells["semi_um"], through, phase, share)
        dna = bio.dna_content(progress, mitosis)
        brightness = mean_brightness(cells["stain"], dna, semi_um, cells["semi_um"], phase, share)
        since_s = (t_min - cells["flash_min"]) * 60
        return Nuclei(
            id=cells["id"].copy(), parent=cells["parent"].copy(),
            xy_um=moved_um(cells, way) - not_yet_parted_um(cells, phase, share),
            semi_um=semi_um * np.where(rare, RARE_RADIUS, 1.0)[:, None],
            angle_rad=cells["angle_rad"] + np.where(np.isin(phase, ACROSS), math.pi / 2, 0.0),
            brightness=brightness * np.where(rare, self.biology.rare_brightness, 1.0),
            radius_um=np.sqrt(cells["semi_um"].prod(axis=1)), phase=phase, share=share,
            unbleached=cells["unbleached"].copy(), reporter=bio.flash(since_s, self.biology),
            dose_j_cm2=cells["dose_j_cm2"].copy(), harmed=cells["harmed"].copy(), rare=rare,
        )  # fmt: skip

    def _phases(self, cells: Cells, progress: Floats) -> tuple[Ints, Floats]:
        """As if all were alive."""
        phase, share = bio.phase_of(progress, self._mitosis_share(cells), cells["parent"] > 0)
        phase[~cells["cycles"] & (phase == bio.G1)] = bio.G0
        return phase, share

    def _mitosis_share(self, cells: Cells) -> Floats:
        """Of each cell's cycle."""
        share: Floats = self.culture.mitosis_min / cells["cycle_min"]
        return share

    def _seeded(self) -> Cells:
        """The culture at the start: cells anywhere, of the ages that a steadily growing culture has."""
        culture = self.culture
        cells = self._newborn(culture.n_cells)
        half_um = np.array(culture.size_um) / 2
        cells["xy_um"] = self._rng.uniform(-half_um, half_um, (culture.n_cells, 2))
        progress = -np.log2(1 - self._rng.random(culture.n_cells) / 2)
        cells["progress"] = np.where(cells["cycles"], progress, bio.S_BEGINS / 2 * (1 - self._mitosis_share(cells)))
        for _ in range(30):
            cells["xy_um"] += push_um(cells["xy_um"], CLEARANCE * culture.nucleus_um)
            np.clip(cells["xy_um"], -half_um, half_um, out=cells["xy_um"])
        dividing = self._in_mitosis(cells)
        since_min = (1 - self._mitosis_share(cells) - cells["progress"]) * cells["cycle_min"]
        self._note("mitosis", cells[dividing], since_min[dividing], np.inf)
        self._plan_step(cells, 0.0)
        return cells

    def _newborn(self, n: int) -> Cells:
        """Cells with everything drawn but a place and a parent."""
        rng, culture = self._rng, self.culture
        cells = np.zeros(n, dtype=CELL)
        cells["id"] = self._n_ids + 1 + np.arange(n)
        self._n_ids += n
        cells["velocity_um_min"] = rng.normal(0.0, culture.speed_um_min / math.sqrt(2), (n, 2))
        cells["cycle_min"] = culture.cycle_min * rng.lognormal(0.0, 0.1, n)
        radius_um = culture.nucleus_um / 2 * rng.lognormal(0.0, 0.07, n)
        elongation = np.sqrt(rng.uniform(1.0, 1.6, n))
        cells["semi_um"] = np.stack([radius_um * elongation, radius_um / elongation], axis=1)
        cells["angle_rad"] = rng.uniform(0.0, math.pi, n)
        cells["stain"] = rng.lognormal(0.0, 0.12, n)
        cells["cycles"] = self._fates.cycling(n)
        cells["unbleached"] = 1.0
        cells["rare_until_min"] = cells["flash_min"] = -np.inf
        cells["died_min"] = np.inf
        return cells

    def _advance_to(self, t_min: float) -> None:
        while t_min >= self._t_min + STEP_MIN:
            self._advance()

    def _advance(self) -> None:
        """One step on: every cell arrives where it was going, ages, perhaps divides or is gone, and plans again."""
        cells, t_min = self._cells, self._t_min + STEP_MIN
        cells["xy_um"] += cells["step_um"]
        self._grow(cells)
        cells["unrepaired_j_cm2"] *= bio.unrepaired_after(STEP_MIN, self.biology)
        gone = t_min - cells["died_min"] >= bio.APOPTOSIS_MIN
        if gone.any():
            cells = cells[~gone]
        cells = self._divided(cells, t_min)
        quiet = ~self._in_mitosis(cells) & ~self._unpacks(cells)
        self._fates.decide(cells, quiet, t_min, STEP_MIN, self._history)
        self._turn(cells)
        self._plan_step(cells, t_min)
        self._cells, self._t_min = cells, t_min

    def _grow(self, cells: Cells) -> None:
        mitosis, before = self._mitosis_share(cells), cells["progress"].copy()
        cells["progress"] += cells["pace"]
        grown = (bio.dna_content(progress, mitosis) for progress in (before, cells["progress"]))
        cells["unbleached"] = bio.with_new_fluorophores(cells["unbleached"], *grown)

    def _in_mitosis(self, cells: Cells) -> Bools:
        """From prophase to the division, alive."""
        found: Bools = (cells["progress"] >= 1 - self._mitosis_share(cells)) & np.isinf(cells["died_min"])
        return found

    def _unpacks(self, cells: Cells) -> Bools:
        """Daughters in anaphase and telophase."""
        share = (bio.ANAPHASE_SHARE + bio.TELOPHASE_SHARE) * self._mitosis_share(cells)
        found: Bools = (cells["parent"] > 0) & (cells["progress"] < share)
        return found

    def _divided(self, cells: Cells, t_min: float) -> Cells:
        """The culture with each cell at the end of its cycle replaced by two daughters, side by side."""
        ready = cells["progress"] >= 1.0
        if not ready.any():
            return cells
        for cell_id in cells["id"][ready].tolist():
            self._history.end("mitosis", cell_id, t_min)
        mothers = np.repeat(cells[ready], 2)
        daughters = self._newborn(len(mothers))
        side = np.where(np.arange(len(mothers)) % 2, 1.0, -1.0) * PARTING[1]
        away_um = np.stack([np.cos(mothers["angle_rad"]), np.sin(mothers["angle_rad"])], axis=1)
        away_um *= np.sqrt(mothers["semi_um"].prod(axis=1))[:, None]
        daughters["parent"] = mothers["id"]
        daughters["xy_um"] = mothers["xy_um"] + side[:, None] * away_um
        daughters["angle_rad"] = np.where(side > 0, mothers["angle_rad"], mothers["angle_rad"] + math.pi) - math.pi / 2
        for name in ("stain", "dose_j_cm2", "unrepaired_j_cm2", "unbleached", "harmed", "flash_min"):
            daughters[name] = mothers[name]
        return np.concatenate([cells[~ready], daughters])

    def _turn(self, cells: Cells) -> None:
        """A persistent random walk: velocities fade within `persistence_min` and are renewed at random."""
        kept = math.exp(-STEP_MIN / self.culture.persistence_min)
        fresh_um_min = self.culture.speed_um_min / math.sqrt(2) * math.sqrt(1 - kept**2)
        noise = self._rng.normal(0.0, fresh_um_min, (len(cells), 2))
        cells["velocity_um_min"] = kept * cells["velocity_um_min"] + noise

    def _plan_step(self, cells: Cells, t_min: float) -> None:
        """Where each cell goes in the coming step, its own way, away from others, never out of the dish; how far it ages."""
        half_um, dividing = np.array(self.culture.size_um) / 2, self._in_mitosis(cells)
        alive = np.isinf(cells["died_min"])
        still = dividing | self._unpacks(cells) | ~alive
        own_um = cells["velocity_um_min"] * STEP_MIN * ~still[:, None]
        target_um = cells["xy_um"] + own_um + push_um(cells["xy_um"], CLEARANCE * self.culture.nucleus_um)
        cells["velocity_um_min"][np.abs(target_um) > half_um] *= -1.0
        cells["step_um"] = np.clip(target_um, -half_um, half_um) - cells["xy_um"]
        cells["pace"] = np.where(alive, self._pace(cells, dividing, t_min), 0.0)
        to_go = 1 - self._mitosis_share(cells) - cells["progress"]
        enters = (to_go > 0) & (to_go <= cells["pace"])
        starts_min = t_min + STEP_MIN * to_go[enters] / cells["pace"][enters]
        self._note("mitosis", cells[enters], starts_min, np.inf)

    def _pace(self, cells: Cells, dividing: Bools, t_min: float) -> Floats:
        """Progress in a step: none at rest, while a rare phenotype shows and, but for mitoses, in a confluent culture."""
        confluent = len(cells) >= LARGEST_GROWTH * self.culture.n_cells
        free = cells["cycles"] & (t_min >= cells["rare_until_min"]) & (not confluent)
        speed = bio.cycle_speed(cells["unrepaired_j_cm2"], self.biology)
        pace: Floats = STEP_MIN / cells["cycle_min"] * speed * (dividing | self._unpacks(cells) | free)
        return pace

    def _shine(self, light: Illumination) -> None:
        """Dose and bleaching of the cells in the lit rectangle; who gets too much is harmed from now on."""
        cells = self._cells
        xy_um = moved_um(cells, (light.t_min - self._t_min) / STEP_MIN)
        lit = np.all((xy_um >= light.low_um) & (xy_um <= light.high_um), axis=1) & np.isinf(cells["died_min"])
        cells["dose_j_cm2"][lit] += light.j_cm2
        cells["unrepaired_j_cm2"][lit] += light.j_cm2
        cells["unbleached"][lit] *= bio.unbleached_by(light.j_cm2, self.biology)
        harmed = ~cells["harmed"] & (cells["unrepaired_j_cm2"] > self.biology.harm_j_cm2)
        if harmed.any():
            cells["harmed"][harmed] = True
            self._note("harmed", cells[harmed], np.full(np.count_nonzero(harmed), light.t_min), light.t_min)

    def _note(self, kind: TruthKind, cells: Cells, starts_min: Floats, end_min: float) -> None:
        self._history.note(kind, cells["id"], starts_min, np.full(len(cells), end_min), cells["xy_um"])
