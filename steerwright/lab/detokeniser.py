"""The text that each token adds to those before it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from steerwright.models.language.load import LanguageModel

_BROKEN = "\ufffd"
_CONTEXT = 8  # tokens; no character has more bytes than 4


class Detokeniser:
    """Says of one token after the other what it adds to the text.

    Decoding a token by itself would lose the blank that some tokenizers keep at a word's beginning, so it is decoded
    together with the one before it. A token that ends inside a character adds nothing; the one that completes the
    character adds it.
    """

    def __init__(self, model: LanguageModel) -> None:
        self._tokenizer = model.tokenizer
        self._open: list[int] = []
        self._known = ""

    def add(self, token: int) -> str:
        """What `token` adds to those that were added before."""
        self._open.append(token)
        whole = self._decoded()
        if whole.endswith(_BROKEN) or not whole.startswith(self._known):
            return ""
        piece = whole[len(self._known) :]
        self._open = [token]
        self._known = self._decoded()
        return piece

    def _decoded(self) -> str:
        return str(self._tokenizer.decode(self._open, skip_special_tokens=False, clean_up_tokenization_spaces=False))


def token_texts(model: LanguageModel, tokens: Sequence[int], before: Sequence[int] = ()) -> list[str]:
    """What each of `tokens` adds, so that the pieces joined are the text that follows `before`."""
    pieces = Detokeniser(model)
    for token in before[-_CONTEXT:]:
        pieces.add(token)
    return [pieces.add(token) for token in tokens]
