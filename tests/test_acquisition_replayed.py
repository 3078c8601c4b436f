"""Recorded movies in every format, and the microscope that plays them."""

import importlib.util
import json
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt
import psutil
import pytest
import tensorstore
import tifffile

from acquisition.clock import NS_PER_MS, SimulatedClock, SystemClock
from acquisition.commands import MoveStage, PulseSorter, SetExposure, SetInterval
from acquisition.frame import Frame, stage_um
from acquisition.microscope import Imaging, MicroscopeError
from acquisition.replayed.microscope import ReplayedMicroscope
from acquisition.replayed.movies import open_movie
from acquisition.replayed.recorded import FACTS, FACTS_GROUP, MovieError, text_of, text_row
from tests.polling import next_frame, next_frames, wait_until

Stack = npt.NDArray[np.generic]
HELA = Path(__file__).parents[1] / "hardware_configs" / "movies" / "hela_h2b" / "hela_h2b.tif"
IMAGING = Imaging(interval_ms=20.0, exposure_ms=5.0, light_mw=2.0)


def stack(n: int = 12, dtype: str = "uint16", shape: tuple[int, int] = (24, 32)) -> Stack:
    return np.random.default_rng(n).integers(0, 255, (n, *shape)).astype(dtype)


# --- formats ------------------------------------------------------------------------------------------------


def plain_tiff(folder: Path, pixels: Stack) -> Path:
    tifffile.imwrite(folder / "m.tif", pixels, photometric="minisblack")
    return folder / "m.tif"


def compressed_tiff(folder: Path, pixels: Stack) -> Path:
    tifffile.imwrite(folder / "m.tif", pixels, photometric="minisblack", compression="zlib")
    return folder / "m.tif"


def imagej_tiff(folder: Path, pixels: Stack) -> Path:
    """Big-endian, as ImageJ writes."""
    metadata = {"axes": "TYX", "unit": "um", "finterval": 0.5}
    tifffile.imwrite(folder / "m.tif", pixels, imagej=True, resolution=(4.0, 4.0), metadata=metadata)
    return folder / "m.tif"


def ome_tiff(folder: Path, pixels: Stack) -> Path:
    delta_s = [0.5 * t for t in range(len(pixels))]
    metadata = {
        "axes": "TYX", "PhysicalSizeX": 250.0, "PhysicalSizeXUnit": "nm",
        "Plane": {"DeltaT": delta_s, "DeltaTUnit": ["s"] * len(pixels)},
    }  # fmt: skip
    tifffile.imwrite(folder / "m.ome.tif", pixels, metadata=metadata)
    return folder / "m.ome.tif"


def tiff_folder(folder: Path, pixels: Stack) -> Path:
    for t, frame in enumerate(pixels):
        tifffile.imwrite(folder / f"t{t}.tif", frame)
    (folder / "notes.txt").write_text("not a frame")
    return folder


def zarr(folder: Path, pixels: Stack, version: str, axes: str) -> Path:
    driver, group = ("zarr3", "zarr.json") if version == "0.5" else ("zarr", ".zattrs")
    where = {"t": len(pixels), "y": pixels.shape[1], "x": pixels.shape[2], "c": 1, "z": 1}
    shape = [where[axis] for axis in axes]
    kvstore = {"driver": "file", "path": f"{folder}/0/"}
    array = tensorstore.open(
        {"driver": driver, "kvstore": kvstore}, create=True, dtype=pixels.dtype.name, shape=shape
    ).result()
    array.write(pixels.reshape(shape)).result()
    units = {"t": ("time", "millisecond"), "c": ("channel", None)}
    names = [
        {"name": axis, "type": kind} | ({"unit": unit} if unit else {})
        for axis in axes
        for kind, unit in [units.get(axis, ("space", "micrometer"))]
    ]
    scale = [{"t": 500.0, "c": 1.0}.get(axis, 0.25) for axis in axes]
    level = {"path": "0", "coordinateTransformations": [{"type": "scale", "scale": scale}]}
    image = {"multiscales": [{"version": version, "axes": names, "datasets": [level]}]}
    metadata = {"zarr_format": 3, "node_type": "group", "attributes": {"ome": {"version": "0.5"} | image}}
    (folder / group).write_text(json.dumps(metadata if version == "0.5" else image))
    return folder


