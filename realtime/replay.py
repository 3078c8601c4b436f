"""Decide again on what was recorded: the same frames must give the same decisions, or the first difference is named."""

import tomllib
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import msgspec

from acquisition.clock import SimulatedClock
from acquisition.frame import Frame
from acquisition.replayed.recorded import Pixels
from models.perception import Perception
from realtime.config import RunConfig, config_from
from realtime.decisions import Decision
from realtime.inference import Inference, perception_from
from realtime.plugins import ConfigError, PolicyPlugin, load_policy
from realtime.session.disk import PixelsMissing
from realtime.session.reader import SessionReader
from realtime.sort.words import sorted_words
from realtime.sorting import Sorting
from realtime.tracker_memory import SavingTracker
from realtime.wire import FrameAnalysed, FrameReady, InferenceStarted, StripsSorted

Seen = TypeVar("Seen", FrameAnalysed, StripsSorted)
States = tuple[bytes, bytes]
"""What the tracker and the dose ledger remembered."""


@dataclass
class Replay:
    """What came out: how much was compared, and where it first differed."""

    n_frames: int = 0
    n_decisions: int = 0
    first_difference: str | None = None
    n_unreadable: int = 0
    """Analysed frames from the first one on that cannot be decided again; there a replay ends."""
    why_unreadable: str = ""
    decisions: list[Decision] = field(default_factory=list)
    """Of a replay with other policies: what they would have decided."""
    complaints: list[str] = field(default_factory=list)
    """The same: policies that raised or decided without end, in words."""

    @property
    def verdict(self) -> str:
        """The result of a comparison, in a line."""
        if self.first_difference:
            return f"first difference at {self.first_difference}"
        if not self.n_unreadable:
            compared = f"identical: {self.n_decisions} decisions on {self.n_frames} frames"
            return compared if self.n_frames else "nothing to compare: no frame of this session was analysed"
        readable = f"the {self.n_frames} readable frames ({self.n_decisions} decisions)"
        missing = f"{self.n_unreadable} analysed frames {self.why_unreadable}"
        return f"identical on {readable}; {missing}" if self.n_frames else f"nothing to compare: {missing}"


def recorded_config(reader: SessionReader) -> RunConfig:
    """The config a session was recorded with."""
    try:
        tables = tomllib.loads(reader.config_text)["config"]
    except (tomllib.TOMLDecodeError, KeyError) as error:
        raise ConfigError(f"{reader.folder}: its session.toml has no readable [config]: {error}") from error
    return config_from(tables, reader.folder)


def replay(folder: Path) -> Replay:
    """Look at a session's frames again and compare every decision with the recorded one."""
    reader = SessionReader(folder)
    result = Replay()
    config = recorded_config(reader)
    if config.sort is not None:
        return _replay_sort(reader, config)
    perception = _prepared_perception(config, reader)
    for again, recorded, _ in _decide_again(reader, config, perception):
        if isinstance(again, str):
            result.n_unreadable += 1
            result.why_unreadable = again
            continue
        result.n_frames += 1
        result.n_decisions += len(recorded.decisions) + len(recorded.shadow)
        if again != [*recorded.decisions, *recorded.shadow]:
            result.first_difference = _difference(recorded, again) + _other_perception(reader, perception)
            break
    return result


def replay_with(folder: Path, policies: Iterable[str]) -> Replay:
    """What other policies would have decided on a session's frames; nothing acts, so the frames stay as they were."""
    reader = SessionReader(folder)
    config = recorded_config(reader)
    if config.sort is not None:
        raise ConfigError(f"{folder} is the session of a sort, which asks no policies: replay it without --policy")
    plugins = {use: _policy(use, config) for use in policies}
    result = Replay()
    for again, _, complaints in _decide_again(
        reader, _with_policies(config, plugins), _prepared_perception(config, reader)
    ):
        if isinstance(again, str):
            result.n_unreadable += 1
            result.why_unreadable = again
            continue
        result.n_frames += 1
        result.n_decisions += len(again)
        result.decisions.extend(again)
        result.complaints.extend(complaints)
    return result


