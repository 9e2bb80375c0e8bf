import json
from pathlib import Path

import pytest
import torch

from steerwright.activations import residuals as pooling
from steerwright.activations.residuals import AnsweredText
from steerwright.lab.fitting import Recipe, fit_library, library_sides
from steerwright.lab.workbench import Workbench
from steerwright.models.language.encode import encode_texts
from steerwright.prompts.concept_library import read_library
from steerwright.vectors.formats.vectors_file import load_vectors
from tasks.language.activations import collect_residuals
from tasks.language.prompts import language_prompts
from tasks.language.vectors import language_vectors


def test_a_recipe_is_what_params_say_and_usual_otherwise() -> None:
    params = {"language": {"activations": {"contrast": "answers"}, "vectors": {"tokens": "content"}}}
    assert Recipe.of_params(params) == Recipe("answers", "content")
    assert Recipe.of_params({}) == Recipe("requests", "last", "none", "mean_difference")


def test_rows_come_in_the_order_of_the_texts_and_each_is_read_once(
    workbench: Workbench, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = workbench.language()
    texts = [
        AnsweredText("the lake is wide and has an old jetty", "about the lake"),
        AnsweredText("a boat"),
        AnsweredText("the lake is wide and has an old jetty", "about the lake"),
        AnsweredText("a boat", "about the boat"),
    ]
    read: list[str] = []
    pool = pooling.pooled_residuals

    def watched(model, texts, *values, **named):
        read.extend(texts)
        return pool(model, texts, *values, **named)

    monkeypatch.setattr(pooling, "pooled_residuals", watched)
    rows = pooling.pooled_once(model, texts, "assistant", "content")
    assert len(read) == 3
    for place, one in enumerate(texts):
        encoded = encode_texts(model, [one.text], [one.prompt])
        states = model.model(encoded.ids, output_hidden_states=True).hidden_states[1]
        assert torch.allclose(rows[0, place], states[0, encoded.content[0]].mean(0), atol=1e-4)


def test_what_all_concepts_share_is_taken_off_where_the_recipe_says_so(workbench: Workbench) -> None:
    library = read_library(workbench.root / "data" / "language" / "concepts-general.yaml")
    recipe = Recipe("answers", "content", "others")
    sides = library_sides(workbench.language(), library, recipe)
    found = fit_library(workbench.language(), sides, recipe)
    apart = {name: (above.mean(1) - below.mean(1))[2].double() for name, (above, below) in sides.items()}
    own = apart["happy"] - (apart["sad"] + apart["pirate"]) / 2
    (direction,) = found["happy"].at_layers([2]).directions.values()
    assert torch.allclose(direction.unit.double(), own / own.norm(), atol=1e-5)


@pytest.mark.parametrize(
    "recipe",
    [Recipe(), Recipe("answers", "content", "others"), Recipe("requests", "content", shuffles=0), Recipe("texts")],
)
def test_the_labs_vectors_are_those_that_the_pipelines_own_stages_write(
    workbench: Workbench, tmp_path: Path, recipe: Recipe, caplog: pytest.LogCaptureFixture
) -> None:
    """The three stages one after the other, over their files."""
    model, texts = workbench.language(), workbench.root / "data" / "language"
    (texts / "prompts" / "test.csv").write_text("ID,prompt\n0,Tell me about the harbour.\n")
    identity = {"spec": model.spec.model_dump(), "fingerprint": model.fingerprint.model_dump()}
    (tmp_path / "model.json").write_text(json.dumps(identity))
    pairs, activations, vectors = (tmp_path / name for name in ("pairs.json", "activations", "vectors"))
    models = {"own": {"family": "language", "source": model.spec.source, "world": "seasons"}}
    language_prompts(
        texts, ["concepts-general.yaml"], "all", None, None, "own", models, "models/seasons-text-labels", pairs,
        tmp_path / "prompts.parquet",
    )  # fmt: skip
    collect_residuals(tmp_path / "model.json", pairs, "nnsight", recipe.contrast, "right", 4, 2, activations)
    # The pairs hold requests and answers, and one who wrote them is told which of the two the vectors are made of.
    unread = {"requests": "positive and negative", "texts": "prompt"}.get(recipe.contrast)
    told = f"contrast: {recipe.contrast} does not read the pairs' {unread}, so these do not enter the vectors"
    assert (told in caplog.text) == (unread is not None)
    language_vectors(
        tmp_path / "model.json", pairs, activations, recipe.contrast, recipe.estimator, recipe.tokens, recipe.centre,
        recipe.shuffles, vectors, *(tmp_path / name for name in ("statistics", "cosines", "separability")),
    )  # fmt: skip
    library = read_library(texts / "concepts-general.yaml")
    found = fit_library(model, library_sides(model, library, recipe), recipe)
    assert list(found) == ["happy", "sad", "pirate"]
    for name, ours in found.items():
        theirs = load_vectors(vectors / f"{name}.safetensors", model.fingerprint)
        assert (ours.concept, ours.estimator, ours.token_policy) == (name, theirs.estimator, theirs.token_policy)
        assert list(ours.directions) == list(theirs.directions)
        assert ours.controls == pytest.approx(theirs.controls, rel=1e-4)
        for slot, direction in theirs.directions.items():
            torch.testing.assert_close(ours.directions[slot].unit, direction.unit, atol=1e-5, rtol=0)
            torch.testing.assert_close(ours.directions[slot].norm, direction.norm, atol=0, rtol=1e-4)
            torch.testing.assert_close(ours.directions[slot].origin, direction.origin, atol=1e-4, rtol=0)
