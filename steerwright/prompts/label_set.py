"""The labels that pictures are judged by, and the words by which prompts and CLIP know their values."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache


@dataclass(frozen=True, slots=True, eq=False)
class LabelSet:
    """Labels and their values, in the fixed order that classifiers index; scores have their columns in it.

    Args:
        name: what messages call it, such as "the seasons world".
        values: of each label.
        named_by: by label and value, the whole words by which a prompt names the value.
        phrases: by label and value, the phrases that zero-shot CLIP is asked for.
        asked_by: by label and value, the words that ask for the value at a prompt's end; "" or missing: none.
        with_each: a label whose phrase i is of value i of another label, as a colour is asked for with each object.
        indoor: the label and value of pictures taken indoors; None: all pictures are outdoor ones.
        outdoors_only: labels that only outdoor pictures show, as a room has no season; adding may change them.
        unbarred: labels that even unsteered pictures often get wrong, so no bar is set for them.
    """

    name: str
    values: Mapping[str, tuple[str, ...]]
    named_by: Mapping[str, Mapping[str, tuple[str, ...]]]
    phrases: Mapping[str, Mapping[str, tuple[str, ...]]]
    asked_by: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    with_each: Mapping[str, str] = field(default_factory=dict)
    indoor: tuple[str, str] | None = None
    outdoors_only: frozenset[str] = frozenset()
    unbarred: frozenset[str] = frozenset()

    def named(self, prompt: str) -> dict[str, str | None]:
        """The value of each label that `prompt` names, None where it names none or several."""
        found: dict[str, str | None] = {}
        for label in self.values:
            named = {value for value, pattern in _patterns(self, label).items() if pattern.search(prompt.lower())}
            found[label] = named.pop() if len(named) == 1 else None
        return found

    def label_of(self, value: str) -> str | None:
        """The first label that has `value` among its values, None if there is none."""
        return next((label for label, values in self.values.items() if value in values), None)

    def asking(self, label: str | None, value: str | None) -> str:
        """The words that ask for a value at a prompt's end; "" where there are none."""
        return self.asked_by.get(label or "", {}).get(value or "", "")


@cache
def _patterns(labels: LabelSet, label: str) -> dict[str, re.Pattern[str]]:
    return {
        value: re.compile(r"\b(" + "|".join(map(re.escape, labels.named_by[label][value])) + r")\b")
        for value in labels.values[label]
    }


# The indefinite article of a noun.


def with_article(noun: str) -> str:
    """`a boat`, `an umbrella`."""
    return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"
