"""The configs that come with Reflexscope load, their comments are true, and their README names every key there is."""

import math
import re
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, get_args, get_type_hints

import pytest
from msgspec import NODEFAULT, Struct, inspect

from acquisition.faults import Faults
from acquisition.simulated.flow_settings import Flow, FlowCamera, SorterSettings
from acquisition.simulated.settings import Biology, LightSettings, Optics, SensorSettings, StageSettings
from models.engines.engine import EngineSettings
from models.measure import FEATURES
from models.ranges import ClassRange
from models.segmenter import RuleChanges
from models.strip_settings import FinderSettings
from realtime.config import DEFAULT_USE, SECTIONS, RunConfig, config_from, load_config, resolved
from realtime.explain import allowed
from realtime.plugins import BUILT_IN, find_class, setting_names
from realtime.scoring.settings import Arm, ScoreSettings
from realtime.session.header import session_toml
from realtime.sort.settings import PulseSettings, SortGate, SortSettings
from tracking.flow_settings import FlowSettings

FOLDER = Path(__file__).resolve().parents[1] / "hardware_configs"
CONFIGS = sorted(path.name for path in FOLDER.glob("*.toml"))
README = (FOLDER / "README.md").read_text("utf-8")
UNITS = {
    "um": "µm", "px": "px", "ms": "ms", "s": "s", "mw": "mW", "mj": "mJ", "gb": "GB", "mb": "MB", "min": "min",
    "um_s": "µm/s", "um_min": "µm/min", "per_s": "1/s", "um_per_px": "µm/px", "um_from_px": "µm/px",
    "light_mw_per_unit": "mW/unit",
    "h": "h", "per_h": "1/h", "um_h": "µm/h", "us": "µs", "e": "e⁻", "e_s": "e⁻/s", "j_cm2": "J/cm²",
    "megabytes": "MB", "counts": "counts", "hz": "Hz", "deg_ms": "°/ms",
}  # fmt: skip
NOT_MINUTES = ("p_min", "feature_min")


# --- every file -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", CONFIGS)
def test_every_config_loads_and_can_be_recorded(name: str) -> None:
    config = load_config(FOLDER / name)
    again = config_from(tomllib.loads(session_toml("run", config))["config"], Path("elsewhere"))
    assert resolved(again) == resolved(config)


@pytest.mark.parametrize("name", CONFIGS)
def test_every_config_names_files_that_are_there(name: str) -> None:
    settings = load_config(FOLDER / name).microscope.settings
    for key in ("path", "config_file"):
        assert not settings.get(key) or Path(settings[key]).exists()


@pytest.mark.parametrize("name", CONFIGS)
def test_policies_stay_within_the_limits_of_their_rig(name: str) -> None:
    """What a policy will ask for at its extremes is allowed: an example must not be made of refusals."""
    config = load_config(FOLDER / name)
    limits = config.limits
    for policy in (plugin.build() for plugin in config.policies.values()):
        settings = {key: getattr(policy, key) for key in setting_names(type(policy))}
        assert settings.get("step_um", 0) <= limits.step_um
        assert settings.get("width_ms", 0) <= limits.pulse_ms
        for speed in ("fast", "slow"):
            interval_ms, exposure_ms = settings.get(f"{speed}_interval_ms"), settings.get(f"{speed}_exposure_ms")
            if interval_ms is not None:
                exposure_ms = exposure_ms or config.imaging.exposure_ms
                assert limits.interval_ms[0] <= interval_ms <= limits.interval_ms[1]
                assert limits.exposure_ms[0] <= exposure_ms <= limits.exposure_ms[1]
                assert exposure_ms / interval_ms <= limits.duty_cycle


def test_the_readme_lists_the_files_that_are_there() -> None:
    assert sorted(re.findall(r"^\| `(\w+\.toml)` \|", README, re.MULTILINE)) == CONFIGS


# --- comments -------------------------------------------------------------------------------------------------


def _view_um(config: RunConfig) -> tuple[float, float]:
    scope = microscope(config)
    return scope.width_px * scope.um_per_px, scope.height_px * scope.um_per_px


