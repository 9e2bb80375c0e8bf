"""`steerwright estimate`: what a parameter set costs before anything of it runs; changes nothing."""

from __future__ import annotations

import math
import shutil
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from steerwright.errors import UserError

if TYPE_CHECKING:
    from rich.table import Table

    from steerwright.activations.estimate import Estimate
    from steerwright.activations.shard_plan import CollectedPrompt, Collection

PIPELINES = ("latents", "flux")


def estimate(
    pipeline: Annotated[str, typer.Argument(help="The pipeline that collects: latents or flux.")] = "latents",
    params: Annotated[
        Path | None, typer.Option(metavar="FILE", help="With the values of this file; params.yaml stays as it is.")
    ] = None,
    model: Annotated[str | None, typer.Option(metavar="NAME", help="With this entry of `models`.")] = None,
    rate: Annotated[
        float | None, typer.Option(metavar="PICTURES", help="Pictures a second, instead of timing a few steps.")
    ] = None,
    configs: Annotated[
        bool, typer.Option("--configs", help="From the configs of a FLUX model alone: its weights are not needed.")
    ] = False,
) -> None:
    """Say how many pictures, hours and bytes collecting will take, and how much memory."""
    if pipeline not in PIPELINES:
        raise UserError(f"`steerwright estimate` knows {', '.join(PIPELINES)}, not {pipeline!r}.")
    if rate is not None and not 0 < rate < math.inf:
        raise UserError(f"--rate {rate:g}: a number of pictures a second is above 0.")
    from steerwright.dag.project import enter, find_root

    root, params = find_root(), params and params.absolute()
    enter(root)
    values = with_file(root, params)
    if model is not None:
        _model_of(values, pipeline)["model"] = model
    _print(values, root, pipeline, rate, configs)


def _model_of(values: dict[str, Any], pipeline: str) -> dict[str, Any]:
    """The section that names the pipeline's model: flux has one of its own."""
    found: dict[str, Any] = values.setdefault("flux", {}) if pipeline == "flux" else values
    return found


def with_file(root: Path, file: Path | None) -> dict[str, Any]:
    """What params.yaml would be with the values of `file` written into it; UserErrors for keys that it has not."""
    from steerwright.dag import params as params_edit
    from steerwright.dag import registry
    from steerwright.dag.params import FILE, load_params

    if file is None:
        return load_params(root)
    free = {key for stage in registry.all_stages(root).values() for key in stage.params.values()}
    with tempfile.TemporaryDirectory() as folder:
        # A project that is nothing but the parameters, so that the ones in use are left alone.
        copy = Path(folder)
        (copy / ".dvc").mkdir()
        shutil.copyfile(root / FILE, copy / FILE)
        params_edit.merge_file(copy, file.resolve(), free)
        return load_params(copy)


def _print(values: dict[str, Any], root: Path, pipeline: str, rate: float | None, configs: bool) -> None:
    from rich.console import Console

    from steerwright.activations.estimate import estimate_collection, estimate_from_configs
    from steerwright.models.load import load_model
    from steerwright.models.select import select_model
    from steerwright.models.without_weights import ModelWithoutWeights

    # Before the model, which may take minutes to load.
    works = collections_of(values, root, pipeline)
    spec = select_model(_model_of(values, pipeline).get("model", ""), values.get("models", {}))
    console = Console(soft_wrap=not sys.stdout.isatty())
    estimate_of: Callable[..., Estimate] = estimate_from_configs if configs else estimate_collection
    model = ModelWithoutWeights(spec) if configs else load_model(spec)
    for work in works:
        found = estimate_of(model, work.prompts, work.collection, rate)
        console.print(_table(work, found, root, rate, spec.offload))


@dataclass(frozen=True, slots=True)
class _Work:
    """What a stage collects; `decoded` says whether its pictures are made too."""

    stage: str
    prompts: list[CollectedPrompt]
    collection: Collection
    decoded: bool = False


def collections_of(values: Mapping[str, Any], root: Path, pipeline: str) -> list[_Work]:
    """The stages of `pipeline` that run the model over many prompts."""
    from steerwright.activations.shard_plan import collected_prompts, parse_collection
    from steerwright.experiments.draw_and_record import repeated
    from steerwright.prompts.concept_suite import concept_prompts, parse_suite

    suite = parse_suite(_section(values, pipeline, "prompts", "suite"), f"{pipeline}.prompts.suite")
    prompts = collected_prompts(concept_prompts(suite, root / "data" / pipeline))
    rows = parse_collection(_section(values, pipeline, "activations"), f"{pipeline}.activations")
    found = [_Work(f"{pipeline}-activations", prompts, rows)]
    if pipeline == "flux":
        asked = _section(values, pipeline, "images")
        step, split, repetitions = asked.pop("step"), asked.pop("split"), asked.pop("repetitions")
        asked["prompts_per_shard"] *= repetitions
        rows = parse_collection({**asked, "steps": [step], "splits": [split]}, f"{pipeline}.images")
        found.append(_Work(f"{pipeline}-images", repeated(prompts, repetitions), rows, decoded=True))
    return found


def _table(work: _Work, found: Estimate, root: Path, rate: float | None, offload: str) -> Table:
    from rich.table import Table

    from steerwright.activations.estimate import in_words

    table = Table(box=None, show_header=False, pad_edge=False, title=work.stage, title_justify="left")
    pictures = "and the pictures themselves" if work.decoded else "none of them decoded"
    said = {
        "pictures": f"{found.pictures:,} (splits {', '.join(work.collection.splits)}), {pictures}",
        "rows": ", ".join(f"{count:,} at {name}" for name, count in found.rows.items()),
        "on disk": f"{in_words(found.bytes)} in {found.shards:,} shards",
        "free": in_words(shutil.disk_usage(root).free),
        "time": _time(found.seconds, found.pictures, rate),
        "memory": _memory(found, offload),
    }
    for name, text in said.items():
        table.add_row(name, text)
    return table


def _section(values: Mapping[str, Any], *keys: str) -> dict[str, Any]:
    """The mapping at dotted keys; UserError when there is none."""
    found: Any = values
    for key in keys:
        found = found.get(key) if isinstance(found, Mapping) else None
    if not isinstance(found, Mapping):
        raise UserError(f"params.yaml has no section {'.'.join(keys)}, so there is nothing to estimate.")
    return dict(found)


def _time(seconds: float | None, pictures: int, rate: float | None) -> str:
    if seconds is None:
        return "not known from configs; say pictures a second with --rate"
    how = "as stated" if rate is not None else "a few steps of one batch were timed"
    spent = f"{seconds / 3600:.1f} hours" if seconds >= 5400 else f"{seconds / 60:.1f} minutes"
    return f"{spent} on one such machine, at {pictures / seconds:.3g} pictures a second ({how})"


def _memory(found: Estimate, offload: str) -> str:
    from steerwright.activations.estimate import in_words

    if found.weights is not None and found.gpu_weights is not None:
        weights = f"{in_words(found.weights)} of weights"
        if offload != "none":
            weights += f", of which {in_words(found.gpu_weights)} at once on a GPU (offload: {offload})"
        return f"{weights}; what a batch computes comes on top"
    if found.memory is None:
        return "not measured with a stated rate"
    gpu = "" if found.gpu_memory is None else f", and {in_words(found.gpu_memory)} on the GPU"
    return f"{in_words(found.memory)} in all{gpu}"
