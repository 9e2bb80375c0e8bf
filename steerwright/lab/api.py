"""The app's named endpoints: the operations as any gradio client can call them; docs/lab.md describes each."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from typing import Any

import gradio as gr
from torch import Tensor

from steerwright.lab.concepts import ConceptEntry
from steerwright.lab.jobs import Job
from steerwright.lab.operations.compare_tokens import compare_tokens
from steerwright.lab.operations.concept_map import concept_map
from steerwright.lab.operations.create_concept import create_concept
from steerwright.lab.operations.explore_layers import explore_layers
from steerwright.lab.operations.mix_concepts import keep_mix, mix_concepts
from steerwright.lab.operations.steer_text import steer_text
from steerwright.lab.operations.sweep import layer_analysis, strength_sweep, sweep
from steerwright.lab.page_state import answering
from steerwright.lab.workbench import Workbench


def add_endpoints(workbench: Workbench) -> None:
    """Add every endpoint to the current Blocks. Each takes and gives JSON; a mistake is an error with its message.

    `job` is not the client's: `answering` gives it.
    """
    for endpoint in _endpoints(workbench):
        gr.api(answering(endpoint), api_name=endpoint.__name__, concurrency_limit=None)


def _endpoints(workbench: Workbench) -> list[Callable[..., Any]]:
    def concepts() -> list[dict]:
        """Every concept: name, factor, origin, layer, strength, safe range, number of pairs."""
        return [plain_json(entry) for entry in workbench.concepts().values()]

    def steer(
        job: Job, prompt: str, concepts: str = "happy", layer: int | None = None, strength: float | None = None,
        action: str = "add", tokens: int = 30, temperature: float = 0.7, seed: int = 0, place: str | None = None,
        bound: str = "none",
    ) -> dict:  # fmt: skip
        """Answer a prompt without and with steering; concepts is a name, or a mix such as happy:0.7,excited:0.3."""
        return _answer(steer_text(
            workbench, prompt, concepts, layer, strength, action=action, tokens=tokens, temperature=temperature,
            seed=seed, place=place, bound=bound, job=job,
        ))  # fmt: skip

    def make_concept(
        job: Job, name: str, pairs: list[list[str]], contrast: str = "requests", tokens: str | None = None
    ) -> dict:
        """Make a concept and save it, from pairs of [request that asks for it, the same without asking].

        With contrast "answers", from [request, answer with the concept, the same without it]; with "texts", from
        [text with the concept, text without it], read by themselves.
        """
        made = create_concept(workbench, name, pairs, contrast, tokens, job=job)
        return {"concept": plain_json(made.entry), "statistics": plain_json(made.statistics)}

    def analyse_layers(
        job: Job, concept: str, strength: float | None = None, prompt: str = "", tokens: int = 24,
        temperature: float = 0.7, seed: int = 0,
    ) -> dict:  # fmt: skip
        """Steer at every layer in turn, each with its own vector, on twelve requests."""
        return _answer(layer_analysis(
            workbench, concept, strength, prompt=prompt, tokens=tokens, temperature=temperature, seed=seed, job=job,
        ))  # fmt: skip

    def sweep_strengths(
        job: Job, concept: str, strengths: list[float], layer: int | None = None, prompt: str = "", tokens: int = 24,
        temperature: float = 0.7, seed: int = 0,
    ) -> dict:  # fmt: skip
        """Steer at one layer with several strengths, on twelve requests."""
        return _answer(strength_sweep(
            workbench, concept, layer, strengths, prompt=prompt, tokens=tokens, temperature=temperature, seed=seed,
            job=job,
        ))  # fmt: skip

    def sweep_grid(
        job: Job, concept: str, layers: list[int], strengths: list[float], prompt: str = "", tokens: int = 24,
        temperature: float = 0.7, seed: int = 0,
    ) -> dict:  # fmt: skip
        """Steer at each of several layers with each of several strengths, on twelve requests."""
        return _answer(sweep(
            workbench, concept, layers, strengths, prompt=prompt, tokens=tokens, temperature=temperature, seed=seed,
            job=job,
        ))  # fmt: skip

    def mix(
        job: Job, concepts: str, layer: int | None = None, strength: float | None = None, prompt: str = "",
        tokens: int = 40, temperature: float = 0.7, seed: int = 0,
    ) -> dict:  # fmt: skip
        """Steer by a mix such as happy:0.7,excited:0.3 (with a bar: in turns), and count the answers that show each."""
        return _answer(mix_concepts(
            workbench, concepts, layer, strength, prompt=prompt, tokens=tokens, temperature=temperature, seed=seed,
            job=job,
        ))  # fmt: skip

    def save_mix(name: str, concepts: str, layer: int | None = None, strength: float | None = None) -> dict:
        """Keep a mix as a concept of its own."""
        return _answer(keep_mix(workbench, name, concepts, layer, strength))

    def layers(job: Job, prompt: str, tokens: int = 14) -> dict:
        """What the model computes at every depth while it answers: norms, and what each layer would say."""
        return _answer(explore_layers(workbench, prompt, tokens=tokens, job=job))

    def compare(
        job: Job, prompt: str, concept: str, layer: int, strength: float, tokens: int = 24, temperature: float = 0.0,
        seed: int = 0, read: str = "steered",
    ) -> dict:  # fmt: skip
        """How much every token changes at every layer when one answer is read without and with the edit."""
        return _answer(compare_tokens(
            workbench, prompt, concept, layer, strength, tokens=tokens, temperature=temperature, seed=seed, read=read,
            job=job,
        ))  # fmt: skip

    def plane(job: Job, prompt: str, concept: str, layer: int, strength: float, seed: int = 0) -> dict:
        """A map of all concepts in two dimensions, with the path from the unsteered to the steered answer."""
        return _answer(concept_map(workbench, prompt, concept, layer, strength, seed=seed, job=job))

    return [
        concepts, steer, make_concept, analyse_layers, sweep_strengths, sweep_grid, mix, save_mix, layers, compare,
        plane,
    ]  # fmt: skip


def _answer(value: Any) -> dict:
    answer: dict = plain_json(value)
    return answer


def plain_json(value: Any) -> Any:
    """`value` of an operation as JSON takes it; what is not finite becomes null, a concept goes without its vectors."""
    match value:
        case ConceptEntry():
            return {
                "name": value.name, "factor": value.factor, "origin": value.origin, "layer": value.layer,
                "strength": value.strength, "safe": value.safe and list(value.safe), "pairs": len(value.pairs),
            }  # fmt: skip
        case float():
            return value if math.isfinite(value) else None
        case Tensor():
            return plain_json(value.tolist())
        case Mapping():
            return {str(key): plain_json(one) for key, one in value.items()}
        case list() | tuple():
            return [plain_json(one) for one in value]
        case _ if is_dataclass(value) and not isinstance(value, type):
            return {part.name: plain_json(getattr(value, part.name)) for part in fields(value)}
        case _:
            return value
