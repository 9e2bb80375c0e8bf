"""What the pictures show, by three judges: labels, CLIP and LPIPS."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from torch import Tensor

from seasons.label_set import SEASONS_WORLD
from steerwright.dag import Dep, Out, Param, progress
from steerwright.experiments.dose import resistance_groups
from steerwright.images import load_images, picture_path
from steerwright.prompts.label_set import LabelSet
from steerwright.scoring.clip import ClipScorer, zero_shot_labels
from steerwright.scoring.judgements import CONDITIONS
from steerwright.scoring.labels import LabelScorer
from steerwright.scoring.metrics import MeasuredPictures, measured
from steerwright.scoring.perceptual import Perceptual
from steerwright.scoring.target import ShownConcept, Target, column, read_target
from steerwright.scoring.winter import score_winter, write_metrics, write_plots
from steerwright.stats.bootstrap import Bootstrap


def evaluate(
    target: Annotated[Path, Dep()],
    prompts: Annotated[Path, Dep()],
    pictures: Annotated[Path, Dep()],
    judges: Annotated[list[Path], Dep()],  # noqa: ARG001  # read by their names in params; here so that new weights count
    scorers: Annotated[dict[str, str], Param("/scorers")],
    words: Annotated[dict[str, Any], Param("/winter.resistance")],
    seeds: Annotated[list[int], Param("/winter.images.seeds")],
    resamples: Annotated[int, Param()],
    bootstrap_seed: Annotated[int, Param()],
    images: Annotated[Path, Out("images.parquet")],
    per_prompt: Annotated[Path, Out("per_prompt.parquet")],
    aggregate: Annotated[Path, Out("aggregate.parquet")],
    comparisons: Annotated[Path, Out("comparisons.json")],
    metrics: Annotated[Path, Out("metrics.json", kind="metrics", cache=False)],
    rates: Annotated[
        Path,
        Out("rates.csv", kind="plots", template="intervals", x="estimate", y="condition", title="Concept rate"),
    ],
    similarity: Annotated[
        Path,
        Out(
            "similarity.csv",
            kind="plots",
            template="points",
            x="prompt_similarity",
            y="concept_similarity",
            title="Similarity to the prompt and to the concept",
        ),
    ],
) -> None:
    """Score the pictures of all conditions, with bootstrap intervals over prompts."""
    wanted = read_target(target, SEASONS_WORLD)
    scored = json.loads(prompts.read_text())["scored"]
    texts = [row["prompt"] for row in scored]
    clip = ClipScorer(scorers["clip"])
    classifier = None if scorers["labels"] == "clip" else LabelScorer.load(scorers["labels"], wanted.label_set)
    perceptual = Perceptual(scorers["lpips"])
    said = clip.texts(texts)
    keys = [(row["id"], seed) for row in scored for seed in seeds]
    owners = [index for index in range(len(scored)) for _ in seeds]

    def drawn(condition: str) -> NDArray[np.uint8]:
        return load_images([pictures / picture_path(condition, key, seed) for key, seed in keys])

    plain = drawn("unsteered")
    tables = []
    for done, condition in enumerate(CONDITIONS):
        progress(done, len(CONDITIONS), "conditions")
        pixels = drawn(condition)
        embedded = clip.images(pixels)
        found = classifier.predict(pixels) if classifier else zero_shot_labels(clip, embedded, wanted.label_set)
        before = None if condition == "unsteered" else plain
        columns: dict[str, Any] = {
            "prompt_id": [key for key, _ in keys],
            "seed": [seed for _, seed in keys],
            "condition": [condition] * len(keys),
            **found.names,
            **target_columns(clip, embedded, wanted),
            **measured(MeasuredPictures(pixels, before, embedded, said[owners], perceptual)),
        }
        tables.append(pl.DataFrame(columns))
    listed = pl.DataFrame(
        {
            "prompt_id": [row["id"] for row in scored],
            "prompt": texts,
            "resistance": resistance_groups(words, texts),
            **{label: [named[label] for named in map(wanted.label_set.named, texts)] for label in wanted.kept_labels},
        },
        schema_overrides=dict.fromkeys(wanted.kept_labels, pl.String),
    )
    scores = score_winter(pl.concat(tables), listed, wanted, Bootstrap(resamples=resamples, seed=bootstrap_seed))
    scores.images.write_parquet(images)
    scores.per_prompt.write_parquet(per_prompt)
    scores.aggregate.write_parquet(aggregate)
    # JSON knows no NaN: an interval that is not defined is null.
    comparisons.write_text(json.dumps(scores.comparisons.fill_nan(None).to_dicts(), indent=1) + "\n")
    write_metrics(scores, metrics)
    write_plots(scores, rates, similarity)
    progress(len(CONDITIONS), len(CONDITIONS), "conditions")


# What CLIP says of pictures and a target: how near they are to it, and whether they show what no label shows.


def target_columns(clip: ClipScorer, images: Tensor, target: Target) -> dict[str, Any]:
    """Columns for image embeddings [n, e]: KEY_similarity and KEY_margin, of several concepts the least.

    Similarity: cosine to the concept's phrases. Margin: less the largest cosine to its label's other values, or to the
    phrases without it. Of a concept that no label shows also its column: whether the phrases with it are nearer.
    """
    similarities, margins = [], []
    shown: dict[str, Any] = {}
    for name, concept in target.concepts.items():
        asked, value = _phrases(concept, target.label_set)
        similarities.append(clip.concept_similarity(images, asked[value]))
        margins.append(clip.concept_margin(images, value, asked))
        if concept.label is None:
            shown[column(name)] = (margins[-1] > 0).tolist()
    return {
        **shown,
        f"{target.key}_similarity": torch.stack(similarities).amin(0).tolist(),
        f"{target.key}_margin": torch.stack(margins).amin(0).tolist(),
    }


def _phrases(concept: ShownConcept, labels: LabelSet) -> tuple[Mapping[str, tuple[str, ...]], str]:
    """Phrases of the concept and of what it is told from, and the name of the concept among them."""
    if concept.phrases:
        return {"with": concept.phrases, "without": concept.other_phrases or ("a photo",)}, "with"
    assert concept.label is not None and concept.value is not None, "checked by the model"
    return labels.phrases[concept.label], concept.value
