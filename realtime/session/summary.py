"""The summary of a run: a pure account over its messages, so that it can be made again from the journal."""

from collections import Counter, defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec

from acquisition.clock import NS_PER_S
from acquisition.dose_map import DoseSettings
from acquisition.replayed.movies import open_session
from acquisition.replayed.recorded import MovieError
from realtime.decisions import Decision
from realtime.faults import ON_PURPOSE
from realtime.faults import SOURCE as FAULTS
from realtime.latency import ACTION_STAGES, ANALYSIS_STAGES, Ledger
from realtime.session.disk import CONFIG, JOURNAL, SUMMARY, explained, write_whole
from realtime.session.journal import read_journal
from realtime.session.light_account import LightAccount, settings_in, write_dose_map
from realtime.session.sort_account import SortAccount, waited_on_purpose_ns
from realtime.suspension import suspended_policy
from realtime.wire import (
    AnyMessage,
    FrameAnalysed,
    FrameReady,
    InferenceEnded,
    InferenceStarted,
    Notice,
    OutcomeReached,
    RunEnded,
    StripsSorted,
    finite,
)

OPERATOR = "operator"
"""Under this name stand the outcomes of commands that people gave."""
OWN_ORDERS = ("watch", "supervisor")
"""Parts of the run itself that give orders; an order's id begins with who gave it."""
KEPT_CHANNELS = 1000
"""Frames that wait for their analysis; of older ones nobody will hear any more."""


class Summary:
    """Counts and times of a run. `add` every message once, in order."""

    def __init__(self, dose: DoseSettings = DoseSettings()) -> None:
        self.light = LightAccount(dose)
        self._channels: dict[int, str] = {}
        """Of frames that are not analysed yet."""
        self._run = ""
        self._recorded = self._gaps = self._analysed = self._starts = 0
        self._next_index = 0
        self._first_ns = self._last_ns = 0
        self._open: dict[str, str] = {}
        """Decisions without an outcome yet: id → policy."""
        self._answered: set[str] = set()
        """Outcomes that came before the account of the frame on which the decision was made."""
        self._outcomes: dict[str, Counter[str]] = defaultdict(Counter)
        self._events: Counter[str] = Counter()
        self._dropped = 0
        self._shadow: Counter[str] = Counter()
        self._notices: Counter[str] = Counter()
        self._faults: list[str] = []
        self._suspended: list[str] = []
        self._ledger = Ledger()
        self._sort = SortAccount()
        self._end: RunEnded | None = None

    def add(self, message: AnyMessage) -> None:
        """Take a message into account."""
        self._run = self._run or message.run
        match message:
            case FrameReady():
                self._add_frame(message)
            case FrameAnalysed():
                self._add_analysis(message)
            case StripsSorted():
                self._analysed += 1
                self._add_decisions(message.decisions)
                self._sort.add(message)
            case OutcomeReached():
                self._add_outcome(message)
            case InferenceStarted(frame_px=frame_px):
                self._starts += 1
                self.light.expect(frame_px)
            case InferenceEnded():
                self.light.add_last_cells(message)
            case Notice(level=level, source=source, text=text):
                self._notices[level] += 1
                if source == FAULTS:
                    self._faults.append(text.removeprefix(ON_PURPOSE))
                elif source == "inference" and (policy := suspended_policy(text)):
                    self._suspended.append(policy)
            case RunEnded(figures=figures):
                self._end = message
                self.light.end(figures.get("dose_mj"))
            case _:  # what operators ask for and what processes say of themselves change no figure
                pass

    def as_dict(self) -> dict[str, Any]:
        """What summary.json holds.

        Frames that the camera lost and frames that found the ring full both leave gaps in the indices; which is which
        is known from the run's last word. Skipped by inference: recorded, but never analysed, restarts included.
        """
        end = self._end
        figures = finite(end.figures) if end else {}
        ledger = self._sort.ledger if self._sort.n_stacks else self._ledger
        return {
            "run": self._run,
            "ok": end is not None and end.ok,
            "end": end.reason if end else "the run was cut off before it could say why",
            **({"faults": "; ".join(self._faults)} if self._faults else {}),
            **({"policies_suspended": ", ".join(dict.fromkeys(self._suspended))} if self._suspended else {}),
            "duration_s": round((self._last_ns - self._first_ns) / NS_PER_S, 3),
            "frames_recorded": self._recorded,
            "frames_lost_by_camera": int(figures.get("frames_lost_by_camera", self._gaps)),
            "frames_dropped_as_ring_was_full": int(figures.get("frames_dropped", 0)),
            "frames_analysed": self._analysed,
            "frames_skipped_by_inference": max(0, self._recorded - self._analysed),
            "inference_restarts": max(0, self._starts - 1),
            "dose_mj": self.light.total_mj,
            "light": self.light.as_dict(),
            "decisions": self._decisions(),
            "decisions_dropped_by_arbiter": self._dropped,
            "decisions_of_shadow_policies": dict(sorted(self._shadow.items())),
            "events": dict(sorted(self._events.items())),
            "notices": dict(sorted(self._notices.items())),
            **({"sort": self._sort.as_dict()} if self._sort.n_stacks else {}),
            "latency": {stage: dict(row) for stage, row in ledger.summary().items()},
            "figures": figures,
        }

    def _add_frame(self, message: FrameReady) -> None:
        header = message.header
        self._first_ns = self._first_ns if self._recorded else header.t_ns
        self._last_ns = header.t_ns
        self._recorded += 1
        self._gaps += header.index - self._next_index
        self._next_index = header.index + 1
        self.light.add_frame(message)
        self._channels[header.index] = header.channel
        if len(self._channels) > KEPT_CHANNELS:
            del self._channels[next(iter(self._channels))]

    def _add_analysis(self, message: FrameAnalysed) -> None:
        self._analysed += 1
        self.light.add_analysis(message, self._channels.pop(message.frame_index, ""))
        self._add_decisions(message.decisions)
        self._dropped += len(message.dropped)
        self._shadow.update(decision.policy for decision in message.shadow)
        self._events.update(event.split(" ", 1)[0] for event in message.events)
        if len(message.ends_ns) == len(ANALYSIS_STAGES):
            self._ledger.add_analysis(message.exposed_ns, message.ends_ns)

    def _add_decisions(self, decisions: Iterable[Decision]) -> None:
        for decision in decisions:
            if decision.id in self._answered:
                self._answered.remove(decision.id)
            else:
                self._open[decision.id] = decision.policy

    def _add_outcome(self, message: OutcomeReached) -> None:
        policy = message.decision.policy if message.decision else _own_order(message.outcome.decision_id)
        self._outcomes[policy][message.outcome.status] += 1
        if message.decision and self._open.pop(message.decision.id, None) is None:
            self._answered.add(message.decision.id)
        if len(message.ends_ns) == len(ACTION_STAGES) + 1:
            decided_ns, sent_ns, checked_ns, done_ns = message.ends_ns
            done_ns -= waited_on_purpose_ns(message, checked_ns, done_ns)
            self._ledger.add_action(message.exposed_ns, decided_ns, (sent_ns, checked_ns, done_ns))
            self._sort.add_outcome(message, done_ns)

    def _decisions(self) -> dict[str, dict[str, int]]:
        """Per policy: how many outcomes of each status, and how many decisions never met one."""
        unanswered = Counter(self._open.values())
        table = {policy: dict(sorted(outcomes.items())) for policy, outcomes in self._outcomes.items()}
        for policy, n in unanswered.items():
            table.setdefault(policy, {})["unanswered"] = n
        return dict(sorted(table.items()))


