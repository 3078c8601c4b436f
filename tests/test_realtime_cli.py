"""The command as a person meets it: what it prints, what it leaves on the disk, its exit status, its one-line errors."""

import io
import json
import os
import re
import signal
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from polling import wait_until
from rich.console import Console
from tiny_config import write_tiny

from acquisition.actuation import Level
from acquisition.clock import NS_PER_S, SystemClock
from realtime import check, cli
from realtime.check import Finding
from realtime.live import GAP, StatusLine, fitted, summary_tables
from realtime.session.reader import SessionReader
from realtime.wire import FrameReady, Notice, Status

CONFIGS = Path(__file__).resolve().parents[1] / "hardware_configs"
WIDTH = 80


class Answer:
    """What a command said, and its exit status."""

    def __init__(self, status: int, out: str, err: str) -> None:
        self.status, self.out, self.err = status, out, err


class Command:
    """`reflexscope …` within this process: as the installed command, but for the start of a Python."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self._monkeypatch, self._capsys = monkeypatch, capsys

    def __call__(self, *words: object) -> Answer:
        self._monkeypatch.setattr(sys, "argv", ["reflexscope", *map(str, words)])
        self._capsys.readouterr()
        with pytest.raises(SystemExit) as end:
            cli.main()
            raise SystemExit(0)
        out, err = self._capsys.readouterr()
        code = end.value.code
        return Answer(code if isinstance(code, int) else int(bool(code)), out, err)

    def mistake(self, *words: object) -> str:
        """The single line that a user's mistake gets."""
        answer = self(*words)
        assert answer.status == cli.MISTAKE, answer.err
        assert answer.err.count("\n") == 1, "one line, however narrow the terminal"
        assert answer.err.startswith("error: ")
        return answer.err