KNOWS_ALL = (0.25, 500.0)
FORMATS: dict[str, tuple[Callable[[Path, Stack], Path], tuple[float | None, float | None]]] = {
    "TIFF": (plain_tiff, (None, None)),
    "compressed TIFF": (compressed_tiff, (None, None)),
    "ImageJ TIFF": (imagej_tiff, KNOWS_ALL),
    "OME-TIFF": (ome_tiff, KNOWS_ALL),
    "folder": (tiff_folder, (None, None)),
    "OME-Zarr 0.4 tyx": (lambda folder, pixels: zarr(folder, pixels, "0.4", "tyx"), KNOWS_ALL),
    "OME-Zarr 0.5 tyx": (lambda folder, pixels: zarr(folder, pixels, "0.5", "tyx"), KNOWS_ALL),
    "OME-Zarr 0.4 tczyx": (lambda folder, pixels: zarr(folder, pixels, "0.4", "tczyx"), KNOWS_ALL),
    "OME-Zarr 0.5 tczyx": (lambda folder, pixels: zarr(folder, pixels, "0.5", "tczyx"), KNOWS_ALL),
}


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
@pytest.mark.parametrize("name", FORMATS)
def test_every_format_gives_back_the_same_frames(name: str, dtype: str, tmp_path: Path) -> None:
    write, (um_per_px, interval_ms) = FORMATS[name]
    pixels = stack(12, dtype)
    movie = open_movie(write(tmp_path, pixels))
    try:
        assert (len(movie), movie.shape, movie.dtype) == (12, (24, 32), dtype)
        for t in (11, 0, 10, 2, 5):
            frame = movie.pixels(t)
            np.testing.assert_array_equal(frame, pixels[t])
            assert frame.dtype == dtype
            assert frame.flags.c_contiguous
            assert not frame.flags.writeable
        assert movie.um_per_px == (um_per_px and pytest.approx(um_per_px))
        steps = None if movie.times_ns is None else set(np.diff(movie.times_ns).tolist())
        assert steps == (None if interval_ms is None else {round(interval_ms * NS_PER_MS)})
        with pytest.raises(IndexError, match="frame 12"):
            movie.pixels(12)
    finally:
        movie.close()


def session(folder: Path, pixels: Stack, **damaged: Stack) -> Path:
    """One series as our recorder writes it; `damaged` columns replace good ones."""
    folder.mkdir(parents=True, exist_ok=True)
    zarr(folder, pixels, "0.5", "tyx")
    n = len(pixels)
    for name, (dtype, width) in FACTS.items():
        column = np.ones((n,) if width == 1 else (n, width), dtype)
        if name in ("index", "t_ns"):
            column = np.arange(n) * (1 if name == "index" else 500 * NS_PER_MS)
        elif name == "stage_from_pixel":
            column = np.tile([0.25, 0.0, -4.0, 0.0, 0.25, -3.0], (n, 1))
        elif dtype == "uint8":
            column = np.tile(np.frombuffer(text_row(name, width), np.uint8), (n, 1))
        column = damaged.get(name, column)
        kvstore = {"driver": "file", "path": f"{folder}/{FACTS_GROUP}/{name}/"}
        array = tensorstore.open(
            {"driver": "zarr3", "kvstore": kvstore}, create=True, dtype=column.dtype.name, shape=column.shape
        ).result()
        array.write(column).result()
    return folder


def bad_zarr(folder: Path, axes: str) -> Path:
    zarr(folder, stack(), "0.5", "tyx")
    text = (folder / "zarr.json").read_text()
    for old, new in zip("tyx", axes, strict=True):
        text = text.replace(f'"name": "{old}"', f'"name": "{new}"')
    (folder / "zarr.json").write_text(text)
    return folder


def tiff_of(pixels: Stack, **options: object) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        tifffile.imwrite(folder / "m.tif", pixels, **options)
        return folder / "m.tif"

    return write


def written(name: str, data: bytes) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        (folder / name).write_bytes(data)
        return folder / name

    return write


def uneven(folder: Path) -> Path:
    tifffile.imwrite(folder / "t0.tif", stack(1)[0])
    tifffile.imwrite(folder / "t1.tif", stack(1, shape=(8, 8))[0])
    return folder


