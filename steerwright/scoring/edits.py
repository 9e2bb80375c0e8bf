"""Scores of edits: did the concept come or go, and did everything else stay?

Rates are shares of pictures, intervals bootstrap intervals over prompts (`steerwright.stats.bootstrap`).
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from steerwright.prompts.concepts import Concept
from steerwright.prompts.label_set import LabelSet
from steerwright.scoring.aggregate import aggregated, as_row, paired
from steerwright.scoring.fid import frechet_distance
from steerwright.scoring.judges import ConceptJudge, labels_kept
from steerwright.scoring.labels import LabelScorer
from steerwright.scoring.metrics import METRICS, MeasuredPictures, measured
from steerwright.scoring.perceptual import Perceptual
from steerwright.scoring.samples import EditSample
from steerwright.stats.bootstrap import Bootstrap, Interval
from steerwright.steering.attention import EditSpec

KEYS = ("edit", "prompt_id", "seed", "condition", "strength")


def columns_measured(labels: LabelSet) -> tuple[str, ...]:
    """The columns of judged pictures whose means are taken."""
    right = (f"{label}_right" for label in labels.values)
    return ("concept_by_labels", "concept_by_clip", "concept_probability", *METRICS, "others_kept", "changed", *right)


KINDS: dict[str, pl.Expr] = {
    "all": pl.lit(True),
    "outdoor": pl.col("setting") == "outdoor",
    "contains": pl.col("kind") == "contains",
    "neighbour": pl.col("kind") == "neighbour",
    "other": pl.col("kind") == "other",
    # What the concept is not in, whether its neighbours are or not.
    "without": pl.col("kind") != "contains",
}
COMPARISONS = {
    "edit": pl.String, "question": pl.String, "measure": pl.String, "kind": pl.String, "condition": pl.String,
    "estimate": pl.Float64, "low": pl.Float64, "high": pl.Float64, "prompts": pl.Int64, "images": pl.Int64,
    "bar": pl.String, "met": pl.Boolean,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class EditScores:
    """Three tables.

    - `images`: one row per picture;
    - `aggregate`: edit, condition, strength, operating, kind, metric, estimate, low, high, prompts, images: long;
    - `comparisons`: the questions that were asked beforehand, see `compare`.
    """

    images: pl.DataFrame
    aggregate: pl.DataFrame
    comparisons: pl.DataFrame


def score_edits(
    images: pl.DataFrame, features: pl.Series, edits: Mapping[str, EditSpec], labels: LabelSet, bootstrap: Bootstrap
) -> EditScores:
    """All tables from judged pictures; `features` holds a list of numbers for each row of `images`, for the FID.

    `images` has the columns in `KEYS` and of `columns_measured` (those of labels may be null), `kind`, `setting` and
    `operating`.
    """
    aggregate = _aggregate(images, features, {name: name for name in columns_measured(labels)}, bootstrap)
    return EditScores(images, aggregate, compare(images, edits, labels, bootstrap))


def compare(
    images: pl.DataFrame, edits: Mapping[str, EditSpec], labels: LabelSet, bootstrap: Bootstrap
) -> pl.DataFrame:
    """What was asked of each edit at its operating point, with what had been hoped for (`bar`) and whether it `met` it.

    Adding: the concept in at least 90 % of outdoor pictures; object, place and time right in at least 90 % of their
    unsteered rates. Erasing: present in at most 10 % of pictures whose prompt names it; of the others at most 5 %
    change in any label, with a mean LPIPS of at most 0.02. Replacing: the target in at least 80 % of pictures whose
    prompt names the source. A concept that no label shows is looked for by CLIP. The same measures of the other
    conditions stand beside, without a bar.
    """
    rows: list[dict[str, Any]] = []
    held = [label for label in labels.values if label not in labels.outdoors_only | labels.unbarred]
    for name, edit in edits.items():
        mine = images.filter(pl.col("edit") == name, pl.col("operating"))
        for condition in ("unsteered", "steered", "random", "prompt", "negative"):
            part = mine.filter(condition=condition)
            if part.height:
                barred = condition == "steered"
                rows += [
                    {"edit": name, "condition": condition, **row, **({} if barred else {"bar": "", "met": None})}
                    for row in _answers(edit, part, mine.filter(condition="unsteered"), held, bootstrap)
                ]
    return pl.DataFrame(rows, schema=COMPARISONS)


def flat_metrics(scores: EditScores) -> dict[str, Any]:
    """Nested numbers for metrics.json: edit, then measure and condition, with the interval's ends beside."""
    found: dict[str, Any] = {}
    for row in scores.comparisons.iter_rows(named=True):
        name = f"{row['measure']}_{row['kind']}_{row['condition']}".replace(" ", "_")
        numbers = {"": row["estimate"], "_low": row["low"], "_high": row["high"]}
        for suffix, value in numbers.items():
            finite = value is not None and math.isfinite(value)
            found.setdefault(row["edit"], {})[f"{name}{suffix}"] = round(value, 6) if finite else None
    return found


