"""Runs: they learn, stop early, keep the best weights, and end alike whether or not they were interrupted."""

from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from drawn_cells import drawn

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402

from acquisition.clock import SimulatedClock  # noqa: E402
from models.networks.unet import UNet, UNetSettings  # noqa: E402
from models.normalise import LevelRules  # noqa: E402
from models.training.images import Example, Prepared, prepared  # noqa: E402
from models.training.recipe import ValidationSettings  # noqa: E402
from models.training.run import CheckpointError, Run, Validation, read_record  # noqa: E402
from models.training.segmenter import SegmenterSettings, SegmenterTraining  # noqa: E402
from models.training.steps import Progress, learning_rate  # noqa: E402

TINY = SegmenterSettings(network=UNetSettings(widths=(4, 8)), steps=8, batch=2, crop_px=32, warm_up_steps=2)


class Spectator:
    """Remembers everything; asks to stop after some steps."""

    def __init__(self, stop_after: int = -1) -> None:
        self.progress: list[Progress] = []
        self.validations: list[Validation] = []
        self.stop_after = stop_after

    def begin(self, title: str, n_steps: int) -> None: ...
    def stepped(self, progress: Progress) -> None:
        self.progress.append(progress)

    def validated(self, validation: Validation) -> None:
        self.validations.append(validation)

    def finishing(self) -> None: ...

    def stop(self) -> bool:
        return len(self.progress) == self.stop_after


@pytest.fixture(scope="module")
def images() -> list[Prepared]:
    return [prepared(Example("discs", f"{seed}.png", *drawn(seed)), LevelRules()) for seed in range(3)]


@pytest.fixture
def new_run(images: list[Prepared]) -> Callable[..., Run]:
    def make(
        settings: SegmenterSettings = TINY, scores: list[float] | None = None, patience: int = 0, identity: str = "a"
    ) -> Run:
        def validate(network: nn.Module) -> float:
            return scores.pop(0) if scores else sum(float(p.detach().abs().sum()) for p in network.parameters())

        training = SegmenterTraining(settings, images)
        return Run(training, validate, ValidationSettings(every=2, patience=patience), identity)

    return make


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_the_rate_rises_then_falls() -> None:
    settings = msgspec.structs.replace(TINY, steps=60, warm_up_steps=5)
    rates = [learning_rate(step, settings) for step in range(1, 61)]
    assert rates[4] == max(rates) == settings.rate
    assert rates[-1] == pytest.approx(settings.rate / 100)
    assert rates[:5] == sorted(rates[:5])
    assert rates[4:] == sorted(rates[4:], reverse=True)


@pytest.mark.parametrize("methods", [("deep_watershed",), ("pixel_classes",), ("deep_watershed", "pixel_classes")])
def test_a_short_run_learns(images: list[Prepared], methods: tuple[str, ...]) -> None:
    network = UNetSettings(widths=(4, 8), methods=methods)
    settings = msgspec.structs.replace(TINY, network=network, steps=60, rate=0.02)
    losses: list[float] = []
    SegmenterTraining(settings, images).run(60, lambda progress: losses.append(progress.loss))
    assert sum(losses[-10:]) < 0.7 * sum(losses[:10])


def test_a_teacher_alone_teaches(images: list[Prepared]) -> None:
    teacher = SegmenterTraining(msgspec.structs.replace(TINY, steps=60, rate=0.02), images)
    teacher.run(60)
    cost = msgspec.structs.replace(TINY.loss, teacher=1.0)
    settings = msgspec.structs.replace(TINY, loss=cost, steps=60, rate=0.02, seed=9)
    blank = [without_labels(image) for image in images]
    assert isinstance(teacher.network, UNet)
    student = SegmenterTraining(settings, blank, teacher.network.eval())
    losses: list[float] = []
    student.run(60, lambda progress: losses.append(progress.loss))
    assert sum(losses[-10:]) < 0.7 * sum(losses[:10])


def without_labels(image: Prepared) -> Prepared:
    """The image without its labels."""
    return Prepared(image.image, image.labels * 0, image.distance * 0)


