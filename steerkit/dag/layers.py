"""Pipelines that do the same at several layers: stages `flux-sae-early` and `flux-sae-late` are of the same layers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from steerkit.errors import UserError


def layers_of(flow: str, stages: Iterable[str]) -> list[str]:
    """The layers of a pipeline: last words of names that are alike otherwise, in the order of `stages`."""
    by_start: dict[str, list[str]] = {}
    for name in stages:
        start, _, last = name.rpartition("-")
        if start.startswith(f"{flow}-"):
            by_start.setdefault(start, []).append(last)
    return list(dict.fromkeys(last for words in by_start.values() if len(words) > 1 for last in words))


def stages_of_layers(flow: str, stages: Sequence[str], wanted: Sequence[str]) -> list[str] | None:
    """The stages of these layers; None where they are all of the pipeline's, so that all of it is meant.

    Raises UserError for a layer that the pipeline has not.
    """
    known = layers_of(flow, stages)
    if unknown := [layer for layer in wanted if layer not in known]:
        has = f"its layers are {', '.join(known)}" if known else "it has no layers"
        raise UserError(f"the pipeline {flow} has no layer {' or '.join(map(repr, unknown))}; {has}")
    if set(wanted) == set(known):
        return None
    return [name for name in stages if name.startswith(f"{flow}-") and name.rpartition("-")[2] in wanted]