def _answers(
    edit: EditSpec, part: pl.DataFrame, plain: pl.DataFrame, held: Sequence[str], bootstrap: Bootstrap
) -> Iterator[dict[str, Any]]:
    def mean(kind: str, column: str, bar: str, limit: float, most: bool) -> Iterator[dict[str, Any]]:
        rows = part.filter(KINDS[kind]).drop_nulls(column)
        if rows.height:
            interval = bootstrap.mean(rows[column].cast(pl.Float64).to_numpy(), rows["prompt_id"].to_list())
            met = interval.estimate <= limit if most else interval.estimate >= limit
            yield _row(column.replace("_", " "), kind, interval, bar, bool(met))

    shown = "concept_by_clip" if part["concept_by_labels"].null_count() == part.height else "concept_by_labels"
    if edit.action == "add":
        yield from mean("outdoor", shown, "at least 90 %", 0.90, False)
        for label in held:
            pair = paired(part, plain, f"{label}_right")
            if pair.height:
                interval = bootstrap.ratio(
                    pair["first"].to_numpy(), pair["second"].to_numpy(), pair["prompt_id"].to_list()
                )
                yield _row(f"{label} right", "all", interval, "at least 90 %", interval.estimate >= 0.90)
        return
    if edit.action == "erase":
        yield from mean("contains", shown, "at most 10 %", 0.10, True)
    else:
        yield from mean("contains", shown, "at least 80 %", 0.80, False)
    yield from mean("without", "changed", "at most 5 %", 0.05, True)
    yield from mean("without", "lpips", "at most 0.02", 0.02, True)


def _row(measure: str, kind: str, interval: Interval, bar: str, met: bool) -> dict[str, Any]:
    question = "Does the concept come or go?" if measure.startswith("concept by") else "Does the rest stay?"
    defined = math.isfinite(interval.estimate)
    return {
        "question": question, "measure": measure, "kind": kind, **as_row(interval), "bar": bar,
        "met": met if defined else None,
    }  # fmt: skip


def _aggregate(
    images: pl.DataFrame, features: pl.Series, columns: Mapping[str, str], bootstrap: Bootstrap
) -> pl.DataFrame:
    rows: list[dict[str, Any]] = []
    with_features = images.with_columns(features.alias("features"))
    groups = ["edit", "condition", "strength", "operating"]
    for key, part in with_features.group_by(groups, maintain_order=True):
        head = dict(zip(groups, key, strict=True))
        for kind, chosen in KINDS.items():
            found = aggregated(part.filter(chosen), columns, bootstrap)
            rows += [{**head, "kind": kind, **row} for row in found]
        plain = with_features.filter(pl.col("edit") == head["edit"], pl.col("condition") == "unsteered").join(
            part.select("prompt_id", "seed"), on=["prompt_id", "seed"], how="semi"
        )
        if head["condition"] != "unsteered" and part.height > 1:
            distance = frechet_distance(part["features"].to_list(), plain["features"].to_list())
            rows.append({**head, "kind": "all", "metric": "fid", "estimate": distance, "low": None, "high": None,
                         "prompts": part["prompt_id"].n_unique(), "images": part.height})  # fmt: skip
    return pl.DataFrame(rows, infer_schema_length=None)


