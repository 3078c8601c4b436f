"""The wire: every message survives the journey; whatever else arrives is refused by name with WireError."""

import itertools
import math
from typing import Any, get_args

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from msgspec import inspect

from acquisition.frame import FrameHeader
from realtime.wire import (
    MAX_BYTES,
    VERSION,
    AnyMessage,
    Column,
    FrameAnalysed,
    Message,
    StripsSorted,
    WireError,
    decode,
    encode,
)
from tests.wire_examples import EXAMPLES, GOLDEN, RUN, kind_of, pinned_text

LARGE = 1e300
"""Sums of a few numbers up to this are finite, too."""
KINDS: dict[str, type[Message]] = {str(kind.__struct_config__.tag): kind for kind in get_args(AnyMessage)}


class Pinned(msgspec.Struct):
    """A file of tests/golden/wire: the message for people, and its bytes in hex."""

    message: AnyMessage
    msgpack: list[str]


def test_every_kind_has_one_example_and_one_pinned_file() -> None:
    assert sorted(map(kind_of, EXAMPLES)) == sorted(KINDS)
    assert sorted(path.stem for path in GOLDEN.glob("*.json")) == sorted(KINDS)


@pytest.mark.parametrize("message", EXAMPLES, ids=kind_of)
def test_pinned_examples_are_still_what_this_version_speaks(message: AnyMessage) -> None:
    text = (GOLDEN / f"{kind_of(message)}.json").read_text(encoding="utf-8")
    pinned = msgspec.json.decode(text, type=Pinned)
    data = bytes.fromhex("".join(pinned.msgpack))
    changed = "the wire has changed: raise wire.VERSION and pin new examples"
    assert pinned.message == message, changed
    assert decode(data, RUN) == message, changed
    assert encode(message) == data, changed
    assert text == pinned_text(message), "the file must show every field"


# --- any message survives -----------------------------------------------------------------------------------


def anything(info: inspect.Type) -> st.SearchStrategy[Any]:
    """Values that a field of this type may have, drawn from its declaration, so new kinds are covered."""
    match info:
        case inspect.StructType(cls=cls) if cls is Column:
            return columns
        case inspect.StructType(cls=cls, fields=fields) if cls is FrameHeader:
            plain = {field.name: anything(field.type) for field in fields if field.name != "strip_t_ns"}
            return st.builds(as_stack, st.builds(FrameHeader, **plain), st.lists(st.integers(1, 2**40), max_size=20))
        case inspect.StructType(cls=cls, fields=fields):
            own = {field.name: anything(field.type) for field in fields if field.name not in ("v", "run")}
            return st.builds(cls, **own, **({"run": st.just(RUN)} if issubclass(cls, Message) else {}))
        case inspect.UnionType(types=types):
            return st.one_of([anything(one) for one in types])
        case inspect.IntType(ge=ge):
            return st.integers(-(2**63) if ge is None else ge, 2**63 - 1)
        case inspect.FloatType(gt=gt, ge=ge):
            low = 0 if gt is not None or ge is not None else -LARGE
            return st.floats(low, LARGE, exclude_min=gt is not None)
        case inspect.StrType(max_length=max_length):
            return st.text(max_size=min(20, max_length or 20))
        case inspect.LiteralType(values=values):
            return st.sampled_from(values)
        case inspect.VarTupleType(item_type=item, max_length=max_length):
            return st.lists(anything(item), max_size=min(3, max_length or 3)).map(tuple)
        case inspect.TupleType(item_types=items):
            return st.tuples(*map(anything, items))
        case inspect.DictType(key_type=key, value_type=value):
            return st.dictionaries(anything(key), anything(value), max_size=3)
        case inspect.BoolType():
            return st.booleans()
        case inspect.NoneType():
            return st.none()
    raise NotImplementedError(f"teach this test how to draw a {info}")


def as_stack(header: FrameHeader, gaps_ns: list[int]) -> FrameHeader:
    """The same frame as a stack of strips, one more than there are gaps between them; without any, as it is."""
    times_ns = tuple(header.t_ns - gap for gap in itertools.accumulate(gaps_ns, initial=0))[::-1]
    n_strips = len(times_ns)
    if not gaps_ns or times_ns[0] < -(2**63) or n_strips * header.height_px >= 2**63:
        return header
    return msgspec.structs.replace(header, height_px=n_strips * header.height_px, strip_t_ns=times_ns)


