"""Recorded movies in every format, and the microscope that plays them."""

import importlib.util
import json
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt
import pytest
import tensorstore
import tifffile

from acquisition.clock import NS_PER_MS, SimulatedClock, SystemClock
from acquisition.commands import MoveStage, PulseSorter, SetExposure, SetInterval
from acquisition.frame import Frame, stage_um
from acquisition.microscope import Imaging, MicroscopeError
from acquisition.replayed.microscope import ReplayedMicroscope
from acquisition.replayed.movies import open_movie
from acquisition.replayed.recorded import MovieError, text_of, text_row
from tests.polling import next_frame, next_frames

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
