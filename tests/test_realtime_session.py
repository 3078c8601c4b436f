"""A session folder: what is written can be read, by us and by others, while it grows and after any end."""

import os
import signal
import subprocess
import sys
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy as np
import pytest
import tensorstore
import yaozarrs
import zarr
from pyarrow import parquet
from zarr.core.sync import cleanup_resources

from acquisition.clock import NS_PER_MS, NS_PER_S, SimulatedClock, SystemClock
from acquisition.frame import FrameHeader
from acquisition.microscope import Imaging
from acquisition.replayed.microscope import ReplayedMicroscope
from acquisition.replayed.movies import open_movie
from acquisition.replayed.recorded import FACTS, Pixels, text_of
from realtime.session.disk import DiskFull, PixelsMissing, RecordingError, SessionExists, explained, free_gb
from realtime.session.images import PUBLISH_NS
from realtime.session.journal import line, read_journal
from realtime.session.reader import SessionReader
from realtime.session.summary import summarise, summarise_if_missing
from realtime.session.writer import RecorderSettings, SessionWriter
from realtime.wire import Column, FrameAnalysed, FrameReady, InferenceStarted, Notice, RunEnded
from tests.polling import next_frames, wait_until
from tests.scenes import header

RUN = "2026-01-01_a"
CONFIG = '[microscope]\nuse = "simulated"\n'
SETTINGS = RecorderSettings(min_free_gb=0.001)


def frame(n: int, shape: tuple[int, int] = (24, 32), dtype: str = "uint16", **others: object) -> FrameHeader:
    height_px, width_px = shape
    stage = (float(n), -float(n))
    return header(n, stage, height_px=height_px, width_px=width_px, dtype=dtype, reason=f"{n}.follow.0", **others)


def image(of: FrameHeader) -> Pixels:
    """Pixels that tell their frame."""
    return np.random.default_rng(of.index).integers(0, 250, of.shape).astype(of.dtype)


def record(writer: SessionWriter, of: FrameHeader) -> None:
    writer.check_space()
    writer.add_frame(FrameReady(run=RUN, header=of, slot=0, seq=of.index, dose_mj=of.index / 4), image(of))


def analysed(n: int, n_tracks: int, **columns: np.ndarray) -> FrameAnalysed:
    base = {"track_id": np.arange(n_tracks), "x_um": np.arange(n_tracks) + n / 10}
    return FrameAnalysed(
        run=RUN, frame_index=n, t_ns=n * 10, skipped=0, exposed_ns=0, ends_ns=(), n_cells=n_tracks,
        n_tracks=n_tracks, tracks={name: Column.of(column) for name, column in (base | columns).items()},
    )  # fmt: skip


def settle(writer: SessionWriter, n: int) -> None:
    wait_until(lambda: writer.settled() >= n, SystemClock(), f"{n} frames are written")


@pytest.fixture(autouse=True)
def zarr_ends_its_threads() -> Iterator[None]:
    """zarr-python keeps an event loop and its workers until the program ends."""
    yield
    cleanup_resources()


@pytest.fixture
def clock() -> SimulatedClock:
    return SimulatedClock(NS_PER_S)


@pytest.fixture
def writer(tmp_path: Path, clock: SimulatedClock) -> Iterator[SessionWriter]:
    with SessionWriter(tmp_path / "s", CONFIG, clock, SETTINGS) as session:
        yield session


# --- images -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("compression", ["none", "zstd"])
@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_everyone_reads_the_images(tmp_path: Path, clock: SimulatedClock, dtype: str, compression: str) -> None:
    settings = RecorderSettings(min_free_gb=0.0, compression=compression)
    frames = [frame(n, dtype=dtype) for n in range(300)]
    with SessionWriter(tmp_path / "s", CONFIG, clock, settings) as session:
        for each in frames:
            record(session, each)
    path = tmp_path / "s" / "images.ome.zarr"
    yaozarrs.validate_zarr_store(str(path))
    group = zarr.open_group(path, mode="r")
    assert group["0"].shape == (300, 24, 32)
    assert group["0"].chunks == (1, 24, 32)
    ours = tensorstore.open(
        {"driver": "zarr3", "kvstore": {"driver": "file", "path": f"{path}/0/"}}, read=True
    ).result()
    for each in frames:
        np.testing.assert_array_equal(group["0"][each.index], image(each))
    np.testing.assert_array_equal(ours[299].read().result(), image(frames[299]))
    multiscale = group.attrs["ome"]["multiscales"][0]
    assert multiscale["datasets"][0]["coordinateTransformations"][0]["scale"] == [50.0, 0.5, 0.5]


