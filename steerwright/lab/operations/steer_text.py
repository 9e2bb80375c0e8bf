"""One request answered twice, without and with steering, and what changed at every token."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from steerwright.lab.checks import (
    checked_choice,
    checked_layer,
    checked_seed,
    checked_strength,
    checked_temperature,
    checked_text,
    checked_tokens,
)
from steerwright.lab.detokeniser import Detokeniser, token_texts
from steerwright.lab.jobs import Job
from steerwright.lab.operations.blend import Blend, Expression, blend, expression
from steerwright.vectors.steering_vectors import layer_number

if TYPE_CHECKING:
    from steerwright.lab.workbench import Workbench
    from steerwright.models.language.load import LanguageModel
    from steerwright.steering.algebra import Edit
    from steerwright.steering.language.generate import Completion

ACTIONS = ("add", "erase")
REMOVAL = 1.5
"""The default strength of removal: a little more than what lies along its vector, some of which
comes back."""
PLACES = ("last", "generated", "all")
BOUNDS = ("none", "keep_norm")
TOKENS, TEMPERATURE = 30, 0.7


@dataclass(frozen=True, slots=True)
class Token:
    """A token of an answer, and its natural log-probability given those before it, without and with the edit."""

    text: str
    unsteered: float
    steered: float

    @property
    def change(self) -> float:
        """By how much steering raised the log-probability, in nats."""
        return self.steered - self.unsteered


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer and what was measured on it.

    `perplexity` is that under the unsteered model: how surprising the model itself would find the text. `expressed` is,
    for each concept, how far the text shows it, from 0 to 1.
    """

    text: str
    tokens: tuple[Token, ...]
    ended: bool
    perplexity: float
    expressed: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class SteeredText:
    """Both answers, with all that is needed to ask again.

    `norm` is the length of the concept's vector at the layer (the distance between texts with and without it), and
    `push` how far strength moves a token, as a multiple of that length, at the prompt's last token. `reader` says who
    judged `expressed`.
    """

    prompt: str
    concepts: str
    action: str
    layers: tuple[int, ...]
    strength: float
    seed: int
    unsteered: Answer
    steered: Answer
    norm: float
    push: float
    reader: str

    @property
    def perplexity_ratio(self) -> float:
        """Perplexity of the steered answer over that of the unsteered one, both under the unsteered model."""
        return self.steered.perplexity / self.unsteered.perplexity


@dataclass(frozen=True, slots=True)
class Written:
    """What there is of both answers while they are being written: the text that each token added."""

    unsteered: tuple[str, ...]
    steered: tuple[str, ...]


def steer_text(
    workbench: Workbench,
    prompt: Any,
    concepts: Any,
    layer: Any = None,
    strength: Any = None,
    *,
    action: Any = "add",
    tokens: Any = TOKENS,
    temperature: Any = TEMPERATURE,
    seed: Any = 0,
    place: Any = None,
    bound: Any = "none",
    job: Job | None = None,
) -> SteeredText:
    """Answer `prompt` without steering and with it, from the same random numbers.

    `concepts` as `blend` takes them; `layer` a number or several (None: the concept's own, and all where `action` is
    `remove`), `strength` in shares of each token's norm (None: the concept's own; where `action` is `remove` 1 takes
    all of a concept away and 2 turns it around, None: 1.5). `place`: which tokens are steered: last (the prompt's last
    and every new one), generated, or all (None: last, to remove all). `bound`: none, or keep (each token keeps its
    norm). Raises UserError for what cannot be asked, Cancelled when `job` is stopped.
    """
    from steerwright.steering.language.generate import Sampling, complete

    job = job or Job()
    text = checked_text(prompt, "prompt")
    chosen = blend(workbench, concepts)
    model = workbench.language()
    action = checked_choice(action, ACTIONS, "action")
    usual_strength, usual_place = (chosen.leading.strength, "last") if action == "add" else (REMOVAL, "all")
    if action == "erase" and layer is None:
        # Elsewhere than at all layers, the blocks after it write again what the request asks for.
        layer = list(range(model.layers))
    layers = chosen_layers(layer, chosen, model.layers)
    strength = checked_strength(usual_strength if strength is None else strength)
    sampling = Sampling(max_new_tokens=checked_tokens(tokens), temperature=checked_temperature(temperature))
    seed = checked_seed(seed)
    place = checked_choice(usual_place if place is None else place, PLACES, "place")
    bound = checked_choice(bound, BOUNDS, "bound")
    edits = edits_for(model, chosen, layers, torch.tensor([0.0, strength]), action=action, place=place, bound=bound)
    with workbench.turn("language", job.cancelled):
        answers = complete(
            model,
            [text, text],
            [seed, seed],
            sampling,
            edits,
            on_tokens=_Stream(model, sampling.max_new_tokens, job),
            should_stop=job.cancelled,
        )
        job.check()
        both = edits_for(model, chosen, layers, strength, action=action, place=place, bound=bound)
        measured = _measured(workbench, model, chosen, answers, both)
        push = _push(model, chosen, layers[0], strength, answers[0]) if action == "add" else math.nan
    (unsteered, steered), reader = measured
    return SteeredText(
        text, chosen.name, action, layers, strength, seed, unsteered, steered,
        norm=_norm(chosen, layers[0]), push=push, reader=reader,
    )  # fmt: skip