def test_an_interrupted_run_ends_like_an_uninterrupted_one(new_run: Callable[..., Run], tmp_path: Path) -> None:
    whole = new_run()
    assert whole.go(Spectator(), SimulatedClock(), tmp_path / "whole.pt") == "complete"
    for steps in (3, 2):
        part = new_run()
        if steps == 2:
            part.resume(tmp_path / "part.pt")
        assert part.go(Spectator(stop_after=steps), SimulatedClock(), tmp_path / "part.pt") == "interrupted"
    last = new_run()
    last.resume(tmp_path / "part.pt")
    assert last.training.step == 5
    assert last.go(Spectator(), SimulatedClock(), tmp_path / "part.pt") == "complete"
    assert last.record.history == whole.record.history
    assert same(last.record.best, whole.record.best)
    assert same(last.training.averaged.state_dict(), whole.training.averaged.state_dict())


def test_a_run_ends_when_it_gets_no_better_and_keeps_its_best(new_run: Callable[..., Run], tmp_path: Path) -> None:
    run, watch = new_run(scores=[0.5, 0.4, 0.5, 0.6], patience=2), Spectator()
    assert run.go(watch, SimulatedClock(), tmp_path / "run.pt") == "no longer better"
    assert [each.step for each in watch.validations] == [2, 4, 6]
    assert run.record.best_validation.step == 2
    assert not same(run.record.best, run.training.averaged.state_dict())
    again = new_run(patience=2)
    again.resume(tmp_path / "run.pt")
    assert again.go(Spectator(), SimulatedClock(), tmp_path / "run.pt") == "no longer better"
    assert same(again.record.best, run.record.best)


def test_validations_tell_the_mean_loss_since_the_last(new_run: Callable[..., Run], tmp_path: Path) -> None:
    watch = Spectator()
    new_run().go(watch, SimulatedClock(), tmp_path / "run.pt")
    losses = [each.loss for each in watch.progress]
    means = [(a + b) / 2 for a, b in zip(losses[::2], losses[1::2], strict=True)]
    assert [each.loss for each in watch.validations] == pytest.approx(means)


def test_a_checkpoint_is_complete_or_the_one_before(
    new_run: Callable[..., Run], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = new_run()
    run.go(Spectator(stop_after=2), SimulatedClock(), tmp_path / "run.pt")
    before = (tmp_path / "run.pt").read_bytes()

    def full_disk(state: object, file: object) -> None:
        file.write(b"half of it")  # type: ignore[attr-defined]
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full_disk)
    with pytest.raises(OSError, match="No space left"):
        run.save(tmp_path / "run.pt")
    assert (tmp_path / "run.pt").read_bytes() == before


def test_checkpoints_of_other_runs_and_broken_ones_are_refused(new_run: Callable[..., Run], tmp_path: Path) -> None:
    run = new_run(identity="rate = 1\nseed = 1")
    run.save(tmp_path / "run.pt")
    with pytest.raises(CheckpointError, match="it had seed = 1, now it is seed = 2"):
        new_run(identity="rate = 1\nseed = 2").resume(tmp_path / "run.pt")
    with pytest.raises(CheckpointError, match="does not exist"):
        run.resume(tmp_path / "other.pt")
    (tmp_path / "half.pt").write_bytes((tmp_path / "run.pt").read_bytes()[:500])
    with pytest.raises(CheckpointError, match="is damaged"):
        read_record(tmp_path / "half.pt")
    content = (tmp_path / "run.pt").read_bytes()
    for begin in (40, len(content) // 3, len(content) // 2):  # names and types; numbers of tensors
        holed = content[:begin] + bytes(byte ^ 1 for byte in content[begin : begin + 400]) + content[begin + 400 :]
        (tmp_path / "holed.pt").write_bytes(holed)
        with pytest.raises(CheckpointError, match="is damaged"):
            read_record(tmp_path / "holed.pt")
    torch.save({"step": 1}, tmp_path / "stranger.pt")
    with pytest.raises(CheckpointError, match="not a checkpoint of this version"):
        read_record(tmp_path / "stranger.pt")
