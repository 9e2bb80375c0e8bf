"""What the lab's Images tab begins with where the pipelines have not run: a small part of what they once gave."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from steerwright.concepts.scores import load_concept_moments
from steerwright.dag import Dep, Out, Param
from steerwright.errors import UserError
from steerwright.lab.pictures.features import FeatureFiles, layer_of, write_layer
from steerwright.lab.pictures.part_moments import save_part_moments
from steerwright.lab.pictures.sources import CONFIG, SCHEMA, VERSION, added_by_winter, read_json, steered
from steerwright.sae.sae_file import load_sae
from steerwright.steering.latents.edits import ConceptLatents, LatentRecipe, latent_edits
from steerwright.steering.latents.gates import LatentsInImage
from steerwright.steering.latents.operators import EditLatents
from steerwright.vectors.formats.vectors_file import load_vectors


def lab_starters(
    text_vectors: Annotated[Path, Dep()],
    text_best: Annotated[Path, Dep()],
    attention_vectors: Annotated[Path, Dep()],
    attention_chosen: Annotated[Path, Dep()],
    saes: Annotated[Path, Dep()],
    moments: Annotated[Path, Dep()],
    latents_chosen: Annotated[Path, Dep()],
    latents_trials: Annotated[Path, Dep()],
    images: Annotated[Path, Dep()],
    pictures: Annotated[Path, Dep()],
    flux_saes: Annotated[list[Path], Dep()],
    facts: Annotated[list[Path], Dep()],
    maps: Annotated[list[Path], Dep()],
    statistics: Annotated[list[Path], Dep()],
    top: Annotated[list[Path], Dep()],
    coherence: Annotated[list[Path], Dep()],
    labels: Annotated[list[Path], Dep()],
    selected: Annotated[list[Path], Dep()],
    changes: Annotated[list[Path], Dep()],
    layers: Annotated[list[str], Param("/flux.report.layers")],
    starters: Annotated[Path, Out("seasons-starters", cache=False)],
) -> None:
    """Vectors, autoencoders, choices and features for the embedded picture models, at most 3 MB in all."""
    features = {
        name: FeatureFiles(
            images=images,
            pictures=pictures,
            saes=flux_saes[number],
            facts=facts[number],
            maps=maps[number],
            statistics=statistics[number],
            top=top[number],
            coherence=coherence[number],
            labels=labels[number],
            selected=selected[number],
            changes=changes[number],
        )
        for number, name in enumerate(layers)
    }
    write_starters(
        Finished(
            text_vectors=text_vectors,
            text_best=text_best,
            attention_vectors=attention_vectors,
            attention_chosen=attention_chosen,
            saes=saes,
            moments=moments,
            latents_chosen=latents_chosen,
            latents_trials=latents_trials,
            features=features,
        ),
        starters,
    )


# Gather what the Images tab needs of finished pipelines into a small folder that is shipped with the models.


@dataclass(frozen=True, slots=True)
class Finished:
    """Files of the finished pipelines: the outs of their stages."""

    text_vectors: Path
    text_best: Path
    attention_vectors: Path
    attention_chosen: Path
    saes: Path
    moments: Path
    latents_chosen: Path
    latents_trials: Path
    features: Mapping[str, FeatureFiles]


def write_starters(finished: Finished, folder: Path) -> None:
    """Fill `folder`; the same files give the same bytes. UserError for pipelines that were run on different models."""
    digests: dict[str, set[str]] = {"seasons-sd": set(), "seasons-flux": set()}
    _copy(finished.text_vectors, folder / "winter" / "vectors.safetensors")
    _copy(finished.text_best, folder / "winter" / "best.json")
    digests["seasons-sd"].add(load_vectors(finished.text_vectors).model.digest)
    for path in sorted(finished.attention_vectors.glob("*.safetensors")):
        _copy(path, folder / "attention" / "vectors" / path.name)
        digests["seasons-sd"].add(load_vectors(path).model.digest)
    _copy(finished.attention_chosen, folder / "attention" / "chosen.json")
    digests["seasons-sd"] |= write_latents(finished, folder / "latents")
    for name, files in sorted(finished.features.items()):
        layer = layer_of(name, files)
        _copy_sae(files.saes / read_json(files.facts)["sae"], folder / "flux" / name / "sae")
        write_layer(layer, folder / "flux" / name)
        digests["seasons-flux"].add(str(layer.sae.site.model))
    models = {name: only_value(name, found) for name, found in digests.items()}
    _write_json({"schema_name": SCHEMA, "schema_version": VERSION, "models": models}, folder / CONFIG)


def write_latents(finished: Finished, folder: Path) -> set[str]:
    erased = steered(read_json(finished.latents_chosen))
    added = added_by_winter(finished.latents_trials)
    # Adding every value of the axis takes the same latents as erasing them, and the moments of all its values.
    used = [(concept, one["recipe"]) for concept, one in erased.items()]
    if added is not None:
        axis = str(added["concept"]).partition(":")[0]
        used += [(concept, added["recipe"]) for concept in erased if concept.partition(":")[0] == axis]
    latents, axes = used_latents(finished, used)
    digests = set()
    for name in sorted(latents):
        _copy_sae(finished.saes / name, folder / "saes" / name)
        moments = load_concept_moments(finished.moments / f"{name}.safetensors")
        save_part_moments(moments, latents[name], axes[name], folder / "moments" / f"{name}.safetensors")
        digests.add(str(load_sae(finished.saes / name).site.model))
    _write_json({"erased": erased, "added": added}, folder / "chosen.json")
    return digests


def used_latents(
    finished: Finished, used: Sequence[tuple[str, Mapping[str, Any]]]
) -> tuple[dict[str, set[int]], dict[str, set[str]]]:
    """By autoencoder, the latents that recipes change or look at at any step, and the axes of their concepts."""
    names = sorted({name for _, one in used for name in (*one["places"], one.get("gate_at")) if name})
    places = {
        name: ConceptLatents(
            load_sae(finished.saes / name), load_concept_moments(finished.moments / f"{name}.safetensors")
        )
        for name in names
    }
    latents: dict[str, set[int]] = {name: set() for name in names}
    axes: dict[str, set[str]] = {name: set() for name in names}
    by_hookpoint = {place.hookpoint: name for name, place in places.items()}
    for concept, recipe in used:
        steps = max(places[recipe["places"][0]].moments.steps) + 1
        for edit in latent_edits("erase", places, concept, LatentRecipe(**recipe), 1.0, steps=steps):
            assert isinstance(edit.operator, EditLatents), "recipes of searched edits change latents"
            here = by_hookpoint[edit.hookpoint]
            axes[here].add(concept.partition(":")[0])
            for part in edit.operator.parts:
                latents[here].update(part.latents.tolist())
            if isinstance(edit.gate, LatentsInImage):
                seen = by_hookpoint[edit.gate.hookpoint]
                axes[seen].add(concept.partition(":")[0])
                latents[seen].update(edit.gate.latents.tolist())
    return latents, axes


def only_value(name: str, digests: set[str]) -> str:
    if len(digests) != 1:
        raise UserError(
            f"The finished pipelines were run on different weights of {name} ({', '.join(sorted(digests))}); run them "
            "all on one."
        )
    return next(iter(digests))


def _copy_sae(source: Path, target: Path) -> None:
    for name in ("config.json", "sae.safetensors"):
        _copy(source / name, target / name)


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)


def _write_json(content: Mapping[str, Any], path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=1, sort_keys=True) + "\n", encoding="utf-8")
