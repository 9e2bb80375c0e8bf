"""Windows of the shuffle pool filled by the model itself while it generates, with no store between."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from steerwright.activations.shard_plan import CollectedPrompt
from steerwright.activations.store.rows import Rows
from steerwright.activations.store.shuffle import PoolHalf
from steerwright.errors import UserError
from steerwright.models.hookpoints import Hookpoint

Generate = Callable[[Sequence[CollectedPrompt], Callable[[Rows], None]], None]
"""Runs the model on some prompts and hands the rows of all hookpoints to a function; `collect_rows` with a model."""


@dataclass(slots=True, eq=False)
class GenerationWindow:
    """Groups of prompts, from number `start` up to `stop` (known when it has been filled) of an epoch."""

    epoch: int
    start: int
    stop: int = 0


@dataclass(slots=True, eq=False)
class GenerationRoom:
    """Half of the pool of every hookpoint, made when the first rows tell the widths.

    `held` is the number of rows that all hookpoints have: a batch is drawn at all of them together, so where one has
    more tokens than another, a random part of them is used.
    """

    halves: dict[Hookpoint, PoolHalf] = field(default_factory=dict)
    held: int = 0


class RowGeneration:
    """`windows` and `fill` for a `Prefetch`. In every epoch the prompts come in another order.

    From the second epoch on, a prompt's noise has another seed, so that no row comes twice however long it goes on.
    """

    def __init__(
        self,
        prompts: Sequence[CollectedPrompt],
        generate: Generate,
        *,
        group: int,
        capacity: int,
        seed: int,
        device: torch.device,
    ) -> None:
        self._prompts, self._generate, self._group = list(prompts), generate, group
        self._capacity, self._seed, self._device = capacity, seed, device
        self.stopped = threading.Event()
        """Once set, no further group is begun."""
        self.dropped = 0
        """Rows left out because a value in them was not finite."""

    @property
    def groups(self) -> int:
        """Groups of prompts in an epoch."""
        return math.ceil(len(self._prompts) / self._group)

    def windows(self, epoch: int, start: int, epochs: int | None) -> Iterator[GenerationWindow]:
        """Every window from group `start` of `epoch` on; the next one begins where the one before ended when filled."""
        while epochs is None or epoch < epochs:
            while start < self.groups:
                window = GenerationWindow(epoch, start)
                yield window
                start = window.stop
            epoch, start = epoch + 1, 0

    def fill(self, window: GenerationWindow, room: GenerationRoom) -> None:
        """Generate groups until no more would fit, or the epoch ends; then shuffle. UserError if not one group fits."""
        order = np.random.default_rng(np.random.SeedSequence((self._seed, window.epoch, 0))).permutation(
            len(self._prompts)
        )
        held: dict[Hookpoint, int] = {}
        of_group: dict[Hookpoint, int] = {}

        def take(rows: Rows) -> None:
            n, tokens, _ = rows.values.shape
            of_group[rows.hookpoint] = of_group.get(rows.hookpoint, 0) + n * tokens
            self._put(rows, room, held)

        window.stop = window.start
        while window.stop < self.groups and not self.stopped.is_set():
            # As many rows as the fullest hookpoint got from the group before, which was as large or larger.
            if held and max(held[hookpoint] + count for hookpoint, count in of_group.items()) > self._capacity:
                break
            places = order[window.stop * self._group : (window.stop + 1) * self._group]
            of_group.clear()
            self._generate([self._in_epoch(self._prompts[place], window.epoch) for place in places], take)
            window.stop += 1
        room.held = min(held.values(), default=0)
        for number, (hookpoint, half) in enumerate(sorted(room.halves.items())):
            words = (self._seed, window.epoch, 1 + number, window.start)
            half.shuffle(np.random.default_rng(np.random.SeedSequence(words)).permutation(held.get(hookpoint, 0)))

    def _put(self, rows: Rows, room: GenerationRoom, held: dict[Hookpoint, int]) -> None:
        values = rows.values.flatten(0, 1)
        finite = torch.isfinite(values).all(1)
        if not finite.all():
            self.dropped += int((~finite).sum())
            values = values[finite]
        begin = held.get(rows.hookpoint, 0)
        if begin + len(values) > self._capacity:
            raise UserError(
                f"{self._group} pictures give more rows at {rows.hookpoint} than half of the shuffle pool holds "
                f"({self._capacity}); raise pool_rows, or take fewer tokens, steps or pictures at once."
            )
        if rows.hookpoint not in room.halves:
            with torch.inference_mode(False):  # the model runs in it, and the pool outlives the run
                room.halves[rows.hookpoint] = PoolHalf.empty(
                    self._capacity, values.shape[1], values.dtype, self._device
                )
        half, place = room.halves[rows.hookpoint], slice(begin, begin + len(values))
        half.rows[place] = values.to(self._device)
        half.steps[place] = -1 if rows.step is None else rows.step.index
        held[rows.hookpoint] = place.stop

    def _in_epoch(self, prompt: CollectedPrompt, epoch: int) -> CollectedPrompt:
        if epoch == 0:
            return prompt
        seed = int(np.random.SeedSequence((prompt.seed, epoch)).generate_state(1, np.uint64)[0] >> np.uint64(1))
        return prompt.model_copy(update={"seed": seed})
