"""A session's truth and its live tracks as folders of the Cell Tracking Challenge, so that one can be judged by the other."""

import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from acquisition.frame import FrameHeader
from acquisition.simulated.microscope import SimulatedMicroscope
from acquisition.simulated.rendering import View, draw_labels
from acquisition.simulated.truth import Columns, nuclei_of
from acquisition.simulated.world import atlas_of
from models.cells import Floats, Labels
from realtime.config import config_from
from realtime.offline.ctc_files import write_ctc
from realtime.offline.track_table import read_track_table
from realtime.plugins import ConfigError
from realtime.session.disk import CONFIG, TRACKS
from realtime.session.reader import SessionReader
from realtime.session.truth import CELLS, TRUTH, read_truth
from realtime.wire import FrameAnalysed
from tracking.lineages import Lineages
from tracking.tracks import Ints

GT, RES = Path("01_GT"), Path("01_RES")
DOT_PX = 2
"""Half the side of the square that stands for a track where no true cell is."""


class SessionTruth:
    """The frames of a session that inference has looked at, each with what was really in it.

    What it skipped is a matter of its speed: as frames without a cell they would count against the tracker.
    """

    def __init__(self, session: Path) -> None:
        """Raises ConfigError for a session without truth, RecordingError for one that cannot be read."""
        if not (session / TRUTH / CELLS).is_dir():
            raise ConfigError(
                f"{session} holds no {TRUTH}/{CELLS}: only a simulated microscope knows the truth, and only with "
                "recorder.truth = true it is written"
            )
        self._session = session
        self._columns = read_truth(session)
        told = set(self._columns["frame_index"].tolist())
        records = SessionReader(session).records()
        analysed = {message.frame_index for message in records if isinstance(message, FrameAnalysed)}
        headers = [header for header in SessionReader(session).headers() if header.index in told]
        self._headers = [header for header in headers if header.index in analysed]
        self.n_skipped = len(headers) - len(self._headers)
        """Frames whose truth is known, and that inference has not looked at."""
        if not self._headers:
            raise ConfigError(f"{session}: inference has looked at no frame of it, so there is nothing to judge")
        self._require_one_size()
        config = config_from(tomllib.loads((session / CONFIG).read_text("utf-8"))["config"], session)
        microscope = config.microscope.build()
        assert isinstance(microscope, SimulatedMicroscope)
        self._atlas = atlas_of(microscope.optics)

    def __len__(self) -> int:
        return len(self._headers)

    def write(self, out: Path, done: Callable[[], None] = lambda: None) -> tuple[Lineages, Lineages]:
        """`01_GT/TRA` and `01_RES` in `out`; the true and the live lineages. `done` is called after each image."""
        for folder in (out / GT / "TRA", out / RES):
            folder.mkdir(parents=True, exist_ok=True)
        live = read_track_table(self._session / TRACKS)
        frame = self._places(live.frame)
        true, label = self._looked_through(live, frame)
        found = _only(live, frame, label)
        write_ctc(out / GT / "TRA", true, _told(self._images(), done), len(self), as_truth=True)
        write_ctc(out / RES, found, _told(self._masks(live, frame), done), len(self))
        return true, found

    def _frames(self) -> Iterator[tuple[FrameHeader, Columns]]:
        """Each frame with its rows of the table."""
        index = self._columns["frame_index"]
        for header in self._headers:
            rows = slice(*np.searchsorted(index, [header.index, header.index + 1]))
            yield header, {name: column[rows] for name, column in self._columns.items()}

    def _images(self) -> Iterator[Labels]:
        """Drawn anew each time: a long session's would not fit into memory."""
        return (draw_labels(nuclei_of(rows), View.of(header), self._atlas) for header, rows in self._frames())

    def _masks(self, live: Lineages, frame: Ints) -> Iterator[Labels]:
        """For the run's tracks: the true cell that each was on, or else a dot."""
        for place, (header, image) in enumerate(zip(self._headers, self._images(), strict=True)):
            yield _masks_of(_places_px(live.xy_um[frame == place], header), image)[0]

    def _places(self, frame_index: Ints) -> Ints:
        """Of indices among the frames of the truth; -1 for others."""
        place = {header.index: place for place, header in enumerate(self._headers)}
        return np.array([place.get(index, -1) for index in frame_index.tolist()], dtype=np.int64)

    def _looked_through(self, live: Lineages, frame: Ints) -> tuple[Lineages, Ints]:
        """The lineages of the cells that can be seen, each by at least one pixel, and the live tracks' labels."""
        label, parts = np.zeros(len(frame), np.int64), []
        for place, ((header, rows), image) in enumerate(zip(self._frames(), self._images(), strict=True)):
            seen = np.flatnonzero(np.isin(rows["cell_id"], image))
            seen = seen[np.argsort(rows["cell_id"][seen])]
            parts.append({name: column[seen] for name, column in rows.items()} | {"frame": np.full(seen.size, place)})
            label[frame == place] = _masks_of(_places_px(live.xy_um[frame == place], header), image)[1]
        return _lineages_of({name: np.concatenate([part[name] for part in parts]) for name in parts[0]}), label

    def _require_one_size(self) -> None:
        sizes = sorted({header.shape for header in self._headers})
        if len(sizes) > 1:
            words = ", ".join(f"{width} × {height}" for height, width in sizes)
            raise ConfigError(
                f"{self._session}: its frames are of several sizes ({words} px), and the Challenge knows one"
            )


