"""Each picture judged: is it winter, did its season change, and are object, colour, place and time what they should be?

The table of pictures has one row for each (prompt_id, seed, condition) and the columns in `MEASURED`. Conditions:

- `unsteered`: the prompt alone; every other condition uses the same seeds;
- `fixed`: one strength for all prompts; `adaptive`: a strength for each prompt;
- `prompt`: no steering, "in winter" added to the prompt; `random`: a random direction of the fixed one's norms.
"""

import polars as pl

from steerkit.world.labels import INDOOR, LABELS

CONDITIONS = ("unsteered", "fixed", "adaptive", "prompt", "random")
# Steering is meant to change the season; the other labels are meant to stay.
KEPT_LABELS = tuple(label for label in LABELS if label != "season")
KEYS = ("prompt_id", "seed", "condition")
SIMILARITIES = ("winter_similarity", "winter_margin", "prompt_similarity", "lpips")
MEASURED = (*KEYS, *LABELS, *SIMILARITIES)
RESISTANCES = ("high", "medium", "low")
PROMPT_COLUMNS = ("prompt_id", "prompt", "resistance", *KEPT_LABELS)


def judge(measured: pl.DataFrame, prompts: pl.DataFrame) -> pl.DataFrame:
    """The pictures with judgements beside the measurements.

    `measured` has the columns in `MEASURED`: predicted labels, `winter_similarity` and `prompt_similarity` (cosines to
    the winter ensemble and to the original prompt), `winter_margin` (winter minus the nearest other season), and
    `lpips` (distance to the unsteered picture of the same prompt and seed, 0 for itself). `prompts` has
    `PROMPT_COLUMNS`: the resistance group, and the labels that the prompt names (null where it names none).

    Added columns:

    - `setting`: indoor or outdoor, by the place that the prompt names, else by the place of the unsteered picture;
    - `winter`: the predicted season is winter;
    - `season_changed`: the predicted season is not that of the unsteered picture;
    - `<label>_right`: the prediction is what the prompt names; null where it names nothing;
    - `<label>_kept`: the prediction is that of the unsteered picture;
    - `fidelity`: share of object, colour, place and time that are what they should be: what the prompt names, else what
      the unsteered picture shows.

    Raises ValueError for missing columns, doubled rows, values that are null or not finite, unknown conditions or
    groups, and pictures without an unsteered one of the same prompt and seed.
    """
    _check(measured, prompts)
    prompts = prompts.with_columns(pl.col(label).cast(pl.String) for label in KEPT_LABELS)
    origin = measured.filter(condition="unsteered").select(
        "prompt_id", "seed", *(pl.col(label).alias(f"{label}_unsteered") for label in LABELS)
    )
    named = prompts.rename({label: f"{label}_named" for label in KEPT_LABELS}).select(
        "prompt_id", "prompt", "resistance", *(f"{label}_named" for label in KEPT_LABELS)
    )
    joined = measured.join(origin, on=["prompt_id", "seed"], how="left").join(named, on="prompt_id", how="left")
    expected = {label: pl.coalesce(f"{label}_named", f"{label}_unsteered") for label in KEPT_LABELS}
    judged = joined.with_columns(
        pl.when(expected["place"] == INDOOR).then(pl.lit("indoor")).otherwise(pl.lit("outdoor")).alias("setting"),
        (pl.col("season") == "winter").alias("winter"),
        (pl.col("season") != pl.col("season_unsteered")).alias("season_changed"),
        *((pl.col(label) == pl.col(f"{label}_named")).alias(f"{label}_right") for label in KEPT_LABELS),
        *((pl.col(label) == pl.col(f"{label}_unsteered")).alias(f"{label}_kept") for label in KEPT_LABELS),
        pl.mean_horizontal(*((pl.col(label) == expected[label]).cast(pl.Float64) for label in KEPT_LABELS)).alias(
            "fidelity"
        ),
    )
    return judged.drop(*(f"{label}_unsteered" for label in LABELS), *(f"{label}_named" for label in KEPT_LABELS)).sort(
        "prompt_id", "seed", pl.col("condition").replace_strict({c: i for i, c in enumerate(CONDITIONS)})
    )


def _check(measured: pl.DataFrame, prompts: pl.DataFrame) -> None:
    for name, table, wanted in (("measured", measured, MEASURED), ("prompts", prompts, PROMPT_COLUMNS)):
        missing = [column for column in wanted if column not in table.columns]
        if missing:
            raise ValueError(f"The table {name} lacks the columns {', '.join(missing)}.")
    if measured.select(KEYS).is_duplicated().any():
        raise ValueError("The table of pictures has two rows for one prompt, seed and condition.")
    for column in MEASURED:
        values = measured[column]
        finite = values.is_finite().all() if values.dtype.is_float() else True
        if values.null_count() or not finite:
            raise ValueError(f"The column {column} has values that are null or not finite.")
    for column, values, known in (
        ("condition", measured["condition"], CONDITIONS),
        ("resistance", prompts["resistance"], RESISTANCES),
        *((label, measured[label], LABELS[label]) for label in LABELS),
    ):
        unknown = sorted(set(values.to_list()) - set(known))
        if unknown:
            raise ValueError(f"Unknown {column} {', '.join(map(str, unknown))}; known are {', '.join(known)}.")
    alone = measured.join(measured.filter(condition="unsteered"), on=["prompt_id", "seed"], how="anti")
    if alone.height:
        key = alone.row(0, named=True)
        raise ValueError(
            f"{alone.height} pictures have no unsteered picture of their prompt and seed, "
            f"the first being prompt {key['prompt_id']}, seed {key['seed']}, {key['condition']}."
        )
    strangers = sorted(set(measured["prompt_id"].to_list()) - set(prompts["prompt_id"].to_list()))
    if strangers or prompts["prompt_id"].is_duplicated().any():
        raise ValueError(f"Every prompt id needs exactly one row in the table of prompts; unknown: {strangers}.")
