"""The pictures of an edit, judged one by one."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from steerkit.prompts.concept import Concept
from steerkit.scoring.clip import paired_similarity
from steerkit.scoring.concept_judge import ConceptJudge, labels_kept
from steerkit.scoring.labels import LabelScorer
from steerkit.scoring.named_labels import named_labels
from steerkit.scoring.perceptual import Perceptual
from steerkit.scoring.shots import Shot
from steerkit.steering.edit_spec import EditSpec
from steerkit.world.labels import INDOOR, LABELS


def judged_edits(
    name: str,
    edit: EditSpec,
    concepts: Mapping[str, Concept],
    made: Sequence[Shot],
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
    named = [named_labels(shot.prompt) for shot in made]
    count = len(made)
    # Without a classifier the labels are CLIP's word too, so there is no second judge.
    by_labels = (
        [value == wanted.value for value in labels[wanted.label]] if wanted.label and classifier else [None] * count
    )
    by_clip = (
        [value == wanted.value for value in seen.labels[wanted.label]]
        if wanted.label and not wanted.phrases
        else (probability > 0.5).tolist()
    )
    places = [said["place"] or place for said, place in zip(named, plain["place"], strict=True)]
    columns: dict[str, Any] = {
        "edit": [name] * count,
        "action": [edit.action] * count,
        "concept": [edit.concept] * count,
        "prompt_id": [shot.prompt_id for shot in made],
        "prompt": [shot.prompt for shot in made],
        "seed": [shot.seed for shot in made],
        "kind": [concepts[edit.concept].kind(shot.prompt) for shot in made],
        "condition": [shot.shown_as for shot in made],
        "strength": [float(shot.strength) for shot in made],
        "operating": [shot.operating for shot in made],
        **labels,
        "setting": ["indoor" if place == INDOOR else "outdoor" for place in places],
        "concept_by_labels": by_labels,
        "concept_by_clip": by_clip,
        "concept_probability": probability.double().tolist(),
        "prompt_similarity": paired_similarity(
            seen.embeddings, judge.clip.texts([shot.prompt for shot in made])
        ).double().tolist(),
        "lpips": perceptual.distances(unsteered, pixels).double().tolist(),
        "others_kept": labels_kept(labels, plain, wanted.label).tolist(),
        "changed": (labels_kept(labels, plain, None) < 1).tolist(),
        **{
            f"{label}_right": [
                None if said[label] is None else found == said[label]
                for found, said in zip(labels[label], named, strict=True)
            ]
            for label in LABELS
        },
    }  # fmt: skip
    booleans = ["concept_by_labels", "concept_by_clip", "changed", *(f"{label}_right" for label in LABELS)]
    return pl.DataFrame(columns, schema_overrides=dict.fromkeys(booleans, pl.Boolean))
