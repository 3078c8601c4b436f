"""A config is checked strictly, and what is wrong with it is said in one line: key, value seen, what is allowed."""

import math
import os
import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tiny_config import TINY, write_tiny

from acquisition.clock import SimulatedClock
from realtime.check import marked_config
from realtime.config import RESERVED, RunConfig, config_from, load_config, read_tables, resolved
from realtime.inference import Inference
from realtime.plugins import ConfigError
from realtime.session.header import session_toml

OWN_POLICY = '''
from dataclasses import dataclass, field


@dataclass
class Chase:
    """A policy of somebody else's."""

    speed: float = 1.5
    seen: list = field(default_factory=list, init=False)

    def decide(self, scene):
        return ()


@dataclass
class Touchy:
    def decide(self, scene):
        raise RuntimeError("I do not like this frame")


class Bare:
    pass


@dataclass
class Asks:
    feature: str = "roundness"

    def decide(self, scene):
        scene.cells.feature(self.feature)
        return ()
'''


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    return write_tiny(tmp_path)


@pytest.fixture
def own_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A module of the user's in the folder where the command is started."""
    (tmp_path / "own_policies_of_a_test.py").write_text(OWN_POLICY, "utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    yield "own_policies_of_a_test"
    sys.modules.pop("own_policies_of_a_test", None)


def refusal(path: Path, *overrides: str) -> str:
    """What is said about a config that cannot be loaded: always one line."""
    with pytest.raises(ConfigError) as error:
        load_config(path, overrides)
    words = str(error.value)
    assert "\n" not in words
    return words


# --- what is refused ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("override", "words"),
    [
        # unknown names, with the nearest one that exists
        ("imaging.interval=50", ["imaging.interval is not a setting (did you mean interval_ms?)", "exposure_ms"]),
        ("microscope.heigth_px=5", ["microscope.heigth_px is not a setting (did you mean height_px?)"]),
        ("policy.follow.stp_um=5", ["policy.follow.stp_um is not a setting (did you mean step_um?)"]),
        ("microscop.seed=5", ["microscop is not a section (did you mean microscope?)", "limits"]),
        ("segmenter.use=treshold", ["segmenter", '"treshold" is not built in (did you mean threshold?)']),
        ('perception.features=["eccentricty"]', ["perception.features", "'eccentricty'", "did you mean"]),
        ('classifier.classes=[{name="a",feature="area_um2",lo=3}]', ["classifier.classes[0].lo", "did you mean low?"]),
        # wrong types: nothing is guessed
        ("imaging.interval_ms=fast", ["imaging.interval_ms must be a number > 0", '"fast"']),
        ('imaging.interval_ms="50"', ["imaging.interval_ms must be a number > 0", '"50"']),
        ("imaging.interval_ms=true", ["imaging.interval_ms must be a number > 0", "not true"]),
        ("inference.threads=true", ["inference.threads must be a whole number", "not true"]),
        ("inference.threads=1.0", ["inference.threads must be a whole number", "not 1.0"]),
        ("tracker.divisions=1", ["tracker.divisions must be true or false, not 1"]),
        ("rig.name=3", ["rig.name must be text", "not 3"]),
        ("imaging.channel=[1]", ["imaging.channel must be text, not [1]"]),
        ("limits.x_um=5", ["limits.x_um must be a list of 2, each a number, not 5"]),
        ("limits.x_um=[1]", ["limits.x_um must be a list of 2", "not [1]"]),
        ('limits.x_um=["a", 1]', ['limits.x_um[0] must be a number, not "a"']),
        ("perception.features=area_um2", ['perception.features must be a list, each text, not "area_um2"']),
        ("policy.pace.fast_exposure_ms=short", ['policy.pace.fast_exposure_ms must be a number > 0, not "short"']),
        # values out of range
        ("imaging.interval_ms=0", ["imaging.interval_ms must be a number > 0, not 0"]),
        ("limits.duty_cycle=1.5", ["limits.duty_cycle must be a number > 0 and ≤ 1, not 1.5"]),
        ("inference.threads=65", ["inference.threads must be a whole number ≥ 1 and ≤ 64, not 65"]),
        ("limits.approach_sign=2", ["limits.approach_sign must be -1 or 1, not 2"]),
        ("ring.when_full=wait", ['ring.when_full must be "drop" or "stop", not "wait"']),
        ("policy.follow.choose=neerest", ['must be "brightest", "class" or "nearest", not "neerest"']),
        ('policy.pace.events=["brn"]', ["policy.pace.events[0] must be", '"born"', '"brn"']),
        ("rig.name=", ['rig.name must be text of 1 to 60 characters, not ""']),
        ("imaging.interval_ms=inf", ["imaging.interval_ms must be a finite number, not inf"]),
        ("limits.x_um=[nan, 3]", ["limits.x_um[0] must be a finite number, not nan"]),
        ("policy.trigger.p_min=nan", ["p_min must be a finite number, not nan"]),
        # settings that do not go together
        ("limits.x_um=[5, -5]", ["limits: x_um must be [low, high]", "[5, -5]"]),
        ("policy.follow.choose=class", ["policy.follow: class_name must name a class"]),
        ("policy.pace.fast_interval_ms=500", ["policy.pace: fast_interval_ms 500 must not be above"]),
        ("microscope.specimen_um=[10, 10]", ["microscope: specimen_um", "smaller than one view"]),
        ("imaging.interval_ms=0.5", ["[imaging] starts outside [limits]", "interval_ms 0.5 is outside [1, 3.6e+06]"]),
        ("limits.duty_cycle=0.05", ["[imaging] starts outside [limits]", "duty cycle of 0.1, above 0.05"]),
        ("imaging.light_mw=11", ["[imaging] starts outside [limits]", "light_mw 11"]),
        # classes and features that no one measures
        ("policy.trigger.class_name=mitotik", ["policy.trigger: 'mitotik' is not a class", "mitotic, interphase"]),
        ("policy.pace.signal=class:apoptotic", ["policy.pace: 'apoptotic' is not a class of this run"]),
        ("policy.pace.signal=feature:area", ["policy.pace: 'area' is not measured", "area_um2, mean_intensity"]),
        # policies' names
        ("policy.follow.name=pace", ['policy[1]: "pace" is another policy already', "give this one a name"]),
        ("policy.follow.name=my policy", ["policy[0].name must be one word", '"my policy"']),
        ("policy.follow.name=3", ["policy[0].name must be one word", "not 3"]),
        *((f"policy.follow.name={name}", [f'policy[0].name must not be "{name}"']) for name in RESERVED),
        # --set itself
        ("imaging.interval_ms", ["--set imaging.interval_ms: write section.key=value"]),
        ("imaging=3", ["--set imaging=3: write section.key=value"]),
        ("policy.follow=3", ["policy.name.key=value"]),
        ("=3", ["write section.key=value"]),
        ("policy.folow.step_um=3", ["no policy is called folow (did you mean follow?)", "follow, pace, trigger"]),
        ("imaging.interval_ms.x=3", ["interval_ms is a value, not a section"]),
    ],
)
def test_what_is_wrong_is_named_with_what_is_allowed(tiny: Path, override: str, words: list[str]) -> None:
    said = refusal(tiny, override)
    for part in words:
        assert part in said


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({'[rig]\nname = "tiny"': ""}, "the section [rig] is missing"),
        ({'use = "simulated"': ""}, 'microscope needs use = "name": one of simulated, flow_cell, replayed, '),
        ({"x_um = [-90.0, 90.0]\n": ""}, "limits.x_um is missing and has no default"),
        ({"fast_interval_ms = 50.0\n": ""}, "policy.pace.fast_interval_ms is missing and has no default"),
        (
            {"[imaging]\ninterval_ms = 100.0\n": "", '[rig]\nname = "tiny"': 'imaging = 3\n[rig]\nname = "tiny"'},
            "imaging must be a section, written [imaging] on a line of its own, not 3",
        ),
        ({"[rig]": "x = [\n[rig]"}, "is not TOML"),
        ({'use = "follow"': 'name = "pace"'}, 'policy.pace needs use = "name"'),
        ({'use = "ranges"\n': ""}, "classifier needs use"),
    ],
)
def test_what_is_missing_or_malformed_is_named(tmp_path: Path, changes: dict[str, str], words: str) -> None:
    assert words in refusal(write_tiny(tmp_path, changes))


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    assert "there is no config file" in refusal(tmp_path / "none.toml")
    assert "cannot be read" in refusal(tmp_path)
    (tmp_path / "utf16.toml").write_text("[rig]", "utf-16")
    assert "is not text in UTF-8" in refusal(tmp_path / "utf16.toml")


