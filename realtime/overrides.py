"""Single settings changed for one run: `--set section.key=value`, applied to parsed TOML before it is checked."""

import tomllib
from typing import Any

from realtime.explain import did_you_mean
from realtime.plugins import ConfigError


def policy_name(table: Any) -> Any:
    """As given, or else the last word of what it uses."""
    if not isinstance(table, dict):
        return "policy"  # load_plugin says what is wrong
    return table.get("name", str(table.get("use", "policy")).rpartition(":")[2].lower())


def apply_override(raw: dict[str, Any], text: str) -> None:
    """Apply `section.key=value` or `policy.name.key=value`."""
    path, equals, value_text = text.partition("=")
    if not equals:
        raise ConfigError(f"--set {text}: write section.key=value, or policy.name.key=value for a policy")
    set_value(raw, path.strip(), _value(value_text), f"--set {text}")


def set_value(raw: dict[str, Any], path: str, value: Any, where: str) -> None:
    """Put a value at `section.key` or `policy.name.key` of parsed TOML; `where` says who asks, for errors."""
    steps = path.split(".")
    if not all(steps) or len(steps) < (3 if steps[0] == "policy" else 2):
        raise ConfigError(f"{where}: write section.key=value, or policy.name.key=value for a policy")
    table: Any = raw
    if steps[0] == "policy":
        table, steps = _policy_table(raw.get("policy", []), steps[1], where), steps[2:]
    for step in steps[:-1]:
        table = table.setdefault(step, {})
        if not isinstance(table, dict):
            raise ConfigError(f"{where}: {step} is a value, not a section")
    table[steps[-1]] = value


def _policy_table(tables: Any, name: str, where: str) -> dict[str, Any]:
    named = {str(policy_name(table)): table for table in tables} if isinstance(tables, list) else {}
    if name not in named:
        known = ", ".join(named) or "none"
        raise ConfigError(f"{where}: no policy is called {name}{did_you_mean(name, named)}; there are {known}")
    table: dict[str, Any] = named[name]
    return table


def _value(text: str) -> Any:
    """As in TOML; what is not TOML is a plain word."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text.strip()
