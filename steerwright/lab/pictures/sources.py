"""Where the pictures' vectors, autoencoders and choices come from: this project's runs, else the shipped starters."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from steerwright.concepts.scores import load_concept_moments
from steerwright.errors import UserError
from steerwright.former_name import current
from steerwright.lab.pictures.part_moments import load_part_moments
from steerwright.models.fingerprint import same_digest
from steerwright.sae.sae_file import describe_sae, load_sae
from steerwright.steering.latents.edits import ConceptLatents
from steerwright.vectors.formats.vectors_file import load_vectors
from steerwright.vectors.steering_vectors import SteeringVectors

STARTERS = Path("models", "seasons-starters")
CONFIG = "config.json"
SCHEMA = "steerwright.starters"
VERSION = 1


@dataclass(frozen=True, slots=True)
class TextSource:
    """Vectors of the text encoder, and the search's choice: layers, strengths, branch, units."""

    vectors: SteeringVectors
    best: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class AttentionSource:
    """Vectors of cross-attention by concept, and the chosen edits by name."""

    vectors: Mapping[str, SteeringVectors]
    chosen: Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class LatentsSource:
    """Autoencoders with their concepts' means by name; chosen recipes to erase by concept; and the one that adds.

    A choice is {recipe, strength}; `added` is the same with its concept, None where none was searched.
    """

    places: Mapping[str, ConceptLatents]
    erased: Mapping[str, Mapping[str, Any]]
    added: Mapping[str, Any] | None


def text_source(root: Path, digest: str) -> TextSource:
    """From artifacts/winter, if it was run on the model of this `digest`, else from the starters."""
    folder = root / "artifacts" / "winter"
    vectors, best = folder / "vectors" / "vectors.safetensors", folder / "search" / "best.json"
    if vectors.is_file() and best.is_file():
        found = load_vectors(vectors)
        if same_digest(found.model.digest, digest):
            return TextSource(found, read_json(best))
    starters = starters_folder(root, "seasons-sd", digest) / "winter"
    return TextSource(load_vectors(starters / "vectors.safetensors"), read_json(starters / "best.json"))


def attention_source(root: Path, digest: str) -> AttentionSource:
    """From artifacts/attention, if it was run on the model of this `digest`, else from the starters."""
    folder = root / "artifacts" / "attention"
    chosen = folder / "search" / "chosen.json"
    files = sorted((folder / "vectors" / "vectors").glob("*.safetensors"))
    if chosen.is_file() and files:
        found = {path.stem: load_vectors(path) for path in files}
        if all(same_digest(vectors.model.digest, digest) for vectors in found.values()):
            return AttentionSource(found, read_json(chosen))
    starters = starters_folder(root, "seasons-sd", digest) / "attention"
    vectors = {path.stem: load_vectors(path) for path in sorted((starters / "vectors").glob("*.safetensors"))}
    return AttentionSource(vectors, read_json(starters / "chosen.json"))


def latents_source(root: Path, digest: str) -> LatentsSource:
    """From artifacts/latents, if it was run on the model of this `digest`, else from the starters."""
    folder = root / "artifacts" / "latents"
    saes, moments = folder / "sae" / "saes", folder / "concepts" / "moments"
    chosen = folder / "search" / "chosen.json"
    if chosen.is_file() and saes.is_dir() and moments.is_dir():
        erased = steered(read_json(chosen))
        added = added_by_winter(folder / "winter" / "trials.parquet")
        recipes = [one["recipe"] for one in (*erased.values(), *([added] if added else ()))]
        names = sorted({name for recipe in recipes for name in (*recipe["places"], recipe.get("gate_at")) if name})
        models = [describe_sae(saes / name).site.model for name in names]
        if models and all(model is not None and same_digest(model, digest) for model in models):
            places = {
                name: ConceptLatents(load_sae(saes / name), load_concept_moments(moments / f"{name}.safetensors"))
                for name in names
            }
            return LatentsSource(places, erased, added)
    starters = starters_folder(root, "seasons-sd", digest) / "latents"
    choices = read_json(starters / "chosen.json")
    places = {
        path.stem: ConceptLatents(load_sae(starters / "saes" / path.stem), load_part_moments(path))
        for path in sorted((starters / "moments").glob("*.safetensors"))
    }
    return LatentsSource(places, choices["erased"], choices["added"])


def steered(chosen: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Of what `latents-search` chose, our own method's recipe and strength by concept."""
    return {
        concept: {name: methods["steered"][name] for name in ("recipe", "strength")}
        for concept, methods in chosen.items()
        if "steered" in methods
    }


def added_by_winter(trials: Path) -> dict[str, Any] | None:
    """The concept, recipe and strength by which `latents-winter` adds it; None where it was not run."""
    if not trials.is_file():
        return None
    import polars as pl

    chosen = pl.read_parquet(trials).filter(pl.col("chosen"))
    if not len(chosen):
        return None
    recipe, strength = chosen.select("recipe", "strength").row(0)
    # Tables of earlier versions are all of winter.
    concept = chosen["concept"][0] if "concept" in chosen.columns else "season:winter"
    return {"concept": concept, "recipe": json.loads(recipe), "strength": strength}


def starters_folder(root: Path, model: str, digest: str) -> Path:
    """The shipped starters; UserError where they are missing or were made on other weights of `model`."""
    folder = root / STARTERS
    try:
        found = current(json.loads((folder / CONFIG).read_text(encoding="utf-8")))
        made_on = str(found["models"][model])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{STARTERS} is missing or damaged ({error}). Restore it from the repository, or run the pipelines winter, "
            "attention, latents and flux, whose results the lab takes instead."
        ) from error
    if (found.get("schema_name"), found.get("schema_version")) != (SCHEMA, VERSION):
        raise UserError(
            f"{STARTERS} is of another version than this steerwright reads; restore it from the repository."
        )
    if not same_digest(made_on, digest):
        raise UserError(
            f"{STARTERS} was made on {model} with the fingerprint {made_on[:12]}, but models/{model} is "
            f"{digest[:12]}: its vectors and autoencoders mean nothing there. Run the pipelines on this model "
            "(steerwright run everything), or restore the weights."
        )
    return folder


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file; UserError where there is none."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read ({error}); run its stage again.") from error
    if not isinstance(found, dict):
        raise UserError(f"{path} holds no JSON object; run its stage again.")
    return found
