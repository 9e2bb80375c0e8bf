"""What is collected for latents, and how it divides into shards that can be done anywhere, each by itself."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from steerwright.activations.store.format import MANIFEST, Shard, read_manifest, shard_key
from steerwright.activations.store.rows import dtype_name
from steerwright.errors import UserError, UserErrors, problems_at
from steerwright.models.families import family_of, in_denoiser
from steerwright.models.fingerprint import Fingerprint
from steerwright.models.generate import image_size
from steerwright.models.hookpoints import Hookpoint, resolve
from steerwright.models.load import LoadedModel
from steerwright.models.running import Branch
from steerwright.models.schedule import timesteps
from steerwright.models.spec import Dtype, ModelSpec
from steerwright.models.without_weights import ModelWithoutWeights

if TYPE_CHECKING:
    import polars as pl


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Collection(_Frozen):
    """What params.yaml says about collecting: which rows, and how much of the work is one batch and one shard."""

    hookpoints: tuple[str, ...] = Field(
        min_length=1,
        description="Modules of the UNet: path, path:update, path:in; "
        "of FLUX's transformer also path:out:text for the tokens of the prompt.",
    )
    branches: tuple[Branch, ...] = Field(default=("cond",), min_length=1, description="cond, uncond.")
    steps: tuple[int, ...] | None = Field(default=None, description="Denoising steps, from 0; null: all.")
    tokens: int | None = Field(default=None, ge=1, description="Tokens kept of each picture and step; null: all.")
    token_seed: int = Field(default=0, description="Which tokens those are.")
    splits: tuple[str, ...] = Field(default=("train", "validation"), min_length=1, description="Splits of prompts.")
    guidance: float | None = Field(default=None, ge=0, description="Guidance scale; null: the model's own.")
    batch_size: int = Field(default=8, ge=1, description="Pictures that the model makes at once.")
    prompts_per_shard: int = Field(default=32, ge=1, description="Prompts whose rows are one shard.")

    @field_validator("steps")
    @classmethod
    def _steps_once(cls, steps: tuple[int, ...] | None) -> tuple[int, ...] | None:
        if steps is not None and (not steps or min(steps) < 0 or len(set(steps)) != len(steps)):
            raise ValueError("steps are whole numbers from 0 up, each once; null is all of them")
        return None if steps is None else tuple(sorted(steps))

    @field_validator("branches")
    @classmethod
    def _halves(cls, branches: tuple[Branch, ...]) -> tuple[Branch, ...]:
        if "none" in branches or len(set(branches)) != len(branches):
            raise ValueError("branches are cond and uncond, each once; without guidance, cond is all there is")
        return branches

    def parsed(self) -> list[Hookpoint]:
        """The hookpoints, each once."""
        return list(dict.fromkeys(Hookpoint.parse(text) for text in self.hookpoints))


class CollectedPrompt(_Frozen):
    """A prompt whose picture is begun from `seed`; `split` is what it is for."""

    id: str
    prompt: str
    split: str
    seed: int


class ShardJob(_Frozen):
    """All that collecting one shard needs, for any process on any machine that sees `folder` and the model.

    It survives pickling, and JSON (`model_dump(mode="json")`). `threads` are those that torch computes with: another
    number rounds otherwise, so every process takes the planning one's. `resolution` is that of the pictures, height and
    width in pixels. `held`, if any, is the finished shard of an earlier version, and `sources` say where its files lie,
    which are linked instead of computing it again.
    """

    name: str
    key: str
    folder: Path
    spec: ModelSpec
    model: Fingerprint
    device: str
    threads: int
    dtype: Dtype
    resolution: tuple[int, int]
    collection: Collection
    prompts: tuple[CollectedPrompt, ...]
    held: Shard | None = None
    sources: dict[str, Path] = {}

    @property
    def hookpoints(self) -> list[Hookpoint]:
        return self.collection.parsed()

    @property
    def guidance(self) -> float:
        asked = self.collection.guidance
        return self.spec.guidance if asked is None else asked

    @property
    def side_file(self) -> Path:
        """The small file that says that the shard is whole; no part of the finished store."""
        return self.folder / f"{self.name}.{self.key[:16]}.json"

    def is_written(self) -> bool:
        """Whether the shard was finished in the folder before."""
        return self.side_file.exists()

    @property
    def provenance(self) -> dict[str, object]:
        """How the rows were made, for people: in the store's manifest."""
        spec = self.spec
        return {
            **self.collection.model_dump(mode="json"),
            "guidance": self.guidance,
            "denoising_steps": spec.steps,
            "size": [spec.height, spec.width],
            "resolution": list(self.resolution),
            "device": self.device,
            "threads": self.threads,
            "engine": "hooks",
        }


def parse_collection(values: Mapping[str, object], where: str = "latents.activations") -> Collection:
    """The collection of a section of params.yaml; UserErrors with every problem as `where.key: message`."""
    try:
        return Collection.model_validate(values)
    except ValidationError as error:
        raise UserErrors("params.yaml: these activations cannot be collected:", problems_at(error, where)) from None


