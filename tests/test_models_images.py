"""Image files that are read, files that are refused in words, label files, crops, overlays: all with real files."""

import os
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest
import tifffile

from models.crop_files import read_crops
from models.images import ImageError, as_counts, as_labels, image_files, open_image, read_counts, read_labels, um_per_px
from models.label_files import label_file, replaced, write_labels
from models.overlay import COLOURS, MOST_ZOOM, overlay, write_overlay

Write = Callable[[Path], Any]
GREY = np.random.default_rng(0).integers(0, 60_000, (30, 40)).astype(np.uint16)
RGB = np.random.default_rng(0).integers(0, 255, (30, 40, 3)).astype(np.uint8)


def tiff(array: npt.NDArray[Any], **options: Any) -> Write:
    return lambda path: tifffile.imwrite(path, array, **options)


def png(array: npt.NDArray[Any]) -> Write:
    return lambda path: path.write_bytes(cv2.imencode(".png", array)[1].tobytes())


def cut(write: Write, share: float) -> Write:
    """A file of which only the first part was copied."""

    def cut_short(path: Path) -> None:
        write(path)
        os.truncate(path, round(path.stat().st_size * share))

    return cut_short


def indexed_png(path: Path) -> None:
    """Two grey values by way of a palette, which OpenCV does not write."""
    chunks = [
        (b"IHDR", b"\0\0\0\2\0\0\0\2\x08\x03\0\0\0"),
        (b"PLTE", bytes(6)),
        (b"IDAT", zlib.compress(bytes(6))),
        (b"IEND", b""),
    ]
    whole = b"".join(len(data).to_bytes(4) + name + data + zlib.crc32(name + data).to_bytes(4) for name, data in chunks)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + whole)


def empty(path: Path) -> None:
    path.write_bytes(b"")


def lzw(path: Path) -> None:
    cv2.imwrite(str(path), GREY, [cv2.IMWRITE_TIFF_COMPRESSION, 5])


def with_a_nan(path: Path) -> None:
    pixels = GREY.astype(np.float32)
    pixels[3, 4] = np.nan
    tifffile.imwrite(path, pixels)


# --- what is read ---------------------------------------------------------------------------------------------

READ = {
    "png16.png": png(GREY),
    "png8.png": png(RGB[..., 0]),
    "plain.tif": tiff(GREY),
    "deflate.tif": tiff(GREY, compression="zlib"),
    "tiled.tif": tiff(GREY, tile=(16, 16)),
    "big-endian.tif": tiff(GREY, byteorder=">"),
    "bigtiff.tif": tiff(GREY, bigtiff=True),
    "imagej.tif": tiff(GREY, imagej=True),
    "field.ome.tif": tiff(GREY, ome=True),
    "one-of-one.tif": tiff(GREY[None, None]),
    "whole numbers of 32 bits.tif": tiff(GREY.astype(np.int32)),
    "lzw.tif": lzw,
    "a tiff called.png": tiff(GREY),
    "größe µm.png": png(GREY),
    "one row.tif": tiff(GREY[:1]),
}


@pytest.mark.parametrize("name", READ)
def test_grey_images_are_read_as_they_are(name: str, tmp_path: Path) -> None:
    READ[name](tmp_path / name)
    pixels = read_counts(tmp_path / name)
    expected = {"png8.png": RGB[..., 0], "one row.tif": GREY[:1]}.get(name, GREY)
    assert pixels.dtype == expected.dtype
    assert pixels.dtype.isnative
    assert np.array_equal(pixels, expected)
    assert open_image(tmp_path / name).shape == expected.shape, "known before the pixels are read"


@pytest.mark.parametrize("options", [{}, {"imagej": True}, {"compression": "zlib"}, {"ome": True}])
def test_planes_come_one_by_one(options: dict[str, Any], tmp_path: Path) -> None:
    stack = np.stack([GREY + i for i in range(4)])
    tifffile.imwrite(tmp_path / "s.tif", stack, photometric="minisblack", metadata={"axes": "TYX"}, **options)
    file = open_image(tmp_path / "s.tif")
    assert (file.n_planes, file.shape) == (4, GREY.shape)
    assert np.array_equal(np.stack(list(file.counts())), stack)