ODD = {
    "missing": (lambda folder: folder / "none", "no such file"),
    "empty folder": (lambda folder: folder, "no movie that can be played; give"),
    "empty file": (written("m.tif", b""), "not a readable TIFF"),
    "text": (written("m.tif", b"hello world, no TIFF"), "not a readable TIFF"),
    "film": (written("m.avi", b"RIFF"), "'.avi' are not played"),
    "colour": (tiff_of(np.zeros((2, 24, 32, 3), np.uint8), photometric="rgb"), "3 samples a pixel"),
    "float": (tiff_of(stack().astype("float32"), photometric="minisblack"), "float32.*Convert"),
    "signed": (tiff_of(stack().astype("int16"), photometric="minisblack"), "int16.*Convert"),
    "z-stack": (tiff_of(stack(), imagej=True, metadata={"axes": "ZYX"}), "12 planes along z"),
    "channels": (tiff_of(stack(), imagej=True, metadata={"axes": "CYX"}), "12 channels"),
    "zarr z-stack": (lambda folder: bad_zarr(folder, "zyx"), "12 planes along z"),
    "zarr without time": (lambda folder: bad_zarr(folder, "qyx"), "axes are q, y, x"),
    "zarr of an array": (written("zarr.json", b"{}"), "'.json' are not played"),
}


@pytest.mark.parametrize("name", ODD)
def test_what_cannot_be_played_is_refused_in_words(name: str, tmp_path: Path) -> None:
    make, message = ODD[name]
    with pytest.raises(MovieError, match=f"(?s){message}"):
        open_movie(make(tmp_path))


# --- damage -------------------------------------------------------------------------------------------------


def cut_to(share: float, write: Callable[[Path, Stack], Path]) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        path = write(folder, stack())
        path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
        return path

    return make


def with_text(write: Callable[[Path, Stack], Path], old: str, new: str, file: str = "") -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        path = write(folder, stack())
        data = (path / file if file else path).read_bytes()
        assert old.encode() in data
        (path / file if file else path).write_bytes(data.replace(old.encode(), new.encode()))
        return path

    return make


def zarr_05(folder: Path, pixels: Stack) -> Path:
    return zarr(folder, pixels, "0.5", "tyx")


def session_with(**damaged: Stack) -> Callable[[Path], Path]:
    return lambda folder: session(folder / "images.ome.zarr", stack(), **damaged).parent


DAMAGED = {
    "TIFF without its index": (cut_to(0.005, plain_tiff), "not a readable TIFF"),
    "TIFF without its pixels": (cut_to(0.02, plain_tiff), "frame 0 cannot be read"),
    "ImageJ stack cut in the middle": (cut_to(0.5, imagej_tiff), "speaks of 12 images, but 1 can be found"),
    "ImageJ stack cut in its first frame": (cut_to(0.02, imagej_tiff), "speaks of 12 images|frame 0 cannot be read"),
    "OME-XML that does not parse": (with_text(ome_tiff, "<Pixels", "<Pixel>"), "mismatched tag"),
    "OME-XML with a size that is no number": (with_text(ome_tiff, "250.0", "25O.O"), r"25O\.O"),
    "OME-XML with an index that is no number": (with_text(ome_tiff, 'TheT="1"', 'TheT="l"'), "'l'"),
    "OME-Zarr with a scale that is no number": (with_text(zarr_05, "500.0", '"x"', "zarr.json"), "metadata are damaged"),
    "OME-Zarr with attributes that are none": (with_text(zarr_05, '"ome": {', '"ome": 5, "x": {', "zarr.json"), "JSON"),
    "OME-Zarr whose array is no JSON": (with_text(zarr_05, "{", "", "0/zarr.json"), "cannot be opened"),
    "session without times for its last frames": (session_with(t_ns=np.arange(5)), "t_ns: what was recorded"),
    "session whose maps have too few numbers": (session_with(stage_from_pixel=np.ones((12, 5))), "recorded with frame 0"),
    "session whose text is no text": (session_with(channel=np.full((12, 128), 0xFF, np.uint8)), "recorded with frame 0"),
}  # fmt: skip


