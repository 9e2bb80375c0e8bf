"""Whether a language model's weights fit into memory, before they are read."""

from __future__ import annotations

import math
from pathlib import Path

import psutil
import torch
from safetensors import SafetensorError, safe_open

from steerwright.errors import UserError
from steerwright.models.language.spec import LanguageSpec

# What a model needs beside its weights to write a paragraph.
_BESIDE = 1.1
_OUT = ("out of memory", "can't allocate memory", "not enough memory", "cannot allocate memory")


class NotEnoughMemory(UserError):
    """Memory does not suffice for a model. `reason` says so without the advice that the message ends in."""

    def __init__(self, spec: LanguageSpec, found: str) -> None:
        self.reason = f"Model {spec.name!r} does not fit: {found}."
        super().__init__(
            f"{self.reason} Free memory, choose dtype: float16 (on a GPU) or device_map: auto, name a smaller model as "
            "`fallback`, or use the embedded model: --model seasons-lm."
        )


def check_memory(spec: LanguageSpec, folder: Path, dtype: torch.dtype, device: torch.device, *, spread: bool) -> None:
    """Raise NotEnoughMemory where the weights of `folder` in `dtype`, and a tenth more, are larger than what is free.

    An operating system that runs out of memory ends the process without a word, so that is asked before. `spread`:
    all GPUs and the CPU's memory hold the layers together.
    """
    needed = _BESIDE * weight_bytes(folder, dtype)
    free = free_bytes(device, spread=spread)
    if needed > free:
        where = "the GPUs and the CPU together" if spread else str(device)
        raise NotEnoughMemory(spec, f"it takes {needed / 2**30:.1f} GiB, and {where} has {free / 2**30:.1f} GiB free")


def weight_bytes(folder: Path, dtype: torch.dtype) -> int:
    """Bytes of the tensors in the model's safetensors files once they are `dtype`; reads headers alone.

    0 where there are none, or damaged ones, which loading complains about. Copies of the weights in the layouts of
    other programs (consolidated.safetensors) do not count.
    """
    total = 0
    for path in folder.glob("model*.safetensors"):
        try:
            with safe_open(str(path), framework="pt") as file:
                total += sum(math.prod(file.get_slice(name).get_shape()) for name in file.keys())  # noqa: SIM118
        except SafetensorError:
            return 0
    return int(total * dtype.itemsize)


def free_bytes(device: torch.device, *, spread: bool = False) -> int:
    """Bytes that are free on `device`, or on all GPUs and the CPU together."""
    cpu = int(psutil.virtual_memory().available)
    if device.type != "cuda":
        return cpu
    if not spread:
        return int(torch.cuda.mem_get_info(device)[0])
    return cpu + sum(int(torch.cuda.mem_get_info(index)[0]) for index in range(torch.cuda.device_count()))


def ran_out(error: BaseException) -> bool:
    """Whether `error` is how torch or Python says that there is no memory left."""
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error).lower() for words in _OUT)
