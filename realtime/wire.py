"""Every message between the processes of a run, and between a run and its journal.

A message is one msgpack map with `v` (version), `run` and `kind`. Pixels never travel here: they lie in the ring.
Literal examples of every kind are pinned in tests/golden/wire/.
"""

import math
from collections.abc import Mapping
from typing import Annotated, Any

import msgspec
import numpy as np
import numpy.typing as npt
from msgspec import Meta

from acquisition.actuation import Level
from acquisition.commands import Command, Outcome
from acquisition.dose_map import Box
from acquisition.frame import FrameHeader
from realtime.decisions import Decision, ShortText

VERSION = 3
OLDEST_JOURNAL = 1
"""Journals from this version on can be read: what later ones have besides has defaults."""
MAX_BYTES = 16 * 1024 * 1024
"""Larger messages are refused before they are read: far above any honest one, far below what would hurt."""

LongText = Annotated[str, Meta(max_length=4000)]
Count = Annotated[int, Meta(ge=0)]


class WireError(ValueError):
    """A message that is refused: what was wrong, what this side speaks."""


class Message(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", forbid_unknown_fields=True):
    """Base of all messages. `run` is checked by the receiver: a message of another run is refused."""

    run: ShortText
    v: int = VERSION


class Column(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One array of a table: `dtype` as numpy writes it, `shape`, raw little-endian bytes."""

    dtype: Annotated[str, Meta(pattern=r"^[<|][iuf][1248]$")]
    shape: Annotated[tuple[Count, ...], Meta(max_length=4)]
    data: bytes

    def __post_init__(self) -> None:
        expected = math.prod(self.shape) * np.dtype(self.dtype).itemsize
        if len(self.data) != expected:
            raise ValueError(f"column of {self.dtype}{list(self.shape)} must be {expected} bytes, not {len(self.data)}")

    @classmethod
    def of(cls, array: npt.NDArray[Any]) -> "Column":
        little = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<"))
        return cls(little.dtype.str, little.shape, little.tobytes())

    def array(self) -> npt.NDArray[Any]:
        """A read-only view of the bytes."""
        return np.frombuffer(self.data, dtype=self.dtype).reshape(self.shape)


# --- acquisition → inference, recorder -------------------------------------------------------------------------------


class FrameReady(Message, frozen=True, tag="frame"):
    """A frame lies in slot `slot` of the ring under sequence number `seq`."""

    header: FrameHeader
    slot: Count
    seq: Count
    dose_mj: float = 0.0
    """Light energy put on the field up to and with this frame, since the run began."""
    lit_from_um: Box | None = None
    """Where the stage was while the light since the frame before fell; None: it stood where the header says."""

    def __post_init__(self) -> None:
        if not math.isfinite(self.dose_mj):
            raise ValueError(f"dose_mj of frame {self.header.index} must be a finite number, not {self.dose_mj}")
        if self.lit_from_um is not None and not math.isfinite(sum(self.lit_from_um)):
            raise ValueError(f"lit_from_um of frame {self.header.index} must be finite, not {self.lit_from_um}")


class OutcomeReached(Message, frozen=True, tag="outcome"):
    """What became of a decision, with the ledger's last marks where the decision came from a frame."""

    outcome: Outcome
    decision: Decision | None = None
    exposed_ns: int = 0
    ends_ns: Annotated[tuple[int, ...], Meta(max_length=4)] = ()
    """Ends of `decided`, `sent`, `checked` and `done`."""


class RunEnded(Message, frozen=True, tag="run_ended"):
    """The last message of a run: why it ended, and whether that is an error."""

    reason: LongText
    ok: bool
    figures: dict[str, float] = {}


# --- inference → acquisition, recorder -------------------------------------------------------------------------------


class DecisionMade(Message, frozen=True, tag="decision"):
    """A decision on its way to the Guard. `decided_ns` and `sent_ns` are the ledger's marks."""

    decision: Decision
    exposed_ns: int
    decided_ns: int
    sent_ns: int


class FrameAnalysed(Message, frozen=True, tag="analysed"):
    """What was seen in a frame: counts and marks for the journal, columns for the tables."""

    frame_index: Count
    t_ns: int
    skipped: Count
    """Frames between the last analysed one and this that inference did not look at."""
    exposed_ns: int
    ends_ns: Annotated[tuple[int, ...], Meta(max_length=16)]
    n_cells: Count
    n_tracks: Count
    events: tuple[LongText, ...] = ()
    decisions: tuple[Decision, ...] = ()
    """What inference decided, before anyone judged it: replay must find the same."""
    dropped: tuple[LongText, ...] = ()
    """Decisions that lost against another in the arbiter, in words."""
    shadow: tuple[Decision, ...] = ()
    """What shadow policies would have done: never sent to anyone who acts."""
    frame_mj: float = 0.0
    """Light energy on the field since the last frame that was looked at."""
    unbleached: float = 1.0
    """Share of the fluorescence that is left, in the frame's channel."""
    ended_j_cm2: tuple[float, ...] = ()
    """Dose of the cells whose confirmed tracks ended with this frame."""
    tracks: Mapping[str, Column] = {}
    """Columns of tracks.parquet, one row a track."""
    incarnation: Count = 0
    """Of the inference process that saw it: what a process said may arrive after its successor has started."""


class StripsSorted(Message, frozen=True, tag="sorted"):
    """What became of a stack of strips: counts and marks for the journal, columns for the tables."""

    frame_index: Count
    t_ns: int
    skipped: Count
    """Stacks between the last one and this that were overwritten before anyone looked: an honest sort has none."""
    exposed_ns: int
    ends_ns: Annotated[tuple[int, ...], Meta(max_length=16)]
    n_strips: Count
    n_sightings: Count
    n_in_view: Count
    n_unseen: Count = 0
    """Strips in which no cell could be found: the background was being learned, or the light had changed."""
    verdicts: dict[str, Count] = {}
    """How many cells left the view with each verdict."""
    expected: dict[str, float] = {}
    """Sums over those cells: `wanted` of the probabilities to be wanted, `sorted` and `sorted_wanted` of those sorted."""
    decisions: tuple[Decision, ...] = ()
    """Pulses as inference decided them, before anyone judged them: replay must find the same."""
    shadow: tuple[Decision, ...] = ()
    """Pulses that a dry sort would have fired."""
    events: Mapping[str, Column] = {}
    """Columns of events.parquet, one row a cell that left the view."""
    crops: Column | None = None
    """Pictures [P, S, S] of those cells in rows `crop_rows`."""
    crop_rows: Column | None = None
    incarnation: Count = 0


class InferenceStarted(Message, frozen=True, tag="inference_started"):
    """A fresh inference process is ready: policies at their start, the tracker empty or as it was after `from_frame`."""

    pid: int
    perception: LongText
    incarnation: Count = 0
    """When this process began, acquisition clock: no two processes of a run share it, as they may a pid. 0: inline."""
    frame_px: tuple[Count, Count] | None = None
    """Rows and columns of the frames that its perception was prepared for: replay must do the same."""
    from_frame: Count | None = None
    """The frame after which the tracker was saved that this process goes on with; None: it begins empty."""
    ids_used: Count = 0
    """The highest id that a track of this run had had by then; new ones get higher ids."""


class InferenceEnded(Message, frozen=True, tag="inference_ended"):
    """The inference process has sent its last word."""

    n_analysed: Count
    cell_j_cm2: tuple[float, ...] = ()
    """Dose of the cells that were tracked to the end."""


# --- recorder, supervisor, any process → acquisition -------------------------------------------------------------------


class RecorderReady(Message, frozen=True, tag="recorder_ready"):
    """The recorder has opened its session and listens here."""

    endpoint: ShortText
    server_key: ShortText


class ProcessLost(Message, frozen=True, tag="process_lost"):
    """A process of the run has ended although the run has not: the fastest way to know."""

    role: ShortText
    why: LongText


class Heartbeat(Message, frozen=True, tag="heartbeat"):
    """I am alive; `progress` grows as long as I am also working."""

    role: ShortText
    pid: int
    progress: Count
    figures: dict[str, float] = {}


class OperatorCommand(Message, frozen=True, tag="operator"):
    """Pause, Resume, Stop, SafeState or any other command from a person or the supervisor, with who and why."""

    id: ShortText
    command: Command
    who: ShortText
    why: LongText = ""


class Notice(Message, frozen=True, tag="notice"):
    """Something people should read in the journal."""

    t_ns: int
    source: ShortText
    level: Level
    text: LongText


# --- acquisition → everyone who subscribes to telemetry -----------------------------------------------------------------


class Status(Message, frozen=True, tag="status"):
    """How the run is, several times a second. Lossy."""

    t_ns: int
    state: ShortText
    frames: Count
    lost: Count
    figures: dict[str, float] = {}


AnyMessage = (
    FrameReady | OutcomeReached | RunEnded | DecisionMade | FrameAnalysed | StripsSorted | InferenceStarted | InferenceEnded
    | RecorderReady | ProcessLost | Heartbeat | OperatorCommand | Notice | Status
)  # fmt: skip


def finite(figures: Mapping[str, float]) -> dict[str, float]:
    """The figures without those that are no number: JSON has no word for them."""
    return {name: value for name, value in figures.items() if math.isfinite(value)}


class _Envelope(msgspec.Struct):
    """The part of a message that every version has."""

    v: int
    run: str
    kind: str


_encoder = msgspec.msgpack.Encoder()
_messages: msgspec.msgpack.Decoder[AnyMessage] = msgspec.msgpack.Decoder(AnyMessage)
_envelopes = msgspec.msgpack.Decoder(_Envelope)


def encode(message: AnyMessage) -> bytes:
    """The message's bytes."""
    return _encoder.encode(message)


def decode(data: bytes | memoryview, run: str | None) -> AnyMessage:
    """A message of this version and of `run` (None: of any); anything else raises WireError and says what it was."""
    if len(data) > MAX_BYTES:
        raise WireError(f"message of {len(data)} bytes refused: at most {MAX_BYTES} are read")
    try:
        envelope = _envelopes.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise WireError(f"not a Reflexscope message: {error}") from error
    if envelope.v != VERSION:
        raise WireError(f"message of version {envelope.v} refused: this side speaks version {VERSION}")
    if run is not None and envelope.run != run:
        raise WireError(f"message of run {envelope.run[:80]!r} refused: this is run {run!r}")
    try:
        return _messages.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, ValueError) as error:
        raise WireError(f"message of kind {envelope.kind[:80]!r} refused: {error}") from error
