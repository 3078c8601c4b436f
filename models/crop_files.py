"""Crops of single cells from files: a folder of images, a TIFF stack, or `images[N, H, W]` in an .npz file."""

import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from models.images import Counts, ImageError, as_counts, image_files, open_image, read_counts

NPZ_KEY = "images"


@dataclass(frozen=True)
class CropSet:
    """Crops of one size."""

    images: Counts  # [N, H, W]
    names: tuple[str, ...] | None
    """File names, if every crop had a file of its own."""


def read_crops(path: Path) -> CropSet:
    """Raises ImageError if there are none, or they cannot be used."""
    if path.is_dir():
        files = image_files(path)
        return CropSet(_alike([read_counts(file) for file in files], files), tuple(file.name for file in files))
    if path.suffix.lower() == ".npz":
        return CropSet(_from_npz(path), None)
    return CropSet(_stacked(list(open_image(path).counts())), None)


def _alike(crops: list[Counts], files: list[Path]) -> Counts:
    for crop, file in zip(crops, files, strict=True):
        if crop.shape != crops[0].shape:
            raise ImageError(
                f"{file} is {_size(crop)}, but {files[0].name} is {_size(crops[0])}; all crops must be of one size"
            )
    return _stacked(crops)


def _stacked(crops: list[Counts]) -> Counts:
    stack: Counts = np.stack(crops)  # type: ignore[assignment]  # a stack of one type or the other
    return stack


def _from_npz(path: Path) -> Counts:
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            if NPZ_KEY not in arrays.files:
                raise ImageError(
                    f"{path} has no array {NPZ_KEY}[N, H, W]; it holds {', '.join(arrays.files) or 'nothing'}"
                )
            images: npt.NDArray[Any] = arrays[NPZ_KEY]
    except OSError as error:
        raise ImageError(f"{path} cannot be read: {error.strerror or error}") from error
    except (ValueError, EOFError, zipfile.BadZipFile) as error:
        if isinstance(error, ImageError):
            raise
        raise ImageError(f"{path}: a damaged .npz file ({error}); save or copy the crops again") from error
    where = f"{path}, {NPZ_KEY}"
    if images.ndim != 3:
        raise ImageError(f"{where} has the shape {list(images.shape)}; grey crops [N, H, W] are needed")
    return as_counts(images, where)


def _size(crop: Counts) -> str:
    return f"{crop.shape[1]} × {crop.shape[0]} px"
