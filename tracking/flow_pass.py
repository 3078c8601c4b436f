"""Strip after strip of a stack: predict, link, begin, end. One compiled pass; what it remembers is in flow_state.py."""

import numpy as np
import numpy.typing as npt

from models.cells import Floats
from models.labelling import compiled
from tracking.flow_fit import add_look, arrival, expect, fit, learn
from tracking.flow_links import Rows, linked
from tracking.flow_spots import on_spots, sticks
from tracking.flow_state import MOST_CELLS, Record, Records

MOST_MISSED = 2
"""A cell that was not found in so many strips in a row, though it should have been, is lost."""
MOST_HIDDEN = 6
"""Or that was in a clump with another for so many."""
GAP = 2.5
"""Strips that are further apart than so many usual intervals have a gap between them: new cells may be anywhere."""
TOGETHER = 1.25
"""A sighting that is so many times as large as its cell, and where another cell is expected too, shows both."""
LARGER = 0.15
"""A difference between logarithms of areas that says something."""
SAME_PLACE_UM = 0.5
"""How far outside a sighting's box a cell may be expected that is hidden in it."""
NOBODY = -1


@compiled
def follow(
    cells: Records, spots: Records, before: Records, profile: Floats, learned: Records, channel: Records,
    looks: Records, start: Rows, strips_t_ns: Rows, out: Records, cell_of: Rows,
) -> int:  # fmt: skip
    """A stack on: `looks[start[k]:start[k + 1]]` are those of strip k. Fills `out` and `cell_of`; rows of `out`."""
    n_out = 0
    for k in range(len(strips_t_ns)):
        seen, ids = looks[start[k] : start[k + 1]], cell_of[start[k] : start[k + 1]]
        t_ns = strips_t_ns[k]
        gap = _time_passes(t_ns, learned)
        _one_strip(cells, spots, before, profile, learned, channel, seen, t_ns, gap, ids)
        n_out = _let_go(cells, profile, learned, channel, t_ns, out, n_out)
    for i in range(learned[0].cells):
        _tell(cells[i], channel, False, out[n_out])
        n_out += 1
    return n_out


@compiled
def _time_passes(t_ns: int, learned: Records) -> bool:
    """Counts the strip and learns the usual interval; True if nothing was seen for longer than that."""
    first = learned[0].strips == 0
    since = (t_ns - learned[0].last_ns) * 1e-9
    learned[0].strips += 1
    learned[0].last_ns = t_ns
    usual = learned[0].usual_s
    if first or usual == 0.0:
        learned[0].usual_s = 0.0 if first else since
        return True
    if since > GAP * usual:
        learned[0].usual_s = 1.02 * usual  # a gap teaches little, but a slower camera is believed in the end
        return True
    learned[0].usual_s += 0.05 * (since - usual)
    return False


@compiled
def _one_strip(
    cells: Records, spots: Records, before: Records, profile: Floats, learned: Records, channel: Records,
    seen: Records, t_ns: int, gap: bool, ids: Rows,
) -> None:  # fmt: skip
    """Who is in this strip; `ids` are filled in."""
    n, m = len(seen), learned[0].cells
    ids[:] = NOBODY
    for i in range(m):
        expect(cells[i], t_ns, channel)
    taken = on_spots(seen, spots, learned[0].strips)
    look_of = linked(cells, m, seen, n, taken, t_ns, gap, learned, channel)
    used = taken.copy()
    for i in range(m):
        if look_of[i] >= 0:
            used[look_of[i]] = True
    for i in range(m):
        j = look_of[i]
        if j >= 0:
            alone = not _shows_both(cells, m, i, look_of, seen[j])
            add_look(cells[i], seen[j], t_ns, alone)
            fit(cells[i], profile, learned, channel)
            if alone:
                ids[j] = cells[i].id
    _miss(cells, m, look_of, seen, used, channel)
    for j in range(n):
        if used[j] or sticks(seen[j], before, learned[0].before, spots, learned[0].strips):
            continue
        if not seen[j].cut_out:
            ids[j] = _begin(cells, seen[j], t_ns, profile, learned, channel)
    learned[0].before = min(n, MOST_CELLS)
    for j in range(learned[0].before):
        before[j] = seen[j]


