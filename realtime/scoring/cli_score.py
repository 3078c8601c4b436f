"""`reflexscope score`: policies judged against the truth of the simulated laboratory."""

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from acquisition.clock import NS_PER_S, SystemClock
from realtime.config import read_tables
from realtime.offline.progress import progress_bar
from realtime.overrides import apply_override
from realtime.plugins import ConfigError
from realtime.scoring.settings import Arm, PerceivedBy
from realtime.vocabulary import check_vocabulary

app = typer.Typer()
console = Console()


@app.command()
def score(
    config_path: Annotated[Path, typer.Argument(metavar="CONFIG", help="A run's TOML file that has a section score.")],
    policy: Annotated[list[str], typer.Option(help="An arm, a policy by name, or module:Class; again for more.")] = [],  # noqa: B006
    seeds: Annotated[int, typer.Option(min=1, help="So many specimens.")] = 20,
    first_seed: Annotated[int, typer.Option(min=0, help="Seed of the first.")] = 1,
    jobs: Annotated[int, typer.Option(min=1, help="Processes; more than there are free cores do not help.")] = 1,
    json: Annotated[Path | None, typer.Option(help="All rows, figures and the config.", metavar="FILE")] = None,
    plot: Annotated[Path | None, typer.Option(help="Light per cell against what was captured.", metavar="FILE.png")] = None,
    perception: Annotated[PerceivedBy, typer.Option(help="truth: judge the policy alone.")] = "own",
    overrides: Annotated[list[str], typer.Option("--set", help="section.key=value, may be repeated.", metavar="KEY=VALUE")] = [],  # noqa: B006
) -> None:  # fmt: skip
    """Run policies on simulated specimens and judge them by what really happened there."""
    from realtime.scoring.arms import chosen_arms, lenders_of, scenario_of, with_asked_policies
    from realtime.scoring.jobs import scored
    from realtime.scoring.report import require_writable, seeds_in_words, show, write_plot, write_report

    for option, path, ending in (("--json", json, ""), ("--plot", plot, ".png")):
        if path is not None:
            require_writable(option, path, ending)
    if plot is not None and find_spec("matplotlib") is None:  # found before hours of runs, not after
        raise ConfigError('--plot needs matplotlib: pip install "reflexscope[score]"')
    tables = read_tables(config_path)
    with_asked_policies(tables, policy, overrides)
    for override in overrides:
        apply_override(tables, override)
    scenario = scenario_of(tables, config_path.parent)
    if perception == "own":
        check_vocabulary(scenario.config.perception.features, scenario.config.classifier, scenario.config.policies)
    arms = chosen_arms(scenario, policy)
    for lender, taker in lenders_of(arms, policy).items():
        _say(f'arm "{lender}" runs too, because "{taker}" takes its light')
    if perception == "truth" and scenario.settings.snr_target is not None:
        _say_what_truth_changes(arms)
    clock = SystemClock()
    began_ns = clock.now_ns()
    with progress_bar("runs", len(arms) * seeds) as done:
        rows = scored(scenario, arms, range(first_seed, first_seed + seeds), perception, jobs, done)
    took_s = (clock.now_ns() - began_ns) / NS_PER_S
    which = f"{scenario.config.rig.name}: {seeds_in_words(seeds)} from {first_seed}, {perception} perception"
    _say(f"{which}; means and 95 % intervals")
    show(console, rows)
    _say(f"{took_s:.0f} s of wall time with {jobs} process{'es' if jobs > 1 else ''}, {took_s / seeds:.1f} s a seed")
    if json is not None:
        write_report(json, scenario, arms, rows, perception)
    if plot is not None:
        write_plot(plot, scenario, rows)
    if written := [str(path) for path in (json, plot) if path is not None]:
        _say(f"written: {', '.join(written)}")


def _say_what_truth_changes(arms: Sequence[Arm]) -> None:
    from realtime.scoring.arms import quoted

    as_they_are = [arm.name for arm in arms if arm.policies and not arm.set_with_truth]
    if as_they_are:
        _say(
            "take care: features are measured within the outlines, and true ones differ a little from the segmenter's; "
            f"arms whose settings were tuned to the latter ({quoted(as_they_are)}) need set_with_truth"
        )


def _say(line: str) -> None:
    console.print(line, highlight=False, markup=False, soft_wrap=True)