numbers = st.sampled_from(["<f8", "<f4", "<i8", "<i4", "<i2", "|i1", "|u1", "<u2", "<u4", "<u8", ">f8", ">i4"])
arrays = hnp.arrays(numbers, hnp.array_shapes(min_dims=1, max_dims=4, min_side=0, max_side=4))
columns = arrays.map(Column.of)
messages = st.sampled_from(sorted(KINDS)).flatmap(lambda kind: anything(inspect.type_info(KINDS[kind])))


@settings(max_examples=300, deadline=None)
@given(messages)
def test_every_message_survives_the_journey(message: AnyMessage) -> None:
    assert decode(encode(message), RUN) == message
    assert decode(memoryview(encode(message)), None) == message


@given(arrays)
def test_a_column_is_the_array_it_was_made_of(array: np.ndarray[Any, Any]) -> None:
    turned = array.T  # not contiguous
    for original in (array, turned):
        column = Column.of(original)
        again = msgspec.msgpack.decode(msgspec.msgpack.encode(column), type=Column).array()
        np.testing.assert_array_equal(again, original)
        assert again.dtype == original.dtype.newbyteorder("<")
        assert not again.flags.writeable


# --- nothing else does --------------------------------------------------------------------------------------


def received(data: bytes) -> AnyMessage | None:
    """A proper message or None; any error but WireError fails the test."""
    try:
        message = decode(data, RUN)
    except WireError:
        return None
    if isinstance(message, FrameAnalysed):
        for column in message.tracks.values():
            column.array()
    if isinstance(message, StripsSorted):
        for column in (*message.events.values(), message.crops, message.crop_rows):
            if column is not None:
                column.array()
    return message


def raw(kind: str, /, **changes: object) -> dict[str, Any]:
    """The example of a kind as a plain map."""
    (example,) = (message for message in EXAMPLES if kind_of(message) == kind)
    plain: dict[str, Any] = msgspec.msgpack.decode(encode(example))
    return plain | changes


def packed(value: object) -> bytes:
    return msgspec.msgpack.encode(value)


example_bytes = st.sampled_from([encode(message) for message in EXAMPLES])
plain_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text(max_size=9)
    | st.binary(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)  # fmt: skip


@settings(max_examples=300)
@given(st.binary(max_size=300))
def test_arbitrary_bytes_are_refused(data: bytes) -> None:
    assert received(data) is None


@given(example_bytes, st.data())
def test_truncated_messages_are_refused(data: bytes, draw: st.DataObject) -> None:
    assert received(data[: draw.draw(st.integers(0, len(data) - 1))]) is None


