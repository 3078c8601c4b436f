"""What really happened in a simulated specimen: the truth by which policies are judged."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, NamedTuple

from acquisition.simulated.biology import Floats

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


class _Note(NamedTuple):
    kind: TruthKind
    cell_id: int
    start_min: float
    end_min: float
    start_um: tuple[float, float]


class History:
    """Keeps what happens in minutes of the specimen's life, and tells it on the run's clock."""

    def __init__(self) -> None:
        self._notes: list[_Note] = []
        self._under_way: dict[tuple[TruthKind, int], int] = {}
        """Places in the list of what may yet end sooner than noted."""

    def note(
        self,
        kind: TruthKind,
        cell_ids: Iterable[int],
        starts_min: Iterable[float],
        ends_min: Iterable[float],
        xy_um: Floats,
    ) -> None:
        """Something begins in several cells; `inf` for an end that nobody knows yet."""
        for cell_id, start_min, end_min, (x_um, y_um) in zip(
            cell_ids, starts_min, ends_min, xy_um.tolist(), strict=True
        ):
            if end_min > start_min:
                self._under_way[kind, int(cell_id)] = len(self._notes)
            self._notes.append(_Note(kind, int(cell_id), float(start_min), float(end_min), (x_um, y_um)))

    def end(self, kind: TruthKind, cell_id: int, t_min: float) -> None:
        """It ends now, unless it has ended already."""
        place = self._under_way.pop((kind, cell_id), None)
        if place is not None and self._notes[place].end_min > t_min:
            self._notes[place] = self._notes[place]._replace(end_min=t_min)

    def copy(self) -> "History":
        """What has been noted by now, to be told while more is noted."""
        other = History()
        other._notes = self._notes.copy()
        return other

    def told(self, until_min: float, opened_ns: int, ns_per_min: float) -> list[TrueEvent]:
        """All that has begun by then, in the order of beginning; `opened_ns` is when the specimen's life began."""

        def on_clock(t_min: float) -> int:
            return opened_ns + round(t_min * ns_per_min)

        return [
            TrueEvent(
                note.kind, note.cell_id, on_clock(note.start_min),
                on_clock(note.end_min) if note.end_min <= until_min else None, note.start_um,
            )
            for note in sorted(self._notes, key=lambda note: note.start_min)
            if note.start_min <= until_min
        ]  # fmt: skip
