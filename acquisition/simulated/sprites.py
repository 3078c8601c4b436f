"""Real chromatin: nuclei cut from MitoCheck's images (see SPRITES.md), chosen for each cell and kept while a phase lasts."""

import math
from pathlib import Path

import numpy as np

from acquisition.simulated import biology as bio
from acquisition.simulated.biology import Floats, Ints
from acquisition.simulated.nuclei import Nuclei
from acquisition.simulated.stamping import Sheet, Stamps

FILE = Path(__file__).with_name("sprites.npz")
SIDE_PX = 60
UM_PER_PX = 0.645
HELA_RADIUS_UM = 8.5
"""Of the mean interphase nucleus among the sprites: cells of another nucleus_um are drawn larger or smaller."""
KIND_OF_PHASE = {
    bio.PROMETAPHASE: "prometaphase", bio.METAPHASE: "metaphase", bio.ANAPHASE: "anaphase", bio.DEAD: "dead",
}  # fmt: skip
PACKED = 0.4
"""Until so far into telophase the daughters still look like plates."""
MIX = 2654435761
"""Spreads neighbouring numbers of cells over the pictures."""


class RealAtlas:
    """Sprites from the file."""

    def __init__(self, sharp_um: float) -> None:
        """`sharp_um`: the lens that took the pictures was as good as this one in focus."""
        self.sharp_um = sharp_um
        with np.load(FILE, allow_pickle=False) as stored:
            light, masks, angle_rad, kind = (stored[name] for name in ("light", "mask", "angle_rad", "kind"))
        masks = np.unpackbits(masks, axis=-1, count=SIDE_PX).astype(np.float32)
        self.light = Sheet.of((light / light.sum(axis=(1, 2), keepdims=True, dtype=np.float64)).astype(np.float32))
        self.masks = Sheet.of(masks)
        self._angle_rad: Floats = angle_rad.astype(np.float64)
        self._area_px: Floats = masks.sum(axis=(1, 2), dtype=np.float64)
        self._of_kind = {name: np.flatnonzero(kind == name) for name in np.unique(kind).tolist()}

    def stamps(self, nuclei: Nuclei) -> Stamps:
        """One for each nucleus."""
        sprite, size_um = self._chosen(nuclei)
        return Stamps(
            sprite=sprite, xy_um=nuclei.xy_um, um_per_px=np.stack([size_um, size_um], axis=1),
            angle_rad=nuclei.angle_rad - self._angle_rad[sprite], light_um2=nuclei.light_um2,
            cell=np.arange(len(nuclei.id)),
        )  # fmt: skip

    def _chosen(self, nuclei: Nuclei) -> tuple[Ints, Floats]:
        """Sprite and the size of its pixels. In interphase the nucleus's area decides on the size, else the pictures' own."""
        seed = nuclei.id * MIX
        interphase = self._of_kind["interphase"]
        sprite = interphase[(seed >> 7) % len(interphase)]
        area_um2 = math.pi * nuclei.semi_um.prod(axis=1)
        size_um = np.sqrt(area_um2 / self._area_px[sprite])
        own_um = UM_PER_PX * nuclei.radius_um / HELA_RADIUS_UM
        phase = nuclei.phase
        packed = (phase == bio.TELOPHASE) & (nuclei.share < PACKED)
        shown = {kind: phase == p for p, kind in KIND_OF_PHASE.items()} | {"rare": nuclei.rare}
        shown["anaphase"] |= packed
        for kind, rows in shown.items():
            pool = self._of_kind[kind]
            sprite[rows] = pool[((seed[rows] >> 9) + 31 * phase[rows]) % len(pool)]
            size_um[rows] = own_um[rows]
        return sprite, size_um
