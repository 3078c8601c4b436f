"""A run's configuration: one TOML file, checked strictly, with every default made visible.

    load_config("rig.toml", ["imaging.interval_ms=100"]) → RunConfig

hardware_configs/README.md names every key with its unit and range; a test holds the two together.
"""

import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from acquisition.commands import Positive, SetExposure, SetInterval, SetLight
from acquisition.frame import StagePosition
from acquisition.limits import Limits, Refusal, RigState, check
from acquisition.microscope import Imaging
from realtime.plugins import ConfigError, Plugin, convert_settings, did_you_mean, load_plugin
from realtime.session.writer import RecorderSettings

SMALL = Annotated[int, Meta(ge=1, le=64)]


class Rig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What people call it, and where its sessions go."""

    name: Annotated[str, Meta(min_length=1, max_length=60)]
    sessions: str = "sessions"
    """Folder of the session folders; relative to where `reflexscope` is started."""


class PerceptionSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is measured in every cell beyond position, area and mean intensity."""

    features: tuple[str, ...] = ()


class InferenceSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The inference process: how long a decision is valid, and when the process counts as lost."""

    deadline_ms: Positive = 200.0
    """How long after the end of its frame's exposure a decision may still be carried out, unless its policy says otherwise."""
    policy_budget_ms: Positive = 5.0
    """A policy that takes longer for one scene is reported."""
    policy_failures: Annotated[int, Meta(ge=1)] = 3
    """A policy that raises so many times in a row is suspended for the rest of the run."""
    threads: SMALL = 1
    """Threads of the inference libraries; more than there are free cores makes everything slower."""
    silence_ms: Positive = 1000.0
    """Without a heartbeat for so long, inference or recorder counts as lost and the rig is made safe."""
    stall_s: Positive = 30.0
    """Alive, but no frame finished for so long while frames come: it is restarted."""
    restarts: Annotated[int, Meta(ge=0)] = 5
    """After so many restarts in one run the run ends."""
    start_s: Positive = 60.0
    """How long it may take to load and warm up."""


class RingSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The shared memory between the processes."""

    megabytes: Positive = 256.0
    """Slack for a disk or a process that pauses; at least four frames are kept."""
    when_full: Literal["stop", "drop"] = "stop"
    """The recorder is a whole ring behind: end the run with an error, or drop new frames and count them."""


class RunConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Everything a run needs to know."""

    rig: Rig
    microscope: Plugin
    imaging: Imaging
    limits: Limits
    segmenter: Plugin
    classifier: Plugin | None
    perception: PerceptionSettings
    tracker: Plugin
    policies: dict[str, Plugin]
    """By name, in order of priority."""
    inference: InferenceSettings
    recorder: RecorderSettings
    ring: RingSettings


SECTIONS: dict[str, type] = {
    "rig": Rig, "imaging": Imaging, "limits": Limits, "perception": PerceptionSettings,
    "inference": InferenceSettings, "recorder": RecorderSettings, "ring": RingSettings,
}  # fmt: skip
PLUGINS = ("microscope", "segmenter", "classifier", "tracker")
DEFAULT_USE = {"segmenter": {"use": "threshold"}, "tracker": {"use": "linear_assignment"}}
KEYS = (*SECTIONS, *PLUGINS, "policy")


def load_config(path: str | Path, overrides: Iterable[str] = ()) -> RunConfig:
    """A checked config from a TOML file and `section.key=value` overrides. Raises ConfigError."""
    path = Path(path)
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ConfigError(f"there is no config file {path}; hardware_configs/ holds examples") from error
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"{path} cannot be read as TOML: {error}") from error
    for override in overrides:
        _override(raw, override)
    return config_from(raw, path.parent)


