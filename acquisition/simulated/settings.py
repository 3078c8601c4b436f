"""What kind of specimen, optics, camera, stage and light a simulated microscope has: the tables of its config."""

from dataclasses import dataclass
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from acquisition.commands import AtLeastOne, NotNegative, Positive

Share = Annotated[float, Meta(ge=0, le=1)]


class Biology(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How cells live, and what light does to them. Minutes and hours are the specimen's own (see time_factor)."""

    growth_fraction: Share = 1.0
    """Share of the cells that cycle; the others rest in G0 and never divide."""
    death_per_h: NotNegative = 0.0
    """Risk of death of a cell that no light has harmed."""
    bleach_j_cm2: Positive = float("inf")
    """Dose after which a cell's fluorophores are down to 1/e; new ones come only with growth."""
    harm_j_cm2: Positive = float("inf")
    """Dose at which a cell's cycle runs at half its speed: above it a cell counts as harmed."""
    harm_slope: Positive = 2.0
    """Steepness of that dose response (Hill coefficient)."""
    harm_death_per_h: NotNegative = 0.1
    """Risk of death that light adds to a cell when its dose is far above harm_j_cm2."""
    repair_h: Positive = float("inf")
    """Time in which a cell repairs half of what light did to it."""
    rare_per_h: NotNegative = 0.0
    """How often a resting cell shows the rare phenotype: brighter and larger for a while."""
    rare_min: Positive = 60.0
    """How long that lasts on average; single ones are exponentially distributed."""
    rare_brightness: Positive = 2.0
    """Brightness of its nucleus against before."""
    transient_per_h: NotNegative = 0.0
    """How often a cell's reporter flashes."""
    transient_s: Positive = 4.0
    """How long a flash takes to fade to 1/e; it rises in a tenth of that."""
    transient_brightness: Positive = 4.0
    """Brightness of the reporter at the peak of a flash against its rest."""


class Optics(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the light goes through."""

    blur_um: Positive = 0.35
    """Standard deviation of the point spread function in focus."""
    defocus_blur: NotNegative = 0.35
    """Further blur in µm for each µm out of focus, added in squares."""
    vignetting: Share = 0.0
    """How much darker the view's corners are than its middle."""
    focus_drift_um_h: float = 0.0
    """How fast the plane of focus runs away, in hours of the clock."""
    focus_wander_um: NotNegative = 0.0
    """Standard deviation of its random walk in an hour of the clock."""
    appearance: Literal["drawn", "real"] = "drawn"
    """`real`: nuclei are pictures of real ones, cut from MitoCheck images, instead of drawings."""


class SensorSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The camera's chip."""

    e_per_count: Positive = 1.0
    """Photo-electrons for one count."""
    offset_counts: NotNegative = 100.0
    """What the camera reads in the dark."""
    read_noise_e: NotNegative = 2.0
    """Standard deviation of the dark counts, in electrons."""
    dark_e_s: NotNegative = 0.0
    """Electrons that a pixel collects in a second without light."""
    full_well_e: Positive = 1e9
    """A pixel holds no more electrons than this."""
    bits: Annotated[int, Meta(ge=8, le=16)] = 16
    """The largest count is 2^bits − 1."""
    hot_pixels: Share = 0.0
    """Share of pixels that are far too bright."""
    row_us: NotNegative = 0.0
    """Time to read one row: a frame cannot follow the one before it sooner than all rows take. Fewer rows are faster."""
    binning: Literal[1, 2, 4] = 1
    """So many pixels in each direction are read as one."""
    mode: Literal["stream", "snap"] = "stream"
    """`snap`: an exposure begins only when the frame before it has been read."""
    buffer_frames: AtLeastOne = 8
    """Frames the camera holds until they are read; further ones are lost."""


class StageSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The motors. The stage travels to the specimen's rim."""

    speed_um_s: Positive = 2000.0
    settle_ms: NotNegative = 10.0
    """How long after arrival the stage still counts as busy."""
    backlash_um: NotNegative = 0.0
    """How far an axis stops short when it has turned round since its last move."""
    z_um: Annotated[float, Meta(ge=0)] = 1000.0
    """Travel of the focus drive, half of it up and half down."""


class LightSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The lamp."""

    most_mw: Positive = 1e6
    """The most it gives; more is refused."""
    follows_camera: bool = True
    """False: it is on from start to stop and not only while a frame is exposed."""
    off_delay_ms: NotNegative = 0.0
    """How long after an exposure it is still on."""


@dataclass
class MicroscopeSettings:
    """The whole laboratory: specimen, view, and a table for each device."""

    seed: Annotated[int, Meta(ge=0)] = 0
    """The same seed and commands on a simulated clock give the same bytes."""
    height_px: AtLeastOne = 512
    width_px: AtLeastOne = 512
    um_per_px: Positive = 0.65
    specimen_um: tuple[Positive, Positive] = (1000.0, 1000.0)
    """Width and height of the dish, at least one view, centred on (0, 0); the stage travels to its rim."""
    n_cells: AtLeastOne = 100
    """Cells in one view at the start, on average; the rest of the dish is as dense."""
    nucleus_um: Positive = 9.0
    """Mean diameter of a nucleus."""
    speed_um_min: NotNegative = 0.5
    """Root mean square speed of a cell's random walk."""
    persistence_min: Positive = 20.0
    """How long a cell remembers its direction."""
    cycle_min: Positive = 1200.0
    """Mean time between divisions, at least twice mitosis_min; a culture that has tripled stops growing."""
    mitosis_min: Positive = 40.0
    """From prophase to the moment at which two daughters are there."""
    time_factor: Positive = 1.0
    """The specimen lives so many times faster than the clock: 60 shows one minute of its life in a second."""
    brightness: NotNegative = 100.0
    """Photo-electrons per pixel, mW and ms in an average nucleus."""
    background: NotNegative = 10.0
    """Photo-electrons per pixel, mW and ms everywhere."""
    biology: Biology = Biology()
    optics: Optics = Optics()
    sensor: SensorSettings = SensorSettings()
    stage: StageSettings = StageSettings()
    light: LightSettings = LightSettings()

    def __post_init__(self) -> None:
        if self.cycle_min < 2 * self.mitosis_min:
            raise ValueError(f"cycle_min {self.cycle_min:g} must be at least twice mitosis_min {self.mitosis_min:g}")
        width_um, height_um = self.view_um
        if self.specimen_um[0] < width_um or self.specimen_um[1] < height_um:
            seen = f"the camera sees {width_um:g} × {height_um:g} µm"
            raise ValueError(f"specimen_um {list(self.specimen_um)} is smaller than one view: {seen}")

    @property
    def view_um(self) -> tuple[float, float]:
        """Width and height of what the whole sensor sees."""
        return self.width_px * self.um_per_px, self.height_px * self.um_per_px
