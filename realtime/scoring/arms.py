"""From a scenario and what was asked for on the command line to arms, and from an arm and a seed to a run's config."""

import copy
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from msgspec.structs import replace

from realtime.config import RunConfig, config_from
from realtime.explain import did_you_mean
from realtime.overrides import set_value
from realtime.plugins import BUILT_IN, ConfigError
from realtime.scoring.settings import Arm, PerceivedBy, ScoreSettings
from realtime.scoring.truth import simulated

NOBODY = "none"
"""The arm without policies, where a config names no arms."""


@dataclass(frozen=True)
class Scenario:
    """A checked config with its tables, from which each arm's own config is made."""

    config: RunConfig
    tables: dict[str, Any]
    folder: Path

    @property
    def settings(self) -> ScoreSettings:
        """The section `[score]`."""
        if self.config.score is None:
            raise ConfigError("the section [score] is missing; hardware_configs/README.md says what belongs in it")
        return self.config.score


def scenario_of(tables: dict[str, Any], folder: Path) -> Scenario:
    """Raises ConfigError if it cannot be scored."""
    scenario = Scenario(config_from(tables, folder), tables, folder)
    simulated(scenario.config.microscope)
    if scenario.config.faults != type(scenario.config.faults)():
        raise ConfigError("[faults] cannot be scored: policies are judged on devices that work; leave that section out")
    for arm in scenario.settings.arm:
        for perceived_by in get_args(PerceivedBy):
            arm_config(scenario, arm, seed=0, perceived_by=perceived_by)
    return scenario


def with_asked_policies(tables: dict[str, Any], asked: Iterable[str], overrides: Iterable[str]) -> None:
    """Give a policy that is only asked for on the command line a table of its own, if `overrides` hold settings for it."""
    there = tables.setdefault("policy", [])
    if not isinstance(there, list) or not all(isinstance(table, dict) for table in there):
        return  # config_from says what is wrong
    for use in asked:
        is_set = any(text.startswith(f"policy.{name_of(use)}.") for text in overrides)
        taken = {*(table.get("name") for table in there), *(table.get("use") for table in there)}
        if is_set and (":" in use or use in BUILT_IN["policy"]) and taken.isdisjoint({use, name_of(use)}):
            there.append({"use": use})


def name_of(use: str) -> str:
    """What a policy is called that has no name of its own."""
    return use.rpartition(":")[2].lower()


def quoted(names: Iterable[str]) -> str:
    """`"one", "fixed, best"`."""
    return ", ".join(f'"{name}"' for name in names) or "none"


def lenders_of(arms: Sequence[Arm], asked: Sequence[str]) -> dict[str, str]:
    """Arms that nobody asked for → the arm that takes their light."""
    by_need = {arm.light_of: arm.name for arm in arms if arm.light_of}
    return {arm.name: by_need[arm.name] for arm in arms if asked and arm.name not in asked and arm.name in by_need}


def chosen_arms(scenario: Scenario, asked: Iterable[str]) -> list[Arm]:
    """Arms by name; a policy of the config or another one becomes an arm of its own. Lenders of light come along.

    In the order asked for, each after the arm whose light it takes.
    """
    known = {arm.name: arm for arm in scenario.settings.arm or _plain_arms(scenario)}
    wanted = [known.get(name) or _ad_hoc_arm(scenario, name, known) for name in asked] or list(known.values())
    arms: dict[str, Arm] = {}
    for arm in wanted:
        for needed in reversed(_with_lenders(arm, known)):
            arms.setdefault(needed.name, needed)
    return list(arms.values())


def arm_config(
    scenario: Scenario, arm: Arm, seed: int, light_mj: float | None = None, perceived_by: PerceivedBy = "own"
) -> RunConfig:  # fmt: skip
    """What one arm runs with. `light_mj`: what the arm took whose light this one gets. Raises ConfigError."""
    tables = copy.deepcopy(scenario.tables)
    where = f'score.arm "{arm.name}"'
    tables["policy"] = [_policy_table(scenario, tables, name, where) for name in arm.policies]
    for path, value in (arm.set | (arm.set_with_truth if perceived_by == "truth" else {})).items():
        set_value(tables, path, value, where)
    set_value(tables, "microscope.seed", seed, where)
    config = config_from(tables, scenario.folder)
    return config if light_mj is None else _with_light(config, arm, light_mj, scenario.settings)


def _with_light(config: RunConfig, arm: Arm, light_mj: float, settings: ScoreSettings) -> RunConfig:
    if arm.by == "stopping":
        return replace(config, limits=replace(config.limits, dose_mj=min(light_mj, config.limits.dose_mj)))
    frame_mj = config.imaging.light_mw * config.imaging.exposure_ms / 1000
    n_frames = max(1, int(light_mj / frame_mj + 1e-9))
    # Half an interval after the last frame the run ends: another one would have begun with the end itself.
    interval_ms = max(settings.duration_s * 1000 / (n_frames - 0.5), config.imaging.exposure_ms)
    return replace(config, imaging=replace(config.imaging, interval_ms=interval_ms))


def _policy_table(scenario: Scenario, tables: Mapping[str, Any], name: str, where: str) -> dict[str, Any]:
    """The config's own `[[policy]]` table, by its name or what it alone uses, or a policy with its defaults."""
    names = list(scenario.config.policies)
    if name in names:
        table: dict[str, Any] = tables["policy"][names.index(name)]
        return table
    using: list[dict[str, Any]] = [table for table in tables["policy"] if table["use"] == name]
    if len(using) == 1:
        return using[0]
    if ":" in name or name in BUILT_IN["policy"]:
        return {"use": name}
    raise ConfigError(f"{where}: no policy is called {name}{did_you_mean(name, names)}; there are {quoted(names)}")


def _plain_arms(scenario: Scenario) -> list[Arm]:
    """Where a config names none: all of its policies together, and none."""
    return [Arm(name="policies", policies=tuple(scenario.config.policies)), Arm(name=NOBODY)]


def _ad_hoc_arm(scenario: Scenario, name: str, known: Mapping[str, Arm]) -> Arm:
    arm = Arm(name=name[:60], policies=(name,))
    try:
        arm_config(scenario, arm, seed=0)
    except ConfigError as error:
        raise ConfigError(
            f"--policy {name}: neither an arm{did_you_mean(name, known)} (there are {quoted(known)}) "
            f"nor a policy that can be used: {error}{_where_settings_go(name)}"
        ) from error
    return arm


def _where_settings_go(name: str) -> str:
    if ":" not in name and name not in BUILT_IN["policy"]:
        return ""
    return f". Settings of a policy are given in a [[policy]] table of the config, or with --set policy.{name_of(name)}.key=value"


def _with_lenders(arm: Arm, known: Mapping[str, Arm]) -> list[Arm]:
    return [arm, *(_with_lenders(known[arm.light_of], known) if arm.light_of else [])]
