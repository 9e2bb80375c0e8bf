"""What pictures are steered towards: one concept or several at once, and how pictures show them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, model_validator

from steerwright.errors import UserErrors, problems_at
from steerwright.prompts.concepts import check_shown
from steerwright.prompts.suite import ContrastPair

if TYPE_CHECKING:
    from steerwright.prompts.label_set import LabelSet

PAIRS = "pairs.csv"
_NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
# Columns of the tables of scores, which a concept's own columns must not replace.
_TAKEN = frozenset({"prompt", "prompt_id", "seed", "condition", "resistance", "setting", "fidelity", "images"})


class ShownConcept(BaseModel):
    """How pictures show a concept: a label and value, or for CLIP phrases with and without it.

    Validated with a `LabelSet` as context, label and value must be of that set.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    pairs: str = Field(default=PAIRS, description="The file of data/winter with its contrast pairs.")
    weight: float = Field(default=1.0, gt=0, allow_inf_nan=False, description="In the sum of several concepts.")
    label: str | None = Field(default=None, description="The label that shows it.")
    value: str | None = Field(default=None, description="That label's value.")
    phrases: tuple[str, ...] = Field(default=(), description="For CLIP: pictures with it. Empty: those of the label.")
    other_phrases: tuple[str, ...] = Field(default=(), description="For CLIP: pictures without it.")

    @model_validator(mode="after")
    def _shown_somehow(self, info: ValidationInfo) -> Self:
        check_shown(self.label, self.value, self.phrases, self.other_phrases, info.context)
        return self


@dataclass(frozen=True, slots=True)
class Target:
    """The concepts that pictures are steered towards, by name; nearly always one.

    Of several, the least counts: pictures show them at once as far as they show the one that they show least.
    Pictures are judged by the labels of `label_set`. `added_words` are what a prompt without steering would say to ask
    for it, added to its end.
    """

    concepts: Mapping[str, ShownConcept]
    label_set: LabelSet
    added_words: str = ""

    @property
    def name(self) -> str:
        """`winter`, or `winter and night`."""
        return " and ".join(self.concepts)

    @property
    def key(self) -> str:
        """The name in columns and metrics: `winter`, `winter_night`."""
        return "_".join(map(column, self.concepts))

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels that steering is meant to change."""
        return tuple(concept.label for concept in self.concepts.values() if concept.label is not None)

    @property
    def kept_labels(self) -> tuple[str, ...]:
        """The labels that are meant to stay."""
        return tuple(label for label in self.label_set.values if label not in self.labels)

    @property
    def barred_labels(self) -> tuple[str, ...]:
        """Those of them that a bar is set for."""
        return tuple(label for label in self.kept_labels if label not in self.label_set.unbarred)

    @property
    def changing(self) -> tuple[str, ...]:
        """What a picture can change in: labels, and the columns of concepts that no label shows."""
        return tuple(concept.label or column(name) for name, concept in self.concepts.items())

    @property
    def changed(self) -> str:
        """The column that says whether a picture changed: `season_changed`, `season_time_changed`."""
        return f"{'_'.join(self.changing)}_changed"

    @property
    def changes(self) -> str:
        """What a changed picture changed, in words: `season`, `season or time`, `whether it shows fog`."""
        parts = [concept.label or f"whether it shows {name}" for name, concept in self.concepts.items()]
        return " or ".join(parts)

    @property
    def outdoors(self) -> bool:
        """Whether only outdoor pictures can show it: a room has no season."""
        return not self.label_set.outdoors_only.isdisjoint(self.labels)

    @property
    def pictures(self) -> str:
        """The pictures whose share that show it is asked for, in words."""
        return "outdoor pictures" if self.outdoors else "pictures"


def column(name: str) -> str:
    """A concept's name as a column of tables."""
    return name.replace("-", "_")