def _replay_sort(reader: SessionReader, config: RunConfig) -> Replay:
    """Sort a session's strips again and compare every pulse and every count of verdicts with the recorded one."""
    if config.recorder.images == "none":
        raise ConfigError(
            f'{reader.folder} was recorded with recorder.images = "none": there are no strips to sort again; run with "all" '
            "what is to be replayed"
        )
    result = Replay()
    for again, recorded in _sort_again(reader, config):
        if isinstance(again, str):
            result.n_unreadable += 1
            result.why_unreadable = again
            continue
        result.n_frames += 1
        result.n_decisions += len(recorded.decisions) + len(recorded.shadow)
        if difference := _sorted_otherwise(recorded, again):
            result.first_difference = difference
            break
    return result


def _sort_again(reader: SessionReader, config: RunConfig) -> Iterator[tuple[StripsSorted | str, StripsSorted]]:
    """Again and as recorded, one inference process of the run after the other, each from a fresh start; or why not."""
    why_not = ""
    starts = {record.incarnation: record for record in reader.records() if isinstance(record, InferenceStarted)}
    for incarnation in dict.fromkeys(recorded.incarnation for recorded in _sorts(reader)):
        started = starts.get(incarnation)
        sorting = Sorting.from_config(config, SimulatedClock(), started.ids_used if started else 0)
        if started and started.frame_px:
            sorting.prepare(*started.frame_px)
        for recorded, ready, _ in _seen_by(incarnation, reader, _sorts):
            pixels = None if why_not else _pixels(ready, reader)
            if ready is None or pixels is None:
                why_not = why_not or "have no readable pixels"
                yield why_not, recorded
                continue
            analysis = sorting.look(Frame(ready.header, pixels))
            assert analysis is not None
            yield sorted_words(recorded.run, analysis, recorded.skipped, incarnation), recorded


def _sorted_otherwise(recorded: StripsSorted, again: StripsSorted) -> str:
    """How two accounts of a stack differ in what was done; nothing if they do not."""
    then, now = ([*words.decisions, *words.shadow] for words in (recorded, again))
    if then != now:
        return _difference(recorded, now)
    if recorded.verdicts != again.verdicts:
        return f"frame {recorded.frame_index}: recorded {recorded.verdicts}, sorted again {again.verdicts}"
    return ""


def _decide_again(
    reader: SessionReader, config: RunConfig, perception: Perception
) -> Iterator[tuple[list[Decision] | str, FrameAnalysed, list[str]]]:
    """Decisions, what was recorded, complaints: one inference process of the run after the other, each with the tracker
    that it had at its start.

    No decisions, but why not, from the first frame on that cannot be read: what the tracker made of it is not known.
    """
    starts = {record.incarnation: record for record in reader.records() if isinstance(record, InferenceStarted)}
    states: dict[int | None, States | None] = dict.fromkeys(start.from_frame for start in starts.values())
    why_not = ""
    for incarnation in dict.fromkeys(recorded.incarnation for recorded in _analyses(reader)):
        inference = Inference.from_config(config, SimulatedClock(), perception)
        why_not = why_not or _go_on(inference, starts.get(incarnation), states)
        inference.ledger.prepare(start.frame_px if (start := starts.get(incarnation)) else None)
        for recorded, ready, passed in _seen_by(incarnation, reader, _analyses):
            pixels = None if why_not else _pixels(ready, reader)
            for skipped in passed:
                inference.skip(skipped.header, skipped.dose_mj, skipped.lit_from_um)
            if ready is None or pixels is None:
                why_not = why_not or "have no readable pixels"
                yield why_not, recorded, []
                continue
            analysis = inference.look(Frame(ready.header, pixels), ready.dose_mj, lit_from_um=ready.lit_from_um)
            assert analysis is not None
            if recorded.frame_index in states and isinstance(inference.tracker, SavingTracker):
                states[recorded.frame_index] = inference.tracker.saved(), inference.ledger.saved()
            whole = inference.with_shadow(analysis)
            yield [*whole.decisions, *whole.shadow], recorded, whole.complaints


