"""Concept libraries: contrast pairs of texts, each an answer to a request, with how a request asks for the concept."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from steerwright.errors import UserError, UserErrors, problems_at
from steerwright.text_file import read_text_file

NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,39}")


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", str_strip_whitespace=True)


class AnswerPair(_Frozen):
    """Two answers to one request: with the concept, and the same without it. Or two texts that answer none."""

    prompt: str | None = Field(
        default=None, min_length=1, description="The request that both answer; none for contrast: texts."
    )
    positive: str = Field(min_length=1, description="The answer with the concept.")
    negative: str = Field(min_length=1, description="The same answer without it: neutral, plain, of medium length.")

    @model_validator(mode="after")
    def _differ(self) -> AnswerPair:
        if self.positive == self.negative:
            raise ValueError(f"both answers are {self.positive!r}, so there is no contrast")
        return self


class LibraryConcept(_Frozen):
    """One concept of a library file."""

    name: str
    factor: str = Field(pattern=NAME.pattern, description="What it is a value of: emotion, style, ...")
    instruction: str = Field(min_length=1, description="What a request says when it asks for the concept.")
    hypothesis: str = Field(min_length=1, description="What a zero-shot classifier is asked of a text.")
    pairs: tuple[AnswerPair, ...] = Field(min_length=2, description="Contrast pairs.")

    @model_validator(mode="after")
    def _pairs_once(self) -> LibraryConcept:
        seen: dict[AnswerPair, int] = {}
        for number, pair in enumerate(self.pairs):
            if pair in seen:
                raise ValueError(f"pairs {seen[pair]} and {number} are the same")
            seen[pair] = number
        return self

    def asked(self, prompt: str) -> str:
        """`prompt` with the words that ask for the concept."""
        return f"{prompt} {self.instruction}"


def read_library(path: Path) -> dict[str, LibraryConcept]:
    """The concepts of a YAML file by name, in its order.

    The file maps each name (small letters, digits and -) to factor, instruction, hypothesis and pairs, as in
    data/language/README.md. Raises UserError for a file that is missing or no such YAML, and UserErrors that lists
    every problem as `name.key: message`.
    """
    content = _read(path)
    found: dict[str, LibraryConcept] = {}
    problems: list[str] = []
    for name, values in content.items():
        if not isinstance(name, str) or not NAME.fullmatch(name):
            problems.append(f"{name}: a name has up to 40 small letters, digits and -, and begins with no -")
            continue
        if not isinstance(values, Mapping):
            problems.append(f"{name}: it must be a mapping of factor, instruction, hypothesis and pairs")
            continue
        try:
            found[name] = LibraryConcept(**{"name": name, **values})
        except (ValidationError, TypeError) as error:
            problems += _problems(name, error)
    if problems:
        raise UserErrors(f"{path} cannot be used; mend these concepts:", problems)
    return found


def read_libraries(paths: Sequence[Path]) -> dict[str, LibraryConcept]:
    """The concepts of several files; UserErrors also for a name that stands in two of them."""
    found: dict[str, LibraryConcept] = {}
    origin: dict[str, Path] = {}
    problems: list[str] = []
    for path in paths:
        for name, concept in read_library(path).items():
            if name in found:
                problems.append(f"{name}: it is in {origin[name].name} and in {path.name}")
            found[name], origin[name] = concept, path
    if problems:
        raise UserErrors("Two libraries define the same concept; rename one of them:", problems)
    return found


def chosen_concepts(library: Mapping[str, LibraryConcept], names: Sequence[str] | str) -> dict[str, LibraryConcept]:
    """Those of `names` ("all": every one), in the order of the library; UserError for names that it has not."""
    if isinstance(names, str):
        if names != "all":
            raise UserError(f"Concepts {names!r}: write all, or a list of names.")
        return dict(library)
    missing = [name for name in names if name not in library]
    if missing or not names:
        what = f"no concept {', '.join(missing)}" if missing else "nothing to do with an empty list of concepts"
        raise UserError(f"The library has {what}; it has {', '.join(library)}.")
    return {name: concept for name, concept in library.items() if name in names}


def check_held_out(library: Mapping[str, LibraryConcept], prompts: Mapping[str, str]) -> None:
    """Raise UserErrors if a pair answers one of `prompts` (text by id), on which vectors are tuned or scored."""
    held_out = {text.casefold(): key for key, text in prompts.items()}
    both = [
        f"{name}, pair {number}: {pair.prompt!r} is prompt {held_out[pair.prompt.casefold()]}"
        for name, concept in library.items()
        for number, pair in enumerate(concept.pairs)
        if pair.prompt and pair.prompt.casefold() in held_out
    ]
    if both:
        raise UserErrors("Vectors would be fitted on prompts that they are scored on; reword these pairs:", both)


def _read(path: Path) -> Mapping[Any, Any]:
    from ruamel.yaml import YAML, YAMLError

    try:
        text = read_text_file(path)
        # YAML 1.2 ends lines at CR and LF only, but ruamel.yaml at these too: others stand in their place meanwhile.
        free = (char for char in map(chr, range(0xE000, 0xF900)) if char not in text)
        instead = dict(zip("\x85\u2028\u2029", free, strict=False))
        content = _with_texts(
            YAML(typ="safe").load(text.translate({ord(old): new for old, new in instead.items()})), instead
        )
    except FileNotFoundError:
        raise UserError(f"There is no concept library {path}. Create it, or name another in params.yaml.") from None
    except IsADirectoryError:
        raise UserError(f"{path} is a folder; name a YAML file of concepts.") from None
    except YAMLError as error:
        raise UserError(f"{path} is no YAML, or names a concept twice: {error}") from None
    if not isinstance(content, Mapping) or not content:
        kind = "nothing" if not content else f"a {type(content).__name__}"
        raise UserError(f"{path} holds {kind}; it must map names of concepts to their pairs.")
    return content


def _with_texts(content: Any, instead: Mapping[str, str]) -> Any:
    """`content` with the keys of `instead` back in the place of its values."""
    match content:
        case str():
            return content.translate({ord(new): old for old, new in instead.items()})
        case list():
            return [_with_texts(one, instead) for one in content]
        case dict():
            return {_with_texts(key, instead): _with_texts(one, instead) for key, one in content.items()}
        case _:
            return content


def _problems(name: str, error: ValidationError | TypeError) -> list[str]:
    if isinstance(error, TypeError):  # a key that is no text
        return [f"{name}: {error}"]
    return problems_at(error, name)