def parse_target(
    chosen: str | Sequence[str],
    concepts: Mapping[str, Any],
    labels: LabelSet,
    added_words: str | None = None,
    resistance: Mapping[str, Any] | None = None,
    section: str = "winter",
    taken: Iterable[str] = (),
) -> Target:
    """What `SECTION.vectors.concept` names, as `SECTION.concepts` describes it.

    A value of `labels` (autumn, night, boat) needs no description. Without `added_words` they are those of the labels:
    in autumn, at night. `taken`: columns of the scores beside the usual ones; no concept may have their names. Raises
    UserErrors with every problem as `key.path: message`: an unknown or unusable concept, two of one label, words that
    ask for something else, words of `resistance` that ask for it.
    """
    names = [chosen] if isinstance(chosen, str) else list(chosen)
    here, there = f"{section}.vectors.concept", f"{section}.concepts"
    problems: list[str] = []
    found: dict[str, ShownConcept] = {}
    if not names or len(set(names)) != len(names):
        problems.append(f"{here} is {chosen!r}; name at least one concept, and none twice")
    for name in dict.fromkeys(names):
        if not _NAME.fullmatch(name):
            problems.append(f"{there}.{name}: a name has small letters, digits and - only, and begins with a letter")
            continue
        if name in concepts:
            try:
                found[name] = ShownConcept.model_validate(concepts[name], context=labels)
            except ValidationError as error:
                problems += problems_at(error, there, name)
            continue
        label = labels.label_of(name)
        if label is None:
            known = ", ".join(dict.fromkeys([*concepts, *chain.from_iterable(labels.values.values())]))
            problems.append(
                f"{here}: nothing says how pictures show {name!r}; add {there}.{name}: "
                f"{{pairs: FILE, phrases: [...], other_phrases: [...]}}, or name one of {known}"
            )
            continue
        found[name] = ShownConcept(label=label, value=name)
    asked = " ".join(labels.asking(one.label, one.value) for one in found.values())
    target = Target(found, labels, added_words or asked)
    taken = sorted({*map(column, found), target.key} & {*_TAKEN, *taken, *labels.values})
    problems += [f"{there}: {name!r} names a column of the scores; call the concept otherwise" for name in taken]
    if not problems and len(set(target.labels)) != len(target.labels):
        each = ", ".join(f"{name} ({one.label} {one.value})" for name, one in found.items())
        problems.append(f"{here}: {each} exclude each other: a picture shows one value of a label")
    elif found and not target.kept_labels:
        problems.append(f"{here}: {target.name} leave no label of {labels.name} to be kept; take one out")
    if not problems:
        problems += _words(target, added_words, resistance or {}, section)
    if problems:
        raise UserErrors("What pictures are steered towards cannot be used:", problems)
    return target


def _words(target: Target, added: str | None, resistance: Mapping[str, Any], section: str) -> Iterator[str]:
    """Words of params that contradict the concept."""
    key = f"{section}.images.added_words"
    silent = [name for name, one in target.concepts.items() if one.label is None]
    if silent and not added:
        yield f"{key}: give the words that ask for {' and '.join(silent)} in a prompt, such as `in the fog`"
    named = target.label_set.named
    says = named(added or "")
    for name, one in target.concepts.items():
        if one.label is None:
            continue
        if says[one.label] not in (None, one.value):
            yield f"{key}: {added!r} asks for {says[one.label]}, not for {name}; write other words, or null"
        for group in ("high", "medium"):
            own = [word for word in resistance.get(group) or () if named(str(word))[one.label] == one.value]
            if own:
                yield (
                    f"{section}.resistance.{group}: {', '.join(map(repr, own))} asks for {name}, so prompts with "
                    "it do not resist; move it to low, or take it out"
                )


def write_target(target: Target, path: Path) -> None:
    """Write what `read_target` reads."""
    concepts = {name: concept.model_dump() for name, concept in target.concepts.items()}
    content = {"concepts": concepts, "added_words": target.added_words}
    path.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def read_target(path: Path, labels: LabelSet) -> Target:
    """The target that stage winter-prompts wrote, judged by `labels`."""
    content = json.loads(path.read_text(encoding="utf-8"))
    concepts = {name: ShownConcept.model_validate(one) for name, one in content["concepts"].items()}
    return Target(concepts, labels, content["added_words"])


def check_pairs(target: Target, pairs: Mapping[str, Sequence[ContrastPair]], section: str = "winter") -> None:
    """Refuse pairs that are about another concept than the one they are read for.

    `pairs` by concept. Only what the labels' words say can be seen: pairs are refused when no positive side
    names the value (beside a negative side that does not), but some name another value. Raises UserErrors.
    """
    problems: list[str] = []
    files = [one.pairs for one in target.concepts.values()]
    if len(set(files)) != len(files):
        problems.append(
            f"{section}.concepts: {target.name} have their pairs in one file, {files[0]}; each needs its own "
            f"(`pairs: FILE`)"
        )
    for name, concept in target.concepts.items():
        if concept.label is None:
            continue
        others: list[str] = []
        for pair in pairs[name]:
            positive, negative = map(target.label_set.named, (pair.positive, pair.negative))
            gained = {label: value for label, value in positive.items() if value and negative[label] != value}
            if gained.get(concept.label) == concept.value:
                others = []
                break
            others += [f"{value} ({label}, ID {pair.id}: {pair.positive!r})" for label, value in gained.items()]
        if others:
            problems.append(
                f"data/winter/{concept.pairs}: no positive side names {concept.value} ({concept.label}), but they name "
                f"{others[0]}; write pairs for {name}, or name their file: {section}.concepts.{name}: "
                f"{{pairs: FILE, label: {concept.label}, value: {concept.value}}}"
            )
    if problems:
        raise UserErrors("The contrast pairs do not fit the concept:", problems)
