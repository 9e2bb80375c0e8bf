"""One answer read twice, without and with steering: what changes, at every token and every layer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

from steerwright.lab.checks import (
    checked_choice,
    checked_layer,
    checked_seed,
    checked_strength,
    checked_temperature,
    checked_text,
    checked_tokens,
)
from steerwright.lab.detokeniser import token_texts
from steerwright.lab.jobs import Job

if TYPE_CHECKING:
    from torch import Tensor

    from steerwright.lab.workbench import Workbench
    from steerwright.models.language.load import LanguageModel
    from steerwright.steering.language.generate import Completion

Reading = Literal["steered", "unsteered"]
READINGS: tuple[str, ...] = get_args(Reading)


@dataclass(frozen=True, slots=True, eq=False)
class TokenComparison:
    """Residual streams of the same tokens (prompt, then one of the answers) without and with the edit.

    `unsteered` and `steered` are the two answers, `read` the one whose tokens both runs were given. `tokens` [t]: what
    was read, the prompt first; `prompt_tokens` counts those of the prompt. All maps are float32 [layers, t]:
    `norm_before` and `norm_after` are lengths of the residual stream after each block; `change` is the length of the
    difference as a share of `norm_before`; `along` that difference's component along the concept's direction at the
    same layer, as the same share (its sign says towards or away). `log_prob_change` [t]: by how much the edit raised
    the log-probability of each token given those before it, in nats; not a number for the prompt's tokens.
    """

    concept: str
    layer: int
    strength: float
    unsteered: str
    steered: str
    read: Reading
    tokens: tuple[str, ...]
    prompt_tokens: int
    norm_before: Tensor
    norm_after: Tensor
    change: Tensor
    along: Tensor
    log_prob_change: Tensor


def compare_tokens(
    workbench: Workbench,
    prompt: Any,
    concept: Any,
    layer: Any,
    strength: Any,
    *,
    tokens: Any = 24,
    temperature: Any = 0.0,
    seed: Any = 0,
    read: Any = "steered",
    job: Job | None = None,
) -> TokenComparison:
    """Answer `prompt` with and without the concept's vector at `layer`, then read one answer both ways.

    The two answers share their random numbers, so at strength 0 they are the same and every change is exactly 0.
    Raises UserError for what cannot be asked, Cancelled when the job is stopped.
    """
    from steerwright.steering.language.apply import text_edits
    from steerwright.steering.language.generate import Sampling, complete

    job = job or Job()
    text = checked_text(prompt, "prompt")
    entry = workbench.concept(concept)
    model = workbench.language()
    layer, strength = checked_layer(layer, model.layers), checked_strength(strength)
    sampling = Sampling(max_new_tokens=checked_tokens(tokens), temperature=checked_temperature(temperature))
    seed = checked_seed(seed)
    reading: Reading = checked_choice(read, READINGS, "answer to read")  # type: ignore[assignment]
    edits = text_edits(entry.vectors, [layer], strength)
    job.step(0.0, "Answering without steering")
    with workbench.turn("language", job.cancelled):
        unsteered = complete(model, [text], [seed], sampling, should_stop=job.cancelled)[0]
    job.step(0.4, "Answering with steering")
    with workbench.turn("language", job.cancelled):
        steered = complete(model, [text], [seed], sampling, edits, should_stop=job.cancelled)[0]
    job.step(0.8, "Reading both ways")
    answer = steered if reading == "steered" else unsteered
    with workbench.turn("language", job.cancelled):
        before, log_probs_before = _read(model, answer, [])
        after, log_probs_after = _read(model, answer, edits)
    norm = before.norm(dim=-1)
    difference = after - before
    units = _units(entry.vectors, model)
    return TokenComparison(
        concept=entry.name,
        layer=layer,
        strength=strength,
        unsteered=unsteered.text,
        steered=steered.text,
        read=reading,
        tokens=tuple(token_texts(model, [*answer.prompt_tokens, *answer.tokens])),
        prompt_tokens=len(answer.prompt_tokens),
        norm_before=norm,
        norm_after=after.norm(dim=-1),
        change=difference.norm(dim=-1) / norm,
        along=(difference * units[:, None]).sum(-1) / norm,
        log_prob_change=log_probs_after - log_probs_before,
    )


def _read(model: LanguageModel, answer: Completion, edits: list[Any]) -> tuple[Tensor, Tensor]:
    """Residual streams [layers, t, d] and log-probabilities [t] (not a number in the prompt) of prompt and answer."""
    import torch

    from steerwright.activations.residuals import residuals
    from steerwright.models.language.encode import Encoded
    from steerwright.steering.language.apply import steer_text
    from steerwright.steering.language.log_probs import token_log_probs

    start = len(answer.prompt_tokens)
    ids = torch.tensor([[*answer.prompt_tokens, *answer.tokens]], device=model.device)
    everywhere = torch.ones_like(ids, dtype=torch.bool)
    encoded = Encoded(ids, everywhere, everywhere)
    with steer_text(model, edits, torch.tensor([start], device=model.device)):
        streams = residuals(model, encoded)[:, 0].float().cpu()
    log_probs = torch.full((ids.shape[1],), float("nan"))
    log_probs[start:] = token_log_probs(model, [answer], edits)[0].float().cpu()[: len(answer.tokens)]
    return streams, log_probs


def _units(vectors: Any, model: LanguageModel) -> Tensor:
    """The concept's unit vector at every layer, float32 [layers, d]; zeros where it has none."""
    import torch

    found = {slot.hookpoint: direction.unit for slot, direction in vectors.directions.items()}
    return torch.stack([found.get(hookpoint, torch.zeros(model.width)) for hookpoint in model.hookpoints])
