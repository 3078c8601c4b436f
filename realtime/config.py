"""A run's configuration: one TOML file, checked strictly, with every default made visible.

    load_config("rig.toml", ["imaging.interval_ms=100"]) → RunConfig

hardware_configs/README.md names every key with its unit and range; a test holds the two together.
"""

import math
import re
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from acquisition.calibration import CameraCalibration
from acquisition.commands import NotNegative, Positive, SetExposure, SetInterval, SetLight
from acquisition.dose_map import DoseSettings
from acquisition.faults import Faults
from acquisition.frame import StagePosition
from acquisition.limits import Limits, Refusal, RigState, check, frame_mj
from acquisition.microscope import Imaging
from realtime.explain import did_you_mean, shown
from realtime.overrides import apply_override, policy_name
from realtime.plugins import ConfigError, Plugin, PolicyPlugin, convert_settings, load_plugin, load_policy
from realtime.scoring.settings import ScoreSettings
from realtime.session.writer import RecorderSettings
from realtime.sort.settings import PulseSettings, SortSettings
from realtime.vocabulary import check_gate, check_vocabulary

SMALL = Annotated[int, Meta(ge=1, le=64)]


class Rig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What people call it, and where its sessions go."""

    name: Annotated[str, Meta(min_length=1, max_length=60)]
    sessions: str = "sessions"
    """Folder of the session folders; relative to where `reflexscope` is started."""
    silent_s: Positive = 30.0
    """Without a sign of life from the rig's process for so long it is ended, and a fresh one makes the rig safe."""


class PerceptionSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """In which frames cells are found, and what is measured in every cell beyond position, area and mean intensity."""

    features: tuple[str, ...] = ()
    channel: str = ""
    """Cells are found in frames of this channel, and one of another channel is measured in the cells found last; empty: in
    every frame."""


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
    save_tracker_s: NotNegative = 1.0
    """How often the tracker is saved, so that a restarted process goes on with the same identities; 0 is never."""
    restore_tracker_s: Positive = 60.0
    """A restarted process does not go on with an older state, unless three frame intervals are longer."""


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
    dose: DoseSettings
    segmenter: Plugin
    classifier: Plugin | None
    camera: CameraCalibration
    perception: PerceptionSettings
    tracker: Plugin
    policies: dict[str, PolicyPlugin]
    """By name, in the order of the file."""
    inference: InferenceSettings
    recorder: RecorderSettings
    ring: RingSettings
    faults: Faults
    score: ScoreSettings | None = None
    """What `reflexscope score` asks; a run itself takes no notice of it."""
    sorter: Plugin | None = None
    """A sorter beside the microscope; without one, pulses are the microscope's own."""
    sort: SortSettings | None = None
    """The run sorts: segmenter, tracker, perception and policies then have no part in it."""


SECTIONS: dict[str, type] = {
    "rig": Rig, "imaging": Imaging, "limits": Limits, "dose": DoseSettings, "camera": CameraCalibration,
    "perception": PerceptionSettings,
    "inference": InferenceSettings, "recorder": RecorderSettings, "ring": RingSettings, "faults": Faults,
}  # fmt: skip
PLUGINS = ("microscope", "sorter", "segmenter", "classifier", "tracker")
DEFAULT_USE = {"segmenter": {"use": "network"}, "tracker": {"use": "causal"}}
SORT_CLASSIFIER = {"use": "flow"}
KEYS = (*SECTIONS, *PLUGINS, "policy", "score", "sort")
MAY_BE_INFINITE = ("limits", "classifier", "microscope", "policy", "score")
POLICY_NAME = re.compile(r"[\w-]{1,40}")
NOT_IN_A_SORT = ("segmenter", "tracker", "policy", "perception", "score")
"""Sections that say how a run looks at frames and what it does about them: of a sort, [sort] says both."""
RESERVED = ("operator", "supervisor", "recorder", "inference", "acquisition", "watch", "faults", "sort")
"""Who else gives orders or speaks in a run's journal; a policy must not be mistaken for one of them."""


