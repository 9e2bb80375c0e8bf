"""An edit: where, when, what, and how far; and what it makes of a tensor."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field, fields, is_dataclass, replace
from typing import Any, Literal, get_args

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from steerwright.arguments import bound_words, finite_number, is_list
from steerwright.errors import UserError
from steerwright.models.hookpoints import Hookpoint
from steerwright.models.running import Branch, carries_prompt
from steerwright.steering.gates import Always, Gate
from steerwright.steering.operators import Operator

Acts = Float[Tensor, "*tokens d"]

# How far an edit may go: limits on each token's change.


class Bound(ABC):
    """A limit on each token's change; a new one is a subclass, as a frozen dataclass."""

    __slots__ = ()

    @abstractmethod
    def limit(self, before: Acts, after: Acts) -> Acts:
        """What becomes of `after` [..., tokens, d], which the operator made of `before`; never in place."""


@dataclass(frozen=True, slots=True)
class Unbounded(Bound):
    """As far as the operator goes."""

    def limit(self, before: Acts, after: Acts) -> Acts:  # noqa: ARG002
        return after


# What is left of a token when an edit takes all of it is rounding, of any direction: not to be blown up to full length.
_RESIDUE = 1e-6


@dataclass(frozen=True, slots=True)
class KeepNorm(Bound):
    """Give each token its norm from before the edit. A token of which rounding alone is left stays as it was.

    Source: arXiv:2503.09630, there without a guard at zero.
    """

    def limit(self, before: Acts, after: Acts) -> Acts:
        was, length = before.norm(dim=-1, keepdim=True), after.norm(dim=-1, keepdim=True)
        vanished = length <= _RESIDUE * was
        ratio = was / length.masked_fill_(vanished, 1.0)
        return torch.where(vanished, before, after * ratio)


@dataclass(frozen=True, slots=True)
class Cap(Bound):
    """Shorten a token's change to at most `share` of the token's norm before the edit; its direction stays."""

    share: float

    def __post_init__(self) -> None:
        if not self.share > 0:
            raise ValueError(f"A cap of {self.share} of the token's norm would allow no edit; give more than 0.")

    def limit(self, before: Acts, after: Acts) -> Acts:
        change = after - before
        length = change.norm(dim=-1, keepdim=True)
        allowed = self.share * before.norm(dim=-1, keepdim=True)
        shrunk = before + change * (allowed / length.clamp(min=torch.finfo(after.dtype).tiny))
        return torch.where(length > allowed, shrunk, after)


def read_bound(bound: str) -> Bound:
    """The bound that params.yaml, the command line and Python name: `none`, `keep_norm` or `cap:SHARE`.

    Raises ArgumentError for another name, and for a share that is no number above 0.
    """
    words = bound_words(bound)
    if words == "none":
        return Unbounded()
    return KeepNorm() if words == "keep_norm" else Cap(float(words.partition(":")[2]))


EditBranch = Literal["cond", "uncond", "both", "opposed"]
EDIT_BRANCHES: tuple[str, ...] = get_args(EditBranch)


def _checked(strength: Any) -> float | Tensor | None:
    """A strength, or one per image, as a float or a tensor; None for what is none."""
    if isinstance(strength, Tensor):
        fine = strength.ndim < 2 and strength.dtype != torch.bool and bool(torch.isfinite(strength).all())
        return strength if fine else None
    if not is_list(strength):
        return finite_number(strength)
    numbers = [finite_number(one) for one in strength]
    return None if None in numbers else torch.tensor(numbers)


@dataclass(frozen=True, slots=True, eq=False)
class Edit:
    """One edit of the tensor at `hookpoint`: x' = bound(x, x + strength * operator.delta(x)) on the tokens meant.

    Where: `branch` is the half of classifier-free guidance that is edited (cond; uncond; both alike; opposed: cond by
    `strength`, uncond by `-strength`; without guidance cond, both and opposed all act on the only half there is).
    `tokens` is "all", a token type of the text encoder (content, eos, padding, bos), or a bool mask [tokens] or
    [images, tokens]. `steps` are the first and last denoising step, 0-based, both inside; None is all of them.
    When: `gate`. What: `operator`. How far: `strength` in the operator's units, one number or one per image [images],
    then `bound`. A token that an edit does not touch keeps its bits.
    """

    hookpoint: Hookpoint
    operator: Operator
    strength: float | Tensor
    branch: EditBranch = "cond"
    tokens: str | Tensor = "all"
    steps: tuple[int, int] | None = None
    gate: Gate = field(default_factory=Always)
    bound: Bound = field(default_factory=Unbounded)

    def __post_init__(self) -> None:
        if self.branch not in EDIT_BRANCHES:
            raise UserError(f"Branch {self.branch!r} does not exist; choose one of {', '.join(EDIT_BRANCHES)}.")
        checked = _checked(self.strength)
        if checked is None:
            shape = list(getattr(self.strength, "shape", ()))
            found = shape if len(shape) > 1 else getattr(self.strength, "tolist", lambda: self.strength)()
            raise UserError(
                f"The strength at {self.hookpoint} must be a finite number, or one per image; found {found}."
            )
        object.__setattr__(self, "strength", checked)

    @property
    def idle(self) -> bool:
        """Whether it changes nothing because every strength is zero."""
        return not torch.as_tensor(self.strength).any()

    @property
    def per_image(self) -> bool:
        """Whether strength, mask or values are given image by image, so that a batch of them is not one tensor."""
        parts = ((self.strength, 1), (self.tokens, 2))
        given = any(isinstance(part, Tensor) and part.ndim == dimensions for part, dimensions in parts)
        return given or self.operator.images is not None

    def sign(self, branch: Branch) -> int:
        """+1, -1 or 0: the factor of the strength on the running half (cond, uncond, or none without guidance)."""
        match self.branch:
            case "cond":
                return int(carries_prompt(branch))
            case "uncond":
                return int(not carries_prompt(branch))
            case "both":
                return 1
            case _:
                return 1 if carries_prompt(branch) else -1


