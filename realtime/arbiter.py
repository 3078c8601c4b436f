"""The arbiter: at most one of a frame's decisions for each actuator; priority wins, then order. Pure."""

from collections.abc import Iterable, Mapping

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
    SetExposure: "exposure",
    SetLight: "light",
    SetChannel: "channel",
    SetRoi: "region of interest",
}
LIGHTING = (SetExposure, SetLight)
EQUAL: Mapping[str, float] = {}
"""Every policy has the same priority."""


def arbitrate(
    decisions: Iterable[Decision],
    priorities: Mapping[str, float] = EQUAL,
    other_channel: str = "",
    switching_to: str = "",
) -> tuple[list[Decision], list[str]]:
    """Those of one frame's decisions that go to the rig, and in words those that lost.

    The higher priority of a policy goes first (0 unless given); among equals `decisions` come in order: the policies'
    order in the config, then each policy's own. Only a SafeState goes before everything. One is kept whole or dropped whole,
    never changed.

    Exposure and light belong to the channel in force. A policy that switches the channel has both for this frame, and
    loses both if it loses the channel (it gives its SetChannel first). `other_channel` is the channel of the frame if that is not
    the one in which cells are found: then nobody changes exposure or light but who switches back. `switching_to` is a
    channel that may be in force although the frame does not show it yet: then the same holds, and no burst begins, for all of
    it would be of that channel.
    """
    ordered = sorted(decisions, key=lambda d: (not isinstance(d.command, SafeState), -priorities.get(d.policy, 0.0)))
    switching = {decision.policy for decision in ordered if isinstance(decision.command, SetChannel)}
    kept: list[Decision] = []
    dropped: list[str] = []
    for decision in ordered:
        lost = _lost(decision, kept, priorities)
        if not lost and isinstance(decision.command, LIGHTING):
            lost = _lost_with_channel(decision, kept, switching, other_channel or switching_to)
        if not lost and switching_to and isinstance(decision.command, AcquireBurst):
            lost = f"frame interval to the look in channel {switching_to}"
        if lost:
            dropped.append(f"{_name(decision)} lost the {lost}")
        else:
            kept.append(decision)
    return kept, dropped


def _lost(decision: Decision, kept: list[Decision], priorities: Mapping[str, float]) -> str:
    """What a decision loses against one that is kept, and to whom; nothing if it may be kept, too."""
    for winner in kept:
        actuator = contested(winner.command, decision.command)
        if actuator is None and winner.policy != decision.policy:
            actuator = _lighting_of_channel(winner.command, decision.command)
        if actuator is not None:
            first, second = (priorities.get(d.policy, 0.0) for d in (winner, decision))
            by = f", priority {first:g} against {second:g}" if first != second else ""
            return f"{actuator} to {_name(winner)}{by}"
    return ""


def _lost_with_channel(decision: Decision, kept: list[Decision], switching: set[str], other_channel: str) -> str:
    """What a change of exposure or light loses because of the channel."""
    actuator = ACTUATORS[type(decision.command)]
    if decision.policy in switching:
        switches = any(d.policy == decision.policy and isinstance(d.command, SetChannel) for d in kept)
        return "" if switches else f"{actuator} with its channel"
    return f"{actuator} to the look in channel {other_channel}" if other_channel else ""


def _lighting_of_channel(first: Command, second: Command) -> str | None:
    """Exposure or light, if one of the commands changes it and the other one the channel."""
    for one, other in ((first, second), (second, first)):
        if isinstance(one, SetChannel) and isinstance(other, LIGHTING):
            return ACTUATORS[type(other)]
    return None


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
        case AcquireBurst():  # a channel that changed now would be the whole burst's
            return ("frame interval", "channel")
        case _:  # Pause, Resume, Stop and SafeState are not in the table
            return (ACTUATORS.get(type(command), "run state"),)


def _overlap(first: PulseSorter, second: PulseSorter) -> bool:
    earlier, later = sorted((first, second), key=lambda pulse: pulse.at_ns)
    return later.at_ns < earlier.at_ns + earlier.width_ms * NS_PER_MS


def _name(decision: Decision) -> str:
    return f"{decision.id or decision.policy} ({type(decision.command).__name__})"
