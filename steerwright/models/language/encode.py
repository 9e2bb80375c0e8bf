"""Texts as token ids: in the model's chat template where it has one, padded, with the text's own tokens marked."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, assert_never, get_args

import torch
from torch import Tensor

from steerwright.errors import UserError
from steerwright.models.language.load import LanguageModel

Padding = Literal["left", "right"]
Role = Literal["assistant", "user", "raw"]
ROLES: tuple[str, ...] = get_args(Role)
# Stands for a text while a chat template is rendered, to see what the template puts around it. A private character,
# and letters on both sides of it, since templates strip what they are given.
_PLACE = "x\ue000x"
_WITHOUT = "use chat: false in the model's entry of params.yaml (--raw on the command line)"


@dataclass(frozen=True, slots=True, eq=False)
class Encoded:
    """Texts as a batch.

    `ids`: int64 [n, t], padded. `mask`: bool [n, t], false on padding. `content`: bool [n, t], true on the text's own
    tokens, which are neither padding nor BOS, template, nor the request that a text answers.
    """

    ids: Tensor
    mask: Tensor
    content: Tensor

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True, slots=True)
class _Framed:
    """A whole document and where in it, in characters, the text itself stands."""

    document: str
    start: int
    stop: int
    special: bool  # whether the tokenizer is to add BOS; a chat template writes its own


def encode(
    model: LanguageModel, prompts: Sequence[str], chat: bool | None = None, padding: Padding = "left"
) -> Encoded:
    """`prompts` ready to be continued: each as a request in the chat template, or as it is where `chat` is false.

    `chat` None: as the model's spec says, where its tokenizer has a template. UserError for an empty prompt, one that
    is longer than the model's context (both are named), and where a template is demanded that is not there.
    """
    if chat is None:
        chat = model.spec.chat and model.has_chat
    if chat and not model.has_chat:
        raise UserError(f"The tokenizer of {model.spec.name!r} has no chat template; ask with chat: false.")
    _refuse_empty(prompts, "prompt")
    return _encoded(
        model, [_request(model, one) if chat else _Framed(one, 0, len(one), True) for one in prompts], padding
    )


def encode_texts(
    model: LanguageModel,
    texts: Sequence[str],
    prompts: Sequence[str | None] | None = None,
    role: Role = "assistant",
    padding: Padding = "right",
) -> Encoded:
    """`texts` as the model would have read or written them, for extraction; `content` marks the texts' own tokens.

    `assistant`: each as the answer to its prompt (to an empty request without one), where generation would begin it, up
    to its last word: what the template puts after an answer is left out, so the last token is the text's own. `user`:
    each as a request, up to where the answer would begin. `raw`: no template, the prompt and a space before the text
    where there is one; so it is for every role where the model has no template. UserError as for `encode`.
    """
    _refuse_empty(texts, "text")
    asked: Sequence[str | None] = [None] * len(texts) if prompts is None else prompts
    if len(asked) != len(texts):
        raise UserError(f"{len(texts)} texts but {len(asked)} prompts; give one prompt for each text.")
    templated = model.has_chat and model.spec.chat
    framed = []
    for text, prompt in zip(texts, asked, strict=True):
        match role if templated else "raw":
            case "assistant":
                framed.append(_answer(model, text, prompt or ""))
            case "user":
                framed.append(_request(model, text))
            case "raw":
                before = f"{prompt} " if prompt else ""
                framed.append(_Framed(before + text, len(before), len(before + text), True))
            case other:
                assert_never(other)
    return _encoded(model, framed, padding)


def last_tokens(encoded: Encoded) -> Tensor:
    """Index int64 [n] of each row's last token that is not padding, on whichever side the padding is."""
    positions = torch.arange(encoded.mask.shape[1], device=encoded.mask.device)
    return torch.where(encoded.mask, positions, -1).amax(1)


def padded(rows: Sequence[Sequence[int]], pad: int, padding: Padding) -> tuple[Tensor, Tensor]:
    """Ids int64 [n, t] and mask bool [n, t] of `rows` of ids, which are as long as they are."""
    length = max((len(row) for row in rows), default=0)
    ids = torch.full((len(rows), length), pad, dtype=torch.int64)
    mask = torch.zeros(len(rows), length, dtype=torch.bool)
    for index, row in enumerate(rows):
        where = slice(length - len(row), length) if padding == "left" else slice(0, len(row))
        ids[index, where] = torch.tensor(row, dtype=torch.int64)
        mask[index, where] = True
    return ids, mask


def pad_id(model: LanguageModel) -> int:
    """The id that fills short rows: the tokenizer's, else any, as nothing ever looks at it."""
    found = model.tokenizer.pad_token_id
    return int(found) if found is not None else min(model.ends, default=0)