def test_a_folder_is_read_in_natural_order(tmp_path: Path) -> None:
    for name in ("t10.png", "t2.TIF", "t1.tiff", "notes.txt", "t3.png.txt"):
        (tmp_path / name).touch()
    (tmp_path / "folder.png").mkdir()
    assert [file.name for file in image_files(tmp_path)] == ["t1.tiff", "t2.TIF", "t10.png"]


def test_the_scale_is_read_where_the_file_tells_it(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.ome.tif", GREY, metadata={"axes": "YX", "PhysicalSizeX": 0.65})
    tifffile.imwrite(tmp_path / "b.tif", GREY)
    tifffile.imwrite(tmp_path / "c.tif", GREY.astype(np.int32))
    png(GREY)(tmp_path / "d.png")
    assert [um_per_px(tmp_path / name) for name in ("a.ome.tif", "b.tif", "c.tif", "d.png")] == [0.65, None, None, None]


# --- what is refused ------------------------------------------------------------------------------------------

REFUSED: dict[str, tuple[Write, str]] = {
    "absent.png": (lambda path: None, "cannot be read: No such file"),
    "empty.png": (empty, "is empty .0 bytes.*8- or 16-bit PNG or TIFF"),
    "empty.tif": (empty, "is empty .0 bytes"),
    "text.png": (lambda path: path.write_text("not an image"), "begins with b'not an i'.*neither a PNG nor a TIFF"),
    "photo.jpg": (lambda path: cv2.imwrite(str(path), RGB), "neither a PNG nor a TIFF"),
    "short.png": (cut(png(GREY), 0.5), "a damaged PNG file; save or copy"),
    "very short.png": (cut(png(GREY), 0.01), "neither a PNG"),
    "short.tif": (cut(tiff(GREY), 0.5), "a damaged TIFF file .failed to read.*save or copy"),
    "very short.tif": (cut(tiff(GREY), 0.02), "a damaged TIFF file"),
    "colour.png": (png(RGB), "RGB colour; one grey value a pixel is needed"),
    "transparent.png": (png(np.dstack([RGB, RGB[..., :1]])), "RGB colour with transparency; one grey"),
    "indexed.png": (indexed_png, "palette colour; one grey"),
    "colour.tif": (tiff(RGB, photometric="rgb"), "colour of 3 samples a pixel; one grey"),
    "channels.tif": (tiff(np.stack([GREY] * 2), imagej=True, metadata={"axes": "CYX"}), "2 channels.*by itself"),
    "float.tif": (tiff(GREY / np.float32(60_000)), "float32 pixels from 0.* to 0.99.*counts are needed.*65535"),
    "whole float.tif": (tiff(np.full((4, 4), 7.0)), "float64 pixels from 7 to 7; counts are needed"),
    "nan.tif": (with_a_nan, "1 of 1200 are not a number .NaN.; counts are needed"),
    "infinite.tif": (tiff(np.full((4, 4), np.inf, np.float32)), "16 of 16 are infinite; counts"),
    "mask.tif": (tiff(GREY > 9), "bool pixels; counts are needed"),
    "complex.tif": (tiff(GREY.astype(np.complex64)), "complex64 pixels; counts are needed"),
    "negative.tif": (tiff(GREY.astype(np.int32) - 999), "int32 pixels from -9.*counts from 0 to 65535"),
    "too bright.tif": (tiff(GREY.astype(np.uint32) * 10), "uint32 pixels from .*counts from 0 to 65535"),
    "z.tif": (tiff(np.stack([GREY] * 5), imagej=True, metadata={"axes": "ZYX"}), "5 planes of 40 × 30 px; one 2-D.*--stack"),
    "pages.tif": (tiff(np.stack([GREY] * 5), photometric="minisblack"), "5 planes of 40 × 30 px; one 2-D"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_used_is_refused_by_name(name: str, tmp_path: Path) -> None:
    write, words = REFUSED[name]
    write(tmp_path / name)
    with pytest.raises(ImageError, match=words) as error:
        read_counts(tmp_path / name)
    assert str(error.value).startswith(str(tmp_path / name)), "it says where"
    assert "\n" not in str(error.value)


def test_two_sizes_in_one_file_are_refused(tmp_path: Path) -> None:
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        file.write(GREY)
        file.write(GREY[:9])
    with pytest.raises(ImageError, match="2 images of different size or type in one file"):
        open_image(tmp_path / "a.tif")


def test_a_folder_is_not_an_image(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="cannot be read"):
        open_image(tmp_path)
    with pytest.raises(ImageError, match=r"holds no image; its files must end in .png, .tif, .tiff"):
        image_files(tmp_path)


def test_an_image_without_pixels_is_refused() -> None:
    with pytest.raises(ImageError, match="x: 0 × 5 px hold nothing"):
        as_counts(np.zeros((0, 5), np.uint8), "x")


# --- labels ---------------------------------------------------------------------------------------------------

LABELS = np.arange(12).reshape(3, 4)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int32, np.uint32, np.int64, np.float32])
def test_labels_of_any_type_are_read(dtype: type, tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "l.tif", LABELS.astype(dtype))
    labels = read_labels(tmp_path / "l.tif")
    assert labels.dtype == np.int32
    assert np.array_equal(labels, LABELS)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (-LABELS, "int64 pixels from -11 to 0; labels are whole numbers from 0"),
        (LABELS / 2, "float64 pixels from 0 to 5.5 with fractions.*probability map"),
        (np.full((3, 3), np.nan), "float64 pixels, 9 of 9 are not a number .NaN.; labels are whole"),
        (np.full((3, 3), 2**31), "int64 pixels from 2.14748e.09 .*labels are whole numbers from 0"),
    ],
)
def test_what_are_no_labels_is_refused(values: npt.NDArray[Any], words: str) -> None:
    with pytest.raises(ImageError, match=f"x: {words}"):
        as_labels(values, "x")


