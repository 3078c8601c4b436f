"""What surrounds the camera, through MMCore: trigger, channels, calibration. For the core's thread."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from acquisition.micromanager.core_calls import CoreCalls
from acquisition.micromanager.settings import (
    Matrix,
    MicroManagerSettings,
    along_the_stage,
    matrix_scale,
    sizes_agree,
)
from acquisition.microscope import MicroscopeError


@dataclass(frozen=True)
class Property:
    """One property of one device, both known to exist."""

    core: CoreCalls
    device: str
    name: str

    def write(self, value: str | float) -> None:
        self.core.set_property(self.device, self.name, value)

    def read(self) -> str:
        return self.core.text("getProperty", self.device, self.name)

    def check(self, value: float) -> None:
        """MicroscopeError if `value` is outside the range that the device declares; sets nothing."""
        limits = self.core.limits(self.device, self.name)
        if limits is not None and not limits[0] <= value <= limits[1]:
            raise MicroscopeError(
                f"{self.device}.{self.name} = {value:g} is outside its range, {limits[0]:g} to {limits[1]:g}"
            )

    def number(self) -> float:
        """The value where it must be a number."""
        text = self.read()
        try:
            return float(text)
        except ValueError:
            raise MicroscopeError(f"{self.device}.{self.name} reads {text!r}, but a number is needed there") from None


def find_device(core: CoreCalls, label: str, setting: str) -> str:
    """`label` if there is such a device; MicroscopeError that names those there are."""
    known = core.names("getLoadedDevices")
    if label not in known:
        raise MicroscopeError(f"{setting}: no device {label!r} in this configuration; there are {', '.join(known)}")
    return label


def find_property(core: CoreCalls, text: str, setting: str) -> Property:
    """The property that "Device.Property" means."""
    device, dot, name = text.partition(".")
    if not dot:
        raise MicroscopeError(f"{setting}: {text!r} must name a property as Device.Property")
    find_device(core, device, setting)
    if not core.flag("hasProperty", device, name):
        known = ", ".join(core.names("getDevicePropertyNames", device)) or "none"
        raise MicroscopeError(f"{setting}: device {device!r} has no property {name!r}; it has {known}")
    return Property(core, device, name)


# --- trigger ----------------------------------------------------------------------------------------------


class Output(Protocol):
    """Something that can be opened and shut and says which it is."""

    def set(self, opened: bool) -> None: ...
    def opened(self) -> bool: ...


@dataclass(frozen=True)
class PropertyOutput:
    """An output that is a property with one value for open and one for shut."""

    line: Property
    on: str
    off: str

    def set(self, opened: bool) -> None:
        self.line.write(self.on if opened else self.off)

    def opened(self) -> bool:
        return not same_value(self.line.read(), self.off)


@dataclass(frozen=True)
class ShutterOutput:
    """An output that is a shutter without a state property."""

    core: CoreCalls
    label: str

    def set(self, opened: bool) -> None:
        self.core.do("setShutterOpen", self.label, opened)

    def opened(self) -> bool:
        return self.core.flag("getShutterOpen", self.label)


def find_output(core: CoreCalls, text: str, on: str, off: str) -> Output:
    """The trigger output: a property by name, or the one that its kind of device has."""
    if "." in text:
        return PropertyOutput(find_property(core, text, "trigger"), on, off)
    find_device(core, text, "trigger")
    for name in ("State", "Voltage", "Volts"):
        if core.flag("hasProperty", text, name):
            return PropertyOutput(Property(core, text, name), on, off)
    try:
        core.flag("getShutterOpen", text)
    except MicroscopeError as error:
        known = ", ".join(core.names("getDevicePropertyNames", text)) or "none"
        raise MicroscopeError(
            f"trigger: {text!r} is no state device, shutter or analogue output; name one of its properties "
            f"as {text}.Property: {known}"
        ) from error
    return ShutterOutput(core, text)


def same_value(left: str, right: str) -> bool:
    """Property values as text: '5' and '5.0000' are the same."""
    try:
        return float(left) == float(right)
    except ValueError:
        return left == right


def find_channel_group(core: CoreCalls, name: str) -> str:
    """The configuration group that holds the channels; the core's own choice if none is named."""
    known = core.names("getAvailableConfigGroups")
    if name and name not in known:
        raise MicroscopeError(f"channel_group: no group {name!r} in this configuration; there are {', '.join(known)}")
    return name or core.text("getChannelGroup")


def find_calibration(core: CoreCalls, settings: MicroManagerSettings) -> tuple[float, Matrix]:
    """µm a pixel and the 2×2 matrix from pixels to stage µm: from the settings, else the configuration."""
    if settings.um_from_px is not None:
        return settings.um_per_px or matrix_scale(settings.um_from_px), settings.um_from_px
    if settings.um_per_px is not None:
        return settings.um_per_px, along_the_stage(settings.um_per_px)
    um_per_px, matrix = core.number("getPixelSizeUm"), _affine_of(core)
    if um_per_px == 0:
        raise MicroscopeError(
            "the size of a pixel is unknown: give um_per_px (or um_from_px) in [microscope], or calibrate "
            "the pixel size in Micro-Manager for the objective in use"
        )
    if matrix is None:
        return um_per_px, along_the_stage(um_per_px)
    if not sizes_agree(um_per_px, scale := matrix_scale(matrix)):
        raise MicroscopeError(
            f"this configuration contradicts itself: its pixel size is {um_per_px:g} µm, but its affine transform says "
            f"{scale:g} µm; give um_per_px or um_from_px in [microscope], or calibrate anew in Micro-Manager"
        )
    return um_per_px, matrix


def _affine_of(core: CoreCalls) -> Matrix | None:
    """The 2×2 part of the configuration's affine transform; None where nobody has calibrated one.

    MMCore then answers with the identity, scaled as the pixel size is for binning and magnification.
    """
    a, b, _, d, e, _ = core.affine()
    factor = 1.0
    if name := core.text("getCurrentPixelSizeConfig"):
        unscaled_um = core.number("getPixelSizeUmByID", name)
        factor = core.number("getPixelSizeUm") / unscaled_um if unscaled_um else 1.0
    unset = along_the_stage(factor)
    is_unset = all(math.isclose(*pair, abs_tol=1e-9 * factor) for pair in zip((a, b, d, e), unset, strict=True))
    return None if is_unset or a * e == b * d else (a, b, d, e)


def try_all(otherwise: str, steps: Sequence[tuple[str, Callable[[], None]]]) -> None:
    """Take every step, whatever the others do; then one MicroscopeError that lists what failed."""
    failures = []
    for name, step in steps:
        try:
            step()
        except MicroscopeError as error:
            failures.append(f"{name}: {error}")
    if failures:
        raise MicroscopeError(f"{otherwise}, {len(failures)} of {len(steps)} steps failed: {'; '.join(failures)}")
