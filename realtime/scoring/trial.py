"""One arm with one seed: a whole run inline on simulated time, watched beside the truth, and judged."""

from collections.abc import Iterable

import msgspec

from acquisition.clock import NS_PER_S, SimulatedClock
from acquisition.microscope import MicroscopeError
from acquisition.simulated.microscope import SimulatedMicroscope
from models.perception import Perception
from realtime.config import RunConfig
from realtime.inference import Analysis, perception_from
from realtime.inline import InlineRun
from realtime.policy_runner import PolicyRunner
from realtime.scoring.arms import Scenario, arm_config
from realtime.scoring.failure import PolicyFailed
from realtime.scoring.judge import Row, judged
from realtime.scoring.settings import Arm, PerceivedBy
from realtime.scoring.truth import simulated
from realtime.scoring.truth_perception import NoSegmenter, TruthClassifier, TruthSegmenter
from realtime.scoring.watching import Watch

_own: dict[bytes, Perception] = {}
"""Of this process: networks are slow to open, and perception remembers nothing from one run to the next."""


class Trial(msgspec.Struct, frozen=True):
    """What is to be run."""

    arm: Arm
    seed: int
    perceived_by: PerceivedBy = "own"
    light_mj: float | None = None


def row_of(scenario: Scenario, trial: Trial) -> Row:
    """Run it and judge it. Raises PolicyFailed as soon as a policy raises."""
    settings = scenario.settings
    config = arm_config(scenario, trial.arm, trial.seed, trial.light_mj, trial.perceived_by)
    microscope = simulated(config.microscope)
    clock = SimulatedClock()
    microscope.blank = not config.policies
    watch = Watch(microscope, settings, tracked=bool(config.policies))
    perception = _perception(config, microscope, trial.perceived_by)

    def see(analysis: Analysis) -> None:
        _require_no_failure(run.inference.policies.values())
        watch.see(analysis)
        if watch.is_over:
            run.loop.stop("the signal is lost")

    try:
        run = InlineRun(config, "score", microscope, clock, None, settings.duration_s, see, watch.hear, perception)
        end = run.image()
        if not end.ok:
            raise MicroscopeError(end.reason)
        view_um = (microscope.width_px * microscope.um_per_px, microscope.height_px * microscope.um_per_px)
        record = watch.record(clock, 0, round(settings.duration_s * NS_PER_S), view_um, run.loop.dose_mj)
    finally:
        microscope.close()
    return judged(trial.arm.name, trial.seed, record, settings, config.limits)


def _require_no_failure(policies: Iterable[PolicyRunner]) -> None:
    for policy in policies:
        if policy.first_failure:
            raise PolicyFailed(policy.first_failure)


def _perception(config: RunConfig, microscope: SimulatedMicroscope, perceived_by: PerceivedBy) -> Perception:
    """Nothing is looked at that no policy asks for; networks are loaded once a process."""
    if not config.policies:
        return Perception(NoSegmenter(), None, ())
    if perceived_by == "own":
        parts = (config.segmenter, config.classifier, config.perception, config.camera, config.inference.threads)
        key = msgspec.json.encode(parts)
        return _own.setdefault(key, _own.get(key) or perception_from(config))
    perception = perception_from(config)
    perception.segmenter = TruthSegmenter(microscope)
    perception.classifier = TruthClassifier(perception.segmenter)
    return perception
