"""Label images of a time-lapse, one after the other: found, checked, read ahead, and measured into Cells."""

import re
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from acquisition.replayed.tiff import TIFF_SUFFIXES
from models.cells import Cells, Labels
from models.images import Counts, ImageFile, image_files, open_image, um_per_px
from models.measure import measure
from models.perception import Classifier, preprocess, with_classes
from realtime.offline.file_headers import file_header
from realtime.offline.selection import listed
from realtime.plugins import ConfigError

NUMBER = re.compile(r"\d+$")
AHEAD = 2
"""Frames that are read while one is being worked on."""
FramePixels = tuple[Labels, Counts | None]


FEW_CELLS, SCATTERED = 10, 0.3
"""With at least so many values, each spread over such a share of the frame, labels are none."""


@dataclass(frozen=True)
class Series:
    """Images of one size, a frame each, in the order of time: the files of a folder, or one TIFF stack."""

    path: Path
    files: tuple[ImageFile, ...]
    first: int = 0
    """Number in the name of the first file."""

    @property
    def shape(self) -> tuple[int, int]:
        return self.files[0].shape

    def __len__(self) -> int:
        return sum(file.n_planes for file in self.files)

    def labels(self) -> Iterator[Labels]:
        """Every frame `[H, W]`, 0 = background. Raises ImageError."""
        return (plane for file in self.files for plane in file.labels())

    def counts(self) -> Iterator[Counts]:
        """Every frame `[H, W]` in camera counts. Raises ImageError."""
        return (plane for file in self.files for plane in file.counts())


def series_um_per_px(series: Sequence[Series]) -> float | None:
    """The pixel size that the first file to name one names."""
    return next((scale for each in series if (scale := um_per_px(each.files[0].path)) is not None), None)


def open_series(path: Path) -> Series:
    """A folder of images whose names end in the number of the frame, or one stack. Raises ConfigError, ImageError.

    Where a folder has TIFFs, its PNGs are taken for pictures of them.
    """
    if not path.exists():
        raise ConfigError(f"{path} does not exist; a folder of images, one a frame, or one TIFF stack is needed")
    if not path.is_dir():
        return Series(path, (open_image(path),))
    everything = image_files(path)
    tiffs = [file for file in everything if file.suffix.lower() in TIFF_SUFFIXES]
    by_number = _numbered(path, tiffs or everything)
    files = tuple(open_image(file).single() for file in by_number.values())
    for file in files:
        if file.shape != files[0].shape:
            raise ConfigError(
                f"{file.path} is {_size(file.shape)}, but {files[0].path.name} is {_size(files[0].shape)}: "
                "all frames of a series must be of one size"
            )
    return Series(path, files, min(by_number))


@dataclass(frozen=True)
class LabelMovie:
    """What is tracked: label images, the images they were made from if there are any, and their scale."""

    labels: Series
    images: Series | None
    um_per_px: float
    interval_s: float

    def __post_init__(self) -> None:
        if self.images is None:
            return
        if len(self.images) != len(self.labels):
            raise ConfigError(
                f"{self.images.path} has {len(self.images)} images, {self.labels.path} has {len(self.labels)}: "
                "they must belong together one by one"
            )
        if self.images.shape != self.labels.shape:
            raise ConfigError(
                f"{self.images.path} is {_size(self.images.shape)}, {self.labels.path} is {_size(self.labels.shape)}: "
                "they do not show the same"
            )

    def __len__(self) -> int:
        return len(self.labels)

    def frames(self) -> Iterator[FramePixels]:
        """Labels and image of every frame, the next ones read in a thread meanwhile. Raises ImageError."""
        pixels = zip(self.labels.labels(), self.images.counts() if self.images else _nothing(len(self)), strict=True)
        with ThreadPoolExecutor(1, thread_name_prefix="read-ahead") as reader:
            reading: deque[Future[FramePixels]] = deque()
            for _ in range(len(self)):
                reading.append(reader.submit(partial(next, pixels)))
                if len(reading) > AHEAD:
                    yield reading.popleft().result()
            yield from (future.result() for future in reading)

    def cells(self, classifier: Classifier | None = None) -> Iterator[tuple[Cells, Counts | None]]:
        """The cells of every frame, and its image. Without images every cell is equally bright."""
        needs = classifier.needs if classifier is not None else ()
        for index, (labels, counts) in enumerate(self.frames()):
            header = file_header(labels.shape, "uint16", self.um_per_px, index, self.interval_s)
            image = np.ones(labels.shape, np.float32) if counts is None else preprocess(counts)
            cells = measure(header, image, labels, needs)
            if index == 0:
                _require_labels(self.labels.path, cells)
            if classifier is not None:
                cells = with_classes(cells, classifier.class_names, classifier.classify(image, cells))
            yield cells, counts


def _nothing(n: int) -> Iterator[None]:
    return (None for _ in range(n))


def _numbered(folder: Path, files: Sequence[Path]) -> dict[int, Path]:
    """By the numbers that their names end in, which must count up by one. Raises ConfigError."""
    by_number: dict[int, Path] = {}
    for file in files:
        number = NUMBER.search(file.stem)
        if number is None:
            raise ConfigError(
                f"{folder}: names must end in the number of the frame, as in mask007.tif, and {file.name} does not: rename "
                "it, or take it out"
            )
        if (frame := int(number[0])) in by_number:
            raise ConfigError(f"{folder}: {by_number[frame].name} and {file.name} are both frame {frame}; keep one")
        by_number[frame] = file
    if missing := sorted(set(range(min(by_number), max(by_number) + 1)) - by_number.keys()):
        raise ConfigError(
            f"{folder} lacks frame {listed([str(n) for n in missing])} between {min(by_number)} and {max(by_number)}: add "
            "it (an image of background if nothing is known of it), or number the files without gaps"
        )
    return dict(sorted(by_number.items()))


def _size(shape: tuple[int, int]) -> str:
    return f"{shape[1]} × {shape[0]} px"


def _require_labels(path: Path, cells: Cells) -> None:
    """Raise ConfigError if these are rather the values of an image, each of them scattered all over it."""
    if len(cells) < FEW_CELLS or cells.shape is None:
        return
    size_px = (cells.bbox_px[:, 2:] - cells.bbox_px[:, :2]).prod(axis=1)
    if float(np.median(size_px)) > SCATTERED * cells.shape[0] * cells.shape[1]:
        raise ConfigError(
            f"{path} seems to hold images, not labels: most of its {len(cells)} values are scattered over the frame. "
            "`reflexscope segment` makes labels from images"
        )
