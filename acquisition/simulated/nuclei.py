"""The cells of a specimen at one moment: what a camera could see of them, and what only the truth knows."""

import math
from dataclasses import dataclass

import numpy as np

from acquisition.simulated.biology import (
    ANAPHASE,
    DEAD,
    G2_BEGINS,
    METAPHASE,
    MITOTIC_SHARES,
    PROMETAPHASE,
    PROPHASE,
    S_BEGINS,
    TELOPHASE,
    Bools,
    Floats,
    Ints,
)

GROWTH = ((0.0, S_BEGINS, G2_BEGINS, 1.0), (0.8, 0.95, 1.45, 1.55))
"""Area of a nucleus along interphase, in areas of one of nucleus_um: it grows most while the DNA doubles."""
USUAL_DENSITY = 1.2
"""Chromosome sets by area in interphase, on average; its brightness is 1."""
CLUMP, PLATE, SPREAD = (0.9, 0.9), (0.85, 0.3), (0.66, 0.27)
"""Half axes of prometaphase chromosomes, of a metaphase plate and of one that has come apart, in radii of the nucleus."""
PARTING = (0.25, 0.9)
"""How far from their common middle sisters are at the beginning and at the end of anaphase, in radii of the nucleus."""
RARE_RADIUS = 1.35
SHRUNK = 0.55
"""Radius of a dead nucleus in the end against when it lived."""


@dataclass(frozen=True)
class Nuclei:
    """Nuclei as they are at one moment; row i of every array is the same cell."""

    id: Ints  # [N]
    parent: Ints  # [N] 0: was there from the start
    xy_um: Floats  # [N, 2] stage µm
    semi_um: Floats  # [N, 2] long and short half axis
    angle_rad: Floats  # [N] of the long axis
    brightness: Floats  # [N] mean of the stained chromatin, 1 for an average nucleus between two divisions
    radius_um: Floats  # [N] of the cell's nucleus in the middle of its life
    phase: Ints  # [N] place in biology.PHASES
    share: Floats  # [N] how far that phase has got, 0 … 1
    unbleached: Floats  # [N] share of the fluorophores that still glow
    reporter: Floats  # [N] brightness of the reporter against its rest
    dose_j_cm2: Floats  # [N] all light so far, the ancestors' included
    harmed: Bools  # [N] the dose, less what was repaired, has been above harm_j_cm2
    rare: Bools  # [N] shows the rare phenotype

    def __getitem__(self, rows: Bools | Ints) -> "Nuclei":
        return Nuclei(*(getattr(self, name)[rows] for name in self.__dataclass_fields__))

    @property
    def mitosis(self) -> Floats:
        """How far each cell is on its way from prophase to the division, 0 … 1; 1 for daughters in anaphase, else 0."""
        begun = np.concatenate([[0.0], np.cumsum(MITOTIC_SHARES)])
        step = np.clip(self.phase - PROPHASE, 0, len(MITOTIC_SHARES) - 1)
        way: Floats = begun[step] + self.share * np.array(MITOTIC_SHARES)[step]
        way = np.where((self.phase >= PROPHASE) & (self.phase <= METAPHASE), np.maximum(way, 1e-9), 0.0)
        return np.where(self.phase == ANAPHASE, 1.0, way)

    @property
    def light_um2(self) -> Floats:
        """All the light of each nucleus, before bleaching: brightness × area."""
        light_um2: Floats = self.brightness * math.pi * self.semi_um.prod(axis=1)
        return light_um2


def half_axes_um(own_um: Floats, interphase_share: Floats, phase: Ints, share: Floats) -> Floats:
    """Half axes `[N, 2]` of nuclei whose own ones in mid-life are `own_um[N, 2]`."""
    radius_um = np.sqrt(own_um.prod(axis=1, keepdims=True))
    grown_um = own_um * np.sqrt(np.interp(interphase_share, *GROWTH))[:, None]
    round_um = np.broadcast_to(radius_um * math.sqrt(1.2), own_um.shape)
    clump_um, plate_um, spread_um = (radius_um * np.array(shape) for shape in (CLUMP, PLATE, SPREAD))
    ways = {
        PROPHASE: (grown_um, round_um),
        PROMETAPHASE: (clump_um, clump_um * (1.05, 0.8)),
        METAPHASE: (plate_um, plate_um),
        ANAPHASE: (plate_um * (1.0, 0.8), spread_um),
        TELOPHASE: (spread_um, grown_um),
        DEAD: (grown_um, grown_um * SHRUNK),
    }
    semi_um = grown_um.copy()
    for which, (first_um, last_um) in ways.items():
        rows = phase == which
        along = np.minimum(1.0, share[rows] * (3 if which == DEAD else 1))[:, None]
        semi_um[rows] = first_um[rows] + along * (last_um[rows] - first_um[rows])
    return semi_um


def mean_brightness(stain: Floats, dna: Floats, semi_um: Floats, own_um: Floats, phase: Ints, share: Floats) -> Floats:
    """Brightness `[N]` of chromatin that has so much DNA on its area; what is dead fades in its last third."""
    area = semi_um.prod(axis=1) / own_um.prod(axis=1)
    left = np.where(phase == DEAD, np.clip(3 * (1 - share), 0.0, 1.0), 1.0)
    brightness: Floats = stain * dna / area / USUAL_DENSITY * left
    return brightness