def chosen_layers(layer: Any, chosen: Blend, count: int) -> tuple[int, ...]:
    """The layers asked for, each of which the model must have; none asked for: the leading concept's own."""
    if layer is None:
        return (chosen.leading.layer,)
    several = layer if isinstance(layer, (list, tuple)) else [layer]
    return tuple(dict.fromkeys(checked_layer(one, count) for one in several)) or (chosen.leading.layer,)


def edits_for(
    model: LanguageModel,
    chosen: Blend,
    layers: Sequence[int],
    strength: float | Tensor,
    *,
    action: str = "add",
    place: str = "last",
    bound: str = "none",
) -> list[Edit]:
    """The edits of a blend: the whole is added, but each of its concepts is removed by itself."""
    from steerwright.steering.language.edits import text_edits

    if action == "add":
        return chosen.edits(model, layers, strength, place=place, bound=bound)
    return [
        edit
        for entry in chosen.entries.values()
        for edit in text_edits(
            entry.along(action), layers, strength, action="erase", tokens=place, bound=bound, model=model
        )
    ]


def perplexity(log_probs: Tensor) -> float:
    """exp of the mean negative log-probability [tokens]; not a number for none."""
    return math.exp(-float(log_probs.double().mean())) if len(log_probs) else math.nan


class _Stream:
    """Shows both answers growing, as `complete` hands on their tokens."""

    def __init__(self, model: LanguageModel, most: int, job: Job) -> None:
        self._most, self._job = most, job
        self._rows = Detokeniser(model), Detokeniser(model)
        self._written: tuple[list[str], list[str]] = ([], [])

    def __call__(self, row: int, token: int) -> None:
        self._written[row].append(self._rows[row].add(token))
        self._job.progress(max(map(len, self._written)) / self._most, "Writing")
        self._job.show(Written(tuple(self._written[0]), tuple(self._written[1])))


def _measured(
    workbench: Workbench, model: LanguageModel, chosen: Blend, answers: Sequence[Completion], edits: Sequence[Edit]
) -> tuple[list[Answer], str]:
    from steerwright.steering.language.log_probs import token_log_probs

    # Each answer by itself: with several threads the rows of a batch may differ in the last bits, and then the same
    # answer twice would not measure the same. An answer may be nothing but its end.
    plain = token_log_probs(model, answers, batch_size=1)
    moved = token_log_probs(model, answers, edits, batch_size=1)
    read: dict[str, list[Expression]] = {
        name: [expression(workbench, entry, [answer]) for answer in answers] for name, entry in chosen.entries.items()
    }
    found = []
    for row, answer in enumerate(answers):
        pieces = token_texts(model, answer.tokens)
        tokens = tuple(
            Token(piece, float(before), float(after))
            for piece, before, after in zip(pieces, plain[row], moved[row], strict=False)
        )
        expressed = {name: ones[row].values[0] for name, ones in read.items()}
        found.append(Answer(answer.text.strip(), tokens, answer.ended, perplexity(plain[row]), expressed))
    return found, " and ".join(sorted({one.reader for ones in read.values() for one in ones}))


def _norm(chosen: Blend, layer: int) -> float:
    return next(
        float(found.norm) for slot, found in chosen.vectors.directions.items() if layer_number(slot.hookpoint) == layer
    )


def _push(model: LanguageModel, chosen: Blend, layer: int, strength: float, answer: Completion) -> float:
    """How far the edit moves the prompt's last token, as a multiple of the concept's own length there."""
    from steerwright.activations.residuals import residuals
    from steerwright.models.language.encode import Encoded

    norm = _norm(chosen, layer)
    ids = torch.tensor([answer.prompt_tokens], device=model.device)
    every = torch.ones_like(ids, dtype=torch.bool)
    with torch.inference_mode():
        length = float(residuals(model, Encoded(ids, every, every))[layer, 0, -1].float().norm())
    return strength * length / norm if norm else math.nan
