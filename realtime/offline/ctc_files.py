"""Cell Tracking Challenge folders ↔ Lineages: label images whose values are track numbers, and a table of the tracks.

The format (https://celltrackingchallenge.net/datasets) knows no gap in a track, and a mother must end before her
daughters begin; what evaluates it refuses anything else. So tracks are written in pieces (track_segments.py): the
first piece under the track's id, a further one under a new number whose parent is the piece before. `pieces.csv`
then says which pieces are one track, and `read_ctc` puts them together again.
"""

import csv
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from models.cells import Labels
from models.label_files import MOST_IN_16_BITS, replaced, write_labels
from realtime.offline.label_movie import LabelMovie, Series, open_series
from realtime.offline.selection import listed, read_table
from realtime.offline.track_segments import Pieces, pieces_of
from realtime.plugins import ConfigError
from tracking.lineages import Lineages
from tracking.tracks import Ints

TABLES = ("res_track.txt", "man_track.txt")
PIECES = "pieces.csv"


def write_ctc(
    folder: Path, lineages: Lineages, labels: Iterable[Labels], n_frames: int, as_truth: bool = False
) -> None:
    """`maskTTT.tif` of every frame and `res_track.txt`; `labels` are the images that `lineages.label` speaks of.

    `as_truth`: `man_trackTTT.tif` and `man_track.txt`, as the Challenge calls them in its TRA folders.

    Cells without a track are left out. Raises ConfigError if there are more tracks than 16 bits can number.
    """
    pieces = pieces_of(lineages)
    _require_writable(folder, lineages, pieces)
    digits = max(3, len(str(n_frames - 1)))
    for frame, image in enumerate(labels):
        rows = _rows_of(lineages, frame)
        number = np.zeros(max(int(image.max(initial=0)), int(lineages.label[rows].max(initial=0))) + 1, np.int32)
        number[lineages.label[rows]] = pieces.of_sighting[rows]
        write_labels(folder / f"{'man_track' if as_truth else 'mask'}{frame:0{digits}d}.tif", number[image])
    columns = (pieces.id, pieces.first, pieces.last, pieces.parent)
    lines = [" ".join(map(str, line)) for line in np.stack(columns, axis=1).tolist()]
    with replaced(folder / TABLES[as_truth]) as part:
        part.write_text("".join(f"{line}\n" for line in lines), encoding="ascii", newline="\n")
    _write_pieces(folder / PIECES, pieces)


def read_ctc(folder: Path, um_per_px: float = 1.0, interval_s: float = 1.0) -> Lineages:
    """A result folder, a `TRA` folder, or the `01_GT` that holds one. Raises ConfigError, ImageError.

    Intensities are not known (NaN).
    """
    folder = folder / "TRA" if (folder / "TRA").is_dir() else folder
    table = _find_table(folder)
    series = open_series(folder)
    rows = _read_rows(table, series)
    frames = [cells for cells, _ in LabelMovie(series, None, um_per_px, interval_s).cells()]
    frame = np.repeat(np.arange(len(frames)), [len(cells) for cells in frames])
    label = np.concatenate([cells.label for cells in frames]).astype(np.int64)
    _require_agreement(table, rows, frame, label)
    track_of = {0: 0} | _tracks(folder / PIECES, rows[:, 0])
    track = np.array([track_of[piece] for piece in label.tolist()], dtype=np.int64)
    order = np.lexsort((track, frame))
    mothers = {track_of[piece]: track_of[parent] for piece, _, _, parent in rows.tolist() if track_of[piece] == piece}
    ids = np.unique(track)
    return Lineages(
        frame=frame[order],
        t_ns=np.repeat([cells.t_ns for cells in frames], [len(cells) for cells in frames])[order],
        track=track[order],
        label=label[order],
        xy_um=np.concatenate([cells.xy_um for cells in frames])[order],
        area_um2=np.concatenate([cells.area_um2 for cells in frames])[order],
        mean_intensity=np.full(len(frame), np.nan),
        id=ids,
        parent=np.array([mothers[i] for i in ids.tolist()], dtype=np.int64),
    )


def _rows_of(lineages: Lineages, frame: int) -> slice:
    return slice(*np.searchsorted(lineages.frame, [frame, frame + 1]))


