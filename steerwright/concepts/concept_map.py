"""Which latents carry which concepts: one pass over an activation store, then sums, table, and a probe beside."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from steerwright.activations.store.reader import Store
from steerwright.concepts.concept_table import ConceptLabels, Images, TableOptions, concept_table
from steerwright.concepts.rows import ImageReader, ImageRows, LatentPass
from steerwright.concepts.scores import ConceptMoments
from steerwright.concepts.select_latents import probe_aurocs, probe_table
from steerwright.concepts.token_means import StepEntries, TokenSums
from steerwright.errors import UserError
from steerwright.models.hookpoints import Hookpoint
from steerwright.models.running import Branch
from steerwright.sae.sae import Sae
from steerwright.sae.sae_file import require_hookpoint, site_differences
from steerwright.sae.site import store_site
from steerwright.stats.ranks import auroc_of

if TYPE_CHECKING:
    import polars as pl

# A probe on so many prompts is as good as it gets, and its rows' means fit into memory whatever the store holds.
PROBE_PROMPTS = 4096


@dataclass(frozen=True, slots=True, eq=False)
class ConceptMap:
    """What one autoencoder's latents say of the concepts; the tables' columns: `concept_table`, `probe_table`."""

    moments: ConceptMoments
    table: pl.DataFrame
    probe: pl.DataFrame


def map_concepts(
    store: Store,
    saes: Mapping[str, Sae],
    labels: ConceptLabels,
    validation: NDArray[np.bool_],
    *,
    scratch: Path,
    branch: Branch = "cond",
    options: TableOptions | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, ConceptMap]:
    """Map the concepts of `labels` to the latents of every autoencoder, by its name in `saes`.

    Rows of the labelled prompts that are not `validation` (bool [prompts]) count; those of validation prompts are only
    for the comparison with a probe. Autoencoders of one hookpoint share one pass over its rows. `scratch`: a folder for
    temporary files, 20 bytes for each latent that is active in an image at a step; memory does not grow with the number
    of rows. `progress` gets rows read and rows in all. Raises UserError for an autoencoder of another site than the
    store's, for prompts of which the store has no rows, and for a branch or steps that it does not have.
    """
    at: dict[Hookpoint, dict[str, Sae]] = {}
    for name, sae in saes.items():
        at.setdefault(_hookpoint(store, name, sae, branch), {})[name] = sae
    total = sum(shard.rows.get(str(hookpoint), 0) for shard in store.manifest.shards for hookpoint in at)
    found: dict[str, ConceptMap] = {}
    done = 0
    for hookpoint, group in at.items():
        reader = ImageReader(store, hookpoint, branch, {prompt: n for n, prompt in enumerate(labels.prompts)})
        sums = {name: TokenSums(sae.size, scratch) for name, sae in group.items()}
        passes = [LatentPass(sae, sums[name]) for name, sae in group.items()]
        raw = RowMeans(store.layout(hookpoint).width, _probe_prompts(validation))
        for given in reader:
            training = _of_training(given.image, reader.prompt_of, validation)
            for one in passes:
                one.add(given, training)
            raw.add(given, reader.prompt_of)
            if progress is not None:
                progress(done + reader.rows, total)
        done += reader.rows
        prompt = np.array(reader.prompt_of, dtype=np.int64)
        if not len(prompt) or validation[prompt].all():
            raise UserError(
                f"The activation store {store.folder} has no rows of the training prompts at {hookpoint}; "
                "collect activations of these prompts."
            )
        held, means = raw.read()
        probes = probe_aurocs(means, prompt[held], validation, labels)
        for one, (name, sae) in zip(passes, group.items(), strict=True):
            one.finish()
            if not sums[name].steps:
                raise UserError(
                    f"The activation store {store.folder} has no rows at the autoencoder's steps "
                    f"{', '.join(map(str, sae.site.steps or ()))} ({name}); collect these steps, or train another."
                )
            facts = {
                "sae": name,
                "hookpoint": str(hookpoint),
                "branch": branch,
                "model": store.manifest.model.digest,
                "timesteps": [reader.timesteps[step] for step in sums[name].steps],
            }
            found[name] = _mapped(name, sae, one, sums[name], prompt, labels, validation, scratch, facts, probes,
                                  options or TableOptions())  # fmt: skip
    if progress is not None:
        progress(total, total)
    return {name: found[name] for name in saes}


def _of_training(image: Tensor, prompt_of: Sequence[int], validation: NDArray[np.bool_]) -> Tensor:
    """Which rows are of training images: bool [rows], by their image's number."""
    images, which = torch.unique_consecutive(image, return_inverse=True)
    return torch.tensor([not validation[prompt_of[number]] for number in images.tolist()])[which]


