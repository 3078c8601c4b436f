"""Decide again on what was recorded: the same frames must give the same decisions, or the first difference is named."""

import tomllib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from acquisition.clock import SimulatedClock
from acquisition.frame import Frame
from realtime.config import RunConfig, config_from
from realtime.decisions import Decision
from realtime.inference import Inference
from realtime.plugins import ConfigError, Plugin, load_plugin
from realtime.policy import Dose
from realtime.session.reader import SessionReader
from realtime.wire import FrameAnalysed, FrameReady, InferenceStarted


@dataclass
class Replay:
    """What came out: how much was compared, and where it first differed."""

    n_frames: int = 0
    n_decisions: int = 0
    first_difference: str | None = None
    decisions: list[Decision] = field(default_factory=list)
    """Of a replay with other policies: what they would have decided."""


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
    for again, recorded in _decide_again(reader, recorded_config(reader)):
        result.n_frames += 1
        result.n_decisions += len(recorded.decisions)
        if again != list(recorded.decisions):
            result.first_difference = _difference(recorded, again)
            break
    return result


def replay_with(folder: Path, policies: Iterable[str]) -> Replay:
    """What other policies would have decided on a session's frames; nothing acts, so the frames stay as they were."""
    reader = SessionReader(folder)
    config = recorded_config(reader)
    plugins = {use: _policy(use, config) for use in policies}
    result = Replay()
    for again, _ in _decide_again(reader, _with_policies(config, plugins)):
        result.n_frames += 1
        result.n_decisions += len(again)
        result.decisions.extend(again)
    return result


def _decide_again(reader: SessionReader, config: RunConfig) -> Iterator[tuple[list[Decision], FrameAnalysed]]:
    inference = Inference.from_config(config, SimulatedClock())
    frames: dict[int, FrameReady] = {}
    for record in reader.records():
        if isinstance(record, FrameReady):
            frames[record.header.index] = record
        elif isinstance(record, InferenceStarted):
            inference = Inference.from_config(config, SimulatedClock())
        elif isinstance(record, FrameAnalysed):
            ready = frames.pop(record.frame_index)
            frames = {index: frame for index, frame in frames.items() if index > record.frame_index}
            analysis = inference.look(Frame(ready.header, reader.pixels(record.frame_index)), Dose(ready.dose_mj))
            assert analysis is not None
            yield analysis.decisions, record


def _policy(use: str, config: RunConfig) -> Plugin:
    """A policy by its name in the session, by built-in name, or `module:Class`, with its default settings."""
    if use in config.policies:
        return config.policies[use]
    try:
        return load_plugin("policy", {"use": use}, f"policy.{use}", Path.cwd())
    except ConfigError as error:
        raise ConfigError(
            f"--policy {use}: {error}. A policy that the session does not have ({', '.join(config.policies) or 'none'}) "
            "is tried with its defaults"
        ) from error


def _with_policies(config: RunConfig, policies: dict[str, Plugin]) -> RunConfig:
    return msgspec.structs.replace(config, policies=policies)


def _difference(recorded: FrameAnalysed, again: list[Decision]) -> str:
    then = [_words(d) for d in recorded.decisions] or ["nothing"]
    now = [_words(d) for d in again] or ["nothing"]
    return f"frame {recorded.frame_index}: recorded {'; '.join(then)}, decided again {'; '.join(now)}"


def _words(decision: Decision) -> str:
    return f"{decision.id} {decision.command} because {decision.reason!r} until {decision.deadline_ns}"