def test_one_policy_in_single_brackets_is_explained(tmp_path: Path) -> None:
    path = tmp_path / "single.toml"
    path.write_text(TINY.partition("[[policy]]")[0] + '[policy]\nuse = "follow"\n', "utf-8")
    assert "policies are written [[policy]]" in refusal(path)
    assert "no policy is called follow" in refusal(path, "policy.follow.step_um=3")


# --- what is accepted -----------------------------------------------------------------------------------------


def test_overrides_reach_every_section(tiny: Path) -> None:
    config = load_config(
        tiny,
        [
            "imaging.interval_ms=200",
            "rig.name=my rig",
            "limits.dose_mj=inf",
            "segmenter.min_area_px=50",
            'perception.features=["eccentricity"]',
            "policy.follow.deadband_um=4",
            "policy.pace.name=tempo",
            "policy.tempo.dwell_s=7",
        ],
    )
    assert (config.imaging.interval_ms, config.rig.name, config.limits.dose_mj) == (200.0, "my rig", math.inf)
    assert config.segmenter.resolved()["min_area_px"] == 50
    assert config.perception.features == ("eccentricity",)
    assert list(config.policies) == ["follow", "tempo", "trigger"]
    assert config.policies["follow"].build().deadband_um == 4.0
    assert config.policies["tempo"].build().dwell_s == 7.0