@pytest.mark.parametrize("name", DAMAGED)
def test_a_damaged_movie_is_refused_in_words_and_its_files_are_let_go(
    name: str, tmp_path: Path, open_files: Callable[[], set[str]]
) -> None:
    make, message = DAMAGED[name]
    path = make(tmp_path)
    with pytest.raises(MovieError, match=f"(?s){message}") as caught:
        open_movie(path)
    assert str(caught.value).startswith(str(path))
    with pytest.raises(MicroscopeError, match=f"(?s){message}"):
        ReplayedMicroscope(str(path), um_per_px=1.0).open(SimulatedClock(), IMAGING)
    del caught
    wait_until(lambda: not open_files(), SystemClock(), "the reads that had begun are over, and their files closed")


@pytest.fixture
def open_files(tmp_path: Path) -> Callable[[], set[str]]:
    """Files below the test's folder that this process has open."""

    def ask() -> set[str]:
        return {file.path for file in psutil.Process().open_files() if file.path.startswith(str(tmp_path))}

    return ask


LATE = {
    "TIFF": cut_to(0.3, plain_tiff),
    "session": session_with(channel=np.vstack([np.zeros((7, 128), np.uint8), np.full((5, 128), 0xFF, np.uint8)])),
}


@pytest.mark.parametrize("name", LATE)
@pytest.mark.parametrize("clock", [SimulatedClock(), SystemClock()], ids=["simulated", "real"])
def test_damage_further_on_is_reported_when_its_turn_comes(
    name: str, clock: SimulatedClock | SystemClock, tmp_path: Path
) -> None:
    microscope = ReplayedMicroscope(str(LATE[name](tmp_path)), pace="fast", um_per_px=1.0)
    microscope.open(clock, IMAGING)
    try:
        microscope.start()
        next_frame(microscope, clock)
        with pytest.raises(MicroscopeError, match=r"frame \d+ cannot be read"):
            next_frames(microscope, clock, 11)
    finally:
        microscope.close()


def test_a_session_announces_its_largest_frames(tmp_path: Path) -> None:
    """Room for frames is made once; a run may have begun with a small region."""
    session(tmp_path / "images.ome.zarr", stack(2, shape=(8, 10)))
    session(tmp_path / "images.002.ome.zarr", stack(2, shape=(24, 32)))
    microscope, clock = ReplayedMicroscope(str(tmp_path)), SimulatedClock()
    can = microscope.open(clock, IMAGING)
    assert (can.height_px, can.width_px) == (24, 32)
    assert [frame.header.shape for frame in played(microscope, clock)] == [(8, 10), (8, 10), (24, 32), (24, 32)]
    assert microscope.dose_mj() == pytest.approx(4 * 0.001), "1 mW for 1 ms each, as recorded"
    microscope.close()


def test_a_zarr_folder_that_is_no_image_is_refused(tmp_path: Path) -> None:
    (tmp_path / "zarr.json").write_text('{"zarr_format": 3, "node_type": "group", "attributes": {}}')
    with pytest.raises(MovieError, match="no OME multiscales"):
        open_movie(tmp_path)


def test_an_odd_frame_in_a_folder_is_named_when_its_turn_comes(tmp_path: Path) -> None:
    movie = open_movie(uneven(tmp_path))
    with pytest.raises(MovieError, match=r"t1\.tif: uint16\[8, 8\], but the first"):
        movie.pixels(1)


def test_a_codec_that_is_not_installed_is_named_at_once(tmp_path: Path) -> None:
    if importlib.util.find_spec("imagecodecs"):
        pytest.skip("imagecodecs is installed, so every codec is")
    path = compressed_tiff(tmp_path, stack(2))
    with tifffile.TiffFile(path, mode="r+") as tiff:
        for page in tiff.pages:
            page.tags["Compression"].overwrite(50001)  # WebP
    with pytest.raises(MovieError, match="frame 0 cannot be read"):
        open_movie(path)


@pytest.mark.parametrize("text", ["", "DAPI", "12.follow.0", "µ" * 200, "漢字" * 50])
def test_text_keeps_its_beginning_in_a_row_of_bytes(text: str) -> None:
    row = text_row(text, 128)
    assert len(row) == 128
    back = text_of(np.frombuffer(row, np.uint8))
    assert text.startswith(back)
    assert back == text or len(back.encode()) > 124


