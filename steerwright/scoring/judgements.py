"""Each picture judged: is it winter, did its season change, and are object, colour, place and time what they should be?

Winter stands for what pictures are steered towards, a `Target`, and season for its labels. The table of pictures has
one row for each (prompt_id, seed, condition) and the columns of `measured_columns`. Conditions:

- `unsteered`: the prompt alone; every other condition uses the same seeds;
- `fixed`: one strength for all prompts; `adaptive`: a strength for each prompt;
- `prompt`: no steering, "in winter" added to the prompt; `random`: a random direction of the fixed one's norms.
"""

import polars as pl

from steerwright.scoring.metrics import METRICS
from steerwright.scoring.target import Target, column

CONDITIONS = ("unsteered", "fixed", "adaptive", "prompt", "random")
KEYS = ("prompt_id", "seed", "condition")
RESISTANCES = ("high", "medium", "low")


def similarities(target: Target) -> tuple[str, ...]:
    """The columns that are numbers: similarity to and margin of the target, and `metrics.METRICS`."""
    return (f"{target.key}_similarity", f"{target.key}_margin", *METRICS)


def measured_columns(target: Target) -> tuple[str, ...]:
    """What is measured of each picture; of concepts that no label shows, also whether it shows them."""
    unlabelled = (column(name) for name, concept in target.concepts.items() if concept.label is None)
    return (*KEYS, *target.label_set.values, *unlabelled, *similarities(target))


def judge(measured: pl.DataFrame, prompts: pl.DataFrame, target: Target) -> pl.DataFrame:
    """The pictures with judgements beside the measurements.

    `measured` has the columns of `measured_columns`: predicted labels, `winter_similarity` and `prompt_similarity`
    (cosines to the winter ensemble and to the original prompt), `winter_margin` (winter minus the nearest other
    season), and `lpips` (distance to the unsteered picture of the same prompt and seed, 0 for itself). `prompts` has
    `prompt_id`, `prompt`, `resistance` (its group) and, for each label that is to stay, what the prompt names (null
    where it names none).

    Added columns:

    - `setting`: indoor or outdoor, by the place that the prompt names, else by the place of the unsteered picture;
    - `winter`: the predicted season is winter; of several concepts one column each, and one for all at once;
    - `season_changed`: the predicted season is not that of the unsteered picture;
    - `<label>_right`: the prediction is what the prompt names; null where it names nothing;
    - `<label>_kept`: the prediction is that of the unsteered picture;
    - `fidelity`: share of object, colour, place and time that are what they should be: what the prompt names, else what
      the unsteered picture shows.

    Raises ValueError for missing columns, doubled rows, values that are null or not finite, unknown conditions or
    groups, and pictures without an unsteered one of the same prompt and seed.
    """
    kept = target.kept_labels
    _check(measured, prompts, target)
    prompts = prompts.with_columns(pl.col(label).cast(pl.String) for label in kept)
    before = tuple(dict.fromkeys([*target.label_set.values, *target.changing]))
    origin = measured.filter(condition="unsteered").select(
        "prompt_id", "seed", *(pl.col(label).alias(f"{label}_unsteered") for label in before)
    )
    named = prompts.rename({label: f"{label}_named" for label in kept}).select(
        "prompt_id", "prompt", "resistance", *(f"{label}_named" for label in kept)
    )
    joined = measured.join(origin, on=["prompt_id", "seed"], how="left").join(named, on="prompt_id", how="left")
    expected = {label: pl.coalesce(f"{label}_named", f"{label}_unsteered") for label in kept}
    indoors = pl.lit(False)
    if target.label_set.indoor is not None:
        label, room = target.label_set.indoor
        indoors = expected.get(label, pl.col(f"{label}_unsteered")) == room
    shown = {
        column(name): pl.col(column(name)) if one.label is None else pl.col(one.label) == one.value
        for name, one in target.concepts.items()
    }
    if len(shown) > 1:
        shown[target.key] = pl.all_horizontal(*shown.values())
    judged = joined.with_columns(
        pl.when(indoors).then(pl.lit("indoor")).otherwise(pl.lit("outdoor")).alias("setting"),
        *(found.alias(name) for name, found in shown.items()),
        pl.any_horizontal(*(pl.col(name) != pl.col(f"{name}_unsteered") for name in target.changing)).alias(
            target.changed
        ),
        *((pl.col(label) == pl.col(f"{label}_named")).alias(f"{label}_right") for label in kept),
        *((pl.col(label) == pl.col(f"{label}_unsteered")).alias(f"{label}_kept") for label in kept),
        pl.mean_horizontal(*((pl.col(label) == expected[label]).cast(pl.Float64) for label in kept)).alias("fidelity"),
    )
    return judged.drop(*(f"{label}_unsteered" for label in before), *(f"{label}_named" for label in kept)).sort(
        "prompt_id", "seed", pl.col("condition").replace_strict({c: i for i, c in enumerate(CONDITIONS)})
    )


def _check(measured: pl.DataFrame, prompts: pl.DataFrame, target: Target) -> None:
    columns = measured_columns(target)
    asked = ("prompt_id", "prompt", "resistance", *target.kept_labels)
    for name, table, wanted in (("measured", measured, columns), ("prompts", prompts, asked)):
        missing = [column for column in wanted if column not in table.columns]
        if missing:
            raise ValueError(f"The table {name} lacks the columns {', '.join(missing)}.")
    if measured.select(KEYS).is_duplicated().any():
        raise ValueError("The table of pictures has two rows for one prompt, seed and condition.")
    for one in columns:
        values = measured[one]
        finite = values.is_finite().all() if values.dtype.is_float() else True
        if values.null_count() or not finite:
            raise ValueError(f"The column {one} has values that are null or not finite.")
    for one, values, known in (
        ("condition", measured["condition"], CONDITIONS),
        ("resistance", prompts["resistance"], RESISTANCES),
        *((label, measured[label], known) for label, known in target.label_set.values.items()),
    ):
        unknown = sorted(set(values.to_list()) - set(known))
        if unknown:
            raise ValueError(f"Unknown {one} {', '.join(map(str, unknown))}; known are {', '.join(known)}.")
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