def load_config(path: str | Path, overrides: Iterable[str] = ()) -> RunConfig:
    """A checked config from a TOML file and `section.key=value` overrides. Raises ConfigError."""
    config = config_from(read_tables(path, overrides), Path(path).parent)
    if config.sort is not None:
        check_gate(config.sort.gate, config.classifier)
    else:
        check_vocabulary(config.perception.features, config.classifier, config.policies)
    return config


def read_tables(path: str | Path, overrides: Iterable[str] = ()) -> dict[str, Any]:
    """What a TOML file and overrides say, not yet checked. Raises ConfigError."""
    try:
        raw = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ConfigError(f"there is no config file {path}; hardware_configs/ holds examples") from error
    except OSError as error:
        raise ConfigError(f"the config file {path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is not text in UTF-8, as TOML must be; save it again with that encoding") from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path} is not TOML: {error}") from error
    for override in overrides:
        apply_override(raw, override)
    return raw


def config_from(raw: Mapping[str, Any], folder: Path) -> RunConfig:
    """A checked config from parsed TOML; paths in it are relative to `folder`."""
    for key in raw:
        if key not in KEYS:
            raise ConfigError(f"{key} is not a section{did_you_mean(key, KEYS)}; the sections are {', '.join(KEYS)}")
    for key in ("rig", "microscope", "limits"):
        if key not in raw:
            raise ConfigError(f"the section [{key}] is missing; hardware_configs/README.md says what belongs in it")
    for key, value in raw.items():
        _refuse_odd_numbers(value, key, finite=key not in MAY_BE_INFINITE)
    parts: dict[str, Any] = {name: convert_settings(cls, _table(raw, name), name) for name, cls in SECTIONS.items()}
    if "sort" in raw:
        raw = _of_a_sort(raw)
        parts["sort"] = convert_settings(SortSettings, _table(raw, "sort"), "sort")
    for kind in PLUGINS:
        table = DEFAULT_USE.get(kind, {}) | _table(raw, kind)
        parts[kind] = load_plugin(_kind(kind, raw), table, kind, folder) if table or kind in raw else None
    if "score" in raw:
        parts["score"] = convert_settings(ScoreSettings, _table(raw, "score"), "score")
    config = RunConfig(**parts, policies=_policies(raw.get("policy", []), folder))
    _check_start(config)
    return config


def resolved(config: RunConfig) -> dict[str, Any]:
    """The whole config with every default written out, ready to be loaded again from any folder."""
    tables: dict[str, Any] = {"rig": msgspec.to_builtins(config.rig), "microscope": config.microscope.resolved()}
    tables |= {name: msgspec.to_builtins(getattr(config, name)) for name in SECTIONS}
    tables |= {kind: plugin.resolved() for kind in PLUGINS if (plugin := getattr(config, kind)) is not None}
    if config.sort is not None:
        tables["sort"] = msgspec.to_builtins(config.sort)
        return {key: table for key, table in tables.items() if key not in NOT_IN_A_SORT}
    tables["policy"] = [{"name": name} | plugin.resolved() for name, plugin in config.policies.items()]
    if config.score is not None:
        tables["score"] = msgspec.to_builtins(config.score)
    return tables


def _of_a_sort(raw: Mapping[str, Any]) -> dict[str, Any]:
    """The same with a sort's own classifier, if no other is named. Raises ConfigError."""
    for key in NOT_IN_A_SORT:
        if key in raw:
            raise ConfigError(f"[{key}] has no part in a run with [sort]: remove one of the two sections")
    return {**raw, "classifier": SORT_CLASSIFIER | _table(raw, "classifier")}


def _kind(section: str, raw: Mapping[str, Any]) -> str:
    """Of plugin: a sort classifies pictures of single cells in flow."""
    return "sort_classifier" if section == "classifier" and "sort" in raw else section


def _table(raw: Mapping[str, Any], name: str) -> dict[str, Any]:
    table = raw.get(name, {})
    if not isinstance(table, dict):
        raise ConfigError(f"{name} must be a section, written [{name}] on a line of its own, not {shown(table)}")
    return table


