"""Label images on disk: TIFF files of 16 bits, which every image program opens, or of 32 where the cells are too many."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from models.cells import Labels
from models.images import ImageError

MOST_IN_16_BITS = 65_535


def write_labels(path: Path, labels: Labels) -> None:
    """One label image, `[H, W]`, as a TIFF of 16 or 32 bits."""
    with label_file(path, n_planes=1) as append:
        append(labels)


@contextmanager
def label_file(path: Path, n_planes: int) -> Iterator[Callable[[Labels], None]]:
    """A TIFF that grows by one plane a call, and appears when the block ends well."""
    from tifffile import TiffWriter

    def append(labels: Labels) -> None:
        fits = labels.max(initial=0) <= MOST_IN_16_BITS
        if not fits and n_planes > 1:  # a stack has one type, chosen before its last plane is known
            raise ImageError(
                f"{path}: a plane has {labels.max()} cells, and a stack can number {MOST_IN_16_BITS}; save its planes as "
                "single files"
            )
        tiff.write(
            labels.astype(np.uint16 if fits else np.uint32),
            photometric="minisblack", contiguous=n_planes > 1, metadata=None,
        )  # fmt: skip

    big = n_planes > 1  # an ordinary TIFF ends at 4 GB
    with replaced(path) as part, TiffWriter(part, bigtiff=big) as tiff:
        yield append


@contextmanager
def replaced(path: Path) -> Iterator[Path]:
    """A place to write to that becomes `path` when the block ends well, and is removed otherwise."""
    part = path.with_name(f".{path.name}.part")
    try:
        yield part
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