# --- real movies --------------------------------------------------------------------------------------------


def test_the_real_excerpt_is_what_it_was_cut_from(shared_data: Path) -> None:
    source = open_movie(shared_data / "tracking" / "mitocheck_hela_h2b" / "01")
    excerpt = open_movie(HELA)
    try:
        assert len(excerpt) == len(source) == 30
        for t in range(30):
            np.testing.assert_array_equal(excerpt.pixels(t), source.pixels(t))
    finally:
        excerpt.close()


def test_the_real_excerpt_plays() -> None:
    microscope, clock = ReplayedMicroscope(str(HELA), um_per_px=0.65), SimulatedClock()
    can = microscope.open(clock, IMAGING)
    assert (can.height_px, can.width_px, can.dtype) == (190, 211, "uint8")
    assert len(played(microscope, clock)) == 30
    microscope.close()
    assert HELA.stat().st_size < 1_500_000


def test_real_movies_open(shared_data: Path) -> None:
    for path in sorted((shared_data / "movies").glob("*.tif")):
        movie = open_movie(path)
        assert movie.pixels(len(movie) - 1).std() > 0
        movie.close()


# --- the microscope -----------------------------------------------------------------------------------------


def played(microscope: ReplayedMicroscope, clock: SimulatedClock | SystemClock) -> list[Frame]:
    """All frames up to the end."""
    microscope.start()
    frames = []
    while not microscope.exhausted():
        frames.append(next_frame(microscope, clock))
    return frames


@pytest.fixture
def movie(tmp_path: Path) -> Path:
    return plain_tiff(tmp_path, stack())


def test_times_are_the_movies_own_and_go_on_over_repeats(tmp_path: Path) -> None:
    microscope, clock = ReplayedMicroscope(str(ome_tiff(tmp_path, stack())), repeat=2), SimulatedClock()
    assert microscope.open(clock, IMAGING).um_per_px == 0.25
    frames = played(microscope, clock)
    microscope.close()
    assert [frame.header.index for frame in frames] == list(range(24))
    assert {b.header.t_ns - a.header.t_ns for a, b in pairwise(frames)} == {500 * NS_PER_MS}
    assert {frame.header.interval_ms for frame in frames} == {500.0}
    np.testing.assert_array_equal(frames[3].pixels, frames[15].pixels)


def test_fixed_pace_obeys_set_interval(movie: Path) -> None:
    microscope, clock = ReplayedMicroscope(str(movie), "fixed", um_per_px=1.0), SimulatedClock()
    microscope.open(clock, IMAGING)
    microscope.start()
    before = next_frames(microscope, clock, 3)
    microscope.apply(SetInterval(70.0))
    after = next_frames(microscope, clock, 3)
    steps_ms = [(b.header.t_ns - a.header.t_ns) / NS_PER_MS for a, b in pairwise(before + after)]
    assert steps_ms == [20, 20, 70, 70, 70]
    assert [frame.header.interval_ms for frame in before + after] == [20, 20, 20, 70, 70, 70]
    microscope.close()


def test_a_late_loop_makes_the_movie_slip_and_loses_nothing(movie: Path) -> None:
    microscope, clock = ReplayedMicroscope(str(movie), "fixed", um_per_px=1.0), SimulatedClock()
    microscope.open(clock, IMAGING)
    microscope.start()
    first = next_frame(microscope, clock).header
    clock.sleep_s(1.0)
    headers = [frame.header for frame in next_frames(microscope, clock, 3)]
    assert [header.index for header in headers] == [1, 2, 3]
    assert headers[0].t_ns == first.t_ns + 20 * NS_PER_MS, "it was exposed on time"
    assert headers[1].t_ns > headers[0].t_read_ns, "but no frame is exposed before the one before it was taken"
    assert headers[2].t_ns == headers[1].t_ns + 20 * NS_PER_MS
    microscope.close()


