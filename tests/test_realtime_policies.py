"""The built-in policies' settings: what is wrong is refused by name."""

import msgspec
import pytest

from realtime.policies.budget import Budget
from realtime.policies.burst import Burst
from realtime.policies.channel import Channel
from realtime.policies.exposure import Exposure
from realtime.policies.follow import Follow
from realtime.policies.pace import Pace
from realtime.policies.revisit import Revisit
from realtime.policies.trigger import Trigger


@pytest.mark.parametrize(
    ("kind", "table", "words"),
    [
        (Follow, {"choose": "class"}, "class_name"),
        (Follow, {"choose": "loudest"}, "choose"),
        (Follow, {"gain": 0}, "gain"),
        (Follow, {"gain": 1.5}, "gain"),
        (Follow, {"deadband_um": 0}, "deadband_um"),
        (Follow, {"gain": 0.2, "deadband_um": 2}, "arrived_um 0.5 must be below gain × deadband_um = 0.4"),
        (Pace, {"fast_interval_ms": 50}, "slow_interval_ms"),
        (Pace, {"fast_interval_ms": 50, "slow_interval_ms": 20}, "fast_interval_ms 50 must not be above"),
        (Pace, {"fast_interval_ms": 5, "slow_interval_ms": 20, "signal": "noise"}, "signal must be"),
        (Pace, {"fast_interval_ms": 5, "slow_interval_ms": 20, "signal": "class:"}, "signal must be"),
        (Pace, {"fast_interval_ms": 5, "slow_interval_ms": 20, "low": 2}, "low 2 must not be above high 1"),
        (Pace, {"fast_interval_ms": 5, "slow_interval_ms": 20, "fast_exposure_ms": 2}, "slow_exposure_ms"),
        (Pace, {"fast_interval_ms": 5, "slow_interval_ms": 20, "events": ["exploded"]}, "events"),
        (Trigger, {}, "class_name or feature"),
        (Trigger, {"class_name": "round", "feature": "area_um2"}, "class_name or feature"),
        (Trigger, {"feature": "area_um2"}, "feature_min"),
        (
            Trigger,
            {"feature": "area_um2", "feature_min": 2, "feature_max": 1},
            "feature_min 2 must not be above",
        ),
        (Trigger, {"class_name": "round", "looks": 6}, "looks 6 must not be above of 5"),
        (Trigger, {"class_name": "round", "delay_ms": 0}, "delay_ms"),
        (Follow, {"n_cells": 0}, "n_cells"),
        (Follow, {"focus_on": "stage"}, "focus_on"),
        (Pace, {"fast_interval_ms": 5, "slow_interval_ms": 20, "signal": "tracks:"}, "tracks:<name>"),
        (Burst, {"n_frames": 5, "interval_ms": 5}, "class_name, feature or events"),
        (Burst, {"class_name": "round", "interval_ms": 5}, "n_frames"),
        (Burst, {"events": ["exploded"], "n_frames": 5, "interval_ms": 5}, "events"),
        (Channel, {"class_name": "round", "channel": "red"}, "base"),
        (Channel, {"channel": "red", "base": "nuclei"}, "class_name or feature"),
        (Channel, {"class_name": "round", "channel": "red", "base": "red"}, "two channels"),
        (Exposure, {"target": 0, "least": 1, "most": 2}, "target"),
        (Exposure, {"target": 9, "least": 3, "most": 2}, "least 3 must not be above most 2"),
        (Exposure, {"target": 9, "least": 1, "most": 2, "gain": 1}, "gain"),
        (Exposure, {"target": 9, "least": 1, "most": 2, "setting": "interval_ms"}, "setting"),
        (Budget, {"mj": 9, "least": 1, "most": 2}, "duration_s"),
        (Budget, {"duration_s": 9, "least": 3, "most": 2}, "least 3 must not be above most 2"),
        (Revisit, {"class_name": "round"}, "positions_um or a grid"),
        (Revisit, {"class_name": "round", "columns": 2, "hot_share": 1}, "hot_share"),
        (Revisit, {"columns": 2}, "no place is ever hot"),
    ],
)
def test_wrong_settings_are_refused_by_name(kind: type, table: dict[str, object], words: str) -> None:
    with pytest.raises(msgspec.ValidationError) as refusal:
        msgspec.convert(table, kind)
    assert words in str(refusal.value)
