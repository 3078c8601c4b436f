"""What any run of training steps needs: the protocol of a run, its progress, rate, average and groups of weights."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, Protocol

import cv2
import msgspec
import numpy as np
import torch
from torch import Tensor, nn

MAX_GRADIENT = 2.0
"""Longer gradients are shortened to this: one odd batch cannot throw the weights away."""


class Progress(msgspec.Struct, frozen=True):
    """Told after every step."""

    step: int
    loss: float
    rate: float


Told = Callable[[Progress], None]


class Schedule(Protocol):
    """The part of a run's settings that says how long and how fast."""

    @property
    def steps(self) -> int: ...
    @property
    def rate(self) -> float: ...
    @property
    def warm_up_steps(self) -> int: ...


class RunSettings(Schedule, Protocol):
    """What else any run of steps is told."""

    @property
    def weight_decay(self) -> float: ...
    @property
    def average(self) -> float: ...
    @property
    def seed(self) -> int: ...


class Trainable(Protocol):
    """A training run that can stop after any step and go on as if nothing had happened."""

    step: int
    """Steps done."""
    averaged: nn.Module
    """The network that is validated and exported: a moving average of the one that learns."""

    @property
    def settings(self) -> Schedule: ...

    def run(self, until: int, told: Told = ...) -> None:
        """Steps up to number `until`, at most to the end of the schedule."""

    def state(self) -> dict[str, Any]:
        """All that the next step depends on, as `torch.save` and `torch.load(weights_only=True)` can hold it."""

    def restore(self, state: dict[str, Any]) -> None:
        """Go on where `state()` was taken."""


class Training(ABC):
    """A run that can stop anywhere and go on; a kind of network adds what one step costs."""

    def __init__(self, settings: RunSettings, make: Callable[[], nn.Module]) -> None:
        torch.manual_seed(settings.seed)
        self._run_settings = settings
        self.rng = np.random.default_rng(settings.seed)
        self.network, self.averaged = in_channels_last(make()), in_channels_last(make())
        self.averaged.load_state_dict(self.network.state_dict())
        self.optimiser = torch.optim.AdamW(decaying_groups(self.network, settings.weight_decay), lr=settings.rate)
        self.step = 0
        self._bfloat16 = computes_bfloat16()

    @abstractmethod
    def loss(self) -> Tensor:
        """What the network's answers to the next batch cost, a scalar."""

    def run(self, until: int, told: Told = lambda progress: None) -> None:
        """Steps up to number `until`, at most to the end of the schedule."""
        settings = self._run_settings
        self.network.train()
        while self.step < min(until, settings.steps):
            self.step += 1
            rate = learning_rate(self.step, settings)
            loss = descend(self.network, self.optimiser, self.loss(), rate)
            follow(self.averaged, self.network, settings.average, self.step)
            told(Progress(self.step, loss, rate))

    def state(self) -> dict[str, Any]:
        """All that the next step depends on."""
        return {
            "step": self.step,
            "network": self.network.state_dict(),
            "averaged": self.averaged.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "rng": self.rng.bit_generator.state,
            "torch_rng": torch.get_rng_state(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on where `state()` was taken."""
        self.step = state["step"]
        self.network.load_state_dict(state["network"])
        self.averaged.load_state_dict(state["averaged"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.rng.bit_generator.state = state["rng"]
        torch.set_rng_state(state["torch_rng"])  # which features dropout hides


def learning_rate(step: int, schedule: Schedule) -> float:
    """A linear rise, then half a cosine down to a hundredth."""
    if step <= schedule.warm_up_steps:
        return schedule.rate * step / schedule.warm_up_steps
    done = (step - schedule.warm_up_steps) / max(1, schedule.steps - schedule.warm_up_steps)
    return schedule.rate * (0.01 + 0.99 * (1 + math.cos(math.pi * done)) / 2)


def descend(network: nn.Module, optimiser: torch.optim.Optimizer, loss: Tensor, rate: float) -> float:
    """One step of the network against the gradient of `loss`; the value of the loss."""
    for group in optimiser.param_groups:
        group["lr"] = rate
    optimiser.zero_grad(set_to_none=True)
    torch.autograd.backward(loss)
    nn.utils.clip_grad_norm_(network.parameters(), MAX_GRADIENT)
    optimiser.step()
    return float(loss.detach())


@torch.no_grad()
def follow(averaged: nn.Module, network: nn.Module, average: float, step: int) -> None:
    """Move the averaged weights and statistics a little towards the network's; faster in the first steps."""
    keep = min(average, (1 + step) / (10 + step))
    for slow, fast in zip(averaged.state_dict().values(), network.state_dict().values(), strict=True):
        if slow.is_floating_point():
            slow.lerp_(fast, 1 - keep)
        else:
            slow.copy_(fast)


def decaying_groups(network: nn.Module, decay: float) -> list[dict[str, Any]]:
    """Kernels shrink by weight decay; offsets and normalisation gains do not."""
    kernels = [p for p in network.parameters() if p.ndim > 1]
    others = [p for p in network.parameters() if p.ndim <= 1]
    return [{"params": kernels, "weight_decay": decay}, {"params": others, "weight_decay": 0.0}]


def in_channels_last(network: nn.Module) -> nn.Module:
    """The same network with its kernels laid out for one CPU thread: about twice the speed in bfloat16."""
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return network


def use_threads(n: int) -> None:
    """Of the processor, for torch and OpenCV alike."""
    torch.set_num_threads(n)
    cv2.setNumThreads(n)


def computes_bfloat16() -> bool:
    """Does this processor multiply bfloat16 natively? Elsewhere it would be emulated, slower than float32."""
    able = torch.cpu.get_capabilities()
    return bool(able.get("avx512_bf16") or able.get("amx_bf16"))
