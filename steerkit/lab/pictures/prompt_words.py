"""The words of a prompt, and which tokens of the text encoder stand for each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class PromptWord:
    """A word as it was written, and the places of its tokens among those of the prompt."""

    word: str
    tokens: tuple[int, ...]


def prompt_words(tokenizer: Any, prompt: str) -> list[PromptWord]:
    """The words of `prompt` in order, less those that do not fit into the text encoder's length.

    Words are what blanks separate, which is also how CLIP's tokenizer cuts first, so that tokens belong to one word.
    """
    found = []
    place = 1  # after the token that begins every prompt
    last = int(tokenizer.model_max_length) - 1
    for word in prompt.split():
        count = len(tokenizer(word, add_special_tokens=False).input_ids)
        if place + count > last:
            break
        if count:
            found.append(PromptWord(word, tuple(range(place, place + count))))
        place += count
    return found
