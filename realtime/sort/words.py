"""What a sort says of a stack: the messages that it sends, inline or over the bus."""

from collections.abc import Iterator

import numpy as np

from acquisition.clock import Clock
from realtime.sorting import SortAnalysis
from realtime.wire import Column, DecisionMade, StripsSorted


def pulses_made(run: str, analysis: SortAnalysis, clock: Clock) -> Iterator[DecisionMade]:
    """One message a pulse, each stamped when it is taken to be sent."""
    for decision in analysis.decisions:
        yield DecisionMade(
            run=run, decision=decision, exposed_ns=analysis.exposed_ns[decision.id],
            decided_ns=analysis.stamps.ends_ns[-1], sent_ns=clock.now_ns(),
        )  # fmt: skip


def sorted_words(run: str, analysis: SortAnalysis, skipped: int, incarnation: int = 0) -> StripsSorted:
    """What became of a stack, for the recorder."""
    header, events, stamps = analysis.header, analysis.events, analysis.stamps
    return StripsSorted(
        run=run, frame_index=header.index, t_ns=header.t_ns, skipped=skipped, exposed_ns=stamps.exposed_ns,
        ends_ns=tuple(stamps.ends_ns), n_strips=len(header.strips_t_ns), n_sightings=analysis.n_sightings,
        n_in_view=analysis.n_in_view, n_unseen=analysis.n_unseen, verdicts=events.verdicts(), expected=events.expected(),
        decisions=tuple(analysis.decisions), shadow=tuple(analysis.shadow),
        events={name: Column.of(values) for name, values in events.columns().items()} if len(events) else {},
        crops=Column.of(events.crops) if len(events.crops) else None,
        crop_rows=Column.of(events.crop_rows.astype(np.int32)) if len(events.crops) else None,
        incarnation=incarnation,
    )  # fmt: skip