@pytest.fixture
def reflexscope(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    return Command(monkeypatch, capsys)


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    return write_tiny(tmp_path)


@pytest.fixture
def session(reflexscope: Command, tiny: Path, tmp_path: Path) -> Path:
    """A recorded session of two simulated seconds."""
    assert reflexscope("run", tiny, "--inline", "--duration", 2, "--out", tmp_path / "session").status == 0
    return tmp_path / "session"


def started(*words: object, cwd: Path) -> subprocess.Popen[str]:
    """The command as a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-P", "-c", "from realtime.cli import main; main()", *map(str, words)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, encoding="utf-8", cwd=cwd,
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONIOENCODING": "utf-8"},
    )  # fmt: skip


# --- run ------------------------------------------------------------------------------------------------------


def test_run_inline_records_a_session_and_sums_it_up(reflexscope: Command, tiny: Path, tmp_path: Path) -> None:
    answer = reflexscope("run", tiny, "--inline", "--duration", 2, "--out", tmp_path / "out")
    assert answer.status == 0
    assert answer.err == ""
    assert f"session: {tmp_path / 'out'}" in answer.out
    for words in ("ran for 2 s as asked", "frames recorded", "duration (s)", "dose (mJ)", "follow", "pace", "trigger"):
        assert words in answer.out
    assert "latency ledger" not in answer.out, "in simulated time every stage takes none"
    written = {path.name for path in (tmp_path / "out").iterdir()}
    assert {"session.toml", "images.ome.zarr", "tracks.parquet", "journal.jsonl", "summary.json"} <= written


def test_duration_is_that_of_the_run(reflexscope: Command, tiny: Path, tmp_path: Path) -> None:
    for seconds in (1, 3):
        reflexscope("run", tiny, "--inline", "--duration", seconds, "--out", tmp_path / f"{seconds}")
        last = [header.t_ns for header in SessionReader(tmp_path / f"{seconds}").headers()][-1] / NS_PER_S
        assert seconds - 0.2 <= last <= seconds


def test_the_same_seed_gives_the_same_run(reflexscope: Command, tiny: Path, tmp_path: Path) -> None:
    for name, seed in (("first", 11), ("second", 11), ("third", 12)):
        reflexscope("run", tiny, "--inline", "--duration", 2, "--seed", seed, "--out", tmp_path / name)
    first, second, third = (_bytes(tmp_path / name) for name in ("first", "second", "third"))
    assert first == second
    assert first["journal.jsonl"] != third["journal.jsonl"]


def _bytes(folder: Path) -> dict[str, bytes]:
    """All that a session holds, but for its times of day."""
    run = SessionReader(folder).run.encode()
    files = [path for path in sorted(folder.rglob("*")) if path.is_file() and path.name != "session.toml"]
    return {path.relative_to(folder).as_posix(): path.read_bytes().replace(run, b"RUN") for path in files}


def test_a_session_gets_a_folder_of_its_own(
    reflexscope: Command, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    answer = reflexscope("run", tiny, "--inline", "--duration", 1, "--set", "rig.name=My rig, no. 1")
    (folder,) = (tmp_path / "sessions").iterdir()
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d{6}Z-my-rig-no-1", folder.name)
    assert folder.name in answer.out


def test_a_folder_that_holds_something_is_refused_and_left_alone(
    reflexscope: Command, session: Path, tiny: Path
) -> None:
    before = {path: path.stat().st_mtime_ns for path in session.rglob("*")}
    said = reflexscope.mistake("run", tiny, "--inline", "--duration", 1, "--out", session)
    assert str(session) in said
    assert "--out" in said
    assert {path: path.stat().st_mtime_ns for path in session.rglob("*")} == before


def test_an_empty_folder_may_be_used(reflexscope: Command, tiny: Path, tmp_path: Path) -> None:
    (tmp_path / "empty [1]").mkdir()
    answer = reflexscope("run", tiny, "--inline", "--duration", 0.5, "--out", tmp_path / "empty [1]")
    assert answer.status == 0
    assert "empty [1]" in answer.out, "brackets in a path are no markup"


def test_a_file_is_no_session_folder(reflexscope: Command, tiny: Path) -> None:
    for out in (tiny, tiny / "deeper"):
        assert "cannot be a session folder" in reflexscope.mistake("run", tiny, "--inline", "--out", out)


def test_a_run_that_fails_says_why_and_keeps_its_session(reflexscope: Command, tiny: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    stalls = ["--fault", "stalled_camera.after_s=0.45", "--set", "imaging.stall_s=1"]
    answer = reflexscope("run", tiny, "--inline", "--duration", 60, "--out", out, *stalls)
    assert answer.status == cli.FAILED
    assert answer.err.startswith("error: simulated microscope: no frame for ")
    assert "imaging.stall_s allows 1 s more" in answer.err
    assert json.loads((out / "summary.json").read_text("utf-8"))["frames_recorded"] in range(4, 11)
    assert str(out) in answer.out
    notice = "warning faults: made to happen on purpose: stalled_camera (after_s = 0.45)"
    assert notice in answer.out.splitlines(), "told as in a run with processes"
    assert "error acquisition: simulated microscope: no frame for " in answer.out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--set", "imaging.interval=5"], "imaging.interval is not a setting (did you mean interval_ms?)"),
        (["--set", "imaging.interval_ms=fast"], 'imaging.interval_ms must be a number > 0, not "fast"'),
        (["--set", "imaging.interval_ms"], "write section.key=value"),
        (["--set", "policy.folow.step_um=3"], "no policy is called folow (did you mean follow?)"),
        (["--seed", "-1"], "microscope.seed must be a whole number ≥ 0, not -1"),
        (["--set", "imaging.channel=DAPI"], "no channel 'DAPI'; it has nuclei, cytoplasm"),
        (["--set", "recorder.min_free_gb=1e9"], "recorder.min_free_gb"),
        (["--set", "limits.dose_mj=1e-5"], "more than limits.dose_mj 1e-05 allows"),
    ],
)
def test_a_mistake_gets_one_line(reflexscope: Command, tiny: Path, tmp_path: Path, words: list[str], said: str) -> None:
    assert said in reflexscope.mistake("run", tiny, "--inline", "--duration", 1, "--out", tmp_path / "out", *words)


def test_a_movie_has_no_seed(reflexscope: Command) -> None:
    assert "'replayed' has no seed" in reflexscope.mistake("run", CONFIGS / "replay.toml", "--seed", 3)


@pytest.mark.parametrize(
    "words", [[], ["--duration", "0"], ["--duration", "-3"], ["--duration", "long"], ["--sped", "3"], ["more"]]
)
def test_a_wrong_command_line_is_explained(reflexscope: Command, tiny: Path, words: list[str]) -> None:
    answer = reflexscope("run", tiny, "--inline", *words) if words else reflexscope("rn", tiny)
    assert answer.status == cli.MISTAKE
    assert "Usage: reflexscope" in answer.err
    assert "Traceback" not in answer.err


# --- as processes ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "said"),
    [(None, "there is no config file"), ("x = [", "is not TOML"), ("[rig]\nname = 'a'", "[microscope] is missing")],
)
def test_a_config_that_cannot_be_used_ends_the_command_with_status_2(
    tmp_path: Path, text: str | None, said: str
) -> None:
    if text is not None:
        (tmp_path / "a.toml").write_text(text, "utf-8")
    out, err = (process := started("run", "a.toml", cwd=tmp_path)).communicate(timeout=30)
    assert (process.returncode, out, err.count("\n")) == (2, "", 1)
    assert said in err


def test_a_run_of_real_processes(tiny: Path, tmp_path: Path) -> None:
    process = started("run", tiny, "--duration", 1.5, "--out", "out", cwd=tmp_path)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, "")
    assert "run ended: ran for 1.5 s as asked" in out
    assert "latency ledger" in out
    assert "exposed to done" in out
    assert max(map(len, out.splitlines())) <= WIDTH + 60, "a log's lines are not broken, but they are lines"
    assert "\x1b" not in out, "no terminal, no colours"
    tables = [line for line in out.splitlines() if line.startswith(("│", "┃", "┌", "└"))]
    assert tables
    assert max(map(len, tables)) <= WIDTH


@pytest.mark.skipif(sys.platform == "win32", reason="Ctrl-C is sent as a POSIX signal here")
def test_ctrl_c_ends_a_run_in_good_order(tiny: Path, tmp_path: Path) -> None:
    process = started("run", tiny, "--inline", "--out", "out", cwd=tmp_path)
    journal = tmp_path / "out" / "journal.jsonl"
    try:
        wait_until(lambda: journal.exists() and journal.stat().st_size > 10_000, SystemClock(), "frames recorded", 30)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
    finally:
        process.kill()
        process.wait()
    assert (process.returncode, err) == (0, "")
    assert "Ctrl-C" in out
    reader = SessionReader(tmp_path / "out")
    n_frames = sum(isinstance(record, FrameReady) for record in reader.records())
    assert reader.n_readable == n_frames > 0


# --- check ----------------------------------------------------------------------------------------------------


def test_check_shows_the_whole_config_with_defaults_marked(reflexscope: Command, tiny: Path) -> None:
    answer = reflexscope("check", tiny, "--no-rehearse", "--set", "imaging.light_mw=2")
    assert answer.status == 0
    lines = answer.out.splitlines()
    assert "interval_ms = 100.0" in lines
    assert "light_mw = 2.0" in lines, "what --set says is no default"
    assert "stall_s = 5.0                            # default" in lines
    assert "smoothing_px = 1.0                       # default" in lines
    assert "keeps up" not in answer.out


def test_check_measures_and_says_with_numbers(
    reflexscope: Command, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(check, "DISK_BYTES", 2e6)
    answer = reflexscope("check", tiny, "--set", f"rig.sessions='{tmp_path / 'sessions'}'")
    line = r"^(\w.*?) {2,}([\d.]+) (\S+) +needs at (least|most) +([\d.]+) +(\w.*)$"
    findings = re.findall(line, answer.out, re.M)
    assert [finding[0] for finding in findings] == [
        "camera",
        "ring, a frame",
        "bus, a message",
        "inference (p95)",
        "disk",
    ]
    camera = findings[0]
    assert (camera[2], float(camera[4])) == ("frames/s", 9.09), "10 less a tenth"
    assert float(camera[1]) == pytest.approx(10, abs=1)
    assert answer.status == (0 if all(finding[5] == "keeps up" for finding in findings) else cli.FAILED)
    assert not list((tmp_path / "sessions").iterdir()), "the rehearsal's own files are gone"


def test_check_fails_what_cannot_keep_up(
    reflexscope: Command, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(check, "DISK_BYTES", 2e6)
    monkeypatch.setattr(check, "CAMERA_S", 0.3)
    words = ["imaging.interval_ms=1", "imaging.exposure_ms=0.5", "microscope.width_px=300", "microscope.height_px=300"]
    folder = [f"rig.sessions='{tmp_path / 'sessions'}'"]
    answer = reflexscope("check", tiny, *(part for word in words + folder for part in ("--set", word)))
    assert answer.status == cli.FAILED
    lines = answer.out.splitlines()
    (failed,) = (i for i, line in enumerate(lines) if line.startswith("inference (p95)"))
    assert lines[failed].endswith("will not keep up")
    assert "raise imaging.interval_ms" in lines[failed + 1]


@pytest.mark.parametrize(
    ("finding", "ok"),
    [
        (Finding("camera", 9.8, 10.0, "frames/s", True, "", usable=check.CAMERA_TOLERANCE), True),
        (Finding("camera", 8.9, 10.0, "frames/s", True, "", usable=check.CAMERA_TOLERANCE), False),
        (Finding("disk", 12.6, 10.0, "MB/s", True, ""), True),
        (Finding("disk", 12.4, 10.0, "MB/s", True, ""), False),
        (Finding("inference", 79.0, 100.0, "ms", False, ""), True),
        (Finding("inference", 81.0, 100.0, "ms", False, ""), False),
    ],
)
def test_a_finding_keeps_something_in_reserve(finding: Finding, ok: bool) -> None:
    assert finding.ok == ok
    assert finding.words().splitlines()[0].endswith("keeps up" if ok else "will not keep up")
    assert len(finding.words().splitlines()[0]) <= WIDTH


def test_check_refuses_sessions_that_cannot_be_written(
    reflexscope: Command, tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(check, "CAMERA_S", 0.2)
    assert "cannot be written" in reflexscope.mistake("check", tiny, "--set", f"rig.sessions='{tiny}'")


# --- replay, safe, doctor -------------------------------------------------------------------------------------


def test_replay_confirms_a_session(reflexscope: Command, session: Path) -> None:
    answer = reflexscope("replay", session)
    assert answer.status == 0
    assert re.fullmatch(r"identical: \d+ decisions on \d+ frames\n", answer.out)


def test_replay_names_the_first_difference(reflexscope: Command, session: Path) -> None:
    """Somebody has changed where the stage was sent."""
    journal = session / "journal.jsonl"
    records = [json.loads(line) for line in journal.read_text("utf-8").splitlines()]
    moved = [r for r in records if r["kind"] == "analysed" and any("x_um" in d["command"] for d in r["decisions"])]
    move = next(d for d in moved[-1]["decisions"] if "x_um" in d["command"])
    was_um = move["command"]["x_um"]
    move["command"]["x_um"] += 1.0
    journal.write_text("".join(json.dumps(record) + "\n" for record in records), "utf-8")
    answer = reflexscope("replay", session)
    assert answer.status == cli.FAILED
    assert answer.err.startswith(f"first difference at frame {moved[-1]['frame_index']}: recorded {move['id']}")
    assert f"{was_um + 1.0}" in answer.err.split("decided again")[0]
    assert f"{was_um}" in answer.err.split("decided again")[1]


def test_replay_tries_another_policy(reflexscope: Command, session: Path) -> None:
    answer = reflexscope("replay", session, "--policy", "follow", "--policy", "trigger")
    assert answer.status == 0
    assert re.search(
        r"^frame 3: follow MoveStage x_um=\S+ y_um=\S+: track \d+ is \S+ µm off the middle$", answer.out, re.M
    )
    assert "pace" not in answer.out
    assert "frames; nothing acted\n" in answer.out
    assert re.search(r"^ *follow +\d+", answer.out.partition("nothing acted")[2], re.M), "its score comes last"


@pytest.mark.parametrize(
    ("policy", "said"),
    [
        ("folow", '--policy folow: policy.folow: use = "folow" is not built in (did you mean follow?)'),
        ("none:Such", "cannot import none"),
        ("realtime.policies.pace:Pace", "fast_interval_ms is missing and has no default"),
    ],
)
def test_replay_explains_a_policy_that_it_cannot_try(
    reflexscope: Command, session: Path, policy: str, said: str
) -> None:
    words = reflexscope.mistake("replay", session, "--policy", policy)
    assert said in words
    assert "(follow, pace, trigger)" in words


def test_replay_of_nothing_is_not_a_success(reflexscope: Command, session: Path, tmp_path: Path) -> None:
    assert "no session is here" in reflexscope.mistake("replay", tmp_path)
    assert "no session is here" in reflexscope.mistake("replay", tmp_path / "nowhere")
    (session / "journal.jsonl").write_bytes(b"")
    answer = reflexscope("replay", session)
    assert (answer.status, answer.out) == (cli.FAILED, "")
    assert "nothing to compare" in answer.err


@pytest.mark.parametrize(("name", "text"), [("session.toml", "x = ["), ("session.toml", ""), ("journal.jsonl", "{}\n")])
def test_replay_of_a_damaged_session_is_explained(reflexscope: Command, session: Path, name: str, text: str) -> None:
    (session / name).write_text(text, "utf-8")
    assert name in reflexscope.mistake("replay", session)


def test_safe_says_what_it_left_behind(reflexscope: Command, tiny: Path) -> None:
    answer = reflexscope("safe", tiny)
    assert answer.status == 0
    assert answer.out.startswith("shutter closed, gate closed")


def test_doctor_says_what_is_here_and_what_would_be_used(reflexscope: Command) -> None:
    answer = reflexscope("doctor")
    assert answer.status == 0
    for words in ("python", "pyzmq", "cores", "pymmcore", "openvino", "threshold segmenter needs no engine"):
        assert words in answer.out
    assert max(map(len, answer.out.splitlines())) <= WIDTH


def test_help_names_every_command(reflexscope: Command) -> None:
    answer = reflexscope("--help")
    assert answer.status == 0
    for command in ("run", "sort", "check", "replay", "safe", "doctor"):
        assert re.search(rf"│ {command} ", answer.out)
    assert "as the section imaging says" in " ".join(reflexscope("check", "--help").out.replace("│", " ").split())


# --- what is shown --------------------------------------------------------------------------------------------


STATUS = Status(
    run="run", t_ns=NS_PER_S, state="running", frames=1_000_000, lost=120,
    figures={"inference_cells": 1234, "inference_tracks": 1234, "decision_age_p50_ms": 123.4, "inference_skipped": 4321,
             "ring_fill": 1.0, "recorder_free_gb": 12345},
)  # fmt: skip


def shown(*messages: Status | Notice, terminal: bool, width: int = WIDTH) -> list[str]:
    text = io.StringIO()
    console = Console(file=text, force_terminal=terminal, width=width, color_system=None)
    with StatusLine(console) as line:
        for message in messages:
            line.watch(message)
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text.getvalue()).replace("\r", "\n")
    return [row for row in plain.splitlines() if row.strip()]


def test_the_status_line_fits_a_narrow_terminal() -> None:
    rows = shown(STATUS, terminal=True)
    assert max(map(len, rows)) <= WIDTH
    last = " ".join(rows)
    for part in ("1234 cells", "1234 tracks", "decision age 123.4 ms", "lost 120", "skipped 4321", "ring 100%"):
        assert part in last


def test_in_a_log_the_status_is_one_line_now_and_then() -> None:
    later = Status(run="run", t_ns=4 * NS_PER_S, state="running", frames=1_000_020, lost=0)
    much_later = Status(run="run", t_ns=8 * NS_PER_S, state="paused", frames=1_000_022, lost=0)
    rows = shown(STATUS, later, much_later, terminal=False)
    assert [row.split(GAP)[:2] for row in rows] == [["paused", "0.5 frames/s"]]
    assert "disk" in rows[0]


def test_a_notice_is_shown_as_it_was_written() -> None:
    notice = Notice(run="run", t_ns=0, source="inference", level="warning", text="policy [mine] raised [/] " + 99 * "x")
    assert shown(notice, terminal=False) == [f"warning inference: {notice.text}"]


@pytest.mark.parametrize("level", ["info", "warning", "error"])
def test_a_notice_holds_no_markup(level: Level) -> None:
    notice = Notice(run="run", t_ns=0, source="[my] [/policy]", level=level, text="[/]")
    assert shown(notice, terminal=False) == [f"{level} [my] [/policy]: [/]"]


@given(st.lists(st.text("ab0", min_size=1, max_size=20), min_size=1), st.integers(20, 200))
def test_a_status_breaks_between_its_parts_only(parts: list[str], width: int) -> None:
    lines = fitted(parts, width).split("\n")
    assert [part for line in lines for part in line.split(GAP)] == parts
    assert max(map(len, lines)) <= width
    for line, following in pairwise(lines):
        assert len(f"{line}{GAP}{following.split(GAP)[0]}") > width, "no line ends before it is full"


def test_the_summary_fits_a_narrow_terminal() -> None:
    numbers = {"n": 123456, "p50_ms": 12345.678, "p99_ms": 12345.678, "p99_9_ms": 12345.678, "max_ms": 123456.789}
    summary = {
        "run": "2026-11-20T085508Z-f25326", "ok": False, "end": "the disk " + 30 * "is full ", "duration_s": 3600.0,
        "frames_recorded": 1_000_000, "events": {"born": 12, "divided": 3}, "notices": {}, "dose_mj": 0.12345,
        "decisions": {"follow": {"done": 123456, "refused": 3, "unanswered": 1}},
        "latency": {"preprocessed": numbers, "exposed_to_decided": numbers},
    }  # fmt: skip
    text = io.StringIO()
    console = Console(file=text, width=WIDTH)
    for table in summary_tables(summary):
        console.print(table)
    rows = text.getvalue().splitlines()
    assert max(map(len, rows)) <= WIDTH
    assert "…" not in text.getvalue(), "no number is cut off"
    for words in ("dose (mJ)", "0.1235", "12 born, 3 divided", "none", "no", "exposed to decided", "p99.9 ms"):
        assert words in text.getvalue()