def test_every_fact_of_every_frame_lies_beside_its_pixels(writer: SessionWriter) -> None:
    frames = [frame(n) for n in range(0, 600, 2)]
    for each in frames:
        record(writer, each)
    writer.close()
    group = zarr.open_group(writer.folder / "images.ome.zarr" / "frames", mode="r")
    assert set(group.array_keys()) == set(FACTS)
    columns = {name: group[name][:] for name in FACTS}
    assert {len(column) for column in columns.values()} == {300}
    for row, each in enumerate(frames):
        for name in ("index", "t_ns", "exposure_ms", "interval_ms", "light_mw"):
            assert columns[name][row] == getattr(each, name)
        for name in ("x_um", "y_um", "z_um"):
            assert columns[name][row] == getattr(each.stage, name)
        assert tuple(columns["stage_from_pixel"][row]) == each.stage_from_pixel
        assert columns["dose_mj"][row] == each.index / 4
        assert text_of(columns["channel"][row]) == each.channel
        assert text_of(columns["reason"][row]) == each.reason


def test_black_frames_are_written_too(writer: SessionWriter) -> None:
    each = frame(0)
    writer.add_frame(FrameReady(run=RUN, header=each, slot=0, seq=0), np.zeros(each.shape, np.uint16))
    writer.close()
    assert (writer.folder / "images.ome.zarr" / "0" / "c.0.0.0").stat().st_size == 24 * 32 * 2


def test_a_reader_meets_only_whole_frames_while_it_grows(writer: SessionWriter, clock: SimulatedClock) -> None:
    path = writer.folder / "images.ome.zarr"
    seen = []
    for n in range(40):
        record(writer, frame(n))
        if n % 10 == 9:
            settle(writer, n + 1)
            clock.sleep_s(PUBLISH_NS / NS_PER_S)
            writer.settled()
        length = zarr.open_array(path / "0", mode="r").shape[0]
        seen.append(length)
        if length:
            movie = open_movie(writer.folder)
            assert len(movie) == length
            assert movie.facts is not None
            assert movie.facts(length - 1).stage == frame(length - 1).stage
            np.testing.assert_array_equal(movie.pixels(length - 1), image(frame(length - 1)))
    assert sorted(set(seen)) == [0, 10, 20, 30, 40]


