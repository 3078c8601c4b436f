"""Pictures of the cells that flow by, at the camera's scale: cut from real images, or discs; doublets are two of them.

`flow_sprites.npz`, which `python -m acquisition.simulated.cut_flow_sprites` makes, holds `absorbance` [N, S, S] uint8
(255: no light passes), `kind` [N] (wbc, rbc, platelet) and `um_per_px` (one number). Nuclei come from `sprites.npz`.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from acquisition.simulated.flow_settings import FlowCellSettings
from acquisition.simulated.random_streams import random_stream
from acquisition.simulated.sprites import FILE as NUCLEI_FILE
from acquisition.simulated.sprites import UM_PER_PX as NUCLEI_UM_PER_PX

Pictures = npt.NDArray[np.float32]
FILE = Path(__file__).with_name("flow_sprites.npz")
NUCLEI = {"interphase": "interphase", "prometaphase": "mitotic", "metaphase": "mitotic"}
PAIRS: dict[str, tuple[tuple[str, str], ...]] = {
    "blood": (("rbc", "rbc"), ("rbc", "rbc"), ("rbc", "rbc"), ("rbc", "platelet"), ("rbc", "wbc")),
    "nuclei": (("interphase", "interphase"),),
}
"""What sticks together, each pair as often as the others."""
DISCS: dict[str, tuple[tuple[str, float, float], ...]] = {
    "blood": (("wbc", 6.5, 0.45), ("rbc", 3.8, 0.25), ("platelet", 1.4, 0.3)),
    "nuclei": (("interphase", 8.0, 0.5), ("mitotic", 6.0, 1.0)),
}
"""Drawn cells: class, radius in µm, absorbance or brightness."""
N_DOUBLETS, N_DEBRIS = 64, 64
OVERLAP = 0.9
"""Distance of a doublet's two middles, in sums of their radii."""
DEBRIS_UM = (0.8, 2.5)
RIM = 0.02
"""A cell ends where it is fainter than this share of its darkest pixel."""


@dataclass(frozen=True)
class FlowSprites:
    """Pictures `[K, S, S]`, each centred on the centre of its own contrast; S is odd."""

    pictures: Pictures
    radius_um: npt.NDArray[np.float64]  # [K] how far from the centre anything of it lies
    of_kind: dict[str, npt.NDArray[np.intp]]
    um_per_px: float

    @property
    def reach_um(self) -> float:
        return float(self.radius_um.max())

    @classmethod
    def of(cls, settings: FlowCellSettings) -> "FlowSprites":
        """All that a specimen needs. The same seed, the same doublets and debris."""
        random = random_stream(settings.seed, "shapes")
        singles = _singles(settings)
        kinds = singles | {
            "doublet": [_doublet(singles, PAIRS[settings.specimen], random) for _ in range(N_DOUBLETS)],
            "debris": [_speck(random, settings.um_per_px) for _ in range(N_DEBRIS)],
        }
        pictures = [_centred(picture) for name in kinds for picture in kinds[name]]
        firsts = np.cumsum([0, *(len(kinds[name]) for name in kinds)])
        side = max(len(picture) for picture in pictures) + 2
        reach_px = np.array([_reach_px(picture) for picture in pictures])
        return cls(
            np.stack([_padded(picture, side) for picture in pictures]), reach_px * settings.um_per_px,
            {name: np.arange(a, b) for name, a, b in zip(kinds, firsts, firsts[1:], strict=False)}, settings.um_per_px,
        )  # fmt: skip


def _singles(settings: FlowCellSettings) -> dict[str, list[Pictures]]:
    if settings.appearance == "drawn":
        return {
            name: [_disc(radius_um / settings.um_per_px, np.float32(depth))]
            for name, radius_um, depth in DISCS[settings.specimen]
        }
    if settings.specimen == "nuclei":
        with np.load(NUCLEI_FILE, allow_pickle=False) as stored:
            own, kinds, own_um = stored["light"], stored["kind"].tolist(), NUCLEI_UM_PER_PX
        named = [NUCLEI.get(kind, "") for kind in kinds]
    else:
        with np.load(FILE, allow_pickle=False) as stored:
            own, named, own_um = stored["absorbance"], stored["kind"].tolist(), float(stored["um_per_px"])
    return {
        name: [_scaled(own[i] / np.float32(255), own_um / settings.um_per_px) for i, k in enumerate(named) if k == name]
        for name, _, _ in DISCS[settings.specimen]
    }


