"""Light on the sample through MMCore, and how much of it there was. For the core's thread, but for `LightMeter.mj`."""

from collections.abc import Callable

from acquisition.clock import NS_PER_S, Clock
from acquisition.micromanager.core_calls import CoreCalls
from acquisition.micromanager.devices import find_device, find_property
from acquisition.microscope import MicroscopeError

Release = Callable[[], None]
"""Lets go of a core."""
NO_POWER = 0.01
"""A light that reads less than this share of its power is off: some devices measure rather than repeat."""


class LightMeter:
    """Energy of a light from the power that it was set to and for how long. Any thread may read it."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._since = 0.0, 0, 0.0
        """mJ until a moment, that moment (ns), and mW since then; replaced as a whole."""

    def power(self, light_mw: float) -> None:
        """So much from now on; 0 is dark."""
        now_ns = self._clock.now_ns()
        self._since = self._mj_at(now_ns), now_ns, light_mw

    def mj(self) -> float:
        """Until now."""
        return self._mj_at(self._clock.now_ns())

    def _mj_at(self, now_ns: int) -> float:
        before_mj, since_ns, light_mw = self._since
        return before_mj + light_mw * (now_ns - since_ns) / NS_PER_S


class Illumination:
    """Light on the sample: a shutter, a property that sets the power, both, or neither."""

    def __init__(self, core: CoreCalls, clock: Clock, shutter: str, light: str, mw_per_unit: float) -> None:
        self._core, self._mw_per_unit = core, mw_per_unit
        self._named = find_device(core, shutter, "shutter") if shutter else ""
        self._power = find_property(core, light, "light") if light else None
        self.meter = LightMeter(clock)
        """Counts from when the light is told to go on until it has been told to go off."""
        self.light_mw = 0.0
        """What the sample gets while it is lit, as the device confirmed it."""
        self.lit = False
        self._left_to_core = False

    def set_power(self, light_mw: float) -> None:
        """Power for now, or for when the light goes on next; MicroscopeError if the source cannot give it."""
        if self._power is not None:
            self._power.check(light_mw / self._mw_per_unit)
        self.light_mw = self._powered(light_mw) if self.lit else light_mw
        if self.lit:
            self.meter.power(self.light_mw)

    def on(self) -> None:
        """Light at the power last set."""
        self.lit = True
        self.meter.power(self.light_mw)
        self.light_mw = self._powered(self.light_mw)
        self.meter.power(self.light_mw)
        if shutter := self._shutter():
            self._core.do("setShutterOpen", shutter, True)
            self._core.do("waitForDevice", shutter)

    def on_for_sequence(self) -> None:
        """Light until `off`; the core's own shutter closes when the camera is done, even if we are held up then."""
        self.on()
        self._left_to_core = True
        self._core.do("setAutoShutter", True)

    def off(self) -> None:
        """No light on the sample; where there is no shutter the power goes to 0."""
        if self._left_to_core:
            self._core.do("setAutoShutter", False)
            self._left_to_core = False
        if shutter := self._shutter():
            self._core.do("setShutterOpen", shutter, False)
        else:
            self._write_no_power()
        self._went_dark()

    def dark(self) -> None:
        """Light off, and the devices say so; MicroscopeError if light still falls on the sample."""
        self.off()
        if shutter := self._shutter():
            self._core.do("waitForDevice", shutter)
            if self._core.flag("getShutterOpen", shutter):
                raise MicroscopeError(
                    f"shutter {shutter} was told to close but says that it is open: the sample is lit; close it by hand "
                    "and look at its cable and its mode"
                )
        elif self._power is not None and self._power.number() > NO_POWER * self.light_mw / self._mw_per_unit:
            raise MicroscopeError(
                f"{self._power.device}.{self._power.name} was set to 0 but reads {self._power.read()}: the sample is lit; "
                "switch the light off by hand and look at its cable and its mode"
            )

    def power_off(self) -> None:
        """The light source itself."""
        if self._power is not None:
            self._write_no_power()
            self._went_dark()

    def shutter_open(self) -> bool:
        """The shutter's answer; without one, whether we let the light on."""
        shutter = self._shutter()
        return self._core.flag("getShutterOpen", shutter) if shutter else self.lit

    def _powered(self, light_mw: float) -> float:
        """Set the source and read it back."""
        if self._power is None:
            return light_mw
        self._power.write(light_mw / self._mw_per_unit)
        return self._power.number() * self._mw_per_unit

    def _write_no_power(self) -> None:
        if self._power is not None:
            self._power.write(0.0)

    def _went_dark(self) -> None:
        self.lit = False
        self.meter.power(0.0)

    def _shutter(self) -> str:
        return self._named or self._core.text("getShutterDevice")


def manual_shutter(core: CoreCalls, let_go: Release) -> Release:
    """Keep MMCore from working the shutter by itself; what is returned undoes that and lets go of the core."""
    auto_shutter = core.flag("getAutoShutter")
    core.do("setAutoShutter", False)

    def release() -> None:
        try:
            core.do("setAutoShutter", auto_shutter)
        finally:
            let_go()

    return release