def test_another_process_reads_while_it_grows(writer: SessionWriter, clock: SimulatedClock) -> None:
    for n in range(7):
        record(writer, frame(n))
    settle(writer, 7)
    clock.sleep_s(1.0)
    writer.settled()
    code = "import sys, zarr; print(zarr.open_array(sys.argv[1], mode='r')[:].sum())"
    answer = subprocess.run(
        [sys.executable, "-c", code, str(writer.folder / "images.ome.zarr" / "0")],
        capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    assert int(answer.stdout) == sum(int(image(frame(n)).sum()) for n in range(7))


def test_another_shape_or_type_opens_the_next_series(writer: SessionWriter) -> None:
    frames = [
        *(frame(n) for n in range(3)),
        *(frame(n, (16, 20)) for n in range(3, 5)),
        *(frame(n, (16, 20), "uint8") for n in range(6, 9)),
        frame(9),
    ]
    for each in frames:
        record(writer, each)
    writer.close()
    names = sorted(path.name for path in writer.folder.glob("*.zarr"))
    assert names == ["images.002.ome.zarr", "images.003.ome.zarr", "images.004.ome.zarr", "images.ome.zarr"]
    reader = SessionReader(writer.folder)
    for each in frames:
        np.testing.assert_array_equal(reader.pixels(each.index), image(each))
        assert reader.pixels(each.index).dtype == each.dtype
    with pytest.raises(RecordingError, match="no pixels of frame 5; 9 frames from 0 to 9"):
        reader.pixels(5)
    assert list(reader.headers()) == frames


def test_pixels_settle_in_order_and_never_more_in_flight_than_allowed(tmp_path: Path, clock: SimulatedClock) -> None:
    settings = RecorderSettings(in_flight=2, min_free_gb=0.0)
    with SessionWriter(tmp_path / "s", CONFIG, clock, settings) as session:
        before = 0
        for n in range(100):
            record(session, frame(n, (128, 128)))
            assert session.figures()["in_flight"] <= 2
            assert before <= (before := session.settled()) <= n + 1
        settle(session, 100)
        assert session.figures()["in_flight"] == 0


def test_a_ring_slot_may_be_used_again_once_its_frame_has_settled(writer: SessionWriter) -> None:
    slots = [np.zeros((24, 32), np.uint16) for _ in range(3)]
    for n in range(60):
        settle(writer, n - 2)
        slots[n % 3][:] = image(frame(n))
        writer.add_frame(FrameReady(run=RUN, header=frame(n), slot=n % 3, seq=n), slots[n % 3])
    writer.close()
    reader = SessionReader(writer.folder)
    for n in range(60):
        np.testing.assert_array_equal(reader.pixels(n), image(frame(n)))


def test_pixels_that_do_not_fit_their_header_are_refused(writer: SessionWriter) -> None:
    with pytest.raises(RecordingError, match=r"frame 3: pixels are uint16\[8, 8\]"):
        writer.add_frame(FrameReady(run=RUN, header=frame(3), slot=0, seq=3), np.zeros((8, 8), np.uint16))


def test_memory_stays_flat_over_thousands_of_frames(tmp_path: Path, clock: SimulatedClock) -> None:
    with SessionWriter(tmp_path / "s", CONFIG, clock, SETTINGS) as session:
        message, pixels = FrameReady(run=RUN, header=frame(0), slot=0, seq=0), image(frame(0))

        def go(n_from: int, n_to: int) -> int:
            for n in range(n_from, n_to):
                moved = msgspec.structs.replace(message.header, index=n, t_ns=n * NS_PER_MS)
                session.add_frame(msgspec.structs.replace(message, header=moved), pixels)
                clock.sleep_s(0.01)
                session.settled()
            return tracemalloc.get_traced_memory()[0]

        tracemalloc.start()
        try:
            early = go(0, 500)
            assert go(500, 2500) - early < 100_000
        finally:
            tracemalloc.stop()


# --- tables, journal, summary -------------------------------------------------------------------------------


def test_tracks_are_one_table_in_parts(writer: SessionWriter, clock: SimulatedClock) -> None:
    for n in range(30):
        writer.add(analysed(n, n % 4))
        clock.sleep_s(0.5)
        parts = list((writer.folder / "tracks.parquet").glob("*.parquet"))
        assert len(parts) == (n + 1) // 10 or n % 10 == 9, "a part every five seconds"
    writer.close()
    table = parquet.read_table(writer.folder / "tracks.parquet")
    assert table.column_names == ["frame_index", "t_ns", "track_id", "x_um"]
    rows = [(n, n * 10, k, k + n / 10) for n in range(30) for k in range(n % 4)]
    assert list(zip(*(table[name].to_pylist() for name in table.column_names), strict=True)) == rows


def test_other_columns_begin_another_part(writer: SessionWriter) -> None:
    writer.add(analysed(0, 2))
    writer.add(analysed(1, 2, p_mitosis=np.array([0.5, 0.25])))
    writer.close()
    parts = sorted((writer.folder / "tracks.parquet").iterdir())
    assert [parquet.read_schema(part).names[4:] for part in parts] == [[], ["p_mitosis"]]


def test_columns_of_unlike_length_are_refused(writer: SessionWriter) -> None:
    with pytest.raises(RecordingError, match=r"tracks of frame 0: every column must be \[2\]"):
        writer.add(analysed(0, 2, area_um2=np.array([1.0])))


def test_a_whole_session_tells_its_story(writer: SessionWriter, clock: SimulatedClock) -> None:
    writer.add(InferenceStarted(run=RUN, pid=1, perception="threshold"))
    for n in range(5):
        record(writer, frame(n))
        writer.add(analysed(n, 2))
        clock.sleep_s(0.1)
    figures = writer.figures()
    writer.add(RunEnded(run=RUN, reason="as asked", ok=True))
    writer.close()
    writer.close()
    assert set(figures) == {"free_gb", "write_mb_s", "in_flight"}
    assert figures["write_mb_s"] == pytest.approx(5 * 24 * 32 * 2 / 1e6 / 0.5)
    clock.sleep_s(2.0)
    assert writer.n_settled == 5, "asked after the end, it touches no closed file"
    files = {path.name for path in writer.folder.iterdir()}
    assert files == {
        "session.toml",
        "images.ome.zarr",
        "tracks.parquet",
        "journal.jsonl",
        "summary.json",
        "dose_map.ome.tif",
    }
    written = msgspec.json.decode((writer.folder / "summary.json").read_bytes())
    assert written == msgspec.json.decode(msgspec.json.encode(summarise(writer.folder)))
    assert (written["frames_recorded"], written["frames_readable"], written["ok"]) == (5, 5, True)
    reader = SessionReader(writer.folder)
    assert (reader.config_text, reader.run, reader.n_readable) == (CONFIG, RUN, 5)
    kinds = [type(message).__name__ for message in reader.records()]
    assert kinds == ["InferenceStarted", *["FrameReady", "FrameAnalysed"] * 5, "RunEnded"]


def test_the_rate_is_that_of_the_last_second(writer: SessionWriter, clock: SimulatedClock) -> None:
    rates = []
    for n in range(40):
        for k in range(2 if n < 20 else 1):
            record(writer, frame(2 * n + k))
        clock.sleep_s(0.1)
        rates.append(writer.figures()["write_mb_s"] / (24 * 32 * 2 / 1e6))
    assert rates[:20] == pytest.approx([20.0] * 20)
    assert rates[29:] == pytest.approx([10.0] * 11)


def test_a_session_whose_recorder_died_gets_its_summary_from_the_journal(writer: SessionWriter) -> None:
    for n in range(3):
        record(writer, frame(n))
    writer.add(RunEnded(run=RUN, reason="the recorder is lost", ok=False))
    writer.close()
    path = writer.folder / "summary.json"
    written = path.read_bytes()
    path.unlink()
    summarise_if_missing(writer.folder)
    assert path.read_bytes() == written
    path.write_text("mine")
    summarise_if_missing(writer.folder)
    assert path.read_text() == "mine", "one that is there stays"


def test_where_no_journal_is_there_is_no_summary(tmp_path: Path) -> None:
    summarise_if_missing(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_session_is_never_written_over(writer: SessionWriter) -> None:
    with pytest.raises(SessionExists, match="holds a session already; choose another folder"):
        SessionWriter(writer.folder, CONFIG, SystemClock(), SETTINGS)
    record(writer, frame(0))
    writer.close()
    with pytest.raises(SessionExists):
        SessionWriter(writer.folder, CONFIG, SystemClock(), SETTINGS)
    np.testing.assert_array_equal(SessionReader(writer.folder).pixels(0), image(frame(0)))


def test_a_session_without_frames_is_readable(writer: SessionWriter) -> None:
    writer.add(RunEnded(run=RUN, reason="no camera", ok=False))
    writer.close()
    assert summarise(writer.folder)["frames_readable"] == 0
    with pytest.raises(RecordingError, match="holds no frames"):
        SessionReader(writer.folder).pixels(0)


def test_a_chunk_that_is_gone_is_missed(writer: SessionWriter) -> None:
    for n in range(3):
        record(writer, frame(n))
    writer.close()
    (writer.folder / "images.ome.zarr" / "0" / "c.1.0.0").unlink()
    reader = SessionReader(writer.folder)
    np.testing.assert_array_equal(reader.pixels(2), image(frame(2)))
    with pytest.raises(PixelsMissing, match="frame 1 cannot be read"):
        reader.pixels(1)


def test_a_folder_that_is_no_session_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RecordingError, match="no session is here"):
        SessionReader(tmp_path)


def test_frames_come_with_pixels_or_not_at_all(writer: SessionWriter) -> None:
    with pytest.raises(TypeError, match="add_frame"):
        writer.add(FrameReady(run=RUN, header=frame(0), slot=0, seq=0))


# --- replay -------------------------------------------------------------------------------------------------


def test_a_session_is_played_with_its_recorded_headers(writer: SessionWriter) -> None:
    frames = [frame(n, exposure_ms=3.0 + n, light_mw=0.5, channel="GFP") for n in (0, 1, 4, 5)]
    for each in frames:
        record(writer, each)
    writer.close()
    microscope, clock = ReplayedMicroscope(str(writer.folder)), SimulatedClock()
    microscope.open(clock, Imaging())
    microscope.start()
    played = next_frames(microscope, clock, 4)
    microscope.close()
    for each, now in zip(frames, played, strict=True):
        for name in ("stage", "stage_from_pixel", "exposure_ms", "light_mw", "channel", "um_per_px"):
            assert getattr(now.header, name) == getattr(each, name), name
        np.testing.assert_array_equal(now.pixels, image(each))
    steps_ms = np.diff([now.header.t_ns for now in played]) / NS_PER_MS
    assert steps_ms.tolist() == [50, 150, 50]
    assert [now.header.index for now in played] == [0, 1, 2, 3]


# --- faults -------------------------------------------------------------------------------------------------

WRITES_FOR_EVER = """
import itertools, sys
from pathlib import Path
from acquisition.clock import SystemClock
from realtime.session.writer import SessionWriter
from realtime.wire import Notice
from tests.test_realtime_session import CONFIG, RUN, SETTINGS, analysed, frame, record

writer = SessionWriter(Path(sys.argv[1]), CONFIG, SystemClock(), SETTINGS)
for n in itertools.count():
    record(writer, frame(n))
    writer.add(analysed(n, 3))
    if n % 20 == 0:
        writer.add(Notice(run=RUN, t_ns=n, source="test", level="info", text="flush"))
    print(writer.settled(), flush=True)
"""


def test_after_a_kill_everything_that_was_shown_is_readable(tmp_path: Path) -> None:
    folder = tmp_path / "s"
    writer = subprocess.Popen(
        [sys.executable, "-c", WRITES_FOR_EVER, str(folder)],
        stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[1],
    )  # fmt: skip
    assert writer.stdout is not None
    shown = folder / "images.ome.zarr" / "0" / "zarr.json"
    settled = 0
    with writer:
        for text in writer.stdout:
            settled = int(text)
            if settled >= 50 and zarr.open_array(shown.parent, mode="r").shape[0] > 20:
                break
        writer.send_signal(signal.SIGKILL)
        settled = max([settled, *(int(text) for text in writer.stdout.read().split("\n")[:-1])])
    reader = SessionReader(folder)
    journalled = [each.index for each in reader.headers()]
    assert journalled == list(range(len(journalled)))
    assert len(journalled) > 20
    for n in range(reader.n_readable):
        np.testing.assert_array_equal(reader.pixels(n), image(frame(n)))
    account = summarise(folder)
    assert account["ok"] is False
    assert account["frames_recorded"] == len(journalled)
    assert account["frames_readable"] == reader.n_readable
    # One more than may be in flight: a frame can begin after the last line that the kill let through.
    assert 20 < reader.n_readable <= settled + SETTINGS.in_flight + 1
    with pytest.raises(SessionExists):
        SessionWriter(folder, CONFIG, SystemClock(), SETTINGS)


def test_a_torn_journal_is_read_up_to_the_tear(writer: SessionWriter) -> None:
    for n in range(3):
        record(writer, frame(n))
    writer.close()
    path = writer.folder / "journal.jsonl"
    path.write_bytes(path.read_bytes() + line(Notice(run=RUN, t_ns=1, source="s", level="info", text="t"))[:-9])
    assert len(list(read_journal(path))) == 3
    assert summarise(writer.folder)["frames_recorded"] == 3


def test_too_little_space_is_said_before_anything_is_lost(tmp_path: Path, clock: SimulatedClock) -> None:
    wanted_gb = free_gb(tmp_path) + 100
    with pytest.raises(DiskFull, match=r"GB free, but .* must stay free; make room") as caught:
        SessionWriter(tmp_path / "s", CONFIG, clock, RecorderSettings(min_free_gb=wanted_gb))
    assert caught.value.needed_gb == wanted_gb
    assert list((tmp_path / "s").iterdir()) == [], "nothing was begun"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 8 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(folder)]
    if sys.platform != "linux" or os.geteuid() != 0 or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("a small file system can be mounted only by root on Linux")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def until_it_stops(session: SessionWriter, clock: SimulatedClock) -> tuple[int, DiskFull]:
    """Record until the disk says no: how many frames were accepted before, and what it said."""
    for n in range(10_000):
        try:
            record(session, frame(n, (64, 64)))
            clock.sleep_s(0.05)
            session.settled()
        except DiskFull as error:
            return n, error
    return pytest.fail("a disk of 8 MB took 80 MB")