@settings(max_examples=500)
@given(example_bytes, st.data())
def test_flipped_bits_do_no_more_than_change_a_value(data: bytes, draw: st.DataObject) -> None:
    flipped = bytearray(data)
    for bit in draw.draw(st.sets(st.integers(0, 8 * len(data) - 1), min_size=1, max_size=4)):
        flipped[bit // 8] ^= 1 << bit % 8
    received(bytes(flipped))


@settings(max_examples=300)
@given(st.sampled_from(sorted(KINDS)), st.data())
def test_a_field_of_any_other_value_is_refused_or_valid(kind: str, draw: st.DataObject) -> None:
    fields = raw(kind)
    fields[draw.draw(st.sampled_from(sorted(fields)))] = draw.draw(plain_values)
    received(packed(fields))


@given(st.sampled_from(sorted(KINDS)), plain_values)
def test_an_unknown_field_is_refused_by_name(kind: str, value: object) -> None:
    with pytest.raises(WireError, match=f"'{kind}' refused.*surprise"):
        decode(packed(raw(kind, surprise=value)), RUN)


@given(st.sampled_from(sorted(KINDS)), st.data())
def test_a_missing_field_is_refused_by_name(kind: str, draw: st.DataObject) -> None:
    required = [field.name for field in msgspec.structs.fields(KINDS[kind]) if field.required and field.name != "run"]
    missing = draw.draw(st.sampled_from(required))
    fields = raw(kind)
    del fields[missing]
    with pytest.raises(WireError, match=f"'{kind}' refused.*missing required field `{missing}`"):
        decode(packed(fields), RUN)


def command_table(**changes: object) -> dict[str, object]:
    return raw("operator")["command"] | changes


REFUSALS: dict[str, tuple[bytes, str]] = {
    "older version": (packed(raw("status", v=VERSION - 1)), f"version {VERSION - 1} refused: .* {VERSION}$"),
    "newer version": (packed({"v": VERSION + 1, "run": RUN, "kind": "new"}), f"version {VERSION + 1} ref"),
    "other run": (packed(raw("decision", run="yesterday")), f"run 'yesterday' refused: this is run '{RUN}'"),
    "unknown kind": (packed(raw("status", kind="gossip")), "kind 'gossip' refused"),
    "no version": (packed({"run": RUN, "kind": "status"}), "not a Reflexscope message: .*`v`"),
    "not a map": (packed([1, 2, 3]), "not a Reflexscope message"),
    "nothing": (b"", "not a Reflexscope message"),
    "more than one message": (packed(raw("status")) * 2, "not a Reflexscope message"),
    "too deep": (b"\x91" * 100_000, "not a Reflexscope message"),
    "too deep inside": (packed(raw("status"))[:-1] + b"\x91" * 100_000, "refused|not a Reflexscope"),
    "too large": (bytes(MAX_BYTES + 1), f"{MAX_BYTES + 1} bytes refused: at most {MAX_BYTES}"),
    "unknown command": (packed(raw("operator", command={"command": "Explode"})), "Explode.*command"),
    "command with an extra field": (packed(raw("operator", command=command_table(now=True))), "now"),
    "command that is not finite": (
        packed(raw("operator", command={"command": "MoveStage", "x_um": math.inf})), "x_um must be a finite"
    ),
    "interval of zero": (
        packed(raw("operator", command={"command": "SetInterval", "interval_ms": 0.0})), r"interval_ms"
    ),
    "pixels of no width": (
        packed(raw("frame", header=raw("frame")["header"] | {"um_per_px": math.inf})), "um_per_px must be finite, not inf"
    ),
    "strips out of order": (
        packed(raw("frame", header=raw("frame")["header"] | {"strip_t_ns": [6_000_000_000, 5_999_750_000]})),
        "strip_t_ns must rise up to t_ns",
    ),
    "strips of no one height": (
        packed(raw("frame", header=raw("frame")["header"] | {"height_px": 511})), "511 rows are no 2 strips of one height"
    ),
    "a place that is none": (
        packed(raw("frame", header=raw("frame")["header"] | {"stage": {"x_um": math.nan}})), "x_um must be finite, not nan"
    ),
    "a dose that is no number": (
        packed(raw("frame", dose_mj=math.nan)), "dose_mj of frame 120 must be a finite number, not nan"
    ),
    "a level that is none": (packed(raw("notice", level="[/red]")), "level"),
    "negative count": (packed(raw("status", frames=-1)), "frames"),
    "text of a megabyte": (packed(raw("notice", text="x" * 2**20)), "text"),
    "text that is not UTF-8": (encode(EXAMPLES[-1]).replace(b"running", b"runn\xff\xfeg"), "refused"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSALS)
def test_refusals_say_what_it_was(name: str) -> None:
    data, words = REFUSALS[name]
    with pytest.raises(WireError, match=words):
        decode(data, RUN)


WRONG_COLUMNS: dict[str, tuple[str, tuple[int, ...], bytes, str]] = {
    "too few bytes": ("<f8", (2,), bytes(15), r"<f8\[2\] must be 16 bytes, not 15"),
    "too many bytes": ("<i2", (2, 3), bytes(13), r"<i2\[2, 3\] must be 12 bytes, not 13"),
    "bytes for no row": ("<f8", (0, 5), bytes(8), "must be 0 bytes, not 8"),
    "a product beyond 64 bits": ("<f8", (2**32, 2**32), b"", "must be .* bytes, not 0"),
    "a side beyond 64 bits": ("|u1", (2**64 - 1,), b"", "must be .* bytes, not 0"),
    "a negative side": ("|u1", (-1,), b"", "shape"),
    "too many sides": ("|u1", (1,) * 5, b"x", "shape"),
    "Python objects": ("|O8", (1,), bytes(8), "dtype"),
    "big-endian": (">f8", (1,), bytes(8), "dtype"),
    "an unknown number": ("<f1", (1,), bytes(1), "f1"),
}


@pytest.mark.parametrize("name", WRONG_COLUMNS)
def test_a_column_whose_size_is_not_its_shape_is_refused(name: str) -> None:
    dtype, shape, data, words = WRONG_COLUMNS[name]
    column = {"dtype": dtype, "shape": shape, "data": data}
    with pytest.raises(WireError, match=f"'analysed' refused: .*{words}"):
        decode(packed(raw("analysed", tracks={"x_um": column})), RUN)