def _step_um(config: RunConfig, ms: float) -> float:
    """How far the flow goes in so long."""
    return float(microscope(config).flow.speed_um_s * ms / 1000)


def policy(config: RunConfig, name: str) -> Any:
    return config.policies[name].build()


def microscope(config: RunConfig) -> Any:
    return config.microscope.build()


def sort(config: RunConfig) -> SortSettings:
    assert config.sort is not None
    return config.sort


CLAIMS: list[tuple[str, str, Callable[[RunConfig], bool]]] = [
    ("simulated.toml", "one minute of a cell's life a second", lambda c: microscope(c).time_factor == 60),
    (
        "simulated.toml",
        "in mitosis a nucleus is twice as bright",  # in counts, which only mean something while the exposure stays
        lambda c: policy(c, "pace").fast_exposure_ms is None and 1.2 < _level(c) / _counts(c) < 1.8,
    ),
    (
        "simulated.toml",
        "look closely while a cell is in mitosis",
        lambda c: policy(c, "pace").signal == "class:mitotic",
    ),
    ("simulated.toml", "that is clearly in mitosis", lambda c: policy(c, "trigger").p_min > policy(c, "pace").p_min),
    ("replay.toml", "real HeLa nuclei (see movies/hela_h2b/SOURCE.md)", lambda c: "hela_h2b" in microscope(c).path),
    ("replay.toml", "A window smaller than the recorded", lambda c: max(microscope(c).window_px) < 190),
    ("replay.toml", "at imaging.interval_ms, which policies may change", lambda c: microscope(c).pace == "fixed"),
    ("replay.toml", "again and again", lambda c: microscope(c).repeat == 0),
    ("replay.toml", "mitotic in three of four frames", lambda c: _looks(c) == (3, 4)),
    ("replay.toml", "look more often while nuclei divide or appear", lambda c: _events(c) == {"divided", "born"}),
    ("micromanager_demo.toml", "with a shorter exposure", lambda c: _fast(c)[1] < _slow(c)[1]),
    ("micromanager_demo.toml", "look more often", lambda c: _fast(c)[0] < _slow(c)[0]),
    ("micromanager_demo.toml", "new beads in the view", lambda c: _events(c) == {"born", "entered"}),
    ("micromanager_demo.toml", "beads", lambda c: not c.tracker.build().divisions),
    ("micromanager_demo.toml", "in three of four frames", lambda c: _looks(c) == (3, 4)),
    ("micromanager_demo.toml", "once a second at most", lambda c: policy(c, "trigger").refractory_ms == 1000),
    ("micromanager_demo.toml", "a large bead", lambda c: policy(c, "trigger").feature == "area_um2"),
    (
        "micromanager_demo.toml",
        "the sample is always lit",
        lambda c: not microscope(c).shutter_follows_camera and c.limits.duty_cycle == 1,
    ),
    (
        "sorter_simulated.toml",
        "32 µm, all of the channel's width",
        lambda c: _view_um(c)[1] == microscope(c).flow.channel_um,
    ),
    ("sorter_simulated.toml", "128 µm along the flow", lambda c: _view_um(c)[0] == 128),
    (
        "sorter_simulated.toml",
        "a stack every 4 ms",
        lambda c: microscope(c).strips * c.imaging.interval_ms == 4,
    ),
    ("sorter_simulated.toml", "in percent", lambda c: sum(microscope(c).shares.values()) == 100),
    (
        "sorter_simulated.toml",
        "75 px from strip to strip",
        lambda c: _step_um(c, c.imaging.interval_ms) == 75 * microscope(c).um_per_px,
    ),
    (
        "sorter_simulated.toml",
        "20 ms after the middle of the view",
        lambda c: _step_um(c, 20) == microscope(c).flow.junction_um,
    ),
    ("sorter_simulated.toml", "cells go on by 0.75 µm", lambda c: _step_um(c, c.imaging.exposure_ms) == 0.75),
    (
        "sorter_simulated.toml",
        "the sorter's own",
        lambda c: c.limits.pulse_recovery_ms == microscope(c).sorter.recovery_ms,
    ),
    ("micromanager_policies.toml", "two volts a milliwatt", lambda c: microscope(c).light_mw_per_unit == 0.5),
    ("micromanager_policies.toml", "only while exposing", lambda c: microscope(c).mode == "snap"),
    ("micromanager_policies.toml", "lasts a quarter of an hour", lambda c: policy(c, "budget").duration_s == 900),
    (
        "micromanager_policies.toml",
        "fast frames are paid back",
        lambda c: _fast(c)[0] < policy(c, "budget").burst_below_ms,
    ),
    ("micromanager_policies.toml", "four places in turn", lambda c: len(policy(c, "revisit").positions_um) == 4),
    (
        "micromanager_policies.toml",
        "of two that want the stage one acts",
        lambda c: c.policies["follow"].shadow and not c.policies["revisit"].shadow,
    ),
    (
        "micromanager_policies.toml",
        "twenty frames at the camera's full rate, an exposure each",
        lambda c: (policy(c, "burst").n_frames, policy(c, "burst").interval_ms) == (20, c.imaging.exposure_ms),
    ),
    (
        "micromanager_policies.toml",
        "twice as long and bright",
        lambda c: (
            (policy(c, "channel").exposure_ms, policy(c, "channel").light_mw)
            == (2 * c.imaging.exposure_ms, 2 * c.imaging.light_mw)
        ),
    ),
    ("micromanager_java.toml", '"Run server on port 4827"', lambda c: microscope(c).port == 4827),
    ("micromanager_java.toml", "the shutter open only while exposing", lambda c: microscope(c).mode == "snap"),
    ("micromanager_java.toml", "the focus may not be moved", lambda c: c.limits.z_um == (0.0, 0.0)),
    ("micromanager_java.toml", "twice as often", lambda c: _slow(c)[0] == 2 * _fast(c)[0]),
    ("micromanager_java.toml", "with half the exposure", lambda c: _slow(c)[1] == 2 * _fast(c)[1]),
    ("micromanager_java.toml", "after a division", lambda c: _events(c) == {"divided"}),
    (
        "sorter_simulated.toml",
        "as in [microscope] shares",
        lambda c: sort(c).gate.wanted_share == sum(microscope(c).class_shares[name] for name in sort(c).gate.classes),
    ),
    (
        "sorter_simulated.toml",
        "as in [microscope.flow]",
        lambda c: sort(c).flow.junction_um == microscope(c).flow.junction_um,
    ),
    (
        "sorter_simulated.toml",
        "45 µm of the flow",
        lambda c: sort(c).pulse.window_ms / 1000 * sort(c).flow.speed_um_s == pytest.approx(45),
    ),
    (
        "sorter_simulated.toml",
        "as [microscope.sorter] has it",
        lambda c: sort(c).pulse.delay_ms == microscope(c).sorter.delay_ms,
    ),
    ("sorter_simulated.toml", "pictures of one cell in fifty", lambda c: sort(c).crops_kept == 1 / 50),
    (
        "sorter_serial.toml",
        "a quarter of the window",
        lambda c: 4 * c.sorter.build().worst_clock_ms == c.sort.pulse.window_ms,
    ),  # type: ignore[union-attr]
    (
        "sorter_serial.toml",
        "from strip to strip: 4,000 a second",
        lambda c: (
            c.imaging.interval_ms == 0.25 and microscope(c).flow.speed_um_s * 0.25e-3 / microscope(c).um_per_px == 50
        ),
    ),
    ("sorter_serial.toml", "20 ms after the middle of the view", lambda c: _to_junction_s(c) == 0.02),
    ("sorter_micromanager.toml", "0.2 s at this speed", lambda c: _to_junction_s(c) == 0.2),
    ("sorter_micromanager.toml", "a bead moves 4 µm", lambda c: c.sort.flow.speed_um_s * c.imaging.exposure_ms == 4000),  # type: ignore[union-attr]
    ("sorter_micromanager.toml", 'in "snap" there are no pulses', lambda c: microscope(c).mode == "stream"),
    (
        "sorter_micromanager.toml",
        "2 µm/ms, as in [sort.flow]",
        lambda c: float(microscope(c).properties["XY.Velocity"]) * 1000 == c.sort.flow.speed_um_s,  # type: ignore[union-attr]
    ),
]


