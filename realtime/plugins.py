"""One mechanism for everything exchangeable: a TOML table with `use = "name"` or `use = "module:Class"` and settings.

The class is a dataclass whose init fields are its settings; unknown keys and wrong types are errors that say what is
allowed. Built-in names are strings here, imported only when used.
"""

import dataclasses
import importlib
import os
import re
import sys
import types
import typing
from pathlib import Path
from typing import Any

import msgspec

from realtime.explain import did_you_mean, explained, unknown

BUILT_IN: dict[str, dict[str, str]] = {
    "microscope": {
        "simulated": "acquisition.simulated.microscope:SimulatedMicroscope",
        "flow_cell": "acquisition.simulated.flow_cell:FlowCell",
        "replayed": "acquisition.replayed.microscope:ReplayedMicroscope",
        "micromanager": "acquisition.micromanager.microscope:MicroManagerMicroscope",
    },
    "sorter": {"serial": "acquisition.serial_sorter:SerialSorter"},
    "segmenter": {
        "network": "models.segmenter:NetworkSegmenter",
        "threshold": "models.threshold:ThresholdSegmenter",
    },
    "classifier": {"network": "models.classifier:NetworkClassifier", "ranges": "models.ranges:RangeClassifier"},
    "sort_classifier": {
        "flow": "models.flow_classifier:FlowClassifier",
        "features": "models.features_only:FeaturesOnly",
    },
    "tracker": {"causal": "tracking.tracker:CausalTracker"},
    "policy": {
        "budget": "realtime.policies.budget:Budget",
        "burst": "realtime.policies.burst:Burst",
        "channel": "realtime.policies.channel:Channel",
        "exposure": "realtime.policies.exposure:Exposure",
        "follow": "realtime.policies.follow:Follow",
        "pace": "realtime.policies.pace:Pace",
        "revisit": "realtime.policies.revisit:Revisit",
        "trigger": "realtime.policies.trigger:Trigger",
    },
}
NEEDED_METHODS: dict[str, tuple[str, ...]] = {
    "microscope": ("open", "start", "stop", "poll_frame", "apply", "state", "make_safe", "close"),
    "sorter": ("open", "fire_at", "reports", "cancel_pulses", "make_safe", "close"),
    "segmenter": ("infer", "label"),
    "classifier": ("classify",),
    "sort_classifier": ("probabilities",),
    "tracker": ("update",),
    "policy": ("decide",),
}
"""Without these a class is certainly not of that kind."""
OWN_CLASS = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*")


class ConfigError(ValueError):
    """A mistake in a config: which key, the value seen, what is allowed, what to do."""


class Plugin(msgspec.Struct, frozen=True):
    """What is to be used, and its settings, checked: every process of a run builds its own instance."""

    kind: str
    use: str
    settings: dict[str, Any] = {}

    def build(self) -> Any:
        """A fresh instance."""
        return convert_settings(find_class(self.kind, self.use, self.kind), self.settings, self.kind)

    def resolved(self) -> dict[str, Any]:
        """The table with every default written out."""
        instance = self.build()
        return {"use": self.use} | {
            name: msgspec.to_builtins(getattr(instance, name)) for name in setting_names(type(instance))
        }


class PolicyPlugin(Plugin, frozen=True):
    """A policy, and its part in the run."""

    priority: float = 0.0
    """Where two policies want the same device in the same frame, the higher goes first; among equals the earlier one."""
    shadow: bool = False
    """It decides and is journalled, but nothing that it decides is done."""

    def resolved(self) -> dict[str, Any]:
        """The table with every default written out."""
        return super().resolved() | {"priority": self.priority, "shadow": self.shadow}


class PolicyPart(msgspec.Struct, frozen=True):
    """The keys of a policy's table that are not its own settings, but for its name."""

    priority: float = 0.0
    shadow: bool = False


