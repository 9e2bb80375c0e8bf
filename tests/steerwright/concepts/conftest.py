"""A store whose latents are known: the encoder is the identity, so latents are the rows' positive part."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import torch
from torch import Tensor

from steerwright.activations.store.reader import Store, open_store
from steerwright.activations.store.rows import Rows
from steerwright.activations.store.writer import StoreWriter
from steerwright.models.families import Step
from steerwright.models.fingerprint import Fingerprint
from steerwright.models.hookpoints import Hookpoint
from steerwright.models.running import Branch
from steerwright.sae.activations import Relu
from steerwright.sae.sae import Sae
from steerwright.sae.site import Site

MODEL = Fingerprint(name="toy", source="toy", revision=None, digest="d" * 64, libraries={"torch": "2"})
HOOKPOINT = Hookpoint.parse("unet.mid_block:out")
# Three steps are recorded, of a schedule of twenty: steps are numbers of the schedule, not of the rows.
STEPS = (0, 4, 19)


def write_store(
    folder: Path,
    values: Tensor,
    ids: Sequence[str],
    parts: Sequence[Sequence[tuple[int, slice]]],
    branches: Sequence[Branch] = ("uncond", "cond"),
) -> Store:
    """`values` [prompts, steps, tokens, d] as a store. `parts`: one shard each; of each shard the record batches, a
    prompt and its tokens at a time. The uncond half holds other numbers."""
    tokens = values.shape[2]
    with StoreWriter(folder, model=MODEL, dtype="float32", hookpoints=[HOOKPOINT], provenance={}) as writer:
        for number, batches in enumerate(parts):
            rows = []
            for step, index in enumerate(STEPS):
                for prompt, kept in batches:
                    for branch in branches:
                        given = values[prompt : prompt + 1, step] + (99 if branch == "uncond" else 0)
                        masked = torch.full_like(given, torch.nan)  # rows that are not finite are left out
                        masked[:, kept] = given[:, kept]
                        when = Step(index, 1000.0 - index, 1.0)
                        rows.append(Rows(HOOKPOINT, masked, [ids[prompt]], [7 + prompt], when, branch, (1, tokens)))
            items = [ids[prompt] for prompt, _ in batches]
            writer.write_shard(f"{number}-of-{len(parts)}", f"{number:064d}", list(dict.fromkeys(items)), rows)
    return open_store(folder)


def identity_sae(width: int, **site: Any) -> Sae:
    """Latent f is the positive part of value f."""
    known = {"model": MODEL.digest, "hookpoint": str(HOOKPOINT), **site}
    return Sae(torch.eye(width), torch.zeros(width), torch.eye(width), torch.zeros(width), Relu(), site=Site(**known))


@dataclass(frozen=True)
class Planted:
    """`values` [prompts, 3 steps, 4 tokens, 12]: latent 3 says cat, latent 7 says winter but at step 4 only, latent 11
    is never active, the others are noise. Three objects by two seasons; every third prompt names no season."""

    values: Tensor
    prompts: pl.DataFrame
    store: Store
    sae: Sae
    means: Tensor = field(init=False)
    """Token means of latents, by the definition: [prompts, 4, 12], the last of steps pooled."""

    def __post_init__(self) -> None:
        by_step = self.values.double().clamp(min=0).mean(2)
        object.__setattr__(self, "means", torch.cat([by_step, by_step.mean(1, keepdim=True)], 1))

    def training(self, **named: str) -> Tensor:
        """Bool [prompts]: training prompts that name all this."""
        chosen = self.prompts.select(
            pl.all_horizontal(pl.col("split") == "train", *(pl.col(axis) == value for axis, value in named.items()))
        ).to_series()
        return torch.from_numpy(chosen.fill_null(False).to_numpy().copy())


@pytest.fixture(scope="session")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Planted:
    count = 72
    seasons = ["summer", "winter"]
    prompts = pl.DataFrame(
        {
            "id": [f"p{n}" for n in range(count)],
            "prompt": [f"prompt {n}" for n in range(count)],
            "split": ["validation" if n % 4 == 3 else "train" for n in range(count)],
            "object": [["cat", "horse", "house"][n % 3] for n in range(count)],
            "season": [None if (n // 3) % 3 == 2 else seasons[(n // 3) % 2] for n in range(count)],
        }
    )
    values = torch.randn(count, 3, 4, 12, generator=torch.Generator().manual_seed(3)) - 0.5
    cat = torch.tensor([name == "cat" for name in prompts["object"]])
    winter = torch.tensor([name == "winter" for name in prompts["season"]])
    values[..., 3] = torch.where(cat[:, None, None], 2.0, -1.0) + 0.1 * values[..., 3]
    values[:, 1, :, 7] = torch.where(winter[:, None], 3.0, -1.0) + 0.1 * values[:, 1, :, 7]
    values[..., 11] = -1
    whole = slice(None)
    parts = [[(n, whole) for n in range(start, start + 24)] for start in range(0, count, 24)]
    return Planted(
        values,
        prompts,
        write_store(tmp_path_factory.mktemp("planted") / "store", values, list(prompts["id"]), parts),
        identity_sae(12),
    )


@pytest.fixture
def store_writer() -> Callable[..., Store]:
    return write_store


@pytest.fixture
def sae_of() -> Callable[..., Sae]:
    return identity_sae