def _to_junction_s(config: RunConfig) -> float:
    assert config.sort is not None
    return config.sort.flow.junction_um / config.sort.flow.speed_um_s


def _level(config: RunConfig) -> float:
    assert config.classifier is not None
    return float(config.classifier.build().classes[0].low)


def _counts(config: RunConfig) -> float:
    """What the camera reads in an average nucleus between two divisions."""
    dish, imaging = microscope(config), config.imaging
    signal = (dish.brightness + dish.background) * imaging.light_mw * imaging.exposure_ms
    return float(dish.sensor.offset_counts + signal)


def _looks(config: RunConfig) -> tuple[int, int]:
    return policy(config, "trigger").looks, policy(config, "trigger").of


def _events(config: RunConfig) -> set[str]:
    assert policy(config, "pace").signal == "events"
    return set(policy(config, "pace").events)


def _fast(config: RunConfig) -> tuple[float, float]:
    return policy(config, "pace").fast_interval_ms, policy(config, "pace").fast_exposure_ms


def _slow(config: RunConfig) -> tuple[float, float]:
    return policy(config, "pace").slow_interval_ms, policy(config, "pace").slow_exposure_ms


@pytest.mark.parametrize(("name", "claim", "is_true"), CLAIMS, ids=[f"{c[0]}: {c[1]}" for c in CLAIMS])
def test_comments_are_true(name: str, claim: str, is_true: Callable[[RunConfig], bool]) -> None:
    comments = " ".join(re.findall(r"#\s*(.*)", (FOLDER / name).read_text("utf-8")))
    assert claim in comments, "the comment has changed: change what is claimed here, too"
    assert is_true(load_config(FOLDER / name))