def _mapped(
    name: str,
    sae: Sae,
    seen: LatentPass,
    sums: TokenSums,
    prompt: NDArray[np.int64],
    labels: ConceptLabels,
    validation: NDArray[np.bool_],
    scratch: Path,
    facts: Mapping[str, Any],
    probes: Mapping[str, float],
    options: TableOptions,
) -> ConceptMap:
    import polars as pl

    steps = sums.steps
    moments = ConceptMoments.empty(labels.concepts, steps, sae.size, facts)
    for slot, step in enumerate(steps):
        moments.fired[slot], moments.tokens[slot] = seen.fired[step], seen.tokens[step]
    moments.fired[-1], moments.tokens[-1] = moments.fired[:-1].sum(0), moments.tokens[:-1].sum()
    entries = StepEntries(len(steps) + 1, scratch)
    counted = ~validation[prompt]
    present = np.zeros((len(prompt), len(steps) + 1), dtype=bool)
    for block in sums.blocks():
        entries.add(block)
        present[block.images] = block.present.numpy()
        training = torch.from_numpy(counted[block.images])
        for column in range(labels.codes.shape[1]):
            concept = torch.from_numpy(labels.codes[prompt[block.images], column])
            moments.add(concept.where(training, -1), block.means, block.present)
    images = Images(prompt, counted, present)
    table = concept_table(name, moments, entries, images, labels, options)
    pooled = table.filter(pl.col("step").is_null()).drop_nulls("auroc")
    best = pooled.sort("auroc", "latent", descending=[True, False]).group_by("concept", maintain_order=True).first()
    best = pl.DataFrame({"concept": labels.concepts}).join(best, on="concept", maintain_order="left")
    held_out = {
        concept: _latent_auroc(concept, latent, entries, images, labels)
        for concept, latent in best.select("concept", "latent").iter_rows()
    }
    return ConceptMap(moments, table, probe_table(name, best, held_out, probes))


def _latent_auroc(concept: str, latent: int, entries: StepEntries, images: Images, labels: ConceptLabels) -> float:
    """AUROC of one latent on validation images, all steps pooled."""
    place = labels.concepts.index(concept)
    column = next(number for number, places in enumerate(labels.axes.values()) if place in places)
    code = labels.codes[images.prompt, column]
    pooled = entries.at(images.present.shape[1] - 1)
    mine = pooled.latent == latent
    means = np.zeros(len(images.prompt))
    means[pooled.image[mine]] = pooled.mean[mine]
    test = ~images.counted & (code >= 0) & images.present[:, -1]
    return auroc_of(means[test], code[test] == place)


def _probe_prompts(validation: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """At most `PROBE_PROMPTS` training prompts and as many for validation, evenly over each: bool [prompts]."""
    chosen = np.zeros(len(validation), dtype=bool)
    for split in (validation, ~validation):
        numbers = np.flatnonzero(split)
        if len(numbers):
            chosen[numbers[np.linspace(0, len(numbers) - 1, PROBE_PROMPTS).round().astype(int)]] = True
    return chosen


def _hookpoint(store: Store, name: str, sae: Sae, branch: Branch) -> Hookpoint:
    """Where `sae` belongs in the store; UserError if it does not."""
    hookpoint = require_hookpoint(sae.site, name)
    layout = store.layout(hookpoint)
    # Of its own steps, where it says them: rows of others are passed over.
    here = store_site(store, hookpoint, sae.site.steps)
    unknown = "branches" in (sae.site.unknown or ())
    problems = site_differences(sae.site, here.model_copy(update={"branches": (branch,) if unknown else None}))
    if sae.width != layout.width:
        problems.append(f"width: {sae.width} and {layout.width}")
    if sae.site.branches is not None and branch not in sae.site.branches:
        problems.append(f"branch: {', '.join(sae.site.branches)} and {branch}")
    if problems:
        raise UserError(
            f"The autoencoder {name} does not fit the activations in {store.folder} ({'; '.join(problems)}; its own "
            "first); train it on them, or collect where it was trained."
        )
    return hookpoint


# Means of raw rows by image, for a probe beside the latents.


class RowMeans:
    """Mean over all tokens and steps of the rows of each image of `chosen` prompts (bool [prompts]), running.

    In memory one float64 [d] for each such image, so choose as many prompts as a probe needs.
    """

    def __init__(self, width: int, chosen: NDArray[np.bool_]) -> None:
        self._chosen = chosen
        self._place: dict[int, int] = {}
        self._sums = torch.zeros(0, width, dtype=torch.float64)
        self._count = torch.zeros(0, dtype=torch.float64)

    def add(self, given: ImageRows, prompt_of: Sequence[int]) -> None:
        """Take in rows; `prompt_of`: the prompt's number of each image."""
        images, group = torch.unique_consecutive(given.image, return_inverse=True)
        kept = [(number, image) for number, image in enumerate(images.tolist()) if self._chosen[prompt_of[image]]]
        if not kept:
            return
        sums = torch.zeros(len(images), given.rows.shape[1], dtype=torch.float64)
        sums.index_add_(0, group, given.rows.double())
        numbers = torch.tensor([number for number, _ in kept])
        places = torch.tensor([self._place.setdefault(image, len(self._place)) for _, image in kept])
        self._grow(len(self._place))
        self._sums.index_add_(0, places, sums[numbers])
        self._count.index_add_(0, places, torch.bincount(group, minlength=len(images))[numbers].double())

    def read(self) -> tuple[NDArray[np.int64], Tensor]:
        """Numbers of the images, int64 [images], and their means, float64 [images, d]."""
        held = len(self._place)
        return np.array(list(self._place), dtype=np.int64), self._sums[:held] / self._count[:held].unsqueeze(1)

    def _grow(self, needed: int) -> None:
        if needed > len(self._sums):
            more = max(needed, 2 * len(self._sums)) - len(self._sums)
            self._sums = torch.cat([self._sums, self._sums.new_zeros(more, self._sums.shape[1])])
            self._count = torch.cat([self._count, self._count.new_zeros(more)])
