"""What makes a tracking case hard, as numbers: recipes for scenarios, and a dozen named ones.

Sizes and speeds are those of HeLa nuclei under a 20× objective: about 15 µm wide, 0.1 to 1 µm a minute, looked at
every few minutes.
"""

import math
from typing import Annotated

import msgspec
from msgspec import Meta

from acquisition.commands import AtLeastOne, NotNegative, Positive
from models.cells import ONE_CLASS

Share = Annotated[float, Meta(ge=0, le=1)]
PHASES = ("interphase", "mitotic")


class Recipe(msgspec.Struct, frozen=True, kw_only=True):
    """One kind of scene; the defaults are an easy one. Rates are of single cells, chances of single frames."""

    n_cells: AtLeastOne = 80
    """Cells in the field at the start."""
    n_frames: AtLeastOne = 60
    interval_s: Positive = 300.0
    """Time from frame to frame."""
    interval_spread: Annotated[float, Meta(ge=0, le=0.9)] = 0.0
    """Intervals are irregular: each is up to this share shorter or longer."""
    skip_rate: Share = 0.0
    """Share of intervals that are two to four times as long: frames that were never taken."""
    field_um: Positive = 400.0
    """Side of the square field, which has its middle at (0, 0)."""
    border_um: NotNegative = 0.0
    """Width of the surroundings where cells of the same density live, wander in and wander out.

    0: there are no surroundings, and cells turn back at the edge of the field.
    """
    um_per_px: Positive = 0.5

    area_um2: Positive = 180.0
    """Area of a nucleus between divisions: 15 µm wide."""
    area_spread: NotNegative = 0.15
    """Standard deviation between cells, as a share; so are the other spreads."""
    counts: Positive = 1500.0
    """Mean intensity of a nucleus between divisions, in camera counts."""
    counts_spread: NotNegative = 0.2

    speed_um_s: NotNegative = 0.3 / 60
    """Root mean square speed of the cells, which are persistent random walkers."""
    speed_spread: NotNegative = 0.3
    persistence_s: Positive = 1200.0
    """Time after which a cell has forgotten its direction."""
    clearance: NotNegative = 1.1
    """Nuclei closer than so many diameters push each other apart, softly; 0: they pass through each other."""
    crossing: Share = 0.0
    """Share of cells that go straight on and pass another one on its straight way."""
    passing: NotNegative = 0.6
    """These pairs come as near as so many diameters, or nearer."""
    drift_um_s: NotNegative = 0.0
    """The whole specimen drifts, in a direction of its own."""
    jump_rate: Share = 0.0
    """Share of frames before which the whole specimen is shifted at once."""
    jump_um: NotNegative = 0.0
    """The longest such shift; the shortest is half as long."""

    division_rate_per_hour: NotNegative = 0.0
    """How often a cell enters mitosis."""
    mitosis_s: Positive = 2400.0
    """From there until the daughters are seen apart: the nucleus shrinks, brightens and stands still."""
    regrowth_s: Positive = 3600.0
    """Time in which daughters make up for most of what they lack in area."""
    least_cycle_s: NotNegative = 43_200.0
    """Daughters do not divide before this age."""
    death_rate_per_hour: NotNegative = 0.0
    """How often a cell begins to die."""
    dying_s: Positive = 1800.0
    """From there until it is gone: the nucleus shrinks, brightens and, towards the end, falls into pieces."""
    steady: bool = False
    """Keep the number of cells: divisions begin only while there are too few, deaths only while there are too many."""

    class_names: tuple[str, ...] = ONE_CLASS
    """One name, or two: the second is then that of condensed nuclei, in mitosis and just after it."""
    class_error: Annotated[float, Meta(gt=0, lt=0.5)] = 0.03
    """Chance that the classifier holds the wrong one of two classes for likelier."""
    miss_rate: Share = 0.0
    """Chance that a cell is not detected."""
    gap_rate: Share = 0.0
    """Chance that a cell begins to be missed for 2 to `gap_frames` frames in a row."""
    gap_frames: Annotated[int, Meta(ge=2)] = 4
    false_rate: NotNegative = 0.0
    """False detections in a frame, per true cell: mostly small, dim, of odd areas."""
    false_frames: Annotated[float, Meta(ge=1)] = 1.0
    """How many frames a false detection stays on average, where it is."""
    merge_rate: Share = 0.0
    """Chance that two nuclei that touch begin to be segmented as one, for 1 to `merge_frames` frames."""
    merge_frames: AtLeastOne = 4
    touching: NotNegative = 1.15
    """Nuclei touch if their centres are nearer than this times the sum of their radii. Fresh sisters are spared."""
    cut_rate: Share = 0.0
    """Chance that a nucleus is segmented as two halves (oversegmentation), for this frame only."""
    jitter_um: NotNegative = 0.4
    """Standard error of a centroid along one axis."""
    area_noise: NotNegative = 0.05
    """Standard error of a measured area, as a share."""
    intensity_noise: NotNegative = 0.04
    """Standard error of a measured intensity, as a share."""

    def __post_init__(self) -> None:
        if len(self.class_names) not in (1, 2):
            raise ValueError(
                f"class_names must be one name or two (the second for condensed nuclei), not {list(self.class_names)}"
            )
        if self.field_um < 4 * self.diameter_um:
            raise ValueError(
                f"field_um = {self.field_um:g} is too small for nuclei {self.diameter_um:.3g} µm wide; "
                "make it four times as wide or more"
            )

    @property
    def diameter_um(self) -> float:
        """Of an average nucleus between divisions."""
        return 2 * math.sqrt(self.area_um2 / math.pi)

    @property
    def shape(self) -> tuple[int, int]:
        """Of the frames in pixels, (H, W)."""
        side_px = round(self.field_um / self.um_per_px)
        return side_px, side_px

    @property
    def half_um(self) -> float:
        """From the middle of the field to its edge, in whole pixels."""
        return self.shape[0] * self.um_per_px / 2