@pytest.mark.parametrize("name", CONFIGS)
def test_keys_that_are_commented_out_would_be_accepted(name: str) -> None:
    """A line such as `# um_per_px = 0.65  # if …` works once its first # is taken away."""
    text = (FOLDER / name).read_text("utf-8")
    for key, value in re.findall(r"^# (\w+) = ([^#\n]+)", text, re.MULTILINE):
        load_config(FOLDER / name, [f"microscope.{key}={value.strip()}"])


# --- the README's tables --------------------------------------------------------------------------------------


Row = dict[str, str]


def documented() -> dict[str, dict[str, Row]]:
    """The README's tables of keys: section → key → cells. A plugin's section is `kind.use`."""
    tables: dict[str, dict[str, Row]] = {}
    section = kind = ""
    for line in README.splitlines():
        if heading := re.fullmatch(r"## `\[+(\w+)\]+`", line):
            section = kind = heading[1]
        elif heading := re.fullmatch(r'### `use = "(\w+)"`', line):
            section = f"{kind}.{heading[1]}"
        elif line == "### a condition in `classes`":
            section = "classifier.ranges.classes"
        elif heading := re.fullmatch(r"### the table `([\w.]+)`", line):
            section = heading[1]
        elif row := re.fullmatch(r"\| `(\w+)` \| (.*?) ?\| (.+?) \| (.+?) \| (.+) \|", line):
            assert row[1] not in tables.setdefault(section, {}), f"{section}.{row[1]} stands there twice"
            tables[section][row[1]] = dict(
                zip(("unit", "allowed", "default", "meaning"), row.groups()[1:], strict=True)
            )
    return tables


