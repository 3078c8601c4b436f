"""What policies may ask about: a run's classes and features. A name that does not exist is found before the run starts."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from acquisition.frame import FrameHeader, StagePosition
from models.cells import ONE_CLASS, Cells, UnknownName
from models.sightings import ALWAYS
from models.strip_settings import FEATURES
from realtime.explain import did_you_mean
from realtime.plugins import ConfigError, Plugin
from realtime.policy import Policy, Scene
from realtime.sort.settings import SortGate
from tracking.tracks import no_tracks

SORT_FEATURES = (*ALWAYS, *FEATURES)
"""What a sort measures of every cell."""


def measured_features(asked: tuple[str, ...], classifier: Any) -> tuple[str, ...]:
    """Features that a run measures: those in the config, then what else its classifier needs."""
    return tuple(dict.fromkeys((*asked, *(classifier.needs if classifier else ()))))


def check_vocabulary(asked: tuple[str, ...], classifier: Plugin | None, policies: Mapping[str, Plugin]) -> None:
    """Ask every policy once about a frame without cells. Raises ConfigError if it names what is not there."""
    from models.measure import check_features  # compiled code, which only the processes that measure should load

    built = classifier.build() if classifier else None
    try:
        check_features(asked)
    except ValueError as error:
        raise ConfigError(f"perception.features: {error}") from error
    scene = empty_scene(built.class_names if built else ONE_CLASS, measured_features(asked, built))
    for name, plugin in policies.items():
        _ask(name, plugin.build(), scene)


def check_gate(gate: SortGate, classifier: Plugin | None) -> None:
    """Classes and features of a sort's gate must be those that are classified and measured. Raises ConfigError."""
    assert classifier is not None
    names = classifier.build().class_names
    known = ", ".join(names)
    for name in gate.classes:
        if name not in names:
            raise ConfigError(
                f'sort.gate.classes: no class is called "{name}"{did_you_mean(name, names)}; there are {known}'
            )
    if gate.shares and set(gate.shares) != set(names):
        raise ConfigError(
            f"sort.gate.shares names {', '.join(gate.shares)}; give one share to every class, or leave shares out: "
            f"the classes are {known}"
        )
    if set(names) <= set(gate.classes):
        raise ConfigError("sort.gate.classes names all classes: then nothing is left to be told from; leave some out")
    for name in gate.where:
        if name not in SORT_FEATURES:
            raise ConfigError(
                f'sort.gate.where: "{name}" is not measured{did_you_mean(name, SORT_FEATURES)}; there are '
                f"{', '.join(SORT_FEATURES)}"
            )


def _ask(name: str, policy: Policy, scene: Scene) -> None:
    try:
        list(policy.decide(scene))
    except UnknownName as error:
        raise ConfigError(f"policy.{name}: {error.args[0]}; correct the name, or add it to the config") from error
    except Exception:  # a policy of the user's may fail in its own ways: in the run, where the journal says so
        return


def empty_scene(class_names: tuple[str, ...], feature_names: tuple[str, ...]) -> Scene:
    """A frame of one pixel without cells and tracks."""
    frame = FrameHeader(
        index=0, t_ns=0, t_read_ns=0, height_px=1, width_px=1, dtype="uint16", channel="", exposure_ms=1.0,
        interval_ms=1.0, light_mw=0.0, stage=StagePosition(), stage_from_pixel=(1.0, 0.0, 0.0, 0.0, 1.0, 0.0),
        um_per_px=1.0,
    )  # fmt: skip
    none, places = np.empty(0), np.empty((0, 2))
    cells = Cells(
        frame_index=0, t_ns=0, label=np.empty(0, np.int32), xy_um=places, xy_px=places, area_um2=none,
        bbox_px=np.empty((0, 4), np.int32), mean_intensity=none,
        features=np.empty((0, len(feature_names))), feature_names=feature_names,
        p_class=np.empty((0, len(class_names))), class_names=class_names,
    )  # fmt: skip
    return Scene(frame, cells, no_tracks(0, 0, class_names))
