"""The arbiter: at most one of a frame's decisions for each actuator; the earlier one wins. Pure."""

from collections.abc import Iterable

from acquisition.clock import NS_PER_MS
from acquisition.commands import (
    AcquireBurst,
    Command,
    MoveStage,
    PulseSorter,
    SafeState,
    SetChannel,
    SetExposure,
    SetInterval,
    SetLight,
    SetRoi,
)
from realtime.decisions import Decision

ACTUATORS: dict[type, str] = {
    SetInterval: "frame interval",
    AcquireBurst: "frame interval",
    SetExposure: "exposure",
    SetLight: "light",
    SetChannel: "channel",
    SetRoi: "region of interest",
}


def arbitrate(decisions: Iterable[Decision]) -> tuple[list[Decision], list[str]]:
    """Those of one frame's decisions that go to the rig, and in words those that lost.

    `decisions` come in order of priority: the policies' order in the config, then each policy's own. Only a
    SafeState goes before everything. One is kept whole or dropped whole, never changed.
    """
    kept: list[Decision] = []
    dropped: list[str] = []
    for decision in sorted(decisions, key=lambda decision: not isinstance(decision.command, SafeState)):
        claims = ((winner, contested(winner.command, decision.command)) for winner in kept)
        lost = next(((winner, actuator) for winner, actuator in claims if actuator), None)
        if lost is None:
            kept.append(decision)
        else:
            winner, actuator = lost
            dropped.append(f"{_name(decision)} lost the {actuator} to {_name(winner)}")
    return kept, dropped


def contested(first: Command, second: Command) -> str | None:
    """The actuator that both commands want, if there is one. Pulses that do not overlap share the gate."""
    if isinstance(first, PulseSorter) and isinstance(second, PulseSorter):
        return "gate" if _overlap(first, second) else None
    return next((actuator for actuator in actuators(first) if actuator in actuators(second)), None)


def actuators(command: Command) -> tuple[str, ...]:
    """What a command takes hold of. The stage in the plane and the focus are two actuators."""
    match command:
        case MoveStage(x_um=x_um, y_um=y_um, z_um=z_um):
            plane = () if x_um is None and y_um is None else ("stage in xy",)
            focus = () if z_um is None else ("stage in z",)
            return plane + focus
        case PulseSorter():
            return ("gate",)
        case _:  # Pause, Resume, Stop and SafeState are not in the table
            return (ACTUATORS.get(type(command), "run state"),)


def _overlap(first: PulseSorter, second: PulseSorter) -> bool:
    earlier, later = sorted((first, second), key=lambda pulse: pulse.at_ns)
    return later.at_ns < earlier.at_ns + earlier.width_ms * NS_PER_MS


def _name(decision: Decision) -> str:
    return f"{decision.id or decision.policy} ({type(decision.command).__name__})"