def test_a_later_override_wins_and_the_file_stays(tiny: Path) -> None:
    before = tiny.read_text("utf-8")
    assert load_config(tiny, ["imaging.interval_ms=60", "imaging.interval_ms=70"]).imaging.interval_ms == 70.0
    assert tiny.read_text("utf-8") == before


def test_the_same_part_twice_under_two_names(tmp_path: Path) -> None:
    trigger = 'use = "trigger"\nclass_name = "mitotic"\ndelay_ms = 60.0\n'
    path = write_tiny(tmp_path, {trigger: 'use = "follow"\nname = "second"\n'})
    config = load_config(path, ["policy.second.choose=brightest"])
    assert [plugin.use for plugin in config.policies.values()] == ["follow", "pace", "follow"]
    assert config.policies["follow"].build().choose == "nearest"
    assert config.policies["second"].build().choose == "brightest"


def test_paths_are_relative_to_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "rigs"
    folder.mkdir()
    simulated = TINY[TINY.index('use = "simulated"') : TINY.index("[imaging]")]
    path = write_tiny(folder, {simulated: 'use = "replayed"\npath = "../movies/a.tif"\n'})
    monkeypatch.chdir(tmp_path)
    assert load_config("rigs/tiny.toml").microscope.settings["path"] == str(tmp_path / "movies" / "a.tif")
    absolute = tmp_path / "b.tif"
    assert load_config(path, [f"microscope.path='{absolute}'"]).microscope.settings["path"] == str(absolute)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    assert load_config(path, ["microscope.path=~/c.tif"]).microscope.settings["path"] == str(tmp_path / "c.tif")


# --- classes of the user's ------------------------------------------------------------------------------------


def test_a_class_of_the_users_is_loaded_from_where_the_command_is_started(tiny: Path, own_module: str) -> None:
    _without_trigger_settings(tiny)
    config = load_config(tiny, [f"policy.trigger.use={own_module}:Chase"])
    assert list(config.policies) == ["follow", "pace", "chase"]
    assert config.policies["chase"].resolved() == {
        "use": f"{own_module}:Chase",
        "speed": 1.5,
        "priority": 0.0,
        "shadow": False,
    }


