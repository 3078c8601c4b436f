"""What a user may set for a Micro-Manager rig: the `[microscope]` table of its configuration."""

import math
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from msgspec import Meta

from acquisition.commands import AtLeastOne, NotNegative, Positive
from acquisition.microscope import FilePath, MicroscopeError

Matrix = tuple[float, float, float, float]
"""Row by row: dx/dcolumn, dx/drow, dy/dcolumn, dy/drow; stage µm from pixels."""


def along_the_stage(um_per_px: float) -> Matrix:
    """The matrix of a camera whose rows and columns lie along the stage's axes."""
    return um_per_px, 0.0, 0.0, um_per_px


def matrix_scale(matrix: Matrix) -> float:
    """Size of a pixel, µm."""
    return math.sqrt(abs(matrix[0] * matrix[3] - matrix[1] * matrix[2]))


def sizes_agree(um_per_px: float, scale: float) -> bool:
    """Whether two statements of one pixel's size differ by no more than calibrating twice does: 5 %."""
    return abs(scale - um_per_px) <= 0.05 * um_per_px


@dataclass(kw_only=True)
class MicroManagerSettings:
    """Devices go by their labels in the Micro-Manager configuration, properties by "Device.Property"."""

    core: Literal["pymmcore", "pymmcore-plus", "python", "java"] = "pymmcore"
    """`pymmcore`, `pymmcore-plus`: MMCore in this process. `python`: pycromanager's in-process back end, the
    same MMCore. `java`: a running Micro-Manager whose ZMQ server is switched on; too slow for fast
    cameras."""
    config_file: FilePath = ""
    """Micro-Manager's .cfg. Empty with `java`: what Micro-Manager has loaded stays loaded."""
    adapter_path: FilePath = ""
    """Folder of the device adapters: the Micro-Manager installation. Empty: the package mm-test-adapters."""
    port: Annotated[int, Meta(ge=1, le=65535)] = 4827
    """Port of Micro-Manager's ZMQ server on this machine. Keep two servers at least 20 ports apart."""
    timeout_ms: AtLeastOne = 5000
    """How long to wait for Micro-Manager's ZMQ server to accept us; it is silent while it is busy."""
    open_timeout_s: Positive = 60.0
    """How long loading and initialising all devices may take."""
    call_timeout_s: Positive = 10.0
    """How long a call may take, on top of an exposure, before the rig counts as gone."""

    mode: Literal["stream", "snap"] = "stream"
    """`stream`: the camera runs by itself and its images are read in order; the shutter stays open meanwhile.
    `snap`: image by image on the run's clock, the shutter open only for each exposure."""
    interval_property: str = ""
    """In `stream`: the camera property that sets its frame rate. Empty: the camera runs as fast as its
    exposure allows, and images that come before the interval is over are thrown away, though the sample was
    lit for them."""
    interval_means: Literal["pause_ms", "rate_hz"] = "pause_ms"
    """What that property holds: the time between two exposures, or frames a second."""
    live_changes: bool = False
    """True if the camera obeys a new exposure or rate while it streams, as the DemoCamera does. False: the
    sequence is restarted around a change, which is safe with every camera and costs the exposure under way."""
    buffer_mb: AtLeastOne = 250
    """Size of MMCore's image buffer."""
    on_overflow: Literal["stop", "count"] = "stop"
    """When images come faster than they are read: end the run, or let MMCore discard them, counted as
    lost."""

    xy_stage: str = ""
    """Empty: the configuration's XY stage, if it has one."""
    z_stage: str = ""
    """Empty: the configuration's focus drive, if it has one."""
    stage_tolerance_um: Positive = 1.0
    """A move that ends further than this from where it should is an error."""
    shutter: str = ""
    """Empty: the configuration's shutter, which a channel may change."""
    shutter_follows_camera: bool = False
    """True only if a cable from the camera's exposure output switches the shutter or the light itself, so that
    the sample is lit while an image is exposed and dark between images. False: in `stream` the sample is lit
    from start to stop, a longer interval does not spare it, and all that time counts in the dose. If you are
    not sure, stream with an interval of 2 s and look at the sample: does the light blink?"""
    light_lag_ms: NotNegative = 5.0
    """In `snap`, unless `shutter_follows_camera`: how much longer than an exposure the light may be on, since
    shutters and drivers take their time. The light budget keeps so much back."""
    light: str = ""
    """Property that sets the light's power. Empty: SetLight only states the power, for the dose."""
    light_mw_per_unit: Positive = 1.0
    """Power at the sample for one unit of that property."""
    trigger: str = ""
    """Output for the sorter: a state device, a shutter, an analogue output, or any property."""
    trigger_on: str = "1"
    """The trigger property's value when open; not used for a device that is only a shutter."""
    trigger_off: str = "0"
    """The trigger property's value when shut."""
    channel_group: str = ""
    """Configuration group whose presets are the channels. Empty: the core's channel group."""

    roi_px: tuple[int, int, int, int] | None = None
    """x, y, width, height of the part of the sensor to read. None: as the configuration leaves it."""
    um_per_px: Positive | None = None
    """None: from `um_from_px`, else the configuration's pixel size."""
    um_from_px: Matrix | None = None
    """Stage µm from pixels, row by row: dx/dcolumn, dx/drow, dy/dcolumn, dy/drow. None: from `um_per_px` with
    the pixel axes along the stage's, else the configuration's affine calibration, else its pixel size."""
    properties: dict[str, str] = field(default_factory=dict)
    """Device properties to set at the start, in this order."""

    def __post_init__(self) -> None:
        if self.core == "java" and self.config_file:
            raise ValueError(
                f"config_file {self.config_file!r} cannot be loaded with core = 'java', which uses what "
                "Micro-Manager has loaded; leave it out"
            )
        if self.core != "java" and not self.config_file:
            raise ValueError(f"config_file is missing: core = {self.core!r} needs a Micro-Manager .cfg to load")
        if self.um_from_px is not None:
            a, b, d, e = self.um_from_px
            if a * e == b * d:
                matrix = list(self.um_from_px)
                raise ValueError(f"um_from_px {matrix} maps the image onto a line: give an invertible matrix")
            scale = matrix_scale(self.um_from_px)
            if self.um_per_px is not None and not sizes_agree(self.um_per_px, scale):
                raise ValueError(
                    f"um_per_px {self.um_per_px:g} and um_from_px, whose pixels are {scale:g} µm, contradict each other; "
                    "leave one out"
                )

    def config_path(self) -> Path:
        """The .cfg file, which exists."""
        path = Path(self.config_file).expanduser().resolve()
        if not path.is_file():
            raise MicroscopeError(f"config_file: there is no file {path}; name a Micro-Manager .cfg")
        return path

    def adapter_folder(self) -> Path:
        """Where the device adapters are; the libraries that they need are looked for there too."""
        folder = Path(self.adapter_path).expanduser().resolve()
        if not folder.is_dir():
            raise MicroscopeError(
                f"adapter_path: there is no folder {folder}; give that of your Micro-Manager installation"
            )
        if str(folder) not in os.environ["PATH"].split(os.pathsep):
            os.environ["PATH"] += os.pathsep + str(folder)
        return folder
