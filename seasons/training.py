"""One training loop for the embedded models: fixed steps, a seed for each step, checkpoints that resume exactly.

Every random draw of a step comes from (seed, step), never from a running generator, so a run that was killed and
resumed ends with the same bits as one that was not (on one machine, with one number of threads).
"""

import copy
import logging
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Schedule:
    """Learning rate: linear warm-up, constant, then linear decay over the last `decay` steps."""

    steps: int
    peak: float
    warmup: int
    decay: int

    def at(self, step: int) -> float:
        rise = min(1.0, (step + 1) / self.warmup)
        fall = min(1.0, (self.steps - step) / self.decay)
        return self.peak * rise * fall


@dataclass(frozen=True, slots=True)
class Draws:
    """The random sources of one step."""

    numpy: np.random.Generator
    torch: torch.Generator

    @classmethod
    def at(cls, seed: int, step: int) -> "Draws":
        words = np.random.SeedSequence((seed, step)).generate_state(2)
        return cls(np.random.default_rng(int(words[0])), torch.Generator().manual_seed(int(words[1])))

    def normal(self, *shape: int) -> Tensor:
        return torch.randn(*shape, generator=self.torch)


def fit(
    model: nn.Module,
    loss_at: Callable[[int], Tensor],
    schedule: Schedule,
    checkpoint: Path,
    *,
    betas: tuple[float, float] = (0.9, 0.98),
    weight_decay: float = 0.01,
    ema: float | None = None,
    save_every: int = 250,
    log_every: int = 100,
) -> nn.Module:
    """Train `model` in place and return the weights to ship: their moving average if `ema` is its decay, else `model`.

    `loss_at(step)` returns a scalar. The checkpoint is read if it exists, written (by rename) every `save_every`
    steps, and left in place for the caller to delete.
    """
    trained = [p for p in model.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(
        [
            {"params": [p for p in trained if p.ndim >= 2], "weight_decay": weight_decay},
            {"params": [p for p in trained if p.ndim < 2], "weight_decay": 0.0},
        ],
        lr=schedule.peak,
        betas=betas,
        fused=True,
    )
    average = copy.deepcopy(model) if ema else model
    start = 0
    if checkpoint.exists():
        state = torch.load(checkpoint, weights_only=True)
        model.load_state_dict(state["model"])
        average.load_state_dict(state["average"])
        optimiser.load_state_dict(state["optimiser"])
        start = state["step"]
        log.info("resuming at step %d", start)
    kept = list(average.parameters())
    begun, recent = time.time(), 0.0
    for step in range(start, schedule.steps):
        for group in optimiser.param_groups:
            group["lr"] = schedule.at(step)
        loss = loss_at(step)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimiser.step()
        if ema:
            with torch.no_grad():
                # A young average follows closely, so that it does not remember the random start.
                decay = min(ema, (1 + step) / (20 + step))
                torch._foreach_lerp_(kept, list(model.parameters()), 1 - decay)
        recent += loss.item()
        done = step + 1
        if done % log_every == 0:
            rate = (done - start) / (time.time() - begun)
            log.info("step %d/%d  loss %.4f  %.2f steps/s", done, schedule.steps, recent / log_every, rate)
            recent = 0.0
        if done % save_every == 0 or done == schedule.steps:
            save_checkpoint(checkpoint, model, average, optimiser, done)
    return average.eval()


def save_checkpoint(
    path: Path, model: nn.Module, average: nn.Module, optimiser: torch.optim.Optimizer, step: int
) -> None:
    """Write a checkpoint beside its place and rename it there, so that a kill never leaves half of one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    state = {
        "model": model.state_dict(),
        "average": average.state_dict(),
        "optimiser": optimiser.state_dict(),
        "step": step,
    }
    torch.save(state, partial)
    os.replace(partial, path)


def to_unit_range(pixels: np.ndarray) -> Tensor:
    """uint8 [N, 64, 64, 3] to float32 [N, 3, 64, 64] in [-1, 1]."""
    return torch.from_numpy(np.ascontiguousarray(pixels)).permute(0, 3, 1, 2).float().div_(127.5).sub_(1)