def test_as_fast_as_possible_waits_for_nothing(movie: Path) -> None:
    microscope, clock = ReplayedMicroscope(str(movie), "fast", um_per_px=1.0, repeat=5), SystemClock()
    microscope.open(clock, Imaging(interval_ms=1000.0))
    frames = played(microscope, clock)
    microscope.close()
    assert len(frames) == 60
    assert frames[-1].header.t_ns - frames[0].header.t_ns < 2_000 * NS_PER_MS
    assert all(b.header.t_ns > a.header.t_ns for a, b in pairwise(frames))


def test_on_a_simulated_clock_two_runs_are_the_same(movie: Path) -> None:
    def headers(pace: str) -> list[object]:
        microscope, clock = ReplayedMicroscope(str(movie), pace, um_per_px=1.0), SimulatedClock()
        microscope.open(clock, IMAGING)
        frames = played(microscope, clock)
        microscope.close()
        return [frame.header for frame in frames]

    assert headers("own") == headers("own") == headers("fast")


def test_a_window_pans_over_the_recorded_field(movie: Path) -> None:
    pixels = stack()
    microscope, clock = ReplayedMicroscope(str(movie), um_per_px=0.5, window_px=(10, 12)), SimulatedClock()
    microscope.open(clock, IMAGING)
    microscope.start()
    frame = next_frame(microscope, clock)
    np.testing.assert_array_equal(frame.pixels, pixels[0][7:17, 10:22])
    assert (frame.header.stage.x_um, frame.header.stage.y_um) == (0.0, 0.0)

    def corner_of(frame: Frame) -> tuple[float, float]:
        """Upper left pixel of the view in the field, worked out from the frame's own map."""
        x_um, y_um = stage_um(frame.header.stage_from_pixel, np.array([[0.0, 0.0]]))[0]
        return x_um / 0.5 + 15.5, y_um / 0.5 + 11.5

    for aim, corner in [((2.0, -1.0), (14, 5)), ((7.5, 5.5), (20, 14)), ((-7.75, -5.75), (0, 0))]:
        microscope.apply(MoveStage(*aim))
        frame = next_frame(microscope, clock)
        x0, y0 = corner
        np.testing.assert_array_equal(frame.pixels, pixels[frame.header.index][y0 : y0 + 10, x0 : x0 + 12])
        assert corner_of(frame) == corner
        assert microscope.state().stage == frame.header.stage
    before = microscope.state().stage
    for beyond in (MoveStage(x_um=8.5), MoveStage(y_um=-6.5), MoveStage(z_um=1.0)):
        with pytest.raises(MicroscopeError, match=r"outside the recorded field of 32×24|no focus"):
            microscope.apply(beyond)
    assert microscope.state().stage == before
    microscope.close()


MISTAKES = {
    "no pixel size": ({}, "set microscope.um_per_px"),
    "window too large": ({"um_per_px": 1.0, "window_px": [25, 8]}, r"window_px is \[25, 8\].*24×32"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_settings_that_do_not_fit_the_movie_are_refused(name: str, movie: Path) -> None:
    settings, message = MISTAKES[name]
    microscope = msgspec.convert({"path": str(movie)} | settings, ReplayedMicroscope, strict=True)
    with pytest.raises(MicroscopeError, match=message):
        microscope.open(SystemClock(), IMAGING)


def test_it_cannot_what_a_recorded_movie_cannot(movie: Path) -> None:
    microscope = ReplayedMicroscope(str(movie), um_per_px=1.0)
    can = microscope.open(SimulatedClock(), IMAGING)
    assert can.commands == {"PulseSorter"}
    microscope.apply(PulseSorter(at_ns=0))
    for command in (SetInterval(10.0), MoveStage(x_um=1.0), SetExposure(3.0)):
        with pytest.raises(MicroscopeError, match="with these settings it can PulseSorter"):
            microscope.apply(command)
    microscope.close()


def test_a_file_that_breaks_in_mid_run_is_reported(tmp_path: Path) -> None:
    folder = tiff_folder(tmp_path, stack(3))
    (folder / "t2.tif").write_bytes(b"broken")
    microscope, clock = ReplayedMicroscope(str(folder), "fast", um_per_px=1.0), SystemClock()
    microscope.open(clock, IMAGING)
    microscope.start()
    next_frames(microscope, clock, 2)
    with pytest.raises(MicroscopeError, match=r"t2\.tif: not a readable TIFF"):
        next_frame(microscope, clock)
    microscope.close()