def test_a_run_stops_while_there_is_still_space(small_disk: Path, clock: SimulatedClock) -> None:
    session = SessionWriter(small_disk / "s", CONFIG, clock, RecorderSettings(min_free_gb=0.002))
    n, _ = until_it_stops(session, clock)
    session.close()
    assert n > 50
    assert 0.001 < free_gb(small_disk) < 0.002
    reader = SessionReader(session.folder)
    assert summarise(session.folder)["frames_recorded"] == reader.n_readable == n
    for each in range(n):
        np.testing.assert_array_equal(reader.pixels(each), image(frame(each, (64, 64))))


def test_a_disk_that_really_fills_up_is_called_full(small_disk: Path, clock: SimulatedClock) -> None:
    session = SessionWriter(small_disk / "s", CONFIG, clock, RecorderSettings(min_free_gb=0.0))
    n, error = until_it_stops(session, clock)
    assert "the disk is full" in str(error)
    assert error.free_gb < 0.001
    with pytest.raises(DiskFull):
        session.close()
    session.close()
    movie = open_movie(session.folder)
    assert n - 50 < len(movie) <= n + 1
    for each in range(len(movie)):
        np.testing.assert_array_equal(movie.pixels(each), image(frame(each, (64, 64))))


def test_a_mistake_in_the_program_is_not_blamed_on_the_disk(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="shapes do not match"), explained(tmp_path, 1.0):
        raise ValueError("shapes do not match")


