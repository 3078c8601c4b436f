"""What really happened in a simulated specimen: the truth by which policies are judged."""

from dataclasses import dataclass
from typing import Literal

TruthKind = Literal["mitosis", "rare", "transient", "death", "harmed"]


@dataclass(frozen=True)
class TrueEvent:
    """Something that happened to one cell, on the run's clock.

    `mitosis` lasts from prophase to the moment at which two daughters are there, `rare` and `transient` while they can be seen;
    `death` and `harmed` (the dose has passed harm_j_cm2) are moments, with `end_ns` = `start_ns`.
    """

    kind: TruthKind
    cell_id: int
    start_ns: int
    end_ns: int | None
    """None: not over yet."""
    start_um: tuple[float, float]
    """Where the cell was then, stage µm."""