def _lineages_of(rows: Columns) -> Lineages:
    track = rows["cell_id"].astype(np.int64)
    ids, first = np.unique(track, return_index=True)
    parent = rows["parent_id"][first].astype(np.int64)
    return Lineages(
        frame=rows["frame"], t_ns=rows["t_ns"], track=track, label=track,
        xy_um=np.stack([rows["x_um"], rows["y_um"]], axis=1),
        area_um2=np.pi * rows["semi_long_um"] * rows["semi_short_um"], mean_intensity=np.full(len(track), np.nan),
        id=ids, parent=np.where(np.isin(parent, ids), parent, 0),
    )  # fmt: skip


def _places_px(xy_um: Floats, header: FrameHeader) -> Ints:
    """Pixels `[N, 2]`, x first, within the frame."""
    matrix = np.reshape(header.stage_from_pixel, (2, 3))
    xy_px = np.linalg.solve(matrix[:, :2], (xy_um - matrix[:, 2]).T).T
    return np.clip(np.rint(xy_px), 0, (header.width_px - 1, header.height_px - 1)).astype(np.int64)


def _masks_of(places_px: Ints, image: Labels) -> tuple[Labels, Ints]:
    """A label image and the label of each place, 0 where another place has taken its pixels."""
    mask = np.zeros_like(image)
    at = places_px[:, 1], places_px[:, 0]
    cells = image[at]
    number = np.zeros(int(image.max(initial=0)) + 1, np.int32)
    first = np.array([cell > 0 and cell not in cells[:i] for i, cell in enumerate(cells.tolist())], dtype=bool)
    numbers = np.arange(1, len(cells) + 1)
    number[cells[first]] = numbers[first]
    mask[:] = number[image]
    for i in np.flatnonzero(~first).tolist():
        x_px, y_px = places_px[i].tolist()
        square = mask[max(0, y_px - DOT_PX) : y_px + DOT_PX + 1, max(0, x_px - DOT_PX) : x_px + DOT_PX + 1]
        square[square == 0] = numbers[i]
    return mask, np.where(np.isin(numbers, mask), numbers, 0)


def _only(live: Lineages, frame: Ints, label: Ints) -> Lineages:
    """The sightings that have a mask, in the frames of the truth."""
    kept = (frame >= 0) & (label > 0)
    ids = np.unique(live.track[kept])
    parent = live.parent[np.searchsorted(live.id, ids)]
    return Lineages(
        frame=frame[kept], t_ns=live.t_ns[kept], track=live.track[kept], label=label[kept], xy_um=live.xy_um[kept],
        area_um2=live.area_um2[kept], mean_intensity=live.mean_intensity[kept], id=ids,
        parent=np.where(np.isin(parent, ids), parent, 0),
    )  # fmt: skip


def _told(images: Iterator[Labels], done: Callable[[], None]) -> Iterator[Labels]:
    for image in images:
        yield image
        done()
