"""What `reflexscope refine` does: a finished recording solved again with hindsight, beside the live answer, linked by id."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from realtime.offline.geff_files import write_geff
from realtime.offline.lineage_picture import write_lineage_pictures
from realtime.offline.selection import listed
from realtime.offline.track_table import read_track_table, write_track_table
from realtime.offline.trackmate_files import ImageInfo, write_trackmate
from realtime.plugins import ConfigError
from tracking.lineages import Lineages

TABLE, GEFF, TRACKMATE, LINEAGE = (
    "refined_tracks.parquet",
    "refined_tracks.geff",
    "refined_tracks.xml",
    "refined_lineage",
)
WRITTEN = (TABLE, GEFF, TRACKMATE, f"{LINEAGE}.svg", f"{LINEAGE}.png")


def with_hindsight(live: Lineages) -> Lineages:
    """The same sightings, solved again; where intensities are not known, all cells are taken for equally bright."""
    from tracking.refine import refine

    unknown = bool(np.isnan(live.mean_intensity).any())
    solved = refine(replace(live, mean_intensity=np.ones(len(live))) if unknown else live)
    return replace(solved, mean_intensity=np.full(len(solved), np.nan)) if unknown else solved


def read_live(folder: Path, table: str, force: bool) -> Lineages:
    """The live answer in a session or a folder of `track`. Raises ConfigError, also if results would be overwritten."""
    if not (folder / table).exists():
        raise ConfigError(f"{folder} holds no {table}; give a session, or a folder that `reflexscope track` made")
    if not force and (there := [name for name in WRITTEN if (folder / name).exists()]):
        raise ConfigError(f"{folder} holds {listed(there)} already: --force writes them again")
    live = read_track_table(folder / table)
    if not len(live):
        raise ConfigError(f"{folder / table}: no track was ever seen, so nothing can be solved again")
    return live


def write_refined(folder: Path, refined: Lineages) -> None:
    """Table, graph, TrackMate file and family tree beside those of the live answer."""
    write_track_table(folder / TABLE, refined)
    write_geff(folder / GEFF, refined)
    write_trackmate(folder / TRACKMATE, refined, ImageInfo.around(refined))
    write_lineage_pictures(folder / LINEAGE, refined)
