"""Channels through MMCore: the presets of one configuration group. For the core's thread only."""

from acquisition.micromanager.core_calls import CoreCalls
from acquisition.micromanager.devices import find_channel_group
from acquisition.micromanager.light import Illumination
from acquisition.microscope import MicroscopeError


class Channels:
    """The presets that a configuration group offers, and which one is set; without a group there are none."""

    def __init__(self, core: CoreCalls, group: str) -> None:
        self._core, self._group = core, find_channel_group(core, group)
        self.names = core.names("getAvailableConfigs", self._group) if self._group else ()
        self.current = self.read()
        """As last read from the devices."""

    def read(self) -> str:
        """What the devices say; empty if their settings are those of no preset."""
        return self._core.text("getCurrentConfig", self._group) if self._group else ""

    def switch(self, name: str, illumination: Illumination) -> None:
        """Switch in the dark: what turns in the light path meanwhile lights nothing."""
        if name not in self.names:
            raise MicroscopeError(
                f"SetChannel: no channel {name!r} in configuration group {self._group!r}; "
                f"there are {', '.join(self.names) or 'none'}"
            )
        was_lit = illumination.lit
        illumination.off()
        try:
            self._core.do("setConfig", self._group, name)
            self._core.do("waitForConfig", self._group, name)
        finally:
            self.current = self.read()
            if was_lit:
                illumination.on()