@pytest.mark.parametrize(("n", "dtype"), [(0, np.uint16), (65_535, np.uint16), (65_536, np.uint32)])
def test_label_files_have_16_bits_as_long_as_they_can(n: int, dtype: type, tmp_path: Path) -> None:
    labels = np.arange(n + 1, dtype=np.int32)[None]
    write_labels(tmp_path / "l.tif", labels)
    assert tifffile.imread(tmp_path / "l.tif").dtype == dtype
    assert np.array_equal(read_labels(tmp_path / "l.tif"), labels)


def test_a_label_stack_grows_plane_by_plane(tmp_path: Path) -> None:
    with label_file(tmp_path / "s.tif", n_planes=3) as append:
        for i in range(3):
            append(np.full((5, 6), i, np.int32))
    assert tifffile.imread(tmp_path / "s.tif").shape == (3, 5, 6)
    assert [labels.max() for labels in open_image(tmp_path / "s.tif").labels()] == [0, 1, 2]


def test_a_stack_with_too_many_cells_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    with (
        pytest.raises(ImageError, match="a plane has 65536 cells.*single files"),
        label_file(tmp_path / "s.tif", n_planes=2) as append,
    ):
        append(np.full((2, 2), 65_536, np.int32))
    assert not list(tmp_path.iterdir())


