"""Scores of tracking as a table and lines for people."""

from rich.table import Table

from models.metrics import Counts
from realtime.offline.figure_tables import numbers
from realtime.offline.tracking_scores import TrackingScores


def division_table(scores: TrackingScores) -> Table:
    """A row a tolerance."""
    table = numbers("divisions", "found", "false", "missed", "precision", "recall", "F1")
    for tolerance, counts in scores.divisions.items():
        shares = [f"{share:.3f}" for share in (counts.precision, counts.recall, counts.f1)]
        table.add_row(
            f"± {tolerance} {'frame' if tolerance == 1 else 'frames'}" if tolerance else "exactly",
            str(counts.found), str(counts.invented), str(counts.missed), *shares,
        )  # fmt: skip
    return table


def tracking_lines(scores: TrackingScores) -> list[str]:
    """All other figures, the Challenge's first."""
    graph, errors = scores.graph, scores.errors
    same = scores.complete == scores.complete_in_graph
    in_graph = "the same" if same else _complete(scores.complete_in_graph)
    return [
        f"TRA {graph.tra:.4f}  DET {graph.det:.4f}  LNK {_words(graph.lnk)}  SEG {_words(scores.seg)}",
        f"AOGM {graph.aogm:g} of {errors.n_nodes} cells and {errors.n_edges} links: cells {errors.missing_nodes} missed, "
        f"{errors.false_nodes} false, {errors.splits} to be split; links {errors.missing_edges} missed, "
        f"{errors.false_edges} false, {errors.wrong_semantics} of the wrong kind",
        f"complete tracks: {_complete(scores.complete)}; whatever the ids, {in_graph}",
        f"identity switches {scores.identity_switches}, fragmentations {scores.fragmentations}",
        "a cell counts as found if its mask covers more than half of the true one",
    ]


def _complete(counts: Counts) -> str:
    n_true, n_result = counts.found + counts.missed, counts.found + counts.invented
    return f"{counts.found} of {n_true} true and {n_result} of the result (CT {counts.f1:.3f})"


def _words(value: float | None) -> str:
    return "not known" if value is None else f"{value:.4f}"
