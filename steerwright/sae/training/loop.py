"""Train several autoencoders from one stream of rows, so that a kill at any moment changes nothing about the result.

Each autoencoder is trained as if it were alone: the stream does not depend on who draws from it, and nothing is drawn
from a random source that they would share. Every number that training needs to go on is in the checkpoint, and what is
computed between two checkpoints is a function of the first. (Equal bits take one machine and one number of threads.)
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from steerwright.errors import UserError
from steerwright.former_name import read_header
from steerwright.models.hookpoints import Hookpoint
from steerwright.sae.architectures import SaeConfig
from steerwright.sae.sae import Sae
from steerwright.sae.site import Site
from steerwright.sae.training.config import learning_rate
from steerwright.sae.training.curves import Curves
from steerwright.sae.training.stream import RowStream
from steerwright.sae.training.trainer import Trainer

CHECKPOINT = "training.safetensors"
START_ROWS = 1 << 15
"""Mixed rows that the decoder's bias, the scale and the directions at the start are taken from."""
POINTS = 200
"""About so many points has a curve; metrics leave the device as often, and no more often."""
_SECONDS_BETWEEN_LINES = 10.0
_NAMES = {"dead": "dead_share"}

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Planned:
    """An autoencoder to train: on which rows, and how.

    `steps` are the denoising steps whose rows it learns, 0-based: None pools all of them, one makes it conditioned on
    that step. All that one stream trains have the same.
    """

    hookpoint: Hookpoint
    config: SaeConfig
    steps: tuple[int, ...] | None = None


@dataclass(frozen=True, slots=True)
class Trained:
    """What training gave. `rows_per_second` is of this process, not of attempts before it."""

    saes: dict[str, Sae]
    curves: Curves
    rows_per_second: float


def train_saes(
    stream: RowStream,
    planned: Mapping[str, Planned],
    work: Path,
    *,
    rows: int,
    batch_rows: int,
    checkpoint_rows: int,
    sites: Mapping[Hookpoint, Site] | None = None,
    device: torch.device | str = "cpu",
    code: str = "",
    progress: Callable[[int, int], None] | None = None,
) -> Trained:
    """Train every one of `planned` on `rows` rows (rounded up to whole batches) at its hookpoint.

    The stream gives batches of `batch_rows`, and the first 32,768 rows to start from. The folder `work` holds one
    checkpoint, written every `checkpoint_rows` rows and at the end, from which the same call goes on; delete it when
    the result is kept. `code` is part of what that call is. `progress(rows done, rows)`. UserError when one diverges.
    """
    steps, every = math.ceil(rows / batch_rows), max(1, math.ceil(rows / batch_rows / POINTS))
    between = max(1, round(checkpoint_rows / batch_rows))
    key = checkpoint_key(stream, planned, rows, batch_rows, between, code)
    checkpoint = load_checkpoint(work / CHECKPOINT, key)
    if checkpoint is not None:
        stream.seek(checkpoint.facts["cursor"])
    trainers = {
        name: Trainer(one.config, stream.width(one.hookpoint), torch.device(device)) for name, one in planned.items()
    }
    if checkpoint is None:
        step, curves = 0, Curves()
        _start(stream, planned, trainers)
    else:
        step, curves = int(checkpoint.facts["step"]), Curves(checkpoint.facts["curves"])
        for name, trainer in trainers.items():
            trainer.load(dict(checkpoint.states[name]))
        log.info("training goes on after %d of %d rows", step * batch_rows, rows)
    del checkpoint
    sums = {name: _Sums() for name in planned}
    clock = _Clock(step * batch_rows, steps * batch_rows, progress)
    while step < steps:
        batches = stream.next()
        for name, one in planned.items():
            rate = learning_rate(one.config, step * batch_rows, batch_rows, steps * batch_rows)
            sums[name].add(trainers[name].step(batches[one.hookpoint].rows, rate))
        step += 1
        due = step % between == 0 or step == steps
        if due or step % every == 0:
            for name, values in _means(sums).items():
                _refuse_divergence(name, values, step * batch_rows)
                curves.add(name, step, {"rows": step * batch_rows, **values})
            clock.tell(step * batch_rows)
        if due:
            states = {name: trainer.state() for name, trainer in trainers.items()}
            facts = {"step": step, "cursor": stream.cursor(), "curves": curves.points}
            save_checkpoint(Checkpoint(key, states, facts), work / CHECKPOINT)
    found = {
        name: (sites or {}).get(one.hookpoint, Site(hookpoint=str(one.hookpoint))) for name, one in planned.items()
    }
    saes = {name: trainer.finish(found[name]) for name, trainer in trainers.items()}
    return Trained(saes, curves, clock.rate)


def _start(stream: RowStream, planned: Mapping[str, Planned], trainers: Mapping[str, Trainer]) -> None:
    """Give every trainer the first rows at its hookpoint; these are the same whatever else is trained."""
    wanted = {
        hookpoint: min(START_ROWS, stream.epoch_rows(hookpoint))
        for hookpoint in dict.fromkeys(one.hookpoint for one in planned.values())
    }
    held: dict[Hookpoint, list[Tensor]] = {hookpoint: [] for hookpoint in wanted}
    while any(sum(map(len, held[hookpoint])) < count for hookpoint, count in wanted.items()):
        for hookpoint, batch in stream.next().items():
            held[hookpoint].append(batch.rows)
    for hookpoint, parts in held.items():
        first = torch.cat(parts)[: wanted[hookpoint]]
        parts.clear()
        for name, one in planned.items():
            if one.hookpoint == hookpoint:
                trainers[name].initialise(first)


