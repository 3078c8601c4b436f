"""What flows, how, past which camera and to which sorter: the tables of a simulated flow cell's config."""

import math
from dataclasses import dataclass, field
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from acquisition.commands import AtLeastOne, NotNegative, Positive

Share = Annotated[float, Meta(ge=0, le=1)]

SHARES: dict[str, dict[str, float]] = {
    "blood": {"wbc": 0.05, "rbc": 0.55, "platelet": 0.2, "doublet": 0.1, "debris": 0.1},
    "nuclei": {"mitotic": 0.05, "interphase": 0.75, "doublet": 0.1, "debris": 0.1},
}
"""Of a specimen: its classes of cells, and how many of each there are unless `shares` says otherwise."""


class Flow(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How the channel carries cells."""

    speed_um_s: Positive = 100_000.0
    """On the channel's axis; towards the walls it falls to nothing, as a parabola."""
    direction: Literal["right", "left"] = "right"
    """Along x, as the image shows it."""
    junction_um: Positive = 2000.0
    """From the middle of the view to the place where cells are deflected."""
    channel_um: Positive = 32.0
    """From wall to wall, the axis in the middle of the view."""
    focusing_um: NotNegative = 2.5
    """Standard deviation of cells' distance from the axis."""
    slip: Annotated[float, Meta(ge=0, le=0.1)] = 0.003
    """Standard deviation of how much faster or slower than the liquid a cell is, as a share."""
    unseen_slip: Annotated[float, Meta(ge=0, le=0.1)] = 0.0003
    """The same between the view and the junction, where no camera sees it: what no prediction can know."""
    pulsation: Annotated[float, Meta(ge=0, le=0.5)] = 0.002
    """How much the pump makes the flow swing about its mean, as a share."""
    pulsation_hz: Positive = 5.0
    tumbling_deg_ms: NotNegative = 20.0
    """Standard deviation of how fast cells turn."""


class FlowCamera(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the camera of the channel sees of light, and holds of images."""

    brightness: Positive = 7000.0
    """Photo-electrons per pixel, mW and ms where nothing is in the way; of stained nuclei, in their brightest pixel."""
    background: Share = 0.05
    """Of stained nuclei: light beside them, against their brightest pixel's."""
    e_per_count: Positive = 40.0
    """Photo-electrons for one of the 256 counts."""
    read_noise_e: NotNegative = 30.0
    """Standard deviation of the dark counts, in electrons."""
    unevenness: Share = 0.15
    """How much darker the view's corners are than its middle."""
    dirt_spots: Annotated[int, Meta(ge=0)] = 4
    """Specks on the window: they never move."""
    shortest_interval_ms: Positive = 0.02
    """Strips follow one another no sooner."""
    buffer_stacks: AtLeastOne = 16
    """Stacks that the camera holds until they are read; further ones are lost."""


class SorterSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What deflects cells at the junction."""

    timing: Literal["own", "computer"] = "own"
    """`own`: it is told ahead of time when to open, and opens exactly then. `computer`: it opens when it is told to."""
    delay_ms: NotNegative = 0.0
    """From its opening until cells are deflected, and from its shutting until they no longer are."""
    lead_ms: NotNegative = 0.5
    """With a timing of its own: a pulse told later than so long before its moment is refused as late."""
    recovery_ms: NotNegative = 0.05
    """With a timing of its own: from the end of a pulse to the start of the next; one that comes sooner is refused."""


@dataclass
class FlowCellSettings:
    """The whole instrument: sample, channel, camera and sorter."""

    seed: Annotated[int, Meta(ge=0)] = 0
    """The same seed and commands on a simulated clock give the same bytes."""
    height_px: AtLeastOne = 64
    """Of a strip: across the channel."""
    width_px: AtLeastOne = 256
    """Of a strip: along the flow."""
    um_per_px: Positive = 0.5
    strips: AtLeastOne = 16
    """Strips of one stack: the camera hands them out together, each with its own time."""
    specimen: Literal["blood", "nuclei"] = "blood"
    """`blood`: stained blood cells, darker than the light behind them. `nuclei`: of cells that glow, in mitosis or not."""
    appearance: Literal["real", "drawn"] = "real"
    """`drawn`: discs instead of pictures of real cells."""
    events_per_s: Positive = 500.0
    """Cells that pass, on average; one comes independently of another."""
    shares: dict[str, NotNegative] = field(default_factory=dict)
    """Class → how many of it there are against the others. Empty: as usual for the specimen."""
    flow: Flow = Flow()
    camera: FlowCamera = FlowCamera()
    sorter: SorterSettings = SorterSettings()

    def __post_init__(self) -> None:
        known = SHARES[self.specimen]
        for name in self.shares:
            if name not in known:
                raise ValueError(f"shares.{name}: {self.specimen} has no such cells, but {', '.join(known)}")
        if self.shares and not 0 < sum(self.shares.values()) < math.inf:
            raise ValueError(f"shares {self.shares} must add up to more than 0, or be left out")

    @property
    def class_shares(self) -> dict[str, float]:
        """Classes of cells and the share of each; they add up to 1."""
        shares = self.shares or SHARES[self.specimen]
        return {name: share / sum(shares.values()) for name, share in shares.items() if share > 0}