def plan_collection(
    model: LoadedModel,
    prompts: Sequence[CollectedPrompt],
    collection: Collection,
    folder: Path,
    *,
    earlier: Mapping[str, Path] | None = None,
    code: str = "",
) -> list[ShardJob]:
    """The shards of a store in `folder`, in order: consecutive groups of the prompts of a split.

    So prompts that are appended to a split cost its new shards and at most the last one that was there. `earlier` maps
    the file names of an earlier version of the folder to where they lie; what nothing has changed for is taken from
    there. `code` is part of what a shard depends on. Raises UserError for hookpoints, branches or steps that the model
    has not, and when no prompt is left.
    """
    check(model, collection)
    groups = shard_groups(prompts, collection)
    folder.mkdir(parents=True, exist_ok=True)
    spec, dtype = model.spec, dtype_name(model.dtype)
    settings = collection.model_dump(mode="json", exclude={"prompts_per_shard", "splits", "guidance", "hookpoints"})
    guidance = spec.guidance if collection.guidance is None else collection.guidance
    settings |= {"hookpoints": [str(hookpoint) for hookpoint in collection.parsed()], "guidance": guidance}
    settings |= {"denoising_steps": spec.steps, "size": [spec.height, spec.width], "device": model.device.type}
    identity = [model.fingerprint.computation, model.fingerprint.libraries, dtype]
    held = _held(folder, earlier or {}, model.fingerprint, dtype)
    jobs = []
    for name, some in groups:
        key = shard_key(identity, settings, code, [(one.id, one.prompt, one.seed) for one in some])
        shard, sources = held.get((name, key), (None, {}))
        jobs.append(
            ShardJob(
                name=name,
                key=key,
                folder=folder.absolute(),
                spec=spec.model_copy(update={"source": _anywhere(spec.source)}),
                model=model.fingerprint,
                device=model.device.type,
                threads=torch.get_num_threads(),
                dtype=dtype,
                resolution=image_size(model),
                collection=collection,
                prompts=tuple(some),
                held=shard,
                sources=sources,
            )
        )
    return jobs


def check(model: LoadedModel | ModelWithoutWeights, collection: Collection) -> None:
    """Refuse, by UserError, hookpoints, branches or steps that `model` has not."""
    family = family_of(model.pipeline)
    for hookpoint in collection.parsed():
        resolve(model.pipeline, hookpoint)
        if not in_denoiser(hookpoint):
            raise UserError(
                f"Hookpoint {hookpoint} is not in the {family.noun}, so it has no denoising steps; "
                f"name one of {family.root}.*"
            )
    if not family.has_branches(model.pipeline) and collection.branches != ("cond",):
        raise UserError(
            f"{model.spec.name} has its guidance embedded: there is no unconditional branch; collect branches: [cond]."
        )
    guidance = model.spec.guidance if collection.guidance is None else collection.guidance
    if guidance <= 1 and collection.branches != ("cond",):
        raise UserError(f"With a guidance of {guidance:g} there is no unconditional branch; collect branches: [cond].")
    count = len(timesteps(model.pipeline, model.spec.steps))
    if collection.steps is not None and collection.steps[-1] >= count:
        raise UserError(
            f"There is no denoising step {collection.steps[-1]}: {model.spec.name} makes {count}, counted from 0."
        )


def shard_groups(prompts: Sequence[CollectedPrompt], collection: Collection) -> list[tuple[str, list[CollectedPrompt]]]:
    """Name and prompts of every shard: `SPLIT-NUMBER`, groups of the table's order within a split.

    Raises UserError when no prompt is of the splits that are collected.
    """
    groups = []
    for split in sorted(set(collection.splits)):
        members = [prompt for prompt in prompts if prompt.split == split]
        for number, start in enumerate(range(0, len(members), collection.prompts_per_shard)):
            groups.append((f"{split}-{number:06d}", members[start : start + collection.prompts_per_shard]))
    if not groups:
        found = ", ".join(sorted({prompt.split for prompt in prompts})) or "none"
        raise UserError(f"No prompt is of the split {' or '.join(collection.splits)}; the prompts are of {found}.")
    return groups


def collected_prompts(table: pl.DataFrame) -> list[CollectedPrompt]:
    """The rows of a table of prompts with the columns id, prompt, split and seed."""
    return [CollectedPrompt(**row) for row in table.select("id", "prompt", "split", "seed").iter_rows(named=True)]


def _held(
    folder: Path, earlier: Mapping[str, Path], model: Fingerprint, dtype: Dtype
) -> dict[tuple[str, str], tuple[Shard, dict[str, Path]]]:
    """Finished shards by name and key, with their files: of `folder` itself, else of `earlier`."""
    found: dict[tuple[str, str], tuple[Shard, dict[str, Path]]] = {}
    own = {path.name: path for path in folder.iterdir()}
    for files in (earlier, own):
        if MANIFEST not in files:
            continue
        try:
            manifest = read_manifest(files[MANIFEST])
        except UserError:  # an older schema, or damage: nothing to reuse, which costs only time
            continue
        if not manifest.model.same_model(model) or manifest.dtype != dtype:
            continue
        for shard in manifest.shards:
            sources = {file.path: files[file.path].absolute() for file in shard.files if file.path in files}
            if len(sources) == len(shard.files):
                found[shard.name, shard.key] = shard, sources
    return found


def _anywhere(source: str) -> str:
    """A local folder by its whole path: other processes may stand elsewhere."""
    return os.path.abspath(source) if os.path.isdir(source) else source