# The pictures of an edit, judged one by one.


def judged_edits(
    name: str,
    edit: EditSpec,
    concepts: Mapping[str, Concept],
    made: Sequence[EditSample],
    pixels: NDArray[np.uint8],
    unsteered: NDArray[np.uint8],
    judge: ConceptJudge,
    classifier: LabelScorer | None,
    perceptual: Perceptual,
) -> pl.DataFrame:
    """One row per picture of one condition, `pixels` [n, H, W, 3], beside its `unsteered` picture [n, H, W, 3].

    Columns: edit, action, concept, prompt_id, prompt, seed, kind (does the prompt contain the concept, a neighbour of
    it, or neither), condition, strength, operating, the predicted labels, setting (outdoor or indoor, by the place that
    the prompt names, else by the unsteered picture), concept_by_labels (null where no classifier or no label shows it),
    concept_by_clip, concept_probability, prompt_similarity, lpips, others_kept (share of the labels other than the
    concept's that are the unsteered picture's), changed (any label is not), and for each label `<label>_right` (null
    where the prompt names none). For `replace` the concept looked for is the target. Without a classifier CLIP reads
    the labels.
    """
    wanted = concepts[edit.target] if edit.target else concepts[edit.concept]
    seen, plain_seen = judge.see(pixels), judge.see(unsteered)
    labels = classifier.predict(pixels).names if classifier else seen.labels
    plain = classifier.predict(unsteered).names if classifier else plain_seen.labels
    probability = judge.probability(seen, wanted)
    named = [judge.labels.named(one.original) for one in made]
    count = len(made)
    texts = judge.clip.texts([one.original for one in made])
    # Without a classifier the labels are CLIP's word too, so there is no second judge.
    by_labels = (
        [value == wanted.value for value in labels[wanted.label]] if wanted.label and classifier else [None] * count
    )
    by_clip = (
        [value == wanted.value for value in seen.labels[wanted.label]]
        if wanted.label and not wanted.phrases
        else (probability > 0.5).tolist()
    )
    columns: dict[str, Any] = {
        "edit": [name] * count,
        "action": [edit.action] * count,
        "concept": [edit.concept] * count,
        "prompt_id": [one.prompt_id for one in made],
        "prompt": [one.original for one in made],
        "seed": [one.seed for one in made],
        "kind": [concepts[edit.concept].kind(one.original) for one in made],
        "condition": [one.shown_as for one in made],
        "strength": [float(one.strength) for one in made],
        "operating": [one.operating for one in made],
        **labels,
        "setting": _settings(judge.labels, named, plain),
        "concept_by_labels": by_labels,
        "concept_by_clip": by_clip,
        "concept_probability": probability.double().tolist(),
        **measured(MeasuredPictures(pixels, unsteered, seen.embeddings, texts, perceptual)),
        "others_kept": labels_kept(labels, plain, wanted.label).tolist(),
        "changed": (labels_kept(labels, plain, None) < 1).tolist(),
        **{
            f"{label}_right": [
                None if said[label] is None else found == said[label]
                for found, said in zip(labels[label], named, strict=True)
            ]
            for label in judge.labels.values
        },
    }  # fmt: skip
    booleans = ["concept_by_labels", "concept_by_clip", "changed", *(f"{label}_right" for label in judge.labels.values)]
    return pl.DataFrame(columns, schema_overrides=dict.fromkeys(booleans, pl.Boolean))


def _settings(
    labels: LabelSet, named: Sequence[Mapping[str, str | None]], plain: Mapping[str, Sequence[str]]
) -> list[str]:
    if labels.indoor is None:
        return ["outdoor"] * len(named)
    label, room = labels.indoor
    places = [said[label] or seen for said, seen in zip(named, plain[label], strict=True)]
    return ["indoor" if place == room else "outdoor" for place in places]