def _without_trigger_settings(path: Path) -> None:
    path.write_text(path.read_text("utf-8").replace('class_name = "mitotic"\ndelay_ms = 60.0\n', ""), "utf-8")


@pytest.mark.parametrize(
    ("use", "words"),
    [
        ("{}:Chas", "has no class Chas"),
        ("{}:Bare", "Bare must be a dataclass"),
        ("no_such_module_here:Chase", "cannot import no_such_module_here"),
        ("own/policies.py:Chase", "is not built in"),
        (":Chase", "is not built in"),
        ("{}:", "is not built in"),
        ("{}:Asks", "policy.asks: 'roundness' is not measured"),
    ],
)
def test_a_class_that_cannot_be_used_is_explained(tiny: Path, own_module: str, use: str, words: str) -> None:
    _without_trigger_settings(tiny)
    assert words in refusal(tiny, f"policy.trigger.use={use.format(own_module)}")


def test_a_module_that_is_no_python_is_explained(tiny: Path, own_module: str, tmp_path: Path) -> None:
    _without_trigger_settings(tiny)
    (tmp_path / "torn_policies_of_a_test.py").write_text("class Chase(:\n", "utf-8")
    assert "torn_policies_of_a_test.py, line 1" in refusal(tiny, "policy.trigger.use=torn_policies_of_a_test:Chase")


def test_a_policy_that_fails_on_an_empty_frame_is_left_to_the_run(tiny: Path, own_module: str) -> None:
    _without_trigger_settings(tiny)
    assert "touchy" in load_config(tiny, [f"policy.trigger.use={own_module}:Touchy"]).policies


def test_no_folder_of_the_users_comes_before_our_packages(tiny: Path, own_module: str) -> None:
    _without_trigger_settings(tiny)
    load_config(tiny, [f"policy.trigger.use={own_module}:Chase"])
    assert sys.path[-1] == os.getcwd()


# --- written out and loaded again -----------------------------------------------------------------------------


def same(left: RunConfig, right: RunConfig) -> bool:
    """Equal with every default written out."""
    return bool(resolved(left) == resolved(right))


@pytest.mark.parametrize(
    "overrides",
    [
        [],
        ["limits.dose_mj=inf", "limits.z_um=[-inf, inf]", "policy.pace.high=-inf", "policy.pace.low=-inf"],
        ['policy.trigger.class_name=""', "policy.trigger.feature=area_um2", "policy.trigger.feature_min=40"],
        ['rig.name="µ „quoted\\" \\\\ name"', "policy.pace.fast_exposure_ms=2", "policy.pace.slow_exposure_ms=4"],
        ["segmenter.threshold=-3.5", 'policy.pace.events=["lost"]', "policy.pace.name=p_1-a"],
    ],
)
def test_session_toml_holds_the_whole_config(tiny: Path, overrides: list[str], tmp_path: Path) -> None:
    config = load_config(tiny, overrides)
    again = config_from(tomllib.loads(session_toml("run", config))["config"], tmp_path / "elsewhere")
    assert same(again, config)


@pytest.mark.parametrize("overrides", [[], ["limits.dose_mj=inf", 'rig.name="a \\"b\\" µ"', "segmenter.threshold=7"]])
def test_what_check_prints_can_be_loaded(tiny: Path, tmp_path: Path, overrides: list[str]) -> None:
    config = load_config(tiny, overrides)
    written = tmp_path / "written.toml"
    written.write_text(marked_config(config, read_tables(tiny, overrides)), "utf-8")
    assert same(load_config(written), config)


def test_defaults_are_marked_and_only_those(tiny: Path) -> None:
    overrides = ["imaging.exposure_ms=10", "segmenter.min_area_px=30"]
    text = marked_config(load_config(tiny, overrides), read_tables(tiny, overrides))
    lines = [line for line in text.splitlines() if "=" in line]
    marked = {line.split(" = ")[0].strip() for line in lines if line.endswith("# default")}
    unmarked = [line for line in lines if "# default" not in line]
    assert {"light_mw", "smoothing_px", "in_flight", "softness", "once_per_track", "sessions"} <= marked
    assert "exposure_ms = 10.0" in unmarked  # [imaging]; as asked for, although it is also the default
    assert "min_area_px = 30" in unmarked
    assert "# threshold =                            # default: not set" in text
    n_given = sum(len(table) for table in _tables(read_tables(tiny, overrides)))
    assert len(unmarked) == n_given


