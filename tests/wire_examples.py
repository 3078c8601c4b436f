"""One literal example of every message, and the files of tests/golden/wire that pin them.

`python -m tests.wire_examples` writes the files anew. Do so together with a new `wire.VERSION`: the bytes are
what other processes and old journals speak.
"""

import json
import textwrap
from pathlib import Path

import msgspec
import numpy as np

from acquisition.commands import AcquireBurst, MoveStage, Outcome, Pause, PulseSorter
from acquisition.frame import FrameHeader, StagePosition
from realtime.decisions import Decision
from realtime.wire import (
    AnyMessage,
    Column,
    DecisionMade,
    FrameAnalysed,
    FrameReady,
    Heartbeat,
    InferenceEnded,
    InferenceStarted,
    Notice,
    OperatorCommand,
    OutcomeReached,
    ProcessLost,
    RecorderReady,
    RunEnded,
    Status,
    StripsSorted,
    encode,
)

GOLDEN = Path(__file__).parent / "golden" / "wire"
RUN = "20260314-demo"

HEADER = FrameHeader(
    index=120, t_ns=6_000_000_000, t_read_ns=6_002_500_000, height_px=512, width_px=640, dtype="uint16",
    channel="phase", exposure_ms=10.0, interval_ms=50.0, light_mw=0.75,
    stage=StagePosition(1250.5, -310.25, 42.0),
    stage_from_pixel=(0.5, 0.0, 1090.75, 0.0, 0.5, -438.0), um_per_px=0.5, reason="98.pace.0",
)  # fmt: skip
MOVE = Decision(
    command=MoveStage(x_um=1261.5, y_um=-304.0), reason="track 17 is 12.7 µm off the middle", track_id=17,
    deadline_ns=6_200_000_000, id="120.follow.0", frame_index=120, policy="follow",
)  # fmt: skip
PULSE = Decision(
    command=PulseSorter(at_ns=6_020_000_000, width_ms=1.5), reason="track 23: round in 3 of its last 5",
    track_id=23, deadline_ns=6_020_000_000, id="120.trigger.0", frame_index=120, policy="trigger",
)  # fmt: skip
SORT = Decision(
    command=PulseSorter(at_ns=6_024_850_000, width_ms=0.3), reason="cell 9: leukocyte, p 0.996 after 4 looks",
    track_id=9, deadline_ns=6_024_850_000, id="120.sort.0", frame_index=120, policy="sort",
)  # fmt: skip
SHADOW = Decision(
    command=AcquireBurst(20, 5.0), reason="track 23: divided", deadline_ns=6_200_000_000,
    id="120.tried.0", frame_index=120, policy="tried",
)  # fmt: skip
ENDS_NS = (
    6_002_500_000, 6_002_700_000, 6_003_100_000, 6_008_100_000, 6_009_600_000, 6_010_000_000, 6_010_400_000,
    6_011_000_000, 6_011_100_000,
)  # fmt: skip
STACK = msgspec.structs.replace(
    HEADER, channel="", exposure_ms=0.01, interval_ms=0.25, strip_t_ns=(5_999_750_000, 6_000_000_000)
)
EXAMPLES: tuple[AnyMessage, ...] = (
    FrameReady(run=RUN, header=STACK, slot=3, seq=1203, dose_mj=0.9075, lit_from_um=(1240.5, -310.25, 1250.5, -304.0)),
    OutcomeReached(
        run=RUN, outcome=Outcome("120.follow.0", "done", "", 6_014_000_000), decision=MOVE,
        exposed_ns=6_000_000_000, ends_ns=(6_011_100_000, 6_011_200_000, 6_011_500_000, 6_014_000_000),
    ),
    RunEnded(run=RUN, reason="no frame for 5 s", ok=False, figures={"frames": 1200.0, "lost": 0.0}),
    DecisionMade(
        run=RUN, decision=PULSE, exposed_ns=6_000_000_000, decided_ns=6_011_100_000, sent_ns=6_011_160_000
    ),
    FrameAnalysed(
        run=RUN, frame_index=120, t_ns=6_000_000_000, skipped=1, exposed_ns=6_000_000_000, ends_ns=ENDS_NS,
        n_cells=1, n_tracks=2, events=("divided 9 17 18 p=0.93 late=1",), decisions=(MOVE, PULSE),
        dropped=("120.pace.0 (SetInterval) lost the frame interval to 120.burst.0 (AcquireBurst), priority 2 against 0",),
        shadow=(SHADOW,),
        frame_mj=0.0075, unbleached=0.875, ended_j_cm2=(0.5,),
        tracks={
            "id": Column.of(np.array([17, 23], dtype=np.int64)),
            "x_um": Column.of(np.array([1263.25, 1300.5])),
            "missed": Column.of(np.array([0, 1], dtype=np.uint8)),
        },
        incarnation=4_800_000_000,
    ),
    StripsSorted(
        run=RUN, frame_index=120, t_ns=6_000_000_000, skipped=0, exposed_ns=6_000_000_000, ends_ns=ENDS_NS[:5],
        n_strips=2, n_sightings=3, n_in_view=2, n_unseen=1, verdicts={"sorted": 1, "unwanted": 1},
        expected={"wanted": 1.0, "sorted": 1.0, "sorted_wanted": 0.996}, decisions=(SORT,), shadow=(),
        events={
            "event_id": Column.of(np.array([9, 10], dtype=np.int64)),
            "looks": Column.of(np.array([4, 5], dtype=np.int32)),
            "p_wanted": Column.of(np.array([0.996, 0.004])),
        },
        crops=Column.of(np.array([[[0.0, 0.25], [0.25, 0.0]]], dtype=np.float16)),
        crop_rows=Column.of(np.array([0], dtype=np.int32)),
        incarnation=4_800_000_000,
    ),
    InferenceStarted(
        run=RUN, pid=4711, perception="threshold segmenter on the CPU, no classifier", incarnation=4_800_000_000,
        from_frame=94, ids_used=31,
    ),
    InferenceEnded(run=RUN, n_analysed=1187, cell_j_cm2=(0.25, 1.5)),
    RecorderReady(run=RUN, endpoint="tcp://127.0.0.1:5551", server_key="forty characters of Z85"),
    ProcessLost(run=RUN, role="inference", why="killed by signal 9"),
    Heartbeat(run=RUN, role="recorder", pid=4712, progress=1204, figures={"disk_free_gb": 81.5}),
    OperatorCommand(run=RUN, id="operator.1", command=Pause(), who="dashboard", why="immersion water is low"),
    Notice(run=RUN, t_ns=6_000_000_000, source="supervisor", level="warning", text="inference was restarted"),
    Status(run=RUN, t_ns=6_000_000_000, state="running", frames=121, lost=0, figures={"ring_fill": 0.125}),
)  # fmt: skip


def kind_of(message: AnyMessage) -> str:
    """The message's tag on the wire."""
    return str(message.__struct_config__.tag)


def pinned_text(message: AnyMessage) -> str:
    """A pinned file: the message for people, one field a line, and its bytes in hex."""
    fields = json.loads(msgspec.json.encode(message))
    lines = ",\n".join(f'  "{name}": {json.dumps(value, ensure_ascii=False)}' for name, value in fields.items())
    hexed = ",\n".join(f'  "{line}"' for line in textwrap.wrap(encode(message).hex(), 96))
    return f'{{\n "message": {{\n{lines}\n }},\n "msgpack": [\n{hexed}\n ]\n}}\n'


if __name__ == "__main__":
    for example in EXAMPLES:
        (GOLDEN / f"{kind_of(example)}.json").write_text(pinned_text(example), encoding="utf-8")
