"""Faults as people ask for them on the command line, and as a run confesses them."""

from collections.abc import Callable, Iterable

from acquisition.actuation import Level
from acquisition.faults import FAULT_NAMES, Faults
from realtime.explain import did_you_mean
from realtime.plugins import ConfigError

SOURCE = "faults"
"""Who speaks in the journal: one notice for each fault of the run."""

ON_PURPOSE = "made to happen on purpose: "


def fault_overrides(asked: Iterable[str]) -> list[str]:
    """`--fault name` and `--fault name.key=value` as overrides of a config. Raises ConfigError for unknown names."""
    asked = list(asked)
    names = list(dict.fromkeys(word.partition("=")[0].partition(".")[0].strip() for word in asked))
    for name in names:
        if name not in FAULT_NAMES:
            hint = did_you_mean(name, FAULT_NAMES)
            raise ConfigError(f"--fault {name}: there is no such fault{hint}; there are {', '.join(FAULT_NAMES)}")
    for word in asked:
        if "=" in word and "." not in word.partition("=")[0]:
            raise ConfigError(f"--fault {word}: write a fault's name alone, or name.key=value")
    return [f"faults.{name}={{}}" for name in names] + [f"faults.{word}" for word in asked if "=" in word]


def confess(faults: Faults, tell: Callable[[Level, str, str], None]) -> None:
    """Say what goes wrong on purpose, so that nobody takes the run for a real one; `tell` takes level, text and source."""
    for words in faults.words():
        tell("warning", f"{ON_PURPOSE}{words}", SOURCE)
