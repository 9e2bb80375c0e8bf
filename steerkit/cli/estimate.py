"""`steerkit estimate`: what a parameter set costs before anything of it runs; changes nothing."""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from steerkit.errors import UserError

PIPELINES = ("latents",)


def estimate(
    pipeline: Annotated[str, typer.Argument(help="The pipeline that collects activations: latents.")] = "latents",
    params: Annotated[
        Path | None, typer.Option(metavar="FILE", help="With the values of this file; params.yaml stays as it is.")
    ] = None,
    model: Annotated[str | None, typer.Option(metavar="NAME", help="With this entry of `models`.")] = None,
    rate: Annotated[
        float | None, typer.Option(metavar="PICTURES", help="Pictures a second, instead of timing a few steps.")
    ] = None,
) -> None:
    """Say how many pictures, hours and bytes collecting will take, and how much memory."""
    if pipeline not in PIPELINES:
        raise UserError(f"`steerkit estimate` knows {', '.join(PIPELINES)}, not {pipeline!r}.")
    if rate is not None and rate <= 0:
        raise UserError(f"--rate {rate:g}: a number of pictures a second is above 0.")
    from steerkit.dag.project import enter, find_root

    root, params = find_root(), params and params.absolute()
    enter(root)
    values = with_file(root, params)
    if model is not None:
        values["model"] = model
    _print(values, root, rate)


def with_file(root: Path, file: Path | None) -> dict[str, Any]:
    """What params.yaml would be with the values of `file` written into it; UserErrors for keys that it has not."""
    from steerkit.dag import params_edit, registry
    from steerkit.dag.params import FILE, load_params

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


def _print(values: Mapping[str, Any], root: Path, rate: float | None) -> None:
    from rich.console import Console
    from rich.table import Table

    from steerkit.activations.estimate import estimate_collection, in_words
    from steerkit.activations.shard_plan import collected_prompts, parse_collection
    from steerkit.models.load import load_model
    from steerkit.models.select import select_model
    from steerkit.prompts.concept_suite import concept_prompts, parse_suite

    suite = parse_suite(_section(values, "latents", "prompts", "suite"))
    collection = parse_collection(_section(values, "latents", "activations"))
    prompts = collected_prompts(concept_prompts(suite, root / "data" / "latents"))
    spec = select_model(values.get("model", ""), values.get("models", {}))
    found = estimate_collection(load_model(spec), prompts, collection, rate)

    table = Table(box=None, show_header=False, pad_edge=False, title="latents-activations", title_justify="left")
    said = {
        "pictures": f"{found.pictures:,} (splits {', '.join(collection.splits)}), none of them decoded",
        "rows": ", ".join(f"{count:,} at {name}" for name, count in found.rows.items()),
        "on disk": f"{in_words(found.bytes)} in {found.shards:,} shards",
        "free": in_words(shutil.disk_usage(root).free),
        "time": _time(found.seconds, found.pictures, rate),
        "memory": _memory(found.memory, found.gpu_memory),
    }
    for name, text in said.items():
        table.add_row(name, text)
    Console(soft_wrap=not sys.stdout.isatty()).print(table)


def _section(values: Mapping[str, Any], *keys: str) -> dict[str, Any]:
    """The mapping at dotted keys; UserError when there is none."""
    found: Any = values
    for key in keys:
        found = found.get(key) if isinstance(found, Mapping) else None
    if not isinstance(found, Mapping):
        raise UserError(f"params.yaml has no section {'.'.join(keys)}, so there is nothing to estimate.")
    return dict(found)


def _time(seconds: float | None, pictures: int, rate: float | None) -> str:
    assert seconds is not None
    how = "as stated" if rate is not None else "a few steps of one batch were timed"
    spent = f"{seconds / 3600:.1f} hours" if seconds >= 5400 else f"{seconds / 60:.1f} minutes"
    return f"{spent} on one such machine, at {pictures / seconds:.3g} pictures a second ({how})"


def _memory(host: int | None, gpu: int | None) -> str:
    from steerkit.activations.estimate import in_words

    if host is None:
        return "not measured with a stated rate"
    return f"{in_words(host)} in all" + ("" if gpu is None else f", and {in_words(gpu)} on the GPU")
