"""A language model for work that several processes of this machine may share."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from steerkit.models.language.load import LanguageModel, language_device, load_language_model
from steerkit.models.language.memory import weight_bytes
from steerkit.models.language.spec import LanguageSpec
from steerkit.models.once_per_thread import OncePerThread

# A larger model has matrices that torch's own threads share well, and its copies would take memory that others need.
SMALL = 200 << 20
MOST = 8

_loaded: OncePerThread[LanguageModel] = OncePerThread()


@dataclass(frozen=True, slots=True)
class LanguageTools:
    """Which model to write with, and with how many threads: another number may round otherwise.

    `processes`: how many processes are worth their start. A small model on a CPU spends its time between operations too
    short for two threads to share, so there is one for each thread that torch would have.
    """

    spec: LanguageSpec
    digest: str
    threads: int
    processes: int

    @classmethod
    def here(cls, spec: LanguageSpec, digest: str) -> LanguageTools:
        """For jobs that may run in another folder, on this machine or one that sees the same files."""
        source, threads = Path(spec.source), torch.get_num_threads()
        if not source.is_dir():
            return cls(spec, digest, threads, 1)
        spec = spec.model_copy(update={"source": str(source.absolute())})
        small = weight_bytes(source, torch.float32) <= SMALL
        processes = min(threads, MOST) if small and language_device().type == "cpu" else 1
        return cls(spec, digest, 1 if processes > 1 else threads, processes)

    def load(self) -> LanguageModel:
        """The model, loaded once in each thread for as long as the same one is asked for."""
        wanted = (self.digest, self.spec.model_copy(update={"source": "", "name": ""}), language_device())
        return _loaded.get(wanted, lambda: load_language_model(self.spec, self.digest))
