"""A training run from outside: validations, early stopping, checkpoints. It drives any Trainable."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, Protocol
from zipfile import BadZipFile, ZipFile

import msgspec
import torch
from torch import Tensor, nn

from acquisition.clock import NS_PER_S, Clock
from models.training.recipe import ValidationSettings
from models.training.steps import Progress, Trainable

SAVE_EVERY_S = 120.0
"""A crash or a power cut costs at most this, and one validation."""
FORMAT = 1
Weights = dict[str, Tensor]
End = Literal["complete", "no longer better", "interrupted"]


class CheckpointError(ValueError):
    """A checkpoint that cannot be gone on with: which, why, what to do."""


class Validation(msgspec.Struct, frozen=True):
    """One look at the validation data."""

    step: int
    loss: float
    """Mean of the training loss since the look before."""
    rate: float
    score: float
    """Higher is better."""


class Watch(Protocol):
    """Who looks on, and may end a run."""

    def begin(self, title: str, n_steps: int) -> None:
        """A training begins or goes on."""

    def stepped(self, progress: Progress) -> None: ...
    def validated(self, validation: Validation) -> None: ...
    def finishing(self) -> None:
        """The steps are over; what follows is short."""

    def stop(self) -> bool:
        """Asked after every step: True leaves a checkpoint and ends the run for now."""


class Record(msgspec.Struct):
    """What a run has found so far, beside the state of its training."""

    history: list[Validation] = []
    best: Weights = {}
    """Averaged weights of the best validation."""
    losses: list[float] = []
    """Of the steps since the last validation."""

    @property
    def best_validation(self) -> Validation:
        """The first of the highest score."""
        return max(self.history, key=lambda each: each.score)

    def n_since_best(self) -> int:
        """Validations since the best one."""
        return len(self.history) - 1 - self.history.index(self.best_validation) if self.history else 0


class Run:
    """One training run; `identity` says in lines what it is a run of: a checkpoint of another is refused."""

    def __init__(
        self, training: Trainable, validate: Callable[[nn.Module], float], settings: ValidationSettings, identity: str
    ) -> None:
        self.training = training
        self.validate = validate
        self.settings = settings
        self.identity = identity
        self.record = Record()

    def go(self, watch: Watch, clock: Clock, checkpoint: Path) -> End:
        """Train to the end, or until `watch` says stop; `checkpoint` then holds all that is needed to go on."""
        saved_ns = clock.now_ns()
        while not self._over():
            self.training.run(self.training.step + 1, lambda progress: self._stepped(progress, watch))
            stopped = watch.stop()
            if self._due() or stopped or clock.now_ns() - saved_ns > SAVE_EVERY_S * NS_PER_S:
                self.save(checkpoint)
                saved_ns = clock.now_ns()
            if stopped and not self._over():
                return "interrupted"
        return "complete" if self.training.step >= self.training.settings.steps else "no longer better"

    def save(self, path: Path) -> None:
        """Write a checkpoint; the old one stays until the new one is complete on disk."""
        record = self.record
        state = {
            "format": FORMAT, "identity": self.identity, "training": self.training.state(), "best": record.best,
            "history": msgspec.to_builtins(record.history), "losses": record.losses,
        }  # fmt: skip
        part = path.with_suffix(".part")
        with part.open("wb") as file:
            torch.save(state, file)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)

    def resume(self, path: Path) -> None:
        """Go on where a checkpoint was written. Raises CheckpointError."""
        state = read_state(path)
        if state["identity"] != self.identity:
            raise CheckpointError(
                f"{path} is of another run: {first_difference(state['identity'], self.identity)}. Give the same command, or "
                "another --out; --from takes the weights of a finished training along"
            )
        self.training.restore(state["training"])
        self.record = record_in(state)

    def _stepped(self, progress: Progress, watch: Watch) -> None:
        self.record.losses.append(progress.loss)
        watch.stepped(progress)
        if self._due():
            self._validate(progress.rate, watch)

    def _validate(self, rate: float, watch: Watch) -> None:
        record, averaged = self.record, self.training.averaged
        loss = sum(record.losses) / len(record.losses)
        record.losses = []
        record.history.append(Validation(self.training.step, loss, rate, self.validate(averaged)))
        if record.n_since_best() == 0:
            record.best = {name: each.clone() for name, each in averaged.state_dict().items()}
        watch.validated(record.history[-1])

    def _due(self) -> bool:
        """Is this a step after which is validated?"""
        step = self.training.step
        return step % self.settings.every == 0 or step == self.training.settings.steps

    def _over(self) -> bool:
        patience = self.settings.patience
        tired = patience > 0 and self.record.n_since_best() >= patience
        return tired or self.training.step >= self.training.settings.steps


def read_record(path: Path) -> Record:
    """What a checkpoint says of its run so far. Raises CheckpointError."""
    return record_in(read_state(path))


def read_state(path: Path) -> dict[str, Any]:
    """A checkpoint as it was saved. Raises CheckpointError."""
    if not path.is_file():
        raise CheckpointError(f"{path} does not exist: there is nothing to go on with. Leave out --resume to begin")
    if not _is_whole(path):
        raise CheckpointError(f"{path} is damaged or is not a checkpoint: start again in another folder")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except RuntimeError as error:  # torch's word for a file that is damaged inside
        raise CheckpointError(f"{path} is damaged: start again in another folder") from error
    if not isinstance(state, dict) or state.get("format") != FORMAT:
        raise CheckpointError(f"{path} is not a checkpoint of this version: start again in another folder")
    return state


def _is_whole(path: Path) -> bool:
    """Is every byte of the archive, which is what torch writes, as its checksums say?"""
    try:
        with ZipFile(path) as archive:
            return archive.testzip() is None
    except BadZipFile:
        return False


def record_in(state: dict[str, Any]) -> Record:
    """The record in a checkpoint."""
    return Record(msgspec.convert(state["history"], list[Validation]), state["best"], state["losses"])


def first_difference(before: str, now: str) -> str:
    """The first line that two texts do not share, for people."""
    for old, new in zip(before.splitlines(), now.splitlines(), strict=False):
        if old != new:
            return f"it had {old.strip()}, now it is {new.strip()}"
    return "one of the two has more settings"
