"""What a person sees of a sort while it runs: tables on a terminal, a plain line every few seconds in a log."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from rich.columns import Columns
from rich.console import Console, Group, RenderableType
from rich.text import Text

from acquisition.clock import NS_PER_S
from realtime.live import StatusLine, fitted
from realtime.session.sort_account import SortAccount, expected_figures
from realtime.sort.tables import latency_table, pulse_table, verdict_table
from realtime.wire import AnyMessage, OutcomeReached, Status, StripsSorted

FIGURE = "inference_sort_"
"""Heartbeats of inference carry these figures: see realtime/processes/sorting.py."""
VERDICT = f"{FIGURE}verdict_"
RATE_OVER_NS = 2 * NS_PER_S


@dataclass(frozen=True)
class SortState:
    """A sort as it is now."""

    t_ns: int
    state: str
    events: float
    verdicts: Mapping[str, float]
    expected: Mapping[str, float] = field(default_factory=dict)
    skipped: float = 0
    behind: float = 0
    ring_fill: float = 0.0
    lost: int = 0
    planned: float = 0
    """Pulses."""

    @classmethod
    def of_status(cls, status: Status) -> "SortState":
        """In a run of processes: heartbeats of inference, and what the rig's process knows."""
        figure = status.figures.get
        sums = {name: figure(f"{FIGURE}{name}", 0.0) for name in ("wanted", "sorted", "sorted_wanted")}
        verdicts = {name.removeprefix(VERDICT): n for name, n in status.figures.items() if name.startswith(VERDICT)}
        return cls(
            status.t_ns, status.state, sum(verdicts.values()), verdicts, expected_figures(sums),
            figure("inference_skipped", 0.0), figure("stacks_behind", 0.0), figure("ring_fill", 0.0), status.lost,
            figure(f"{FIGURE}pulses", 0.0),
        )  # fmt: skip

    def parts(self, events_per_s: float, account: SortAccount, dry: bool) -> list[str]:
        """In words, as short as they may be."""
        fired, aborted = account.pulses["done"], account.pulses.total() - account.pulses["done"]
        scheduled = account.scheduled
        times = f"half within {scheduled.quantile_ms(0.5):.1f}, 99 % within {scheduled.quantile_ms(0.99):.1f} ms"
        pulses = [f"{fired} pulses fired", f"{aborted} not fired", f"scheduled: {times}"]
        return [
            self.state, f"{events_per_s:.0f} events/s", f"{self.events:.0f} events",
            *([f"{self.planned:.0f} pulses would have been fired (dry)"] if dry else pulses),
            *(f"{name.replace('_', ' ')} {value:.1%}" for name, value in self.expected.items()),
            f"ring {self.ring_fill:.0%}", f"{self.behind:.0f} stacks behind", f"skipped {self.skipped:.0f}",
            f"lost {self.lost}",
        ]  # fmt: skip


class SortTable(StatusLine):
    """Takes in the messages of a sort and shows how it is."""

    def __init__(self, console: Console, dry: bool = False) -> None:
        super().__init__(console)
        self._dry = dry
        self._account = SortAccount()
        self._since = self._state = SortState(0, "starting", 0, {})
        self._events_per_s = 0.0

    def watch(self, message: AnyMessage) -> None:
        """Take in one message of telemetry, or of an inline run, which also tells of every stack."""
        match message:
            case OutcomeReached():
                self._account.add_outcome(message, message.outcome.t_ns)
            case StripsSorted():
                self._account.add(message)
                self._see(self._of_account(message.t_ns))
            case Status():
                self._see(SortState.of_status(message))
            case _:
                super().watch(message)

    def _of_account(self, t_ns: int) -> SortState:
        account = self._account
        expected = expected_figures(account.expected)
        return SortState(
            t_ns, "running", account.verdicts.total(), account.verdicts, expected, account.skipped,
            planned=account.would_fire,
        )  # fmt: skip

    def _see(self, state: SortState) -> None:
        self._measure(state)
        parts = state.parts(self._events_per_s, self._account, self._dry)
        self._print(parts, state.t_ns, lambda: self._picture(parts, state))

    def _measure(self, now: SortState) -> None:
        """Events a second; a fresh inference process counts anew."""
        if not self._since.t_ns or now.events < self._since.events:
            self._since = now
        elapsed_ns = now.t_ns - self._since.t_ns
        if elapsed_ns >= RATE_OVER_NS:
            self._events_per_s = (now.events - self._since.events) * NS_PER_S / elapsed_ns
            self._since = now

    def _picture(self, parts: list[str], state: SortState) -> RenderableType:
        account = self._account
        would_fire = round(state.planned) if self._dry else 0
        tables = [verdict_table(state.verdicts), pulse_table(account.pulses, account.reasons, would_fire)]
        if not self._dry:
            tables.append(latency_table(account.scheduled))
        return Group(Text(fitted(parts, self._console.width)), Columns(tables))
