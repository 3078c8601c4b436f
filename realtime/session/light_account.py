"""The light of a run for its summary, and the dose map as a picture: both follow from the messages in the journal."""

import tomllib
from hashlib import sha256
from pathlib import Path
from typing import Any
from uuid import NAMESPACE_OID, uuid5

import msgspec
import numpy as np

from acquisition.dose_map import DoseMap, DoseSettings
from realtime.dose_places import DosePlaces
from realtime.wire import FrameAnalysed, FrameReady, InferenceEnded

DOSE_MAP = "dose_map.ome.tif"


class LightAccount:
    """What the sample, its places and its cells have had."""

    def __init__(self, settings: DoseSettings) -> None:
        self._places = DosePlaces(settings)
        self._cells_j_cm2: list[float] = []
        self._unbleached: dict[str, float] = {}

    @property
    def map(self) -> DoseMap:
        return self._places.map

    @property
    def total_mj(self) -> float:
        """All light that fell: by the rig's last word where there is one, else until the last frame."""
        return self._places.total_mj

    def expect(self, sensor_px: tuple[int, int] | None) -> None:
        """Rows and columns of the whole sensor."""
        self._places.sensor_px = self._places.sensor_px or sensor_px

    def add_frame(self, message: FrameReady) -> None:
        """Its light, wherever it fell."""
        self._places.add(message.header, message.dose_mj, message.lit_from_um)

    def add_analysis(self, message: FrameAnalysed, channel: str) -> None:
        """Cells that will get no more, and what is left of the fluorescence."""
        self._cells_j_cm2 += message.ended_j_cm2
        self._unbleached[channel] = message.unbleached

    def add_last_cells(self, message: InferenceEnded) -> None:
        """Those that were tracked to the end."""
        self._cells_j_cm2 += message.cell_j_cm2

    def end(self, dose_mj: float | None) -> None:
        """The rig's last word on its light."""
        if dose_mj is not None:
            self._places.add_rest(dose_mj)

    def as_dict(self) -> dict[str, Any]:
        """For summary.json. Cells are those of confirmed tracks, each with what it had had when it was seen last."""
        cells = np.array(self._cells_j_cm2)
        names = ("median", "p95", "max")
        quantiles = np.quantile(cells, [0.5, 0.95, 1.0]).tolist() if cells.size else []
        return {
            "total_mj": self.total_mj,
            "most_j_cm2": self._places.map.highest_j_cm2,
            "cells": cells.size,
            "cells_j_cm2": dict(zip(names, quantiles, strict=False)),
            "unbleached": dict(sorted(self._unbleached.items())),
        }


def settings_in(session_toml: str) -> DoseSettings:
    """How the run counted its light; as it would by default if the text does not say, or says it no longer."""
    try:
        table = tomllib.loads(session_toml).get("config", {}).get("dose", {})
        return msgspec.convert(table, DoseSettings)
    except (tomllib.TOMLDecodeError, msgspec.ValidationError):
        return DoseSettings()


def write_dose_map(folder: Path, places: DoseMap) -> None:
    """`dose_map.ome.tif`, unless nothing was lit: J/cm² in float32, one pixel a square.

    PositionX and PositionY are the middle of the first pixel in stage µm; from there x grows along the columns and y
    along the rows.
    """
    import tifffile

    image, (x_um, y_um), square_um = places.picture()
    if not image.any():
        return
    new = folder / f".{DOSE_MAP}"
    name = uuid5(NAMESPACE_OID, sha256(image.tobytes()).hexdigest())  # the same map gives the same bytes
    tifffile.imwrite(
        new, image.astype(np.float32), ome=True, compression="zlib", photometric="minisblack",
        metadata={
            "axes": "YX", "UUID": str(name), "Name": "dose, J/cm2", "Unit": "J/cm2",
            "PhysicalSizeX": square_um, "PhysicalSizeXUnit": "µm", "PhysicalSizeY": square_um, "PhysicalSizeYUnit": "µm",
            "Plane": {
                "PositionX": x_um + square_um / 2, "PositionXUnit": "µm",
                "PositionY": y_um + square_um / 2, "PositionYUnit": "µm",
            },
        },
    )  # fmt: skip
    new.replace(folder / DOSE_MAP)