def config_from(raw: Mapping[str, Any], folder: Path) -> RunConfig:
    """A checked config from parsed TOML; paths in it are relative to `folder`."""
    for key in raw:
        if key not in KEYS:
            raise ConfigError(f"[{key}] is not a section{did_you_mean(key, KEYS)}; the sections are {', '.join(KEYS)}")
    for key in ("rig", "microscope", "limits"):
        if key not in raw:
            raise ConfigError(f"the section [{key}] is missing; see hardware_configs/README.md for what belongs in it")
    parts: dict[str, Any] = {name: convert_settings(cls, _table(raw, name), name) for name, cls in SECTIONS.items()}
    for kind in PLUGINS:
        table = raw.get(kind, DEFAULT_USE.get(kind))
        parts[kind] = None if table is None else load_plugin(kind, table, kind, folder)
    config = RunConfig(**parts, policies=_policies(raw.get("policy", []), folder))
    _check_start(config)
    return config


def resolved(config: RunConfig) -> dict[str, Any]:
    """The whole config with every default written out, ready to be loaded again from any folder."""
    tables: dict[str, Any] = {"rig": msgspec.to_builtins(config.rig), "microscope": config.microscope.resolved()}
    tables |= {name: msgspec.to_builtins(getattr(config, name)) for name in SECTIONS}
    tables |= {kind: plugin.resolved() for kind in PLUGINS if (plugin := getattr(config, kind)) is not None}
    tables["policy"] = [{"name": name} | plugin.resolved() for name, plugin in config.policies.items()]
    return tables


def _table(raw: Mapping[str, Any], name: str) -> dict[str, Any]:
    table = raw.get(name, {})
    if not isinstance(table, dict):
        raise ConfigError(f"{name} must be a section [{name}], not {table!r}")
    return table


def _policies(tables: Any, folder: Path) -> dict[str, Plugin]:
    if not isinstance(tables, list):
        raise ConfigError("policies are written [[policy]], one table each, the most important first")
    policies: dict[str, Plugin] = {}
    for i, table in enumerate(tables):
        where = f"policy[{i}]"
        plugin = load_plugin("policy", table, where, folder, not_settings=("name",))
        name = table.get("name", plugin.use.rpartition(":")[2].lower())
        if not isinstance(name, str) or not name or name in policies:
            raise ConfigError(f"{where}.name = {name!r} must be a word that no other policy has; give each a name")
        policies[name] = plugin
    return policies


def _override(raw: dict[str, Any], text: str) -> None:
    """Apply `section.key=value`; the value is TOML, or else a plain word. `policy.<name>.<key>` reaches into a policy."""
    path, equals, value_text = text.partition("=")
    steps = path.strip().split(".")
    if not equals or len(steps) < 1 or not all(steps):
        raise ConfigError(f"--set {text!r} must be section.key=value")
    try:
        value = tomllib.loads(f"value = {value_text}")["value"]
    except tomllib.TOMLDecodeError:
        value = value_text.strip()
    table: Any = raw
    for step in steps[:-1]:
        if isinstance(table, list):
            named = [t for t in table if t.get("name", t.get("use")) == step]
            if not named:
                raise ConfigError(f"--set {text!r}: there is no policy {step!r}")
            table = named[0]
        else:
            table = table.setdefault(step, {})
        if not isinstance(table, (dict, list)):
            raise ConfigError(f"--set {text!r}: {step} is a value, not a section")
    if isinstance(table, list):
        raise ConfigError(f"--set {text!r}: write policy.<name>.<key>=value")
    table[steps[-1]] = value


def _check_start(config: RunConfig) -> None:
    """The values a run starts with must be allowed by its own limits."""
    imaging, limits = config.imaging, config.limits
    state = RigState(
        t_ns=0, stage=StagePosition(), exposure_ms=imaging.exposure_ms, interval_ms=imaging.interval_ms,
        light_mw=imaging.light_mw,
    )  # fmt: skip
    for command in (SetInterval(imaging.interval_ms), SetExposure(imaging.exposure_ms), SetLight(imaging.light_mw)):
        verdict = check(command, state, limits)
        if isinstance(verdict, Refusal):
            raise ConfigError(f"[imaging] starts outside [limits]: {verdict.detail}; change one of the two")
