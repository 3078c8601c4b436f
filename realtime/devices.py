"""A config's devices: its microscope, the sorter beside it, and what is to go wrong with them."""

from acquisition.faults import Faults
from acquisition.faulty_microscope import with_faults
from acquisition.microscope import Microscope
from acquisition.sorter_beside import with_sorter
from realtime.config import RunConfig


def build_rig(config: RunConfig, faults: Faults | None = None, to_rescue: bool = False) -> Microscope:
    """A fresh rig, not yet open. `faults` None: those of the config; `to_rescue`: as `with_faults` has it."""
    microscope = with_faults(config.microscope.build(), config.faults if faults is None else faults, to_rescue)
    return with_sorter(microscope, config.sorter.build() if config.sorter else None)
