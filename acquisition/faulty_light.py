"""The fault of a light that does not go off: it burns on between exposures and after them, and its device says so."""

from acquisition.clock import NS_PER_S
from acquisition.faults import Faults
from acquisition.microscope import MicroscopeError


class FaultyLight:
    """A lamp that obeys until its time has come, and from then on burns without a break.

    A simulated specimen does not hear of it: its cells bleach and suffer by the exposures alone.
    """

    def __init__(self, faults: Faults) -> None:
        self._fault = faults.light_stays_on
        self._since_ns: int | None = None
        self._power_mw = self._before_mj = 0.0
        self._told = False

    @property
    def is_on(self) -> bool:
        """On for good."""
        return self._since_ns is not None

    def is_due(self, running_s: float) -> bool:
        """Whether a light that is on sticks now, so long after imaging began."""
        return not self.is_on and self._fault is not None and running_s >= self._fault.after_s

    def stick(self, power_mw: float, spent_mj: float, now_ns: int) -> None:
        """It goes off no more; `spent_mj` is the light of the microscope until now."""
        self._since_ns, self._power_mw, self._before_mj = now_ns, power_mw, spent_mj

    def turn_to(self, power_mw: float, now_ns: int) -> None:
        """Its power can still be changed, but not to nothing."""
        if self.is_on and power_mw > 0:
            self._before_mj, self._since_ns = self._burned_mj(now_ns), now_ns
            self._power_mw = power_mw

    def dose_mj(self, exposed_mj: float, now_ns: int) -> float:
        """All light until now, of which exposures alone would have given `exposed_mj`."""
        return max(exposed_mj, self._burned_mj(now_ns)) if self.is_on else exposed_mj

    def complain(self, once: bool = False) -> None:
        """Raise MicroscopeError if the light is on; with `once` only if nobody was told before."""
        if self.is_on and not (once and self._told):
            self._told = True
            raise MicroscopeError(
                f"the light was told to go off and reads back {self._power_mw:g} mW; switch it off by hand "
                "(fault light_stays_on)"
            )

    def _burned_mj(self, now_ns: int) -> float:
        since_ns = now_ns if self._since_ns is None else self._since_ns
        return self._before_mj + self._power_mw * (now_ns - since_ns) / NS_PER_S
