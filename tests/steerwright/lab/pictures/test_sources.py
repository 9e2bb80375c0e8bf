"""Runs of this project come before the starters, if they were made on the model; others are refused by name."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from steerwright.errors import UserError
from steerwright.lab.pictures.sources import attention_source, latents_source, starters_folder, text_source
from steerwright.models.fingerprint import same_digest
from steerwright.vectors.direction import Direction
from steerwright.vectors.formats.vectors_file import load_vectors, save_vectors
from steerwright.vectors.steering_vectors import SteeringVectors


@pytest.fixture
def digest(sd: Any) -> str:
    return str(sd.fingerprint.digest)


@pytest.fixture
def project(picture_lab: Any, tmp_path: Path) -> Path:
    """A project with starters of its own, to be changed."""
    (tmp_path / "models").mkdir()
    shutil.copytree(picture_lab.root / "models" / "seasons-starters", tmp_path / "models" / "seasons-starters")
    return tmp_path


def longer(vectors: SteeringVectors, digest: str) -> SteeringVectors:
    """The same with every norm doubled, of the model `digest`."""
    directions = {slot: Direction(one.unit, one.norm * 2, one.origin) for slot, one in vectors.directions.items()}
    model = vectors.model.model_copy(update={"digest": digest})
    return SteeringVectors(
        vectors.concept, model, vectors.estimator, vectors.token_policy, directions, vectors.timesteps
    )


def total(vectors: SteeringVectors) -> float:
    return float(torch.stack([one.norm.sum() for one in vectors.directions.values()]).sum())


def test_a_run_of_this_model_comes_before_the_starters_and_one_of_another_does_not(project: Path, digest: str) -> None:
    shipped = text_source(project, digest)
    folder = project / "artifacts" / "winter"
    (folder / "vectors").mkdir(parents=True)
    (folder / "search").mkdir()
    (folder / "search" / "best.json").write_text(json.dumps({**shipped.best, "strengths": [0.7]}))
    for made_on, expected in ((digest, 2.0), ("0" * 64, 1.0)):
        save_vectors(longer(shipped.vectors, made_on), folder / "vectors" / "vectors.safetensors")
        found = text_source(project, digest)
        assert total(found.vectors) == pytest.approx(expected * total(shipped.vectors))
        assert found.best["strengths"] == ([0.7] if made_on == digest else shipped.best["strengths"])


def test_attention_vectors_of_a_run_are_taken_with_its_choices(project: Path, digest: str) -> None:
    shipped = attention_source(project, digest)
    assert set(shipped.vectors) == {"cat", "horse", "winter"}
    folder = project / "artifacts" / "attention"
    (folder / "vectors" / "vectors").mkdir(parents=True)
    (folder / "search").mkdir()
    (folder / "search" / "chosen.json").write_text(json.dumps({"add-winter": shipped.chosen["add-winter"]}))
    save_vectors(longer(shipped.vectors["winter"], digest), folder / "vectors" / "vectors" / "winter.safetensors")
    found = attention_source(project, digest)
    assert (set(found.vectors), set(found.chosen)) == ({"winter"}, {"add-winter"})
    assert total(found.vectors["winter"]) == pytest.approx(2 * total(shipped.vectors["winter"]))


def test_starters_of_another_model_are_refused_by_name(project: Path) -> None:
    for read in (text_source, attention_source, latents_source):
        with pytest.raises(UserError, match=r"seasons-starters was made on seasons-sd .*but models/seasons-sd is ffff"):
            read(project, "f" * 64)


def test_missing_damaged_and_later_starters_say_what_to_do(project: Path, digest: str) -> None:
    config = project / "models" / "seasons-starters" / "config.json"
    content = json.loads(config.read_text())
    config.write_text(json.dumps({**content, "schema_version": 2}))
    with pytest.raises(UserError, match="another version"):
        starters_folder(project, "seasons-sd", digest)
    for text in ("{", json.dumps({"models": []})):
        config.write_text(text)
        with pytest.raises(UserError, match="missing or damaged"):
            starters_folder(project, "seasons-sd", digest)
    shutil.rmtree(config.parent)
    with pytest.raises(UserError, match=r"run the pipelines winter, attention, latents and flux"):
        starters_folder(project, "seasons-flux", digest)


def test_the_shipped_vectors_are_of_the_shipped_model(picture_lab: Any, digest: str) -> None:
    starters = picture_lab.root / "models" / "seasons-starters"
    for path in (starters / "winter" / "vectors.safetensors", *sorted((starters / "attention").rglob("*.safetensors"))):
        assert same_digest(load_vectors(path).model.digest, digest)
