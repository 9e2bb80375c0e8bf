"""Where the latents of the erased concepts are active: maps of a few pictures, for the cards of the report."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import isqrt
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from safetensors.numpy import save
from torch import Tensor

from steerwright.activations.early_exit import run_until
from steerwright.activations.record import Capture
from steerwright.dag import Dep, Out, Param, progress
from steerwright.errors import UserError
from steerwright.models.generate import batches
from steerwright.models.hookpoints import as_tokens
from steerwright.models.load import LoadedModel, load_model
from steerwright.models.running import carries_prompt
from steerwright.models.select import read_model
from steerwright.prompts.concept_table import evenly
from steerwright.sae.sae import Sae
from steerwright.sae.sae_file import load_sae, require_hookpoint
from steerwright.scoring.erasure_samples import UNSTEERED, ErasureTarget, read_shots
from steerwright.scoring.unlearning import STEERED


def latent_cards(
    model: Annotated[Path, Dep()],
    shots: Annotated[Path, Dep()],
    saes: Annotated[Path, Dep()],
    concepts: Annotated[Path, Dep()],
    chosen: Annotated[Path, Dep()],
    latents: Annotated[int, Param()],
    top: Annotated[int, Param()],
    prompts: Annotated[int, Param()],
    cards: Annotated[Path, Out("cards.parquet")],
    maps: Annotated[Path, Out("maps.safetensors")],
) -> None:
    """Run some unsteered test pictures again as far as the autoencoders, and keep the maps of the most active ones."""
    spec, identity = read_model(model)
    loaded = load_model(spec, identity.digest)
    selected = card_latents(pl.read_parquet(concepts), json.loads(chosen.read_text()), latents)
    names = selected["sae"].unique(maintain_order=True).to_list()
    wanted = {name: selected.filter(sae=name)["latent"].unique(maintain_order=True).to_list() for name in names}
    shown = evenly(read_shots(shots).filter(method=UNSTEERED).to_dicts(), prompts)
    found = latent_maps(
        loaded, [str(shot["prompt"]) for shot in shown], [int(shot["seed"]) for shot in shown],
        {name: load_sae(saes / name) for name in names}, wanted,
        progress=lambda done, total: progress(done, total, "pictures"),
    )  # fmt: skip
    rows: list[dict[str, Any]] = []
    tensors = {}
    for sae, latent, rank, picture, activation, values in top_maps(found, wanted, top):
        shot = shown[picture]
        rows.append({"sae": sae, "latent": latent, "rank": rank, "prompt_id": shot["prompt_id"],
                     "prompt": shot["prompt"], "seed": shot["seed"], "activation": activation})  # fmt: skip
        tensors[f"{sae}/{latent}/{rank}"] = np.ascontiguousarray(values)
    schema = {"sae": pl.String, "latent": pl.Int64, "rank": pl.Int64, "prompt_id": pl.String, "prompt": pl.String,
              "seed": pl.Int64, "activation": pl.Float64}  # fmt: skip
    best = pl.DataFrame(rows, schema=schema)
    selected.join(best, on=["sae", "latent"], how="left", maintain_order="left").write_parquet(cards)
    steps = {name: list(one.steps) for name, one in found.items()}
    maps.write_bytes(save(tensors, metadata={"steps": json.dumps(steps)}))


# Where and when latents are active in the pictures of some prompts: their activations on every token of every step.


@dataclass(frozen=True, slots=True, eq=False)
class LatentMaps:
    """Of one autoencoder: `values` float16 [pictures, latents, steps, h, w], on the branch that carries the prompt."""

    latents: tuple[int, ...]
    steps: tuple[int, ...]
    values: NDArray[np.float16]

    def strongest(self, latent: int, count: int) -> list[tuple[int, float]]:
        """The `count` pictures with the largest mean activation of `latent` over tokens and steps, and that mean; only
        those where it is active at all. Of equal ones the first comes first."""
        means = self.values[:, self.latents.index(latent)].astype(np.float64).mean((1, 2, 3))
        order = np.argsort(-means, kind="stable")[:count]
        return [(int(place), float(means[place])) for place in order if means[place] > 0]

    def of(self, picture: int, latent: int) -> NDArray[np.float16]:
        """[steps, h, w]."""
        values: NDArray[np.float16] = self.values[picture, self.latents.index(latent)]
        return values


def latent_maps(
    model: LoadedModel,
    prompts: Sequence[str],
    seeds: Sequence[int],
    saes: Mapping[str, Sae],
    latents: Mapping[str, Sequence[int]],
    *,
    batch_size: int = 16,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, LatentMaps]:
    """Maps of `latents` (autoencoder -> latents) in the unsteered pictures of `prompts` on `seeds`, at all steps.

    What runs is the generation itself up to the deepest hookpoint, so maps belong to the pictures of the same prompts
    and seeds. Keeps the chosen latents alone: pictures x latents x steps x tokens of two bytes. Raises UserError for
    an autoencoder without a hookpoint, and for tokens that do not make a square.
    """
    places = {name: require_hookpoint(saes[name].site, name) for name in latents if latents[name]}
    found: dict[str, list[NDArray[np.float16]]] = {name: [] for name in places}
    steps = tuple(range(model.spec.steps))
    for batch in batches(prompts, seeds, batch_size):
        if progress is not None:
            progress(batch.start, len(prompts))
        seen: dict[str, list[NDArray[np.float16]]] = {name: [] for name in places}

        def sink(capture: Capture, seen: dict[str, list[NDArray[np.float16]]] = seen) -> None:
            rows = capture.tensor[next(part for branch, part in capture.branches if carries_prompt(branch))]
            for name, hookpoint in places.items():
                if hookpoint == capture.hookpoint:
                    seen[name].append(_activations(saes[name], rows, latents[name]))

        run_until(model, batch, list(dict.fromkeys(places.values())), steps[-1], sink, batch_size=batch_size)
        for name, some in seen.items():
            found[name].append(np.stack(some, axis=2))
    if progress is not None:
        progress(len(prompts), len(prompts))
    return {name: LatentMaps(tuple(latents[name]), steps, np.concatenate(some)) for name, some in found.items() if some}


def _activations(sae: Sae, tensor: Tensor, latents: Sequence[int]) -> NDArray[np.float16]:
    """float16 [n, latents, h, w] of a feature map [n, d, h, w] or tokens [n, tokens, d]."""
    tokens = as_tokens(tensor)
    images, count, width = tokens.shape
    height, across = tensor.shape[2:] if tensor.ndim == 4 else (isqrt(count), isqrt(count))
    if height * across != count:
        raise UserError(f"The {count} tokens of a picture make no square, so they cannot be shown as a map.")
    found = sae.encode(tokens.reshape(-1, width))
    # The place of each latent among those that are kept; one more place for all others, and for unused places (-1).
    kept = torch.full((found.size + 1,), len(latents), device=found.indices.device)
    kept[torch.as_tensor(list(latents), device=kept.device)] = torch.arange(len(latents), device=kept.device)
    values = found.values.new_zeros(len(found), len(latents) + 1)
    values = values.scatter_add_(1, kept[found.indices], found.values)[:, :-1]
    maps: NDArray[np.float16] = values.view(images, height, across, -1).permute(0, 3, 1, 2).half().cpu().numpy()
    return maps


def top_maps(
    maps: Mapping[str, LatentMaps], latents: Mapping[str, Sequence[int]], count: int
) -> Iterator[tuple[str, int, int, int, float, NDArray[np.float16]]]:
    """Of each latent's best pictures: autoencoder, latent, rank from 1, picture, mean activation, map [steps, h, w]."""
    for name, some in latents.items():
        for latent in some:
            for rank, (picture, mean) in enumerate(maps[name].strongest(latent, count), 1):
                yield name, latent, rank, picture, mean, maps[name].of(picture, latent)


