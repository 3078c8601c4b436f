"""What `reflexscope refine` does: a finished recording solved again with hindsight, beside the live answer, linked by id."""

from pathlib import Path

from realtime.offline.ctc_files import TABLES as CTC_TABLES
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


def with_hindsight(live: Lineages, divisions: bool = True) -> Lineages:
    """The same sightings, solved again."""
    from tracking.refine import refine

    return refine(live, divisions=divisions)


def read_live(folder: Path, table: str, force: bool) -> Lineages:
    """The live answer in a session. Raises ConfigError, also if results would be overwritten."""
    if not (folder / table).exists():
        raise ConfigError(f"{folder} holds no {table}; give a session, the folder of a run")
    if (folder / CTC_TABLES[0]).exists():
        raise ConfigError(
            f"{folder} was made by `reflexscope track`, which has solved it with hindsight as well: see {folder / 'refined'}"
        )
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
