"""The text that each token adds to those before it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from steerkit.models.language.load import LanguageModel

_BROKEN = "\ufffd"


def token_pieces(model: LanguageModel, tokens: Sequence[int], before: Sequence[int] = ()) -> list[str]:
    """What each of `tokens` adds, so that the pieces joined are the text that follows `before`.

    Decoding tokens one by one would lose the blanks that some tokenizers keep at a word's beginning. A token that ends
    inside a character adds nothing; the one that completes the character adds it.
    """
    start = list(before)[-8:]
    known = _decoded(model, start)
    pieces = []
    for count in range(1, len(tokens) + 1):
        whole = _decoded(model, [*start, *tokens[:count]])
        if whole.endswith(_BROKEN) or not whole.startswith(known):
            pieces.append("")
            continue
        pieces.append(whole[len(known) :])
        known = whole
    return pieces


def _decoded(model: LanguageModel, tokens: Sequence[int]) -> str:
    if not tokens:
        return ""
    return str(model.tokenizer.decode(list(tokens), skip_special_tokens=False, clean_up_tokenization_spaces=False))