class _Sums:
    """Running sums of a step's metrics, on their device, so that no step waits for it."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.values: list[Tensor] = []
        self.count = 0

    def add(self, metrics: Mapping[str, Tensor]) -> None:
        if self.count and self.names == list(metrics):
            torch._foreach_add_(self.values, [value.detach().float() for value in metrics.values()])
        elif self.count:
            raise ValueError(f"metrics were {self.names} and are now {list(metrics)}")
        else:
            self.names = list(metrics)
            self.values = [value.detach().float().clone() for value in metrics.values()]
        self.count += 1


def _means(sums: dict[str, _Sums]) -> dict[str, dict[str, float]]:
    """Means since they were last asked for, by autoencoder and metric; waits for the device once."""
    numbers = iter(torch.stack([value / some.count for some in sums.values() for value in some.values]).tolist())
    found = {name: {_NAMES.get(metric, metric): next(numbers) for metric in some.names} for name, some in sums.items()}
    for some in sums.values():
        some.count = 0
    return found


def _refuse_divergence(name: str, values: Mapping[str, float], rows: int) -> None:
    if not all(math.isfinite(value) for value in values.values()):
        found = ", ".join(f"{metric} {value:g}" for metric, value in values.items())
        raise UserError(
            f"The training of the autoencoder {name} diverged before row {rows}: {found}. Lower its learning_rate, or "
            "give it warm_up_rows."
        )


class _Clock:
    """Tells how far training is, how fast, and for how long still."""

    def __init__(self, begun: int, total: int, progress: Callable[[int, int], None] | None) -> None:
        self._begun, self._total, self._progress = begun, total, progress
        self._start = self._told = time.monotonic()
        self.rate = 0.0

    def tell(self, done: int) -> None:
        now = time.monotonic()
        self.rate = (done - self._begun) / max(now - self._start, 1e-9)
        if self._progress is not None:
            self._progress(done, self._total)
        if now - self._told >= _SECONDS_BETWEEN_LINES or done == self._total:
            self._told = now
            left = (self._total - done) / self.rate if self.rate else math.inf
            log.info("%d of %d rows, %.0f rows/s, %.0f s left", done, self._total, self.rate, left)


def checkpoint_key(
    stream: RowStream, planned: Mapping[str, Planned], rows: int, batch_rows: int, between: int, code: str
) -> str:
    saes = {name: [str(one.hookpoint), one.config.model_dump(mode="json")] for name, one in planned.items()}
    everything = [stream.identity, saes, rows, batch_rows, between, code, torch.__version__]
    return hashlib.sha256(json.dumps(everything, sort_keys=True).encode()).hexdigest()


# Where training stands, in one safetensors file with a JSON header: all of it or the one before, never a pickle.

SCHEMA = "steerwright.sae-training"
VERSION = 1
# One metadata key only: safetensors does not keep the order of several, and equal states must be equal bytes.
HEADER = "steerwright"


@dataclass(frozen=True, slots=True, eq=False)
class Checkpoint:
    """`states`: by autoencoder, the tensors that its trainer needs to go on. `facts`: JSON: step, cursor, curves.

    `key` names everything that the training depends on; with another key a checkpoint is of another training.
    """

    key: str
    states: Mapping[str, Mapping[str, Tensor]]
    facts: Mapping[str, Any]


def save_checkpoint(checkpoint: Checkpoint, path: Path) -> None:
    """Replace `path` by rename, when all bytes are on the disk: a kill leaves the earlier checkpoint or this one."""
    header = {
        "schema_name": SCHEMA,
        "schema_version": VERSION,
        "key": checkpoint.key,
        "saes": [[name, sorted(state)] for name, state in checkpoint.states.items()],
        "facts": dict(checkpoint.facts),
    }
    tensors = {
        f"{place}.{part}": state[part].detach().cpu().contiguous()
        for place, state in enumerate(checkpoint.states.values())
        for part in sorted(state)
    }
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    path.parent.mkdir(parents=True, exist_ok=True)
    for left_over in path.parent.glob(f".{path.name}.*"):
        left_over.unlink()
    try:
        save_file(tensors, temporary, metadata={HEADER: json.dumps(header, sort_keys=True, ensure_ascii=False)})
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def load_checkpoint(path: Path, key: str) -> Checkpoint | None:
    """The checkpoint of this training in `path`; None where there is none, and (with a word in the log) for others.

    Tensors are on the CPU, in memory of their own that is aligned as torch aligns it: how a product is summed, and so
    its last bit, may depend on that.
    """
    if not path.is_file():
        return None
    try:
        with safe_open(str(path), framework="pt") as file:
            header = read_header(file.metadata())
            found = (header.get("schema_name"), header.get("schema_version"), header.get("key"))
            if found != (SCHEMA, VERSION, key):
                log.info("%s is of another training, which starts afresh", path)
                return None
            states = {
                name: {part: _own(file.get_tensor(f"{place}.{part}")) for part in parts}
                for place, (name, parts) in enumerate(header["saes"])
            }
    except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
        log.warning("%s is damaged (%s); training starts afresh", path, error)
        return None
    return Checkpoint(key, states, header["facts"])


def _own(tensor: Tensor) -> Tensor:
    return torch.empty_like(tensor).copy_(tensor)
