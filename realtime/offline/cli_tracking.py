"""`reflexscope track | refine | truth`: label images followed through time, a recording solved again, what was true of it."""

from collections import Counter
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from rich.console import Console

from acquisition.clock import NS_PER_MS
from realtime.config import DEFAULT_USE
from realtime.offline.cli_models import Force, counted, written
from realtime.offline.progress import progress_bar
from realtime.overrides import apply_override
from realtime.plugins import ConfigError, Plugin, load_plugin
from tracking.lineages import Lineages

app = typer.Typer()
console = Console()

ASSUMED_UM_PER_PX, ASSUMED_INTERVAL_S = 1.0, 300.0
"""Where nothing says so: cells of some 10 to 20 pixels, and an image every five minutes."""


@app.command()
def track(
    labels: Annotated[Path, typer.Argument(metavar="LABELS", help="Label images: a folder, t000.tif …, or one TIFF stack.")],
    out: Annotated[Path, typer.Option(help="Folder for tracks, tables and pictures.", metavar="DIR")],
    images: Annotated[Path | None, typer.Option(help="The images that the labels were made from.", metavar="DIR")] = None,
    um_per_px: Annotated[float | None, typer.Option(help="Pixel size, where the TIFF does not say.", min=1e-6)] = None,
    interval_s: Annotated[float | None, typer.Option(help="Seconds from frame to frame.", min=1e-6)] = None,
    tracker: Annotated[str, typer.Option(help="A built-in tracker, or module:Class.", metavar="NAME")] = "",
    classifier: Annotated[str, typer.Option(help="The tracker knows classes by it: mitosis.", metavar="MODEL")] = "",
    changes: Annotated[list[str], typer.Option("--set", help="tracker.key=value; again for more.", metavar="KEY=VALUE")] = [],  # noqa: B006
    force: Force = False,
) -> None:  # fmt: skip
    """Follow the cells of label images: masks, tables and graphs of their tracks, events and pictures."""
    from acquisition.clock import SystemClock
    from realtime.offline.label_movie import LabelMovie, open_series, series_um_per_px
    from realtime.offline.refining import with_hindsight
    from realtime.offline.tracking_folder import EVENTS, REFINED, require_free, write_events, write_tracks
    from realtime.offline.tracking_folder import track as track_all

    require_free(out, [labels, *([images] if images else [])], force)
    plugins = _plugins(tracker, classifier, changes)
    label_series, image_series = open_series(labels), open_series(images) if images else None
    known_scale = um_per_px or series_um_per_px([image_series, label_series] if image_series else [label_series])
    movie = LabelMovie(label_series, image_series, known_scale or ASSUMED_UM_PER_PX, interval_s or ASSUMED_INTERVAL_S)
    if classifier and images is None:
        raise ConfigError(f"--classifier {classifier} looks at images, and labels alone have none: give --images")
    looker = plugins["classifier"].build() if classifier else None
    try:
        with progress_bar("tracking", len(movie)) as done:
            live = track_all(movie, plugins["tracker"].build, looker, SystemClock(), done)
    finally:
        if looker is not None:
            looker.close()
    refined = with_hindsight(live.lineages, divisions=plugins["tracker"].resolved().get("divisions", True))
    with progress_bar("writing", 2 * len(movie)) as done, written(out):
        out.mkdir(parents=True, exist_ok=True)
        write_events(out / EVENTS, live.events)
        write_tracks(out, live.lineages, movie, live, done)
        write_tracks(out / REFINED, refined, movie, live, done)
    _say(f"{counted(len(movie), 'frame')}, {counted(live.n_cells, 'cell')}, {_tracks(live.lineages)} → {out}")
    _say(f"events: {_events(Counter(event.kind for _, event in live.events))}")
    _say(f"with hindsight: {_tracks(refined)} → {out / REFINED}")
    p50_ms, p99_ms = np.percentile(live.took_ns, [50, 99]) / NS_PER_MS
    _say(f"the tracker alone: p50 {p50_ms:.2f}, p99 {p99_ms:.2f} ms a frame")
    for line in _assumptions(known_scale, interval_s):
        _say(line)


@app.command()
def refine(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="A session: the folder of a run.")],
    force: Force = False,
) -> None:
    """Solve a finished recording again with hindsight; the live answer stays, linked by live_track_id."""
    from realtime.offline.refining import TABLE, read_live, with_hindsight, write_refined
    from realtime.session.disk import TRACKS

    live = read_live(folder, TRACKS, force)
    refined = with_hindsight(live)
    with written(folder, option=""):
        write_refined(folder, refined)
    _say(f"live: {_tracks(live)}")
    _say(f"with hindsight: {_tracks(refined)} → {folder / TABLE}")


@app.command()
def truth(
    session: Annotated[
        Path, typer.Argument(metavar="SESSION", help="The folder of a run with the simulated microscope.")
    ],
    out: Annotated[Path, typer.Option(help="Folder for 01_GT and 01_RES.", metavar="DIR")],
    force: Force = False,
) -> None:
    """What was really there, and the run's own tracks, as folders of the Cell Tracking Challenge."""
    from realtime.offline.tracking_folder import require_free
    from realtime.offline.truth_files import GT, RES, SessionTruth

    require_free(out, [session], force)
    told = SessionTruth(session)
    with progress_bar("drawing", 2 * len(told)) as done, written(out):
        true, found = told.write(out, done)
    _say(f"truth: {counted(len(told), 'frame')}, {_tracks(true)} → {out / GT}")
    if told.n_skipped:
        _say(f"{counted(told.n_skipped, 'frame')} that inference skipped are in neither folder")
    _say(f"the run: {_tracks(found)} → {out / RES}, drawn with the true outlines of the cells that they were on")
    _say(f"judge it: reflexscope evaluate tracking {out / GT} {out / RES}")


def _plugins(tracker: str, classifier: str, changes: list[str]) -> dict[str, Plugin]:
    """What is to follow the cells and, if asked for, what is to classify them."""
    tables: dict[str, Any] = {"tracker": {"use": tracker} if tracker else dict(DEFAULT_USE["tracker"])}
    if classifier:
        tables["classifier"] = {"use": "network", "model": classifier}
    for change in changes:
        if change.partition(".")[0] not in tables:
            raise ConfigError(f"--set {change}: write {' or '.join(f'{table}.key=value' for table in tables)}")
        apply_override(tables, change)
    return {kind: load_plugin(kind, table, kind, Path()) for kind, table in tables.items()}


def _assumptions(um_per_px: float | None, interval_s: float | None) -> list[str]:
    """The tracker reckons in µm and seconds, so what it had to assume must be seen."""
    assumed = [f"{ASSUMED_UM_PER_PX:g} µm a pixel (--um-per-px)"] if um_per_px is None else []
    assumed += [f"{ASSUMED_INTERVAL_S:g} s from frame to frame (--interval-s)"] if interval_s is None else []
    return [f"assumed: {', '.join(assumed)}"] if assumed else []


def _tracks(lineages: Lineages) -> str:
    return f"{counted(len(lineages.id), 'track')}, {counted(len(lineages.divisions()), 'division')}"


def _events(kinds: Counter[str]) -> str:
    return ", ".join(f"{number} {kind}" for kind, number in kinds.items()) or "none"


def _say(line: str) -> None:
    console.print(line, highlight=False, markup=False, soft_wrap=True)