def _encoded(model: LanguageModel, framed: Sequence[_Framed], padding: Padding) -> Encoded:
    special = set(model.tokenizer.all_special_ids)
    rows, spans = [], []
    for one in framed:
        found = model.tokenizer(
            one.document, add_special_tokens=one.special, return_offsets_mapping=True, return_special_tokens_mask=True
        )
        ids, offsets = found["input_ids"], found["offset_mapping"]
        # A tokenizer may add EOS (add_eos_token); but a text that is continued or looked at is not over.
        added = found["special_tokens_mask"]
        own = max((place for place, special in enumerate(added) if not special), default=len(ids) - 1) + 1
        ids, offsets = ids[:own], offsets[:own]
        if len(ids) > model.context:
            raise UserError(
                f"The text {_shown(one.document[one.start : one.stop])} takes {len(ids)} tokens, but "
                f"{model.spec.name!r} reads {model.context} at most; shorten it."
            )
        rows.append(ids)
        # What BOS and EOS cover is empty; so is what a tokenizer covers that begins each text with a space of its own.
        spans.append(
            [
                begin < one.stop and (end > max(one.start, begin) or (begin == end >= one.start and id_ not in special))
                for id_, (begin, end) in zip(ids, offsets, strict=True)
            ]
        )
    ids, mask = padded(rows, pad_id(model), padding)
    content = torch.zeros_like(mask)
    for index, span in enumerate(spans):
        content[index, mask[index]] = torch.tensor(span, dtype=torch.bool)
    return Encoded(ids.to(model.device), mask.to(model.device), content.to(model.device))


def _request(model: LanguageModel, prompt: str) -> _Framed:
    return _framed(model, [], "user", prompt, answer_follows=True)


def _answer(model: LanguageModel, text: str, prompt: str) -> _Framed:
    asked = [{"role": "user", "content": prompt}]
    whole = _framed(model, asked, "assistant", text, answer_follows=False)
    begins = _rendered(model, asked, answer_follows=True)
    between = whole.document[len(begins) : whole.start]
    if not whole.document.startswith(begins) or between.strip():
        # The template writes something before an answer (an empty block of thoughts), after where generation begins.
        return _Framed(begins + text, len(begins), len(begins + text), special=False)
    # Without what follows an answer: it is not over where a text is taken from or steered.
    return _Framed(whole.document[: whole.stop], whole.start, whole.stop, special=False)


def _framed(
    model: LanguageModel, turns: list[dict[str, str]], role: str, text: str, *, answer_follows: bool
) -> _Framed:
    """`turns` and then `text` in the chat template, which may take spaces off its ends."""

    def rendered(last: str) -> str:
        return _rendered(model, [*turns, {"role": role, "content": last}], answer_follows=answer_follows)

    document, parts = rendered(text), rendered(_PLACE).split(_PLACE)
    if len(parts) != 2 or not (document.startswith(parts[0]) and document.endswith(parts[1])):
        raise UserError(f"The chat template of {model.spec.name!r} does not keep a message as it is; {_WITHOUT}.")
    return _Framed(document, len(parts[0]), len(document) - len(parts[1]), special=False)


def _rendered(model: LanguageModel, turns: list[dict[str, str]], *, answer_follows: bool) -> str:
    """`turns` in the chat template, after the spec's system turn; up to where an answer begins if that `follows`."""
    system = [] if model.spec.system is None else [{"role": "system", "content": model.spec.system}]
    try:
        found = model.tokenizer.apply_chat_template(
            [*system, *turns], tokenize=False, add_generation_prompt=answer_follows, **model.spec.template
        )
    except Exception as error:  # a template is a program of the model's authors, and may raise anything
        first, *_ = str(error).strip().splitlines() or [type(error).__name__]
        settings = [name for name in ("system", "template") if getattr(model.spec, name)]
        given = ", ".join([*(["a system prompt"] if system else []), *(turn["role"] for turn in turns)])
        raise UserError(
            f"The chat template of {model.spec.name!r} refuses these turns ({given}): {first}. "
            + (f"Mend {' and '.join(settings)} in its entry, or" if settings else "To go without it,")
            + f" {_WITHOUT}."
        ) from error
    if model.spec.system is not None and model.spec.system.strip() not in found:
        raise UserError(
            f"The chat template of {model.spec.name!r} has no place for a system prompt: what `system` says is not in "
            f"what it writes. Leave it out, or {_WITHOUT}."
        )
    return str(found)


def _refuse_empty(texts: Sequence[str], kind: str) -> None:
    for index, text in enumerate(texts):
        if not text.strip():
            raise UserError(f"The {kind} number {index + 1} is empty; write something, or leave it out.")


def _shown(text: str) -> str:
    return repr(text if len(text) <= 60 else text[:57] + "...")


# One forward of a language model over whole texts.


def forward_inputs(model: Any, ids: Tensor, mask: Tensor) -> dict[str, Any]:
    """What a forward of `model` over `ids` [n, t] takes, so that padding (`mask` [n, t] false) counts nowhere.

    Places are counted from each row's first own token, as generation does: under left padding they would otherwise
    begin with the padding.
    """
    called: dict[str, Any] = {"input_ids": ids, "attention_mask": mask.long(), "use_cache": False}
    if "position_ids" in inspect.signature(model.forward).parameters:
        called["position_ids"] = (mask.long().cumsum(1) - 1).clamp(min=0)
    return called