def test_a_file_that_is_replaced_is_never_half_written(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("old")
    with pytest.raises(ZeroDivisionError), replaced(tmp_path / "a") as part:
        part.write_text("ne")
        raise ZeroDivisionError
    assert [(file.name, file.read_text()) for file in tmp_path.iterdir()] == [("a", "old")]
    with replaced(tmp_path / "a") as part:
        part.write_text("new")
    assert [(file.name, file.read_text()) for file in tmp_path.iterdir()] == [("a", "new")]


# --- crops ----------------------------------------------------------------------------------------------------

CROPS = np.random.default_rng(0).integers(0, 255, (12, 16, 16)).astype(np.uint8)


def test_crops_come_from_a_folder_a_stack_or_an_npz(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    for i, crop in enumerate(CROPS):
        png(crop)(tmp_path / "folder" / f"cell{i}.png")
    tifffile.imwrite(tmp_path / "stack.tif", CROPS, photometric="minisblack")
    np.savez(tmp_path / "crops.npz", images=CROPS, labels=np.zeros(12))
    assert read_crops(tmp_path / "folder").names == tuple(f"cell{i}.png" for i in range(12)), "in natural order"
    for name in ("folder", "stack.tif", "crops.npz"):
        assert np.array_equal(read_crops(tmp_path / name).images, CROPS)


def odd_one_out(path: Path) -> None:
    path.mkdir()
    png(CROPS[0])(path / "a.png")
    png(CROPS[0, :8])(path / "b.png")


REFUSED_CROPS: dict[str, tuple[Write, str]] = {
    "absent.npz": (lambda path: None, "cannot be read: No such file"),
    "text.npz": (lambda path: path.write_text("images"), "a damaged .npz file"),
    "short.npz": (cut(lambda path: np.savez(path, images=CROPS), 0.5), "a damaged .npz file"),
    "empty.npz": (empty, "a damaged .npz file"),
    "other.npz": (lambda path: np.savez(path, pictures=CROPS, classes=CROPS), r"no array images.*pictures, classes"),
    "colour.npz": (lambda path: np.savez(path, images=np.zeros((3, 16, 16, 3), np.uint8)), r"shape \[3, 16, 16, 3\]"),
    "float.npz": (lambda path: np.savez(path, images=CROPS / 255), "images: float64 pixels from 0.*counts are needed"),
    "none.npz": (lambda path: np.savez(path, images=CROPS[:0]), "0 × 16 × 16 px hold nothing"),
    "objects.npz": (lambda path: np.savez(path, images=np.array([None])), "a damaged .npz file .Object arrays"),
    "sizes": (odd_one_out, "b.png is 16 × 8 px, but a.png is 16 × 16 px"),
    "nothing": (Path.mkdir, "holds no image"),
}


@pytest.mark.parametrize("name", REFUSED_CROPS)
def test_crops_that_cannot_be_used_are_refused_by_name(name: str, tmp_path: Path) -> None:
    write, words = REFUSED_CROPS[name]
    write(tmp_path / name)
    with pytest.raises(ImageError, match=words) as error:
        read_crops(tmp_path / name)
    assert str(error.value).startswith(str(tmp_path / name))


# --- overlays -------------------------------------------------------------------------------------------------


def two_cells() -> npt.NDArray[np.int32]:
    labels = np.zeros((90, 120), np.int32)
    labels[10:70, 5:60], labels[10:70, 60:118] = 1, 2
    return labels


def test_outlines_run_inside_of_every_cell_and_between_touching_ones() -> None:
    labels = two_cells()
    picture = overlay(np.full(labels.shape, 500, np.uint16), labels)
    zoom = MOST_ZOOM
    assert picture.shape == (90 * zoom, 120 * zoom, 3)
    row = picture[15 * zoom]
    coloured = np.flatnonzero(row.std(axis=1) > 0)
    assert coloured.tolist() == [5 * zoom, 60 * zoom - 1, 60 * zoom, 118 * zoom - 1]
    assert np.array_equal(row[coloured], COLOURS[[1, 1, 2, 2]])


def test_every_cell_has_its_number_in_its_middle() -> None:
    labels = two_cells()
    flat = np.zeros(labels.shape, np.uint16)
    numbers = (overlay(flat, labels) == 255).all(axis=2)
    columns = np.flatnonzero(numbers.any(axis=0)) / MOST_ZOOM
    assert abs(columns[columns < 60].mean() - 32) < 3
    assert abs(columns[columns >= 60].mean() - 88.5) < 3


def test_large_images_keep_their_size_and_labels_may_have_gaps() -> None:
    labels = np.zeros((1100, 900), np.int32)
    labels[100:200, 100:200] = 70_001
    assert overlay(np.zeros(labels.shape, np.uint8), labels).shape == (1100, 900, 3)


def test_an_overlay_of_nothing_is_the_image(tmp_path: Path) -> None:
    ramp = np.repeat(np.arange(0, 60_000, 50, dtype=np.uint16)[None], 1100, axis=0)
    write_overlay(tmp_path / "o.png", ramp, np.zeros(ramp.shape, np.int32))
    picture = cv2.imread(str(tmp_path / "o.png"))
    assert picture is not None
    assert (picture.std(axis=2) == 0).all()
    assert (np.diff(picture[0, :, 0].astype(int)) >= 0).all()
    assert (picture.min(), picture.max()) == (0, 255)