@pytest.mark.parametrize("compression", ["none", "zstd"])
def test_what_tensorstore_cannot_write_is_the_disks_fault(
    tmp_path: Path, clock: SimulatedClock, compression: str
) -> None:
    """It says so by a ValueError; a file in the place of a folder is what no user may write to."""
    session = SessionWriter(tmp_path / "s", CONFIG, clock, RecorderSettings(min_free_gb=0.0, compression=compression))
    (session.folder / "images.ome.zarr").write_text("in the way")
    with pytest.raises(RecordingError, match=r"s: cannot be written: .*check the disk"):
        record(session, frame(0))
    session.close()


@pytest.mark.parametrize("compression", ["none", "zstd"])
def test_a_frame_that_could_not_be_written_is_the_disks_fault(
    tmp_path: Path, clock: SimulatedClock, compression: str
) -> None:
    session = SessionWriter(tmp_path / "s", CONFIG, clock, RecorderSettings(min_free_gb=0.0, compression=compression))
    record(session, frame(0))
    (session.folder / "images.ome.zarr" / "0" / "c.1.0.0" / "in the way").mkdir(parents=True)
    with pytest.raises(RecordingError, match=r"s: cannot be written: .*check the disk"):
        record(session, frame(1))
        settle(session, 2)
    session.close()
    np.testing.assert_array_equal(SessionReader(session.folder).pixels(0), image(frame(0)))


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path, clock: SimulatedClock) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(RecordingError, match="cannot be written"):
        SessionWriter(tmp_path / "file" / "s", CONFIG, clock, SETTINGS)