def edited(
    edit: Edit,
    acts: Acts,
    *,
    sign: int = 1,
    mask: Bool[Tensor, "*masked"] | None = None,
    held: Sequence[Tensor | None] = (),
    uncond: Acts | None = None,
) -> Acts:
    """`acts` [images, tokens, d] after `edit`, same shape and dtype; computed in float32 or wider, never in place.

    `mask` is bool, [tokens] or [images, tokens]; None for all tokens. `held` and `uncond` are what some operators
    ask for: the images [images] in which each of their parts acts, and the unconditional branch's tokens.
    Raises UserError when the direction's width, the number of tokens or the number of strengths does not fit.
    """
    expected = edit.operator.shape
    if acts.ndim < len(expected) or tuple(acts.shape[acts.ndim - len(expected) :]) != expected:
        raise UserError(
            f"The edit at {edit.hookpoint} is made for tensors ending in {list(expected)}, but the model gives "
            f"{list(acts.shape)} there. Its vector belongs to another hookpoint, model or number of tokens."
        )
    wide = acts.to(torch.promote_types(acts.dtype, torch.float32))
    strength = _strengths(edit, wide)
    amount, along = edit.operator.delta_among(wide, held, uncond)
    # addcmul: one pass over the tokens instead of two.
    moved = torch.addcmul(wide, sign * strength * amount, along)
    after = edit.bound.limit(wide, moved).to(acts.dtype)
    touched = [strength.ne(0)] if isinstance(edit.strength, Tensor) else []
    touched += [found[..., None] for found in (mask, edit.gate.mask(wide)) if found is not None]
    for where in touched:
        after = torch.where(where, after, acts)
    return after


def for_images(edits: Sequence[Edit], start: int, stop: int) -> list[Edit]:
    """The edits of images `start` to `stop`, cut from strengths, masks and values that are given per image."""

    def cut(edit: Edit) -> Edit:
        strength, tokens = edit.strength, edit.tokens
        if isinstance(strength, Tensor) and strength.ndim == 1:
            strength = strength[start:stop]
        if isinstance(tokens, Tensor) and tokens.ndim == 2:
            tokens = tokens[start:stop]
        operator = edit.operator.for_images(start, stop)
        return replace(edit, operator=operator, strength=strength, tokens=tokens)

    return [cut(edit) for edit in edits]


def on_device(edit: Edit, device: torch.device, moved: dict[tuple[int, torch.device], Any] | None = None) -> Edit:
    """The same edit with every tensor in it on `device`: moved once, not at every call of a hook.

    With one `moved` for several edits, what these share (an autoencoder, a gate) they share there too.
    """
    found: Edit = _on_device(edit, device, {} if moved is None else moved)
    return found


def _on_device(value: Any, device: torch.device, moved: dict[tuple[int, torch.device], Any]) -> Any:
    if isinstance(value, Tensor):
        return value.to(device)
    if isinstance(value, tuple):
        return tuple(_on_device(part, device, moved) for part in value)
    if not is_dataclass(value) or isinstance(value, type):
        return value
    key = (id(value), device)
    if key not in moved:
        parts = {part.name: _on_device(getattr(value, part.name), device, moved) for part in fields(value)}
        moved[key] = replace(value, **parts)
    return moved[key]


def _strengths(edit: Edit, acts: Tensor) -> Tensor:
    strength = torch.as_tensor(edit.strength, dtype=acts.dtype, device=acts.device)
    if strength.ndim == 0:
        return strength
    if len(strength) != len(acts):
        raise UserError(
            f"The edit at {edit.hookpoint} has strengths for {len(strength)} images, but the batch has {len(acts)}. "
            "Give one strength per image of the batch, or a single number."
        )
    return strength.view(-1, *[1] * (acts.ndim - 1))