_DIVIDING = Recipe(
    n_cells=80, interval_s=420, field_um=300, speed_um_s=0.7 / 60, division_rate_per_hour=0.1, miss_rate=0.02
)

SCENARIOS: dict[str, Recipe] = {
    "easy": Recipe(),
    "walkers": Recipe(n_cells=120, field_um=350, speed_um_s=1.0 / 60, persistence_s=2400, speed_spread=0.4),
    "crowd": Recipe(n_cells=200, field_um=260, speed_um_s=0.8 / 60, interval_s=480, persistence_s=900),
    "crossing": Recipe(n_cells=120, n_frames=50, field_um=350, crossing=1.0, passing=0.4, speed_um_s=1.0 / 60),
    "dividing": _DIVIDING,
    "dividing_classes": msgspec.structs.replace(_DIVIDING, class_names=PHASES),
    "dying": Recipe(n_cells=120, field_um=350, death_rate_per_hour=0.12, speed_um_s=0.5 / 60),
    "misses": Recipe(n_cells=120, miss_rate=0.08, gap_rate=0.01, speed_um_s=0.6 / 60),
    "false": Recipe(n_cells=120, false_rate=0.15, false_frames=1.5, speed_um_s=0.6 / 60),
    "drift": Recipe(n_cells=120, field_um=300, border_um=60, drift_um_s=0.8 / 60, speed_um_s=0.6 / 60),
    "jumps": Recipe(n_cells=100, jump_rate=0.08, jump_um=14, border_um=40),
    "irregular": Recipe(n_cells=100, interval_spread=0.6, skip_rate=0.1, speed_um_s=0.7 / 60, persistence_s=2400),
    "border": Recipe(n_cells=60, field_um=200, border_um=60, speed_um_s=0.9 / 60, persistence_s=3000),
    "touching": Recipe(n_cells=140, field_um=260, clearance=0.95, merge_rate=0.04, cut_rate=0.01, speed_um_s=0.5 / 60),
    "flow": Recipe(
        n_cells=150, n_frames=50, interval_s=0.05, field_um=300, border_um=40, area_um2=50, clearance=0,
        drift_um_s=80, speed_um_s=30, persistence_s=0.3, jitter_um=0.2,
    ),
    "everything": Recipe(
        n_cells=140, field_um=400, border_um=50, interval_spread=0.3, skip_rate=0.03, speed_um_s=0.6 / 60,
        speed_spread=0.5, clearance=1.0, drift_um_s=0.2 / 60, jump_rate=0.02, jump_um=8, division_rate_per_hour=0.06,
        death_rate_per_hour=0.03, class_names=PHASES, class_error=0.05, miss_rate=0.03, gap_rate=0.003,
        false_rate=0.04, false_frames=1.5, merge_rate=0.03, cut_rate=0.004,
    ),
}  # fmt: skip
"""Cases by name: each makes one thing hard, the last one a little of everything."""


def growth_recipe(n_cells: int, n_frames: int) -> Recipe:
    """A crowd that keeps its density and its number, whatever that is, with cells that are born and die."""
    return Recipe(
        n_cells=n_cells, n_frames=n_frames, interval_s=120, field_um=max(80.0, math.sqrt(600 * n_cells)),
        clearance=1.0, division_rate_per_hour=0.2, death_rate_per_hour=0.2, least_cycle_s=3600, steady=True,
        miss_rate=0.01, false_rate=0.01,
    )  # fmt: skip
