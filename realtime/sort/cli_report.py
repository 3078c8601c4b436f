"""The command `reflexscope sort-report`: a recorded sort as a picture and as figures."""

from pathlib import Path
from typing import Annotated

import msgspec
import typer

from realtime.running import console, errors

app = typer.Typer()
STDOUT = Path("-")


@app.command()
def sort_report(
    session: Annotated[Path, typer.Argument(metavar="SESSION", help="The session folder of a sort.")],
    out: Annotated[
        Path | None, typer.Option(help="Default: sort_report.png in the session folder.", metavar="FILE.png")
    ] = None,
    json: Annotated[
        Path | None,
        typer.Option(help="All figures, to a file or with - to standard output; no picture then without --out."),
    ] = None,
) -> None:
    """Draw how a sort went: gate, verdicts, purity and yield, latency, arrival, pictures of cells."""
    from realtime.scoring.report import require_writable
    from realtime.sort.figures import sort_figures
    from realtime.sort.report import write_sort_report

    for option, path, ending in (("--out", out, ".png"), ("--json", json if json != STDOUT else None, "")):
        if path is not None:
            require_writable(option, path, ending)
    figures = sort_figures(session)
    if json is not None:
        text = msgspec.json.format(msgspec.json.encode(figures), indent=1) + b"\n"
        if json == STDOUT:
            typer.echo(text, nl=False)
        else:
            json.write_bytes(text)
            _tell(f"written: {json}", json)
    if json is None or out is not None:
        _tell(f"written: {write_sort_report(session, out)}", json)
    if "warning" in figures:
        _tell(f"warning: {figures['warning']}", json)


def _tell(text: str, json: Path | None) -> None:
    """Beside figures on standard output nothing else may stand there."""
    (errors.print if json == STDOUT else console.print)(text, highlight=False, markup=False, soft_wrap=True)