def _go_on(inference: Inference, start: InferenceStarted | None, states: Mapping[int | None, States | None]) -> str:
    """Bring a fresh tracker and ledger to where this process began; why that cannot be done, or nothing.

    A process that is killed may take its last words with it: then nobody knows that it had looked at a frame.
    """
    tracker = inference.tracker
    if start is None or not isinstance(tracker, SavingTracker):
        return ""
    if start.from_frame is not None:
        state = states[start.from_frame]
        if state is None:
            return f"go on from frame {start.from_frame}, which is not in the journal as it was seen"
        tracker.restore(state[0])
        inference.ledger.restore(state[1])
    tracker.skip_ids(start.ids_used)
    return ""


def _seen_by(
    incarnation: int, reader: SessionReader, seen: Callable[[SessionReader], Iterator[Seen]]
) -> Iterator[tuple[Seen, FrameReady | None, list[FrameReady]]]:
    """What one inference process saw, in its order, with the frame, None if the journal lacks that, and the frames that
    it had passed over since the one before.

    Frames and what was seen in them reach the recorder by two ways, each in order, but either may come first: so the
    journal is read twice side by side.
    """
    frames = (record for record in reader.records() if isinstance(record, FrameReady))
    for recorded in seen(reader):
        if recorded.incarnation == incarnation:
            passed: deque[FrameReady] = deque(maxlen=recorded.skipped)
            found = None
            for ready in frames:
                if ready.header.index == recorded.frame_index:
                    found = ready
                    break
                passed.append(ready)
            yield recorded, found, list(passed)


def _prepared_perception(config: RunConfig, reader: SessionReader) -> Perception:
    """As it was in the run: an engine's maps depend a little on the size it was opened for."""
    perception = perception_from(config)
    if (started := _first_start(reader)) and started.frame_px:
        perception.prepare(*started.frame_px)
    return perception


def _other_perception(reader: SessionReader, perception: Perception) -> str:
    """Why decisions may differ, if the frames were then seen by another model or engine."""
    started = _first_start(reader)
    if started is None or started.perception == perception.description:
        return ""
    return f" (frames were seen by {started.perception}; here by {perception.description})"


def _first_start(reader: SessionReader) -> InferenceStarted | None:
    return next((record for record in reader.records() if isinstance(record, InferenceStarted)), None)


def _analyses(reader: SessionReader) -> Iterator[FrameAnalysed]:
    return (record for record in reader.records() if isinstance(record, FrameAnalysed))


def _sorts(reader: SessionReader) -> Iterator[StripsSorted]:
    return (record for record in reader.records() if isinstance(record, StripsSorted))


def _pixels(ready: FrameReady | None, reader: SessionReader) -> Pixels | None:
    if ready is None:
        return None
    try:
        return reader.pixels(ready.header.index)
    except PixelsMissing:
        return None


def _policy(use: str, config: RunConfig) -> PolicyPlugin:
    """A policy by its name in the session, by built-in name, or `module:Class`, with its default settings."""
    if use in config.policies:
        return msgspec.structs.replace(config.policies[use], shadow=False)
    try:
        return load_policy({"use": use}, f"policy.{use}", Path.cwd())
    except ConfigError as error:
        raise ConfigError(
            f"--policy {use}: {error}. A policy that the session does not have ({', '.join(config.policies) or 'none'}) "
            "is tried with its defaults"
        ) from error


def _with_policies(config: RunConfig, policies: dict[str, PolicyPlugin]) -> RunConfig:
    return msgspec.structs.replace(config, policies=policies)


def _difference(recorded: FrameAnalysed | StripsSorted, again: list[Decision]) -> str:
    then = [_words(d) for d in (*recorded.decisions, *recorded.shadow)] or ["nothing"]
    now = [_words(d) for d in again] or ["nothing"]
    return f"frame {recorded.frame_index}: recorded {'; '.join(then)}, decided again {'; '.join(now)}"


def _words(decision: Decision) -> str:
    return f"{decision.id} {decision.command} because {decision.reason!r} until {decision.deadline_ns}"
