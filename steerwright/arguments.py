"""What a caller asks for, checked once for the command line and for Python: numbers, seeds, texts, picture settings.

Numbers of Python, NumPy and torch are taken alike, but True is no number and "3" is none. Nothing heavy is imported.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Iterable, Sequence
from typing import Any

from steerwright.errors import ArgumentError

LARGEST_SEED = 2**63 - 1


def whole(value: Any, what: str, low: int, remedy: str) -> int:
    """`value` as an int of at least `low`; else ArgumentError, which names `what` and ends in `remedy`."""
    found = _index(value)
    if found is None or found < low:
        raise ArgumentError(f"{what} {_shown(value)}: {remedy}")
    return found


def number(value: Any, what: str, remedy: str, low: float = -math.inf) -> float:
    """`value` as a finite float of at least `low`; ArgumentError as of `whole`."""
    found = finite_number(value)
    if found is None or found < low:
        raise ArgumentError(f"{what} {_shown(value)}: {remedy}")
    return found


def strength_number(value: Any, of: str = "") -> float:
    """A strength, any finite number; `of` says of what, for the message."""
    found = finite_number(value)
    if found is None:
        about = f" of {of}" if of else ""
        raise ArgumentError(f"The strength {_shown(value)}{about} is not a finite number.")
    return found


def seed_list(seeds: Any) -> list[int]:
    """One seed or several: an int, or a list, range, array or tensor [n] of them; of Python, NumPy or torch.

    ArgumentError for none at all, and for what is no whole number from 0 to 2^63 - 1.
    """
    several = [seeds] if _index(seeds) is not None or not is_list(seeds) else list(seeds)
    if not several:
        raise ArgumentError("There is no seed; give a whole number, or several.")
    found = []
    for seed in several:
        one = _index(seed)
        if one is None or not 0 <= one <= LARGEST_SEED:
            raise ArgumentError(f"seed {_shown(seed)}: a seed is a whole number from 0 to 2^63 - 1.")
        found.append(one)
    return found


def layer_list(layers: Any) -> tuple[int, ...]:
    """One layer or several, in their order: whole numbers from 0, each once. ArgumentError for anything else."""
    several = layers if is_list(layers) else [layers]
    found = tuple(whole(layer, "layer", 0, "layers are whole numbers from 0.") for layer in several)
    if not found or len(set(found)) != len(found):
        raise ArgumentError(f"Layers {list(found)}: name at least one, and each once.")
    return found


def text_list(texts: Any, what: str = "prompt", *, blank: bool = False) -> list[str]:
    """One text or several, blank ones only if `blank`. ArgumentError for none at all, and for what is no text."""
    several = [texts] if isinstance(texts, str) or not is_list(texts) else list(texts)
    if not several:
        raise ArgumentError(f"There is no {what}; give a text, or several.")
    for place, text in enumerate(several, 1):
        if not isinstance(text, str):
            raise ArgumentError(f"The {what} {_shown(text)} is no text.")
        if any("\ud800" <= mark <= "\udfff" for mark in text):
            raise ArgumentError(
                f"The {what} {_shown(text)} has bytes that are no text in this terminal's encoding; set PYTHONUTF8=1, "
                "or a UTF-8 locale such as LC_ALL=C.UTF-8."
            )
        if not blank and not text.strip():
            which = f"The {what} number {place}" if len(several) > 1 else f"A {what}"
            raise ArgumentError(f"{which} is empty; say what to show or to say.")
    return several


def as_many(seeds: Sequence[Any], prompts: Sequence[Any]) -> None:
    """Raise ArgumentError unless there is one seed for each prompt."""
    if len(prompts) != len(seeds):
        raise ArgumentError(f"{len(prompts)} prompts but {len(seeds)} seeds: give one seed for each prompt.")


def negative_list(negative: Any, images: int, prompts: int | None = None) -> list[str]:
    """The negative prompt of each of `images`: of one text for all, or of one for each, "" or None for none.

    With `prompts`, the images are so many prompts with equally many seeds each, and one text for each prompt will do.
    ArgumentError for any other number of texts, and for what is no text.
    """
    if negative is None or isinstance(negative, str):
        return [negative or ""] * images
    given = list(negative) if is_list(negative) else [negative]
    found = ["" if text is None else text for text in given]
    for text in found:
        if not isinstance(text, str):
            raise ArgumentError(f"The negative prompt {_shown(text)} is no text.")
    if len(found) == images:
        return found
    if prompts and len(found) == prompts:
        return [text for text in found for _ in range(images // prompts)]
    each = "" if prompts is None or prompts == images else f", or one for each of the {prompts} prompts"
    raise ArgumentError(
        f"{len(found)} negative prompts for {images} pictures; give one text for all, one for each picture{each}."
    )


def picture_settings(
    *,
    steps: Any = None,
    guidance: Any = None,
    height: Any = None,
    width: Any = None,
    batch_size: Any = None,
    smallest: int = 64,
) -> dict[str, Any]:
    """The settings that were given, as Python's own numbers; None, the model's own, counts as not given.

    Raises ArgumentError for what no model can take. `smallest`: the least side in pixels. Below 64 many models have
    less than one latent left at their coarsest level.
    """
    found: dict[str, Any] = {}
    if steps is not None:
        found["steps"] = whole(steps, "steps", 1, "a picture takes at least 1 step, a whole number.")
    if guidance is not None:
        remedy = "give a number that is not negative; 1 or less runs no guidance."
        found["guidance"] = number(guidance, "guidance", remedy, 0)
    if batch_size is not None:
        found["batch_size"] = whole(batch_size, "batch_size", 1, "a batch has at least 1 picture.")
    for side, value in (("height", height), ("width", width)):
        if value is not None:
            remedy = f"width and height must be multiples of 8, and at least {smallest}."
            found[side] = whole(value, side, smallest, remedy)
            if found[side] % 8:
                raise ArgumentError(f"{side} {value}: {remedy}")
    return found


_FORMER_BOUNDS = {"norm": "keep_norm", "keep": "keep_norm"}


def bound_words(bound: Any, what: str = "bound") -> str:
    """A bound of an edit: `none`, `keep_norm` (each token keeps its norm), or `cap:SHARE` (it changes by at most this
    share of its norm). ArgumentError for anything else."""
    kind, _, share = bound.partition(":") if isinstance(bound, str) else ("", "", "")
    if bound in ("none", "keep_norm") or (kind == "cap" and (finite_number(_float(share)) or 0) > 0):
        return str(bound)
    number_given = None if isinstance(bound, bool) else _float(bound)
    capped = f"cap:{number_given:g}" if number_given is not None and 0 < number_given < math.inf else None
    meant = _FORMER_BOUNDS.get(str(bound), capped)
    remedy = f"write {meant}" if meant else "choose none, keep_norm, or cap:SHARE with a share of the norm above 0"
    raise ArgumentError(f"{what} {bound} does not exist; {remedy}.")


def _float(text: Any) -> float | None:
    try:
        return float(text)
    except (TypeError, ValueError):
        return None


def choice(value: Any, known: Sequence[str], what: str) -> None:
    """Raise ArgumentError unless `value` is one of `known`."""
    if not isinstance(value, str) or value not in known:
        raise ArgumentError(f"{what} {_shown(value)} does not exist; choose one of {', '.join(known)}.")


def known_settings(given: Iterable[str], kind: type) -> None:
    """Raise ArgumentError for names that the TypedDict `kind` has not: Python would let them pass, and do nothing."""
    known = list(kind.__annotations__)
    unknown = sorted(set(given) - set(known))
    if unknown:
        raise ArgumentError(f"There is no setting {', '.join(unknown)}; choose among {', '.join(known)}.")


def is_list(value: Any) -> bool:
    """Whether `value` is several things: a list, an array or a tensor [n], but not a text."""
    # A text is a sequence of texts, and an array without dimensions says that it can be gone through but cannot.
    return isinstance(value, Iterable) and not isinstance(value, (str, bytes)) and getattr(value, "ndim", 1) > 0


def _index(value: Any) -> int | None:
    if isinstance(value, bool) or "bool" in str(getattr(value, "dtype", "")) or getattr(value, "ndim", 0) != 0:
        return None
    try:
        return operator.index(value)
    except (TypeError, ValueError):
        return None


def finite_number(value: Any) -> float | None:
    """`value` as a float; None for what is no finite number of Python, NumPy or torch."""
    kind = str(getattr(value, "dtype", ""))
    if isinstance(value, (bool, str, bytes)) or "bool" in kind or "str" in kind or getattr(value, "ndim", 0) != 0:
        return None
    try:
        found = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return found if math.isfinite(found) else None


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