def _tables(raw: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for value in raw.values():
        yield from value if isinstance(value, list) else [value]


def test_every_process_builds_its_own_parts(tiny: Path) -> None:
    config = load_config(tiny)
    first, second = (Inference.from_config(config, SimulatedClock()) for _ in range(2))
    assert first.tracker is not second.tracker
    assert first.policies["follow"].policy is not second.policies["follow"].policy


def test_a_config_is_only_data(tiny: Path) -> None:
    """It travels as text to other processes: nothing in it may be anything else."""
    msgspec.json.encode(resolved(load_config(tiny)))


# --- a policy's part in the run ---------------------------------------------------------------------------------


def test_priority_and_shadow_belong_to_the_table_not_to_the_policy(tiny: Path) -> None:
    config = load_config(tiny, ["policy.pace.priority=2", "policy.trigger.shadow=true"])
    parts = {name: (plugin.priority, plugin.shadow) for name, plugin in config.policies.items()}
    assert parts == {"follow": (0.0, False), "pace": (2.0, False), "trigger": (0.0, True)}
    assert list(config.policies) == ["follow", "pace", "trigger"], "the file's order stays"
    again = config_from(tomllib.loads(session_toml("run", config))["config"], Path("elsewhere"))
    assert {name: (plugin.priority, plugin.shadow) for name, plugin in again.policies.items()} == parts


def test_check_shows_priority_and_shadow(tiny: Path) -> None:
    overrides = ["policy.pace.shadow=true"]
    text = marked_config(load_config(tiny, overrides), read_tables(tiny, overrides))
    assert "\nshadow = true\n" in text
    assert len(re.findall(r"^priority = 0\.0 +# default$", text, re.MULTILINE)) == 3


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("policy.pace.priority=high", 'policy.pace.priority must be a number, not "high"'),
        ("policy.pace.shadow=1", "policy.pace.shadow must be true or false, not 1"),
        ("policy.pace.priority=nan", "policy[1].priority must be a finite number"),
        ("camera.e_per_count=0", "camera.e_per_count must be a number > 0, not 0"),
        ("camera.offset=100", "camera.offset is not a setting"),
    ],
)
def test_what_is_wrong_with_a_part_is_said(tiny: Path, override: str, words: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(words)):
        load_config(tiny, [override])


def test_a_run_begins_in_the_channel_in_which_cells_are_found(tiny: Path) -> None:
    assert load_config(tiny, ["perception.channel=nuclei", "imaging.channel=nuclei"]).perception.channel == "nuclei"
    with pytest.raises(ConfigError, match="start in that one"):
        load_config(tiny, ["perception.channel=nuclei", "imaging.channel=cytoplasm"])


def test_a_light_budget_must_allow_a_frame(tiny: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"one frame as in \[imaging\] costs .* mJ, more than limits.dose_mj 1e-05 allows"
    ):
        load_config(tiny, ["limits.dose_mj=1e-5"])


def test_policies_ask_for_what_is_measured(tiny: Path) -> None:
    table = {"use": "exposure", "target": 9.0, "least": 1.0, "most": 9.0}
    tiny.write_text(
        tiny.read_text("utf-8") + "\n[[policy]]\n" + "\n".join(f"{k} = {v!r}" for k, v in table.items()), "utf-8"
    )
    with pytest.raises(ConfigError, match="policy.exposure: 'snr' is not measured"):
        load_config(tiny)
    assert load_config(tiny, ['perception.features=["snr"]']).perception.features == ("snr",)
    with pytest.raises(ConfigError, match="policy.follow: 'sharpness' is not measured"):
        load_config(tiny, ['perception.features=["snr"]', "policy.follow.focus_every_s=60"])
