"""The fault of a light that does not go off: it goes on spending, and its device says so."""

from acquisition.clock import NS_PER_S
from acquisition.faults import Faults
from acquisition.microscope import MicroscopeError


class FaultyLight:
    """What is lit although it should be dark.

    A simulated specimen does not hear of it: the run ends, and no frame comes that could show what it did.
    """

    def __init__(self, faults: Faults) -> None:
        self._fault = faults.light_stays_on
        self._since_ns: int | None = None
        self._power_mw = self._spent_mj = 0.0
        self._told = False

    @property
    def is_on(self) -> bool:
        """On, although it was told to go off."""
        return self._since_ns is not None

    def may_go_off(self, running_s: float) -> bool:
        """Whether the light still obeys, so long after imaging began."""
        return self._fault is None or running_s < self._fault.after_s

    def stay_on(self, power_mw: float, now_ns: int) -> None:
        """It was told to go off and did not."""
        if not self.is_on:
            self._since_ns, self._power_mw = now_ns, power_mw

    def is_wanted(self, now_ns: int) -> None:
        """Imaging goes on, and its exposures count again."""
        self._spent_mj, self._since_ns = self.dose_mj(now_ns), None

    def dose_mj(self, now_ns: int) -> float:
        """What it spent while it should have been off."""
        on_ns = 0 if self._since_ns is None else now_ns - self._since_ns
        return self._spent_mj + self._power_mw * on_ns / NS_PER_S

    def complain(self, once: bool = False) -> None:
        """Raise MicroscopeError if the light is on; with `once` only if nobody was told before."""
        if self.is_on and not (once and self._told):
            self._told = True
            raise MicroscopeError(
                f"the light was told to go off and reads back {self._power_mw:g} mW; switch it off by hand "
                "(fault light_stays_on)"
            )
