"""A flow cell that says in its own settings how it flows, as the simulated one: does [sort] say the same?"""

from dataclasses import dataclass

from acquisition.simulated.flow_settings import FlowCellSettings
from realtime.check import Finding, Remark
from realtime.config import RunConfig
from realtime.sort.gate import check_channel
from realtime.sort.settings import SortSettings

WINDOW_SHARE = 0.25
"""A pulse may be off by so much of its window: of a cell in the middle, half the window is left on either side."""


@dataclass(frozen=True)
class ToldView:
    """What the camera will see, known before it is switched on."""

    width_px: int
    um_per_px: float
    interval_ms: float


def check_told_channel(config: RunConfig) -> None:
    """What is otherwise asked with the first stack, where the settings alone can tell. Raises ConfigError."""
    cell = _flow_cell(config)
    if cell is not None and config.sort is not None:
        check_channel(config.sort, ToldView(cell.width_px, cell.um_per_px, config.imaging.interval_ms))


def flow_findings(config: RunConfig) -> list[Finding | Remark]:
    """Where [sort.flow] contradicts the flow cell; of a rig that does not say how it flows, nothing."""
    cell, sort = _flow_cell(config), config.sort
    if cell is None or sort is None:
        return []
    findings: list[Finding | Remark] = [_aim(cell, sort, is_deflecting=config.sorter is None), _speed(cell, sort)]
    if sort.flow.direction != cell.flow.direction:
        text = (
            f'cells go "{cell.flow.direction}" ([microscope.flow]), but sort.flow.direction is "{sort.flow.direction}": no '
            "cell would be followed; give both the same direction"
        )
        findings.append(Remark("direction", text, ok=False))
    return findings


def _flow_cell(config: RunConfig) -> FlowCellSettings | None:
    microscope = config.microscope.build()
    return microscope if isinstance(microscope, FlowCellSettings) else None


def _aim(cell: FlowCellSettings, sort: SortSettings, is_deflecting: bool) -> Finding:
    """How far the middle of a pulse is from its cell; the flow cell's own sorter has a delay, if it `is_deflecting`."""
    way_um = sort.flow.junction_um - cell.flow.junction_um
    delay_ms = cell.sorter.delay_ms if is_deflecting else sort.pulse.delay_ms
    off_ms = way_um / cell.flow.speed_um_s * 1000 + delay_ms - sort.pulse.delay_ms
    advice = (
        f"pulses miss their cells: the junction is at {cell.flow.junction_um:g} µm ([microscope.flow]), where "
        f"sort.flow.junction_um says {sort.flow.junction_um:g}, and the sorter's delay is {delay_ms:g} ms, where "
        f"sort.pulse.delay_ms says {sort.pulse.delay_ms:g}; give both the same values"
    )
    return Finding("pulse to cell", abs(off_ms), WINDOW_SHARE * sort.pulse.window_ms, "ms", False, advice, usable=1.0)


def _speed(cell: FlowCellSettings, sort: SortSettings) -> Finding:
    """How far from the expected speed cells in the middle of the channel are."""
    true_um_s, told_um_s = cell.flow.speed_um_s, sort.flow.speed_um_s
    advice = (
        f"cells go {true_um_s:g} µm/s ([microscope.flow]), which sort.flow.speed_um_s {told_um_s:g} with speed_spread "
        f"{sort.flow.speed_spread:g} does not reach, so they would not be followed; give both the same speed"
    )
    off = abs(true_um_s / told_um_s - 1)
    return Finding("speed is off by", 100 * off, 100 * sort.flow.speed_spread, "%", False, advice, usable=1.0)