def load_policy(table: Any, where: str, folder: Path) -> PolicyPlugin:
    """A policy from its table. Raises ConfigError."""
    keys = PolicyPart.__struct_fields__
    plugin = load_plugin("policy", table, where, folder, not_settings=("name", *keys))
    part = convert_settings(PolicyPart, {key: table[key] for key in keys if key in table}, where)
    return PolicyPlugin(plugin.kind, plugin.use, plugin.settings, part.priority, part.shadow)


def load_plugin(kind: str, table: Any, where: str, folder: Path, not_settings: tuple[str, ...] = ()) -> Plugin:
    """A plugin from its table; `folder` is what paths in it are relative to. Raises ConfigError."""
    if not isinstance(table, dict) or not isinstance(table.get("use"), str):
        known = ", ".join(BUILT_IN[kind])
        raise ConfigError(f'{where} needs use = "name": one of {known}, or "module:Class" for a class of yours')
    settings = {key: value for key, value in table.items() if key != "use" and key not in not_settings}
    cls = find_class(kind, table["use"], where)
    settings = _absolute_paths(cls, settings, folder)
    convert_settings(cls, settings, where, not_settings)
    return Plugin(kind, table["use"], settings)


def find_class(kind: str, use: str, where: str) -> type:
    """The class behind a built-in name or `module:Class`."""
    target, asked = BUILT_IN[kind].get(use, use), f'{where}: use = "{use}"'
    if not OWN_CLASS.fullmatch(target):
        raise ConfigError(
            f"{asked} is not built in{did_you_mean(use, BUILT_IN[kind])}; built in are {', '.join(BUILT_IN[kind])}; "
            'a class of yours is written "module:Class", as in "my_module:MyClass" for one in my_module.py'
        )
    module_name, _, class_name = target.partition(":")
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())  # last, so that no folder of the user's replaces a package of ours
    try:
        found = getattr(importlib.import_module(module_name), class_name)
    except (ImportError, SyntaxError) as error:
        raise ConfigError(
            f"{asked}: cannot import {module_name}: {error}. Modules are found if they are installed or lie in the "
            "folder where reflexscope is started"
        ) from error
    except AttributeError as error:
        raise ConfigError(f"{asked}: {module_name} has no class {class_name}") from error
    if not (isinstance(found, type) and dataclasses.is_dataclass(found)):
        raise ConfigError(f"{asked}: {class_name} must be a dataclass, whose fields are its settings")
    lacking = [name for name in NEEDED_METHODS[kind] if not callable(getattr(found, name, None))]
    if lacking:
        raise ConfigError(f"{asked}: {class_name} has no method {lacking[0]}, which every {kind} needs; write it")
    return found


def setting_names(cls: type) -> list[str]:
    """Names of the settings of a dataclass or Struct."""
    if dataclasses.is_dataclass(cls):
        return [f.name for f in dataclasses.fields(cls) if f.init]
    return list(cls.__struct_fields__)  # type: ignore[attr-defined]  # msgspec.Struct


def convert_settings(cls: type, table: dict[str, Any], where: str, beside: tuple[str, ...] = ()) -> Any:
    """An instance of `cls` from a table, strictly. `beside`: what else may stand there. Raises ConfigError."""
    names = setting_names(cls)
    for key in table:
        if key not in names:
            raise ConfigError(unknown(f"{where}.{key}", where, (*names, *beside)))
    try:
        return msgspec.convert(table, cls, strict=True)
    except msgspec.ValidationError as error:
        raise ConfigError(explained(error, cls, table, where)) from error


def _absolute_paths(cls: type, settings: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Settings annotated FilePath, made relative to the config's folder; `~` is the user's."""
    hints = typing.get_type_hints(cls, include_extras=True)
    return {
        key: str((folder / os.path.expanduser(value)).resolve())
        if isinstance(value, str) and value and _is_path(hints.get(key))
        else value
        for key, value in settings.items()
    }


def _is_path(hint: Any) -> bool:
    if isinstance(hint, types.UnionType):
        return any(_is_path(part) for part in typing.get_args(hint))
    metadata = getattr(hint, "__metadata__", ())
    return any(isinstance(m, msgspec.Meta) and (m.extra or {}).get("path") for m in metadata)