@compiled
def _shows_both(cells: Records, m: int, i: int, look_of: Rows, look: Record) -> bool:
    """Is a cell that has no sighting of its own in this one too, which is large enough for both?"""
    if look.log_area - cells[i].log_area < np.log(TOGETHER):
        return False
    both = False
    for other in range(m):
        both |= other != i and look_of[other] < 0 and _inside(cells[other], look)
    return both


@compiled
def _inside(cell: Record, look: Record) -> bool:
    """Is the cell expected where the sighting is?"""
    return bool(
        look.back_um - SAME_PLACE_UM < cell.ahead_um < look.front_um + SAME_PLACE_UM
        and look.top_um - SAME_PLACE_UM < cell.y_um < look.bottom_um + SAME_PLACE_UM
    )


@compiled
def _hides(cell: Record, look: Record, of_another: bool) -> bool:
    """Can a cell be in a sighting that is not its own? In one of nobody only if that is larger than the cell.

    A sighting that is smaller says that the cell was a clump, and has come apart.
    """
    if not _inside(cell, look):
        return False
    if look.cut_in or look.cut_out:
        return True
    return bool(look.log_area > cell.log_area + (-LARGER if of_another else LARGER) and (of_another or cell.whole > 0))


@compiled
def _miss(cells: Records, m: int, look_of: Rows, seen: Records, used: npt.NDArray[np.bool_], channel: Records) -> None:
    """Cells without a sighting: hidden in a clump, which is then used, or missed, if they should have been in view."""
    for i in range(m):
        if look_of[i] >= 0:
            continue
        hidden = False
        for j in range(len(seen)):
            if _hides(cells[i], seen[j], used[j]):
                hidden = used[j] = True
        if hidden:
            cells[i].hidden += 1
        elif -channel[0].out_um < cells[i].ahead_um < channel[0].out_um:
            cells[i].missed += 1


@compiled
def _begin(cells: Records, look: Record, t_ns: int, profile: Floats, learned: Records, channel: Records) -> int:
    """A new cell; its id, or NOBODY if there is no room."""
    m = learned[0].cells
    if m == MOST_CELLS:
        return NOBODY
    cell = cells[m]
    cell.id, cell.t0_ns, cell.last_ns = learned[0].next_id, t_ns, t_ns
    cell.looks = cell.whole = cell.missed = cell.hidden = 0
    cell.kept, cell.stride, cell.guess_var = 0, 1, 0.0
    add_look(cell, look, t_ns, True)
    fit(cell, profile, learned, channel)
    learned[0].next_id += 1
    learned[0].cells += 1
    return int(cell.id)


@compiled
def _let_go(
    cells: Records, profile: Floats, learned: Records, channel: Records, t_ns: int, out: Records, n_out: int
) -> int:  # fmt: skip
    """Cells that will not be seen again are told and forgotten, in the order of their ids; rows of `out`."""
    soon_ns = t_ns + int(1e9 * learned[0].usual_s)
    kept = 0
    for i in range(learned[0].cells):
        expect(cells[i], soon_ns, channel)
        lost = cells[i].missed >= MOST_MISSED or cells[i].hidden >= MOST_HIDDEN
        if lost or cells[i].ahead_um > channel[0].out_um:
            _tell(cells[i], channel, True, out[n_out])
            n_out += 1
            learn(cells[i], profile, learned, channel)
        else:
            if kept != i:
                cells[kept] = cells[i]
            kept += 1
    learned[0].cells = kept
    return n_out


@compiled
def _tell(cell: Record, channel: Records, gone: bool, row: Record) -> None:
    row.id, row.looks, row.last_ns, row.gone = cell.id, cell.looks, cell.last_ns, gone
    row.y_um, row.speed_um_s = cell.y_um, cell.v
    row.arrival_ns, row.sigma_ms = arrival(cell, channel)