def _scaled(picture: Pictures, factor: float) -> Pictures:
    """The same in other pixels; what would be too fine for them is blurred away first."""
    fine = ndimage.gaussian_filter(picture, max(0.0, 0.4 * (1 / factor - 1)))
    side = 2 * int(np.ceil(len(picture) * factor / 2)) + 1
    at = (np.arange(side) - side // 2) / factor + (len(picture) - 1) / 2
    scaled: Pictures = ndimage.map_coordinates(fine, np.meshgrid(at, at, indexing="ij"), order=1)
    return scaled


def _disc(radius_px: float, depth: np.float32) -> Pictures:
    half = int(np.ceil(radius_px)) + 2
    y_px, x_px = np.indices((2 * half + 1, 2 * half + 1)) - half
    return (depth * np.clip(radius_px + 0.5 - np.hypot(x_px, y_px), 0, 1)).astype(np.float32)


def _doublet(
    singles: dict[str, list[Pictures]], pairs: tuple[tuple[str, str], ...], random: np.random.Generator
) -> Pictures:
    """Two cells side by side; where they overlap, light has to pass both."""
    names = pairs[random.integers(len(pairs))]
    one, other = (
        _turned(_centred(pool[random.integers(len(pool))]), random) for pool in (singles[name] for name in names)
    )
    apart = round(OVERLAP * (_girth_px(one) + _girth_px(other)))
    side = max(len(one), len(other)) + 2 * (apart // 2 + 1)
    left, right = apart // 2, apart - apart // 2
    seen = [np.roll(_padded(picture, side), by, axis=1) for picture, by in ((one, -left), (other, right))]
    return 1 - (1 - seen[0]) * (1 - seen[1])


def _speck(random: np.random.Generator, um_per_px: float) -> Pictures:
    """A splinter of no certain shape: hills of smooth noise, cut off all around."""
    radius_px = random.uniform(*DEBRIS_UM) / um_per_px
    half = int(np.ceil(radius_px)) + 4
    y_px, x_px = np.indices((2 * half + 1, 2 * half + 1)) - half
    hills = ndimage.gaussian_filter(random.standard_normal((2 * half + 1, 2 * half + 1)), max(1.0, radius_px / 3))
    lean = np.hypot(x_px, y_px * random.uniform(1, 2.5)) / radius_px
    shape = np.clip(1.5 * (1.2 - lean) + hills / hills.std() * 0.5, 0, 1) * (lean < 1.3)
    speck: Pictures = (random.uniform(0.2, 0.6) * ndimage.gaussian_filter(shape, 0.6)).astype(np.float32)
    return speck


def _centred(picture: Pictures) -> Pictures:
    """Moved so that the centre of its contrast is its middle, whatever its side was."""
    picture = np.where(picture < RIM * picture.max(), 0, picture).astype(np.float32)
    centre = np.array(ndimage.center_of_mass(picture))
    side = 2 * (int(np.ceil(np.abs(centre - (len(picture) - 1) / 2).max() + len(picture) / 2)) + 1) + 1
    wide = np.zeros((side, side), dtype=np.float32)
    corner = (side - len(picture)) // 2
    wide[corner : corner + len(picture), corner : corner + len(picture)] = picture
    moved: Pictures = ndimage.shift(wide, side // 2 - (centre + corner), order=1)
    half = int(np.ceil(_reach_px(moved)))
    return np.ascontiguousarray(moved[side // 2 - half : side // 2 + half + 1, side // 2 - half : side // 2 + half + 1])


def _turned(picture: Pictures, random: np.random.Generator) -> Pictures:
    turned: Pictures = ndimage.rotate(picture, random.uniform(0, 360), reshape=False, order=1)
    return turned


def _padded(picture: Pictures, side: int) -> Pictures:
    """In the middle of a square of another, odd side."""
    side += 1 - side % 2
    around = (side - len(picture)) // 2
    return np.pad(picture, around)


def _reach_px(picture: Pictures) -> float:
    """From the middle to the farthest pixel of it that counts."""
    y_px, x_px = np.nonzero(picture > RIM * picture.max())
    middle = len(picture) // 2
    return min(float(np.hypot(x_px - middle, y_px - middle).max()) + 1, float(middle)) if len(x_px) else 1.0


def _girth_px(picture: Pictures) -> float:
    """Half the width of a cell along x through its middle."""
    columns = np.flatnonzero(picture.max(axis=0) > 0.25 * picture.max())
    return float(columns[-1] - columns[0] + 1) / 2