def _policies(tables: Any, folder: Path) -> dict[str, PolicyPlugin]:
    if not isinstance(tables, list):
        raise ConfigError("policies are written [[policy]], one table each, the most important first")
    policies: dict[str, PolicyPlugin] = {}
    for i, table in enumerate(tables):
        name = policy_name(table)
        plugin = load_policy(table, f"policy.{name}", folder)
        if not isinstance(name, str) or not POLICY_NAME.fullmatch(name):
            raise ConfigError(f"policy[{i}].name must be one word of letters, digits, _ and -, not {shown(name)}")
        if name in RESERVED:
            raise ConfigError(
                f'policy[{i}].name must not be "{name}", for so a part of the run itself is called; give it another name'
            )
        if name in policies:
            raise ConfigError(f'policy[{i}]: "{name}" is another policy already; give this one a name = "…" of its own')
        policies[name] = plugin
    return policies


def _refuse_odd_numbers(value: Any, place: str, finite: bool) -> None:
    """TOML can write nan and inf. No setting means anything as nan, and only limits, thresholds and doses may be infinite."""
    if isinstance(value, dict):
        for key, item in value.items():
            _refuse_odd_numbers(item, f"{place}.{key}", finite)
    elif isinstance(value, list):
        for i, item in enumerate(value):
            _refuse_odd_numbers(item, f"{place}[{i}]", finite)
    elif isinstance(value, float) and (math.isnan(value) or (finite and math.isinf(value))):
        raise ConfigError(f"{place} must be a finite number, not {value}")


def _check_start(config: RunConfig) -> None:
    """The values a run starts with must be allowed by its own limits, and its channels must fit together."""
    imaging, limits, channel = config.imaging, config.limits, config.perception.channel
    for name, policy in config.policies.items():
        if policy.use == "channel" and (base := policy.settings["base"]) != channel:
            raise ConfigError(
                f'policy.{name}: base is "{base}", but perception.channel is "{channel}"; give both the same name: else cells '
                "would be sought and tracked in frames of the other channel, too"
            )
    if channel and imaging.channel and channel != imaging.channel:
        raise ConfigError(
            f'[imaging] starts in channel "{imaging.channel}", but cells are found in perception.channel "{channel}" only; '
            "start in that one"
        )
    if config.sort is not None:
        _check_pulses(config.sort.pulse, limits)
    state = RigState(
        t_ns=0, stage=StagePosition(), exposure_ms=imaging.exposure_ms, interval_ms=imaging.interval_ms,
        light_mw=imaging.light_mw,
    )  # fmt: skip
    for command in (SetInterval(imaging.interval_ms), SetExposure(imaging.exposure_ms), SetLight(imaging.light_mw)):
        verdict = check(command, state, limits)
        if isinstance(verdict, Refusal):
            raise ConfigError(f"[imaging] starts outside [limits]: {verdict.detail}; change one of the two sections")
    if (each_mj := frame_mj(imaging.exposure_ms, imaging.interval_ms, imaging.light_mw, False, 0.0)) > limits.dose_mj:
        raise ConfigError(
            f"one frame as in [imaging] costs {each_mj:.3g} mJ, more than limits.dose_mj {limits.dose_mj:g} allows; "
            "lower imaging.exposure_ms or imaging.light_mw, or raise the limit"
        )


def _check_pulses(pulse: PulseSettings, limits: Limits) -> None:
    """The pulses of a sort must be allowed: else each is refused while the sample flows by."""
    if pulse.window_ms > limits.pulse_ms:
        raise ConfigError(
            f"sort.pulse.window_ms {pulse.window_ms:g} is above limits.pulse_ms {limits.pulse_ms:g}: every pulse would be "
            "refused; change one of the two"
        )
    if pulse.recovery_ms < limits.pulse_recovery_ms:
        raise ConfigError(
            f"sort.pulse.recovery_ms {pulse.recovery_ms:g} is below limits.pulse_recovery_ms {limits.pulse_recovery_ms:g}: "
            "pulses would be planned that are refused; change one of the two"
        )
