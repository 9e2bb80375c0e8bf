"""A concept to steer: which prompts differ in it, how prompts name it, and how pictures show it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, model_validator

from steerwright.errors import UserError, UserErrors, problems_at
from steerwright.prompts.suite import ContrastPair
from steerwright.text_file import read_text_file, text_lines

if TYPE_CHECKING:
    from steerwright.prompts.label_set import LabelSet

Template = Literal["fill", "things", "styles", "people"]
Kind = Literal["contains", "neighbour", "other"]
_LIST_NAME = re.compile(r"[a-z0-9][a-z0-9-]*")


class Concept(BaseModel):
    """What params.yaml says about one concept; see `contrast_pairs` for the templates.

    Validated with a `LabelSet` as context, its label and value must be of that set.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    text: str = Field(min_length=1, description="The words that the template puts into the prompt.")
    against: tuple[str, ...] = Field(
        default=(), description="What stands in its place, in turn; empty: it is left out."
    )
    template: Template = "things"
    contexts: str = Field(description="Name of a list in the folder of contexts.")
    subjects: str | None = Field(default=None, description="Name of a list of subjects, for the template `people`.")
    words: tuple[str, ...] = Field(min_length=1, description="Whole words by which a prompt names the concept.")
    neighbours: tuple[str, ...] = Field(default=(), description="Words that name what is near to it.")
    without: str = Field(default="", description="What the prompt says instead when the concept is taken out of it.")
    label: str | None = Field(default=None, description="The label that shows it.")
    value: str | None = Field(default=None, description="That label's value.")
    phrases: tuple[str, ...] = Field(default=(), description="For CLIP: pictures with it. Empty: those of the label.")
    other_phrases: tuple[str, ...] = Field(default=(), description="For CLIP: pictures without it.")

    @model_validator(mode="after")
    def _shown_somehow(self, info: ValidationInfo) -> Concept:
        check_shown(self.label, self.value, self.phrases, self.other_phrases, info.context)
        if (self.template == "people") != (self.subjects is not None):
            raise ValueError("subjects are for the template people, which needs them")
        return self

    def kind(self, prompt: str) -> Kind:
        """Whether `prompt` names the concept, else one of its neighbours, else neither."""
        if _names(prompt, self.words):
            return "contains"
        return "neighbour" if _names(prompt, self.neighbours) else "other"

    def reworded(self, prompt: str, replacement: str) -> str:
        """`prompt` with the concept's words replaced, `a` and `an` agreeing with what follows them."""
        swapped = _pattern(self.words).sub(replacement, prompt)
        tidy = re.sub(r"\s+", " ", swapped).strip(" ,")
        return re.sub(r"\b(a|an) (?=(\w))", lambda m: f"{'an' if m[2].lower() in 'aeiou' else 'a'} ", tidy)


def check_shown(
    label: str | None,
    value: str | None,
    phrases: Sequence[str],
    other_phrases: Sequence[str],
    labels: LabelSet | None = None,
) -> None:
    """ValueError unless a label and its value, or phrases with and without it, say how pictures show a concept.

    Label and value must be of `labels`; None: any.
    """
    if (label is None) != (value is None):
        raise ValueError("label and value belong together; give both or none")
    if labels is not None and label is not None and value not in labels.values.get(label, ()):
        known = ", ".join(labels.values.get(label, ())) or f"labels {', '.join(labels.values)}"
        raise ValueError(f"{label} {value!r} does not exist; there are {known}")
    if label is None and not (phrases and other_phrases):
        raise ValueError("nothing says how pictures show it; give label and value, or phrases and other_phrases")


def parse_concepts(params: Mapping[str, Any], labels: LabelSet, where: str = "concepts") -> dict[str, Concept]:
    """The concepts by name, shown by `labels` or by phrases.

    Raises UserErrors with every problem as `where.name.key: message`.
    """
    found: dict[str, Concept] = {}
    problems: list[str] = []
    for name, values in params.items():
        if not _LIST_NAME.fullmatch(name):
            problems.append(f"{where}.{name}: a name has small letters, digits and - only")
            continue
        try:
            found[name] = Concept.model_validate(values, context=labels)
        except ValidationError as error:
            problems += problems_at(error, where, name)
    if problems or not found:
        raise UserErrors("These concepts cannot be used:", problems or [f"{where}: there is none"])
    return found


def contrast_pairs(concept: Concept, folder: Path) -> list[ContrastPair]:
    """The pairs of a concept, one for each context (for `people`: for each subject in each context), numbered from 0.

    `folder` holds the lists, NAME.txt. Templates, after the kinds of arXiv:2503.09630:

    - `fill`: the context itself says where `{concept}` goes, and `{a}` its article;
    - `things`: "{context} with {concept}" against "{context}";
    - `styles`: "{context}, {concept} style" against "{context}";
    - `people`: "{subject} {context}, {concept}" against "{subject} {context}".

    With `against`, the negative side has those words in the concept's place, taken in turn. Raises UserError for a list
    that is missing or empty, and for `fill` without `against`, or without `{concept}` in a line.
    """
    contexts = read_list(folder, concept.contexts)
    if concept.template == "people":
        assert concept.subjects is not None, "checked by the model"
        contexts = [f"{subject} {context}" for subject in read_list(folder, concept.subjects) for context in contexts]
    if concept.template == "fill":
        if not concept.against:
            raise UserError(
                f"The template fill for {concept.text!r} needs `against`: what stands in the concept's place."
            )
        lacking = [line for line in contexts if "{concept}" not in line]
        if lacking:
            raise UserError(f"{concept.contexts}.txt is for the template fill, but {lacking[0]!r} has no {{concept}}.")
    pairs = []
    for number, context in enumerate(contexts):
        other = concept.against[number % len(concept.against)] if concept.against else None
        positive, negative = _filled(concept.template, context, concept.text), _filled(concept.template, context, other)
        pairs.append(ContrastPair(number, positive, negative))
    return pairs


def read_list(folder: Path, name: str) -> list[str]:
    """The lines of NAME.txt, without empty ones and those that begin with #. Raises UserError if there are none."""
    if not _LIST_NAME.fullmatch(name):
        raise UserError(f"The list {name!r} is no name of small letters, digits and -; name a file of {folder}.")
    path = folder / f"{name}.txt"
    try:
        lines = [line.strip() for line in text_lines(read_text_file(path))]
    except FileNotFoundError:
        known = ", ".join(sorted(path.stem for path in folder.glob("*.txt"))) or "none"
        raise UserError(f"There is no list {name!r} in {folder}; there are {known}.") from None
    kept = [line for line in lines if line and not line.startswith("#")]
    if not kept:
        raise UserError(f"{path} holds no line but comments; add one context a line.")
    return kept


def _filled(template: Template, context: str, text: str | None) -> str:
    if template == "fill":
        words = text or ""
        return context.replace("{a}", "an" if words[:1].lower() in "aeiou" else "a").replace("{concept}", words)
    if text is None:
        return context
    return {"things": f"{context} with {text}", "styles": f"{context}, {text} style", "people": f"{context}, {text}"}[
        template
    ]


def _names(prompt: str, words: Sequence[str]) -> bool:
    return bool(words) and _pattern(words).search(prompt) is not None


def _pattern(words: Sequence[str]) -> re.Pattern[str]:
    longest_first = sorted(words, key=len, reverse=True)
    return re.compile(r"\b(?:" + "|".join(map(re.escape, longest_first)) + r")\b", re.IGNORECASE)