# Which latents are shown one by one: the best few of every concept that is erased.

RANK = "cohens_d"
SCORES = ("auroc", "cohens_d", "share_difference", "q_value", "stability")


def card_latents(
    concepts: pl.DataFrame, chosen: Mapping[str, Mapping[str, Mapping[str, Any]]], count: int
) -> pl.DataFrame:
    """The `count` best latents of each concept in `chosen` (target -> method -> operating point), all steps pooled.

    Best by the score that our method's operating point ranks by (recipe's `rank`), in the autoencoders that it edits
    (recipe's `places`; all where it names none), each latent once for each concept. Columns: those of `concepts`
    but step, and `rank_by`. Raises UserError where `concepts` knows none of a concept's latents.
    """
    tables = []
    for target, methods in chosen.items():
        recipe = methods.get(STEERED, {}).get("recipe") or {}
        by = recipe.get("rank") or RANK
        by = by if by in concepts.columns else RANK
        places = recipe.get("places") or concepts["sae"].unique().to_list()
        for axis, value in ErasureTarget.parse(target).concepts:
            name = f"{axis}:{value}"
            mine = concepts.filter(
                pl.col("step").is_null(), pl.col("sae").is_in(list(places)), pl.col(by).is_not_null(), concept=name
            )
            if mine.height == 0:
                raise UserError(
                    f"The table of concepts has no latents of {name}, all steps pooled; map concepts again."
                )
            best = mine.sort([by, "sae", "latent"], descending=[True, False, False]).head(count)
            tables.append(best.drop("step").with_columns(pl.lit(by).alias("rank_by")))
    if not tables:
        raise UserError("No concept was chosen to be erased, so there are no latents to show.")
    return pl.concat(tables).unique(["sae", "concept", "latent"], keep="first", maintain_order=True)
