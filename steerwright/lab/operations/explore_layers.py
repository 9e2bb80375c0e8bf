"""What a model's layers do while it answers: how much each writes, and what it would say if it stopped there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from steerwright.errors import UserError
from steerwright.lab.checks import checked_text, checked_tokens
from steerwright.lab.detokeniser import token_texts
from steerwright.lab.jobs import Job

if TYPE_CHECKING:
    from torch import Tensor

    from steerwright.activations.logit_lens import LogitLens
    from steerwright.lab.workbench import Workbench
    from steerwright.models.language.load import LanguageModel
    from steerwright.steering.language.generate import Completion

TOP = 3


@dataclass(frozen=True, slots=True)
class Guess:
    """A token that a layer would say next, and the probability that it gives it."""

    token: str
    probability: float


@dataclass(frozen=True, slots=True)
class LayerExploration:
    """One greedy answer of `words` tokens, seen after each block, at the places where each of its tokens was chosen.

    `norms` [layers]: mean length of the residual stream. `written` [layers]: length of what the block added, as a share
    of what came in (not a number for the first, whose input is the embedding). `guesses` [layers][words][3]: what the
    model's own last norm and output layer make of the stream after each block, likeliest first. `settled` [words]: the
    layer from which on the first guess stays what the model says in the end.
    """

    prompt: str
    answer: str
    words: tuple[str, ...]
    norms: tuple[float, ...]
    written: tuple[float, ...]
    guesses: tuple[tuple[tuple[Guess, ...], ...], ...]
    settled: tuple[int, ...]

    @property
    def layers(self) -> int:
        return len(self.norms)


def explore_layers(workbench: Workbench, prompt: Any, *, tokens: Any = 14, job: Job | None = None) -> LayerExploration:
    """Answer `prompt` with up to `tokens` tokens, the likeliest each time, and look at every layer meanwhile.

    Raises UserError for a prompt that cannot be asked or that the model does not answer.
    """
    from steerwright.steering.language.generate import Sampling, complete

    job = job or Job()
    text, model = checked_text(prompt, "prompt"), workbench.language()
    sampling = Sampling(max_new_tokens=checked_tokens(tokens), temperature=0.0)
    job.step(0.0, "Answering")
    with workbench.turn("language", job.cancelled):
        answer = complete(model, [text], [0], sampling, should_stop=job.cancelled)[0]
    job.step(0.5, "Reading every layer")
    if not answer.tokens:
        raise UserError("The model answers nothing at all to this prompt; write another.")
    with workbench.turn("language", job.cancelled):
        streams, lens = _look(model, answer)
    norms = streams.norm(dim=-1)
    added = (streams[1:] - streams[:-1]).norm(dim=-1) / norms[:-1]
    return LayerExploration(
        prompt=text,
        answer=answer.text,
        words=tuple(token_texts(model, answer.tokens, answer.prompt_tokens)),
        norms=tuple(norms.mean(1).tolist()),
        written=(float("nan"), *added.mean(1).tolist()),
        guesses=_guesses(model, lens),
        settled=_settled(lens.ids[:, 0, :, 0].tolist()),
    )


def settled_by(found: LayerExploration) -> list[float]:
    """The share of the answer's words that are settled after each layer; rises to 1 at the last."""
    return [sum(one <= layer for one in found.settled) / len(found.settled) for layer in range(found.layers)]


def _look(model: LanguageModel, answer: Completion) -> tuple[Tensor, LogitLens]:
    """Residual streams float32 [layers, words, d] and the lens at the places where the answer's tokens were chosen."""
    import torch

    from steerwright.activations.logit_lens import LogitLens, logit_lens
    from steerwright.activations.residuals import residuals
    from steerwright.models.language.encode import Encoded

    # The last token is not read: it chose nothing that was written.
    ids = torch.tensor([[*answer.prompt_tokens, *answer.tokens[:-1]]], device=model.device)
    everywhere = torch.ones_like(ids, dtype=torch.bool)
    encoded = Encoded(ids, everywhere, everywhere)
    first = len(answer.prompt_tokens) - 1
    streams = residuals(model, encoded)[:, 0, first:].float().cpu()
    lens = logit_lens(model, encoded, top=TOP)
    return streams, LogitLens(lens.layers, lens.ids[:, :, first:], lens.log_probs[:, :, first:])


def _guesses(model: LanguageModel, lens: LogitLens) -> tuple[tuple[tuple[Guess, ...], ...], ...]:
    names: dict[int, str] = {}

    def name(token: int) -> str:
        if token not in names:
            names[token] = str(model.tokenizer.decode([token]))
        return names[token]

    return tuple(
        tuple(
            tuple(Guess(name(token), probability) for token, probability in zip(*place, strict=True))
            for place in zip(ids, probabilities, strict=True)
        )
        for ids, probabilities in zip(lens.ids[:, 0].tolist(), lens.log_probs[:, 0].exp().tolist(), strict=True)
    )


def _settled(first: list[list[int]]) -> tuple[int, ...]:
    """For each word the layer from which on `first` [layers][words] stays what it is at the last layer."""
    found = []
    for place, final in enumerate(first[-1]):
        layer = len(first) - 1
        while layer and first[layer - 1][place] == final:
            layer -= 1
        found.append(layer)
    return tuple(found)