def real() -> dict[str, type]:
    """The classes behind the sections."""
    plugins = {
        f"{kind.removeprefix('sort_')}.{use}": find_class(kind, use, kind)
        for kind, uses in BUILT_IN.items()
        for use in uses
    }
    return {
        **SECTIONS,
        **plugins,
        "classifier.ranges.classes": ClassRange,
        "engine": EngineSettings,
        "labels": RuleChanges,
        "sort": SortSettings,
        "sort.gate": SortGate,
        "sort.flow": FlowSettings,
        "sort.finder": FinderSettings,
        "sort.pulse": PulseSettings,
        "score": ScoreSettings,
        "arm": Arm,
        "flow_cell.flow": Flow,
        "flow_cell.camera": FlowCamera,
        "flow_cell.sorter": SorterSettings,
        "biology": Biology,
        "optics": Optics,
        "sensor": SensorSettings,
        "stage": StageSettings,
        "light": LightSettings,
        **{name: get_args(hint)[0] for name, hint in get_type_hints(Faults).items()},
    }


def keys() -> Iterator[tuple[str, inspect.Field]]:
    for section, cls in real().items():
        kind = inspect.type_info(cls)
        assert isinstance(kind, inspect.StructType | inspect.DataclassType)
        yield from ((section, field) for field in kind.fields if field.name in setting_names(cls))


def test_documented_keys_and_real_keys_are_the_same() -> None:
    there = {(section, key) for section, rows in documented().items() for key in rows}
    needed = {(section, field.name) for section, field in keys()}
    assert not needed - there, "hardware_configs/README.md lacks these keys"
    assert not there - needed, "hardware_configs/README.md names keys that do not exist"


@pytest.mark.parametrize(("section", "field"), [pytest.param(s, f, id=f"{s}.{f.name}") for s, f in keys()])
def test_each_key_is_documented_as_it_is(section: str, field: inspect.Field) -> None:
    row = documented()[section][field.name]
    assert row["allowed"] == allowed(field.type)
    assert row["meaning"].endswith(".")
    if field.required:
        assert row["default"] == "required"
    elif (default := _default(field)) is None:
        assert row["default"] == "not set"
    else:
        assert tomllib.loads(f"value = {row['default'].strip('`')}")["value"] == default


@pytest.mark.parametrize(("section", "field"), [pytest.param(s, f, id=f"{s}.{f.name}") for s, f in keys()])
def test_units_agree_with_names(section: str, field: inspect.Field) -> None:
    name, unit = field.name, documented()[section][field.name]["unit"]
    if name in NOT_MINUTES:
        assert unit == ""
        return
    suffixes = [suffix for suffix in UNITS if name == suffix or name.endswith(f"_{suffix}")]
    if suffixes:
        assert unit == UNITS[max(suffixes, key=len)]


def _default(field: inspect.Field) -> Any:
    default = field.default_factory() if field.default is NODEFAULT else field.default
    if isinstance(default, Struct):
        return {}  # a table of which nothing need be given
    return list(default) if isinstance(default, tuple) else default


def test_what_use_defaults_to_is_documented() -> None:
    for kind, table in DEFAULT_USE.items():
        chapter = README.split(f"## `[{kind}]`")[1]
        assert f'Left out, `use` is `"{table["use"]}"`.' in chapter.split("\n## ")[0]


def test_every_feature_is_documented() -> None:
    chapter = README.split("\nFeatures: ")[1].split("\n\n")[0]
    assert set(re.findall(r"`(\w+)`", chapter)) == set(FEATURES)


def test_the_examples_in_the_readme_load() -> None:
    """`--set …` in the text, and the values that the tables give as examples."""
    overrides = re.findall(r"`--set ([^`…]+)`", README)
    assert overrides == ["imaging.interval_ms=200", "policy.follow.deadband_um=4"]
    load_config(FOLDER / "simulated.toml", overrides)
    properties = re.search(r"as `(\{ \"Camera.+?\})`", README)
    classes = re.search(r"as `(\[\{ name.+?\])`", README)
    assert properties is not None
    assert classes is not None
    load_config(FOLDER / "micromanager_demo.toml", [f"microscope.properties={properties[1]}"])
    load_config(FOLDER / "simulated.toml", [f"classifier.classes={classes[1]}"])


def test_infinite_values_are_where_the_readme_allows_them() -> None:
    infinite = {
        section.partition(".")[0]
        for section, field in keys()
        if isinstance(field.default, float) and math.isinf(field.default)
    }
    assert infinite <= {"limits", "classifier", "policy", "biology"}
