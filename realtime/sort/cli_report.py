"""The command `reflexscope sort-report`: a recorded sort as a picture and as figures."""

from pathlib import Path
from typing import Annotated

import msgspec
import typer

from realtime.running import say

app = typer.Typer()


@app.command()
def sort_report(
    session: Annotated[Path, typer.Argument(metavar="SESSION", help="The session folder of a sort.")],
    out: Annotated[
        Path | None, typer.Option(help="Default: sort_report.png in the session folder.", metavar="FILE.png")
    ] = None,
    json: Annotated[Path | None, typer.Option(help="All figures.", metavar="FILE")] = None,
) -> None:
    """Draw how a sort went: gate, verdicts, purity and yield, latency, arrival, pictures of cells."""
    from realtime.scoring.report import require_writable
    from realtime.sort.figures import sort_figures
    from realtime.sort.report import write_sort_report

    for option, path, ending in (("--out", out, ".png"), ("--json", json, "")):
        if path is not None:
            require_writable(option, path, ending)
    if json is not None:
        json.write_bytes(msgspec.json.format(msgspec.json.encode(sort_figures(session)), indent=1) + b"\n")
        say(f"written: {json}")
    say(f"written: {write_sort_report(session, out)}")
