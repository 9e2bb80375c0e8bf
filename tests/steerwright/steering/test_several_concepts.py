"""Two concepts at once on the embedded model: autumn and night come, the object stays."""

from pathlib import Path

import numpy as np
import pytest

from seasons.captions import with_article
from seasons.labels import OBJECTS
from steerwright.activations.prompt_tokens import token_types
from steerwright.activations.text_encoder import text_activations
from steerwright.activations.token_policy import PromptActivations
from steerwright.models.generate import generate
from steerwright.models.hookpoints import text_encoder_mlps
from steerwright.models.load import LoadedModel, load_model
from steerwright.models.spec import ModelSpec
from steerwright.scoring.labels import LabelScorer
from steerwright.steering.apply import steered_batches
from steerwright.steering.text_encoder import text_edit
from steerwright.vectors.fit import fit_vectors
from steerwright.vectors.steering_vectors import SteeringVectors

ROOT = Path(__file__).parents[3]
LAYERS = [0, 6, 7, 8]

pytestmark = pytest.mark.slow


def _vectors(model: LoadedModel, concept: str, positive: str, negative: str) -> SteeringVectors:
    """Vectors from one sentence for every object with either ending."""
    hookpoints = text_encoder_mlps(model.pipeline)
    sides = []
    for ending in (positive, negative):
        texts = [f"{with_article(name)} in a meadow {ending}" for name in OBJECTS]
        found = text_activations(model, texts, hookpoints, engine="hooks")
        types = token_types(found.token_ids, model.pipeline.tokenizer.eos_token_id)
        sides.append({h: PromptActivations(found[h], types) for h in hookpoints})
    return fit_vectors(
        ((h, sides[0][h], sides[1][h]) for h in hookpoints),
        concept=concept, model=model.fingerprint, estimator="mean_difference", token_policy="typed",
    )  # fmt: skip


def test_autumn_and_night_come_together_by_the_same_call() -> None:
    model = load_model(ModelSpec(name="seasons-sd", source=str(ROOT / "models" / "seasons-sd"), steps=12, guidance=4.0))
    autumn = _vectors(model, "autumn", "in autumn", "in summer")
    night = _vectors(model, "night", "at night", "at noon")
    prompts = [f"a photo of {with_article(name)} in a meadow in summer at noon" for name in OBJECTS]
    seeds = list(range(len(prompts)))
    both = [edit for v in (autumn, night) for edit in text_edit(v, LAYERS, 1.0, branch="cond", units="raw")]
    classifier = LabelScorer.load(ROOT / "models" / "seasons-labels")
    plain = classifier.predict(generate(model, prompts, seeds)).names
    steered = classifier.predict(generate(model, prompts, seeds, edits=steered_batches(model, both))).names

    def share(names: list[str], wanted: str) -> float:
        return float(np.mean([name == wanted for name in names]))

    assert share(plain["season"], "autumn") <= 0.25
    assert share(plain["time"], "night") <= 0.25
    assert share(steered["season"], "autumn") >= 0.75
    assert share(steered["time"], "night") >= 0.75
    assert np.mean([a == b for a, b in zip(steered["object"], OBJECTS, strict=True)]) >= 0.75