def _require_writable(folder: Path, lineages: Lineages, pieces: Pieces) -> None:
    if (most := int(pieces.id.max(initial=0))) > MOST_IN_16_BITS:
        raise ConfigError(
            f"{folder}: track numbers go up to {most}, and masks of the Cell Tracking Challenge end at {MOST_IN_16_BITS}: "
            "track the recording in parts, or use the tracks in tracks.geff or tracks.parquet"
        )
    if (lineages.label == 0).any():
        raise ConfigError(
            f"{folder}: {int((lineages.label == 0).sum())} sightings of tracks have no pixels in the label images, and masks "
            "cannot hold them: write tracks.geff or tracks.parquet instead"
        )


def _write_pieces(path: Path, pieces: Pieces) -> None:
    """Only where a track has more than one; one of an earlier run would be wrong."""
    path.unlink(missing_ok=True)
    cut = np.isin(pieces.track, pieces.track[pieces.id != pieces.track])
    if not cut.any():
        return
    with replaced(path) as part, part.open("w", encoding="ascii", newline="") as file:
        table = csv.writer(file)
        table.writerow(["piece", "track"])
        table.writerows(np.stack([pieces.id, pieces.track], axis=1)[cut].tolist())


# --- reading --------------------------------------------------------------------------------------------------


def _find_table(folder: Path) -> Path:
    for name in TABLES:
        if (folder / name).is_file():
            return folder / name
    raise ConfigError(f"{folder} holds no {' or '.join(TABLES)}, the table of its tracks; give a tracked folder")


def _read_rows(table: Path, series: Series) -> Ints:
    """Label, first frame, last frame, parent: `[P, 4]`, frames counted from the first file."""
    rows = []
    for number, line in enumerate(table.read_text(encoding="utf-8-sig").splitlines(), 1):
        words = line.split()
        if words and (len(words) != 4 or not all(word.isdecimal() for word in words)):
            raise ConfigError(
                f"{table}, line {number}: {line!r}; four whole numbers are needed: label, first frame, last frame, parent"
            )
        rows += [[int(word) for word in words]] if words else []
    found = np.array(rows, dtype=np.int64).reshape(-1, 4)
    found[:, 1:3] -= series.first
    labels, times = np.unique(found[:, 0], return_counts=True)
    if (times > 1).any():
        raise ConfigError(f"{table} has label {_listed(labels[times > 1])} more than once; one line a track is needed")
    strangers = np.setdiff1d(found[:, 3], np.append(labels, 0))
    if strangers.size:
        raise ConfigError(f"{table} names parents without a line of their own: {_listed(strangers)}")
    backward = found[found[:, 2] < found[:, 1], 0]
    if backward.size:
        raise ConfigError(
            f"{table}: label {_listed(backward)} would end before it begins; first frame, then last frame"
        )
    return found


def _require_agreement(table: Path, rows: Ints, frame: Ints, label: Ints) -> None:
    """Each label has pixels in all frames of its line, and in no other frame."""
    n_frames = int(max(frame.max(initial=0), rows[:, 2].max(initial=0))) + 1
    n_each = rows[:, 2] - rows[:, 1] + 1
    steps = np.arange(n_each.sum()) - np.repeat(np.cumsum(n_each) - n_each, n_each)
    told = np.repeat(rows[:, 0] * n_frames + rows[:, 1], n_each) + steps
    seen = label * n_frames + frame
    for moments, words in (
        (np.setdiff1d(told, seen), "its mask has no such pixels"),
        (np.setdiff1d(seen, told), "no line says so"),
    ):
        if moments.size:
            piece, at = divmod(int(moments[0]), n_frames)
            claim = f"label {piece} is in frame {at}" + (" by its line" if words.startswith("its") else " of the masks")
            raise ConfigError(f"{table}: {claim}, but {words} ({moments.size} such cases); masks and table must agree")


def _listed(numbers: Ints) -> str:
    return listed([str(number) for number in numbers.tolist()])


def _tracks(path: Path, pieces: Ints) -> dict[int, int]:
    """Track of each piece."""
    tracks = {piece: piece for piece in pieces.tolist()}
    if path.is_file():
        tracks |= {int(row["piece"]): int(row["track"]) for row in read_table(path)}
    return tracks
