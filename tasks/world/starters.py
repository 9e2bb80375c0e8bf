"""What the lab's Images tab begins with where the pipelines have not run: a small part of what they once gave."""

from pathlib import Path
from typing import Annotated

from steerwright.dag import Dep, Out, Param
from steerwright.lab.pictures.features import FeatureFiles
from steerwright.lab.pictures.starters import Finished, write_starters


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
