"""Measurements of the cells of many images as one CSV file: a row a cell, its image first."""

import csv
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from acquisition.frame import PixelType
from acquisition.replayed.recorded import natural_key
from models.cells import Cells, Labels
from models.images import Counts
from models.label_files import replaced
from models.measure import measure
from models.perception import preprocess
from realtime.offline.file_headers import file_header

Columns = dict[str, npt.NDArray[np.generic]]


@dataclass
class CellTable:
    """Collects images in any order; they are written in the order of their names."""

    features: tuple[str, ...] = ()
    """Names from models/features.py; images without a known scale cannot have them."""
    planes: bool = False
    """Also say which plane of the image a cell is in."""
    _images: dict[tuple[str, int], Columns] = field(default_factory=dict)

    def add(self, image: str, plane: int, counts: Counts, labels: Labels, um_per_px: float | None) -> None:
        """Measure the cells of one plane, `[H, W]` both."""
        pixel_type: PixelType = "uint8" if counts.dtype == np.uint8 else "uint16"
        header = file_header(labels.shape, pixel_type, um_per_px or 1.0)
        cells = measure(header, preprocess(counts), labels, self.features)
        self._images[image, plane] = _columns(cells, labels, um_per_px)

    def write(self, path: Path) -> None:
        """All rows; what is not known of an image is left empty."""
        names = list(dict.fromkeys(name for columns in self._images.values() for name in columns))
        with replaced(path) as part, part.open("w", encoding="utf-8", newline="") as file:
            table = csv.writer(file)
            table.writerow(["image", *(["plane"] if self.planes else []), *names])
            for (image, plane), columns in sorted(self._images.items(), key=lambda item: _order(*item[0])):
                of = [image, *([str(plane)] if self.planes else [])]
                values = [_words(columns[name]) if name in columns else None for name in names]
                for row in range(len(columns["label"])):
                    table.writerow(of + ["" if column is None else column[row] for column in values])


def _columns(cells: Cells, labels: Labels, um_per_px: float | None) -> Columns:
    """Positions count pixels from the middle of the first one; a box ends before x1, y1."""
    x_px, y_px = cells.xy_px.T
    x0, y0, x1, y1 = cells.bbox_px.T
    columns: Columns = {
        "label": cells.label, "x_px": x_px, "y_px": y_px,
        "x0_px": x0, "y0_px": y0, "x1_px": x1, "y1_px": y1,
        "area_px": np.bincount(labels.ravel())[cells.label],
    }  # fmt: skip
    if um_per_px is not None:
        columns["area_um2"] = cells.area_um2
    columns["mean_intensity"] = cells.mean_intensity
    return columns | {name: cells.features[:, i] for i, name in enumerate(cells.feature_names)}


def _words(column: npt.NDArray[np.generic]) -> list[str]:
    form = "{:d}" if column.dtype.kind in "iu" else "{:.6g}"
    return [form.format(value) for value in column.tolist()]


def _order(image: str, plane: int) -> tuple[list[tuple[int, int, str]], int]:
    return natural_key(Path(image)), plane
