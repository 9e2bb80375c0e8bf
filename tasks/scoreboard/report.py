"""One table of all steering methods there are, on the thirty winter prompts."""

import json
from pathlib import Path
from typing import Annotated, Any

import polars as pl

from steerwright.dag import Dep, Out, Param
from steerwright.errors import UserErrors
from steerwright.report.scoreboard import write_scoreboard
from steerwright.scoring.scoreboard import Entry
from steerwright.scoring.scoreboard import scoreboard as compare
from steerwright.scoring.target import Target, read_target
from steerwright.stats.bootstrap import Bootstrap


def compare_methods(
    target: Annotated[Path, Dep()],
    prompts: Annotated[Path, Dep()],
    text_encoder: Annotated[Path, Dep()],
    attention: Annotated[Path, Dep()],
    latents: Annotated[Path, Dep()],
    edit: Annotated[str, Param()],
    edits: Annotated[dict[str, Any], Param("/attention.edits")],
    concepts: Annotated[dict[str, Any], Param("/attention.prompts.concepts")],
    latent: Annotated[str, Param("/latents.winter.concept")],
    resamples: Annotated[int, Param()],
    bootstrap_seed: Annotated[int, Param()],
    report: Annotated[Path, Out("report")],
    table: Annotated[Path, Out("scoreboard.txt")],
    metrics: Annotated[Path, Out("metrics.json", kind="metrics", cache=False)],
) -> None:
    """Compare the methods on the same prompts and seeds, by the same measures and controls."""
    wanted = read_target(target)
    _check_alike(wanted, edit, concepts.get(edits.get(edit, {}).get("concept"), {}), latent)
    texts = {row["id"]: row["prompt"] for row in json.loads(prompts.read_text())["scored"]}
    winter = pl.read_parquet(text_encoder).with_columns(
        pl.col("prompt_id").replace_strict(texts, return_dtype=pl.String).alias("prompt")
    )
    crossed = pl.read_parquet(attention).filter(pl.col("edit") == edit, pl.col("operating"))
    of = {name: winter.filter(condition=name) for name in ("unsteered", "fixed", "adaptive", "prompt", "random")}
    across = {name: crossed.filter(condition=name) for name in ("unsteered", "steered", "random", "negative")}
    sparse = pl.read_parquet(latents)
    within = {name: sparse.filter(condition=name) for name in ("unsteered", "steered", "random")}
    plain, plain_across = of["unsteered"], across["unsteered"]
    entries = [
        Entry("unsteered", plain, plain),
        Entry("text encoder, fixed strength", of["fixed"], plain, of["random"]),
        Entry("text encoder, adaptive strength", of["adaptive"], plain, of["random"]),
        Entry("cross-attention, add", across["steered"], plain_across, across["random"]),
        Entry("sparse autoencoder latents, add", within["steered"], within["unsteered"], within["random"]),
        Entry("control: words in the prompt", of["prompt"], plain),
        Entry("control: negative prompt", across["negative"], plain_across),
    ]
    entries = [entry for entry in entries if entry.pictures.height]
    scores = compare(entries, Bootstrap(resamples=resamples, seed=bootstrap_seed), wanted)
    seeds = plain.join(across["steered"], on=["prompt_id", "seed"], how="semi")["seed"].n_unique()
    note = f"{len(texts)} prompts, {seeds} seeds each, the same for all methods; labels by the label classifier."
    write_scoreboard(report, scores, title=f"Towards {wanted.name}: all methods", note=note, target=wanted)
    table.write_bytes((report / "scoreboard.txt").read_bytes())
    numbers = {f"{row['method']}: {row['metric']}": round(row["estimate"], 6) for row in scores.iter_rows(named=True)}
    metrics.write_text(json.dumps(numbers, indent=1) + "\n")


def _check_alike(target: Target, edit: str, concept: dict[str, Any], latent: str) -> None:
    """Refuse to compare methods that steer towards different concepts."""
    of = {
        "winter.vectors.concept": " + ".join(f"{one.label}:{one.value}" for one in target.concepts.values()),
        f"the edit {edit} of scoreboard.report.edit": f"{concept.get('label')}:{concept.get('value')}",
        "latents.winter.concept": latent,
    }
    if len(set(of.values())) > 1:
        raise UserErrors(
            "The table of all methods compares them on one concept (a label and its value), but they steer towards "
            "different ones; set these alike:",
            [f"{key} is {value}" for key, value in of.items()],
        )