def _own_order(order_id: str) -> str:
    """Who gave an order that no policy gave."""
    who = order_id.partition(".")[0]
    return who if who in OWN_ORDERS else OPERATOR


def summarise(folder: Path) -> dict[str, Any]:
    """The summary made anew from a session's journal, also of a run that was killed.

    `frames_readable` counts frames whose pixels are there: after a kill a few more or less than recorded.
    """
    return _account(folder).as_dict() | {"frames_readable": _frames_readable(folder)}


def _account(folder: Path) -> Summary:
    config = folder / CONFIG
    summary = Summary(settings_in(config.read_text("utf-8") if config.exists() else ""))
    for message in read_journal(folder / JOURNAL):
        summary.add(message)
    return summary


def summarise_if_missing(folder: Path) -> None:
    """Give a session whose recorder died before the end the summary that its journal allows.

    Does nothing if there is a summary, or no journal. Raises RecordingError.
    """
    if (folder / JOURNAL).exists() and not (folder / SUMMARY).exists():
        account = _account(folder)
        with explained(folder, needed_gb=0.0):
            write_summary(folder, account.as_dict() | {"frames_readable": _frames_readable(folder)})
            write_dose_map(folder, account.light.map)


def write_summary(folder: Path, account: dict[str, Any]) -> None:
    """summary.json, for people and programs."""
    write_whole(folder / SUMMARY, msgspec.json.format(msgspec.json.encode(account), indent=2) + b"\n")


def _frames_readable(folder: Path) -> int:
    try:
        return len(open_session(folder))
    except MovieError:  # no frame was ever shown
        return 0
