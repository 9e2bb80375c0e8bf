"""One table of all steering methods there are, on the thirty winter prompts."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import polars as pl

from seasons.label_set import SEASONS_WORLD
from steerwright.dag import Dep, Out, Param
from steerwright.errors import UserError, UserErrors
from steerwright.report.scoreboard import write_scoreboard
from steerwright.scoring.metrics import METRICS, changes
from steerwright.scoring.target import Target, read_target
from steerwright.stats.bootstrap import Bootstrap, Interval


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
    wanted = read_target(target, SEASONS_WORLD)
    check_alike(wanted, edit, concepts.get(edits.get(edit, {}).get("concept"), {}), latent)
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
    scores = scoreboard(entries, Bootstrap(resamples=resamples, seed=bootstrap_seed), wanted)
    seeds = plain.join(across["steered"], on=["prompt_id", "seed"], how="semi")["seed"].n_unique()
    note = f"{len(texts)} prompts, {seeds} seeds each, the same for all methods; labels by the label classifier."
    write_scoreboard(report, scores, title=f"Towards {wanted.name}: all methods", note=note, target=wanted)
    table.write_bytes((report / "scoreboard.txt").read_bytes())
    numbers = {f"{row['method']}: {row['metric']}": round(row["estimate"], 6) for row in scores.iter_rows(named=True)}
    metrics.write_text(json.dumps(numbers, indent=1) + "\n")


def check_alike(target: Target, edit: str, concept: dict[str, Any], latent: str) -> None:
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


# All steering methods there are on the same prompts and seeds, by the same measures.

KEYS = ("prompt_id", "seed")


@dataclass(frozen=True, slots=True, eq=False)
class Entry:
    """A method's pictures: one row per prompt and seed.

    Columns: prompt_id, seed, prompt, setting, the target's labels, `<label>_right` of the others, and `METRICS`.

    `unsteered` are the pictures without it, `random` those of a random direction of equal norm, None if it has none.
    """

    method: str
    pictures: pl.DataFrame
    unsteered: pl.DataFrame
    random: pl.DataFrame | None = None


def scoreboard(entries: Sequence[Entry], bootstrap: Bootstrap, target: Target) -> pl.DataFrame:
    """Long table: method, metric, estimate, low, high, prompts, images, in the order of `entries`.

    Metrics: `winter_rate` (share of outdoor pictures that show winter), `labels_right` (object, place and time as the
    prompt names them, relative to the unsteered pictures), `random_season_changed` (share of pictures that change
    season when they are pushed as hard in a random direction), and the mean of each of `METRICS` (of a `Change` only
    where a method changes pictures); names follow `target`. Only the prompts and seeds that all methods have are
    compared. Raises UserError when there are none.
    """
    shared = entries[0].pictures.select(*KEYS, "prompt")
    for entry in entries[1:]:
        shared = shared.join(entry.pictures.select(*KEYS, "prompt"), on=[*KEYS, "prompt"], how="semi")
    if shared.height == 0:
        raise UserError(
            f"The methods {', '.join(entry.method for entry in entries)} have no prompt and seed in common, so nothing "
            "can be compared; give winter.images.seeds and attention.images.seeds a common seed."
        )
    rows: list[dict[str, object]] = []
    for entry in entries:
        mine = entry.pictures.join(shared, on=[*KEYS, "prompt"], how="semi")
        paired = mine.join(entry.unsteered, on=list(KEYS), how="inner", suffix="_before").sort(list(KEYS))
        asked = paired.filter(setting="outdoor") if target.outdoors else paired
        shown = pl.all_horizontal(*(pl.col(str(one.label)) == one.value for one in target.concepts.values()))
        found: dict[str, Interval] = {f"{target.key}_rate": _mean(bootstrap, asked, shown)}
        if any((mine[name] != 0).any() for name in changes()):
            right = paired.with_columns(
                _right(target, "").alias("now"), _right(target, "_before").alias("before")
            ).drop_nulls("now")
            if right.height:
                found["labels_right"] = bootstrap.ratio(
                    right["now"].to_numpy(), right["before"].to_numpy(), right["prompt_id"].to_list()
                )
            found |= {name: _mean(bootstrap, paired, pl.col(name)) for name in changes()}
        found |= {name: _mean(bootstrap, paired, pl.col(name)) for name in METRICS if name not in changes()}
        if entry.random is not None:
            pushed = entry.random.join(shared, on=[*KEYS, "prompt"], how="semi").join(
                entry.unsteered, on=list(KEYS), how="inner", suffix="_before"
            )
            if pushed.height:
                moved = pl.any_horizontal(*(pl.col(label) != pl.col(f"{label}_before") for label in target.labels))
                found[f"random_{target.changed}"] = _mean(bootstrap, pushed, moved)
        rows += [
            {"method": entry.method, "metric": metric, "estimate": interval.estimate, "low": interval.low,
             "high": interval.high, "prompts": interval.clusters, "images": interval.rows}
            for metric, interval in found.items()
        ]  # fmt: skip
    return pl.DataFrame(rows)


def _right(target: Target, suffix: str) -> pl.Expr:
    """Share of object, place and time that are what the prompt names; null where it names none of them."""
    kept = target.barred_labels
    named = [pl.col(f"{label}_right{suffix}").cast(pl.Float64) for label in kept]
    return pl.mean_horizontal(*named)


def _mean(bootstrap: Bootstrap, table: pl.DataFrame, value: pl.Expr) -> Interval:
    chosen = table.select("prompt_id", value.cast(pl.Float64).alias("value"))
    return bootstrap.mean(chosen["value"].to_numpy(), chosen["prompt_id"].to_list())
