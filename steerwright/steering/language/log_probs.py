"""What a model thinks of tokens: of those that were written, of what else could come, and layer by layer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from steerwright.errors import UserError
from steerwright.models.language.encode import forward_inputs, pad_id, padded
from steerwright.models.language.load import LanguageModel
from steerwright.steering.algebra import Edit, for_images
from steerwright.steering.language.apply import check_rows, steer_text
from steerwright.steering.language.generate import Completion

# Logits that one forward may hold: 256 MiB in float32.
_LARGEST = 1 << 26


def token_log_probs(
    model: LanguageModel, completions: Sequence[Completion], edits: Sequence[Edit] = (), *, batch_size: int = 64
) -> list[Tensor]:
    """Natural log of the probability of each written token, float32 [tokens] for each completion, on the CPU.

    The end token counts as written: where one `ended` the text, the last value is its. The texts are read in one
    forward each, under `edits` as while they were written; strengths may be given per completion [completions].
    """
    found: list[Tensor] = []
    for completion, log_probs in zip(
        completions, next_token_log_probs(model, completions, edits, batch_size=batch_size), strict=True
    ):
        written = torch.tensor(written_tokens(model, completion), dtype=torch.int64)
        found.append(log_probs.gather(1, written[:, None]).squeeze(1))
    return found


def next_token_log_probs(
    model: LanguageModel, completions: Sequence[Completion], edits: Sequence[Edit] = (), *, batch_size: int = 64
) -> Iterator[Tensor]:
    """For each completion log-probabilities of all tokens at each place that was written, float32 [tokens, V].

    Place i is before token i was written; the end token's counts. On the CPU, one completion after the other, so that
    no more than a batch is held. `edits` as for `token_log_probs`. UserError for edits with a mask of their own.
    """

    check_rows(edits, len(completions))
    if any(isinstance(edit.tokens, Tensor) for edit in edits):
        raise UserError("A mask is of a prompt's columns, which a text read whole has not; name the tokens.")
    for start, stop in _batches(model, completions, batch_size):
        batch = completions[start:stop]
        written = [written_tokens(model, one) for one in batch]
        # The last token of each predicts nothing that was written.
        rows = [[*one.prompt_tokens, *tokens[:-1]] for one, tokens in zip(batch, written, strict=True)]
        ids, mask = padded(rows, pad_id(model), "right")
        content = torch.zeros_like(mask)
        for row, one in enumerate(batch):
            content[row, slice(*one.content)] = True
        lengths = torch.tensor([len(one.prompt_tokens) for one in batch], device=model.device)
        ids, mask = ids.to(model.device), mask.to(model.device)
        cut = for_images(edits, start, stop)
        with torch.inference_mode(), steer_text(model, cut, lengths, content=content.to(model.device)):
            logits = model.model(**forward_inputs(model.model, ids, mask)).logits
        for row, (one, tokens) in enumerate(zip(batch, written, strict=True)):
            first = len(one.prompt_tokens) - 1
            yield logits[row, first : first + len(tokens)].float().log_softmax(-1).cpu()


def written_tokens(model: LanguageModel, completion: Completion) -> list[int]:
    """The ids that the model wrote, the end token included where one came."""
    if not completion.ended:
        return list(completion.tokens)
    return [*completion.tokens, min(model.ends) if completion.end is None else completion.end]


def _batches(model: LanguageModel, completions: Sequence[Completion], batch_size: int) -> Iterator[tuple[int, int]]:
    """Where each batch begins and ends: at most `batch_size` rows, and no more logits than _LARGEST."""
    vocabulary = int(model.model.config.get_text_config().vocab_size)
    start = longest = 0
    for index, one in enumerate(completions):
        length = max(longest, len(one.prompt_tokens) + len(one.tokens) + 1)
        if index > start and (index - start == batch_size or (index - start + 1) * length * vocabulary > _LARGEST):
            yield start, index
            start, length = index, len(one.prompt_tokens) + len(one.tokens) + 1
        longest = length
    if start < len(completions):
        yield start, len(completions)
