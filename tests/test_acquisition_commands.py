"""Commands: what a command may say, whoever sends it, and by which means."""

import math
from typing import get_args

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from acquisition.commands import (
    COMMAND_NAMES,
    AcquireBurst,
    Command,
    MoveStage,
    Order,
    Pause,
    PulseSorter,
    Resume,
    SafeState,
    SetChannel,
    SetExposure,
    SetInterval,
    SetLight,
    SetRoi,
    Stop,
)

GOOD: list[tuple[Command, str]] = [
    (MoveStage(), '{"command":"MoveStage","x_um":null,"y_um":null,"z_um":null}'),
    (MoveStage(1.5, z_um=-2.0), '{"command":"MoveStage","x_um":1.5,"y_um":null,"z_um":-2.0}'),
    (SetInterval(50.0), '{"command":"SetInterval","interval_ms":50.0}'),
    (SetExposure(10.0), '{"command":"SetExposure","exposure_ms":10.0}'),
    (SetLight(0.0), '{"command":"SetLight","light_mw":0.0}'),
    (SetChannel("GFP"), '{"command":"SetChannel","channel":"GFP"}'),
    (SetRoi(1, 2, 3, 4), '{"command":"SetRoi","x_px":1,"y_px":2,"width_px":3,"height_px":4}'),
    (AcquireBurst(5, 20.0), '{"command":"AcquireBurst","n_frames":5,"interval_ms":20.0}'),
    (PulseSorter(10**18), '{"command":"PulseSorter","at_ns":1000000000000000000,"width_ms":1.0}'),
    (Pause(), '{"command":"Pause"}'),
    (Resume(), '{"command":"Resume"}'),
    (Stop(), '{"command":"Stop"}'),
    (SafeState(), '{"command":"SafeState"}'),
]

BAD = [
    ('{"command":"SelfDestruct"}', "SelfDestruct"),
    ('{"x_um":1.0}', "missing required field `command`"),
    ('{"command":"MoveStage","x":1.0}', "unknown field `x`"),
    ('{"command":"MoveStage","x_um":"1.0"}', "got `str`"),
    ('{"command":"MoveStage","x_um":true}', "got `bool`"),
    ('{"command":"SetInterval"}', "missing required field `interval_ms`"),
    ('{"command":"SetInterval","interval_ms":0.0}', "> 0"),
    ('{"command":"SetExposure","exposure_ms":-1.0}', "> 0"),
    ('{"command":"SetLight","light_mw":-0.1}', ">= 0"),
    ('{"command":"SetChannel","channel":3}', "got `int`"),
    ('{"command":"SetRoi","x_px":-1,"y_px":0,"width_px":8,"height_px":8}', ">= 0"),
    ('{"command":"AcquireBurst","n_frames":0,"interval_ms":20.0}', ">= 1"),
    ('{"command":"PulseSorter","at_ns":0.5}', "got `float`"),
    ('{"command":"PulseSorter","at_ns":0,"width_ms":0}', "> 0"),
    ('{"command":"MoveStage","x_um":1e400}', "out of range"),
    ('{"command":"Pause","for_ms":5}', "unknown field `for_ms`"),
]

WITH_NUMBERS: list[tuple[type, str, dict[str, object]]] = [
    (MoveStage, "x_um", {}),
    (MoveStage, "y_um", {}),
    (MoveStage, "z_um", {}),
    (SetInterval, "interval_ms", {}),
    (SetExposure, "exposure_ms", {}),
    (SetLight, "light_mw", {}),
    (AcquireBurst, "interval_ms", {"n_frames": 3}),
    (PulseSorter, "width_ms", {"at_ns": 0}),
]


def test_every_command_has_an_example_here() -> None:
    assert {type(command).__name__ for command, _ in GOOD} == COMMAND_NAMES
    assert {kind.__name__ for kind in get_args(Command)} == COMMAND_NAMES


@pytest.mark.parametrize(("command", "text"), GOOD, ids=lambda value: value if isinstance(value, str) else "")
def test_a_command_is_written_and_read_as_itself(command: Command, text: str) -> None:
    assert msgspec.json.encode(command).decode() == text
    assert msgspec.json.decode(text, type=Command) == command
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(command), type=Command) == command


@pytest.mark.parametrize(("text", "complaint"), BAD)
def test_what_is_not_a_command_is_refused(text: str, complaint: str) -> None:
    with pytest.raises(msgspec.ValidationError, match=complaint):
        msgspec.json.decode(text, type=Command)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize(("kind", "field", "others"), WITH_NUMBERS)
def test_numbers_that_are_not_finite_are_refused(
    kind: type, field: str, others: dict[str, object], value: float
) -> None:
    """In code as well as from the wire: msgpack, unlike JSON, carries NaN and infinity."""
    with pytest.raises(ValueError, match=rf"{kind.__name__}\.{field} must be a finite number, not {value}"):
        kind(**{field: value}, **others)
    packed = msgspec.msgpack.encode({"command": kind.__name__, field: value, **others})
    with pytest.raises(msgspec.ValidationError):
        msgspec.msgpack.decode(packed, type=Command)


def test_commands_cannot_be_changed_on_their_way() -> None:
    command = SetLight(1.0)
    with pytest.raises(AttributeError):
        command.light_mw = 100.0  # type: ignore[misc]


@given(st.binary(max_size=200))
def test_arbitrary_bytes_are_a_command_or_refused(data: bytes) -> None:
    try:
        command = msgspec.msgpack.decode(data, type=Command)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return
    assert type(command).__name__ in COMMAND_NAMES


@given(st.builds(MoveStage, *(st.none() | st.floats(allow_nan=False, allow_infinity=False) for _ in range(3))))
def test_positions_survive_the_wire_exactly(move: MoveStage) -> None:
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(move), type=Command) == move


def test_an_operators_order_does_not_expire_unless_it_says_so() -> None:
    assert Order(id="operator.1", command=Stop(), source="operator").deadline_ns is None
