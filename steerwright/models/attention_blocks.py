"""The attention layers of a UNet, by where they stand: down, mid or up, in the order in which they run."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from steerwright.errors import UserError
from steerwright.models.hookpoints import Hookpoint

Place = Literal["down", "mid", "up"]
Attention = Literal["self", "cross"]
ChosenAttention = Literal["self", "cross", "both"]
PLACES: tuple[Place, ...] = get_args(Place)
_ROOTS: dict[Place, str] = {"down": "down_blocks", "mid": "mid_block", "up": "up_blocks"}
_MODULES: dict[Attention, str] = {"self": "attn1", "cross": "attn2"}


@dataclass(frozen=True, slots=True)
class AttentionBlock:
    """One attention layer of one BasicTransformerBlock.

    `number` counts the blocks of a place from 0, in the order in which they run, as CASteer and its kin do; `name` is
    `up.3` for block 3 of the up path. `width` is the number of features of its tokens. The hookpoint is its output
    before the residual sum.
    """

    hookpoint: Hookpoint
    place: Place
    number: int
    attention: Attention
    width: int

    @property
    def name(self) -> str:
        return f"{self.place}.{self.number}"


def attention_blocks(pipeline: Any, attention: Sequence[Attention] = ("cross",)) -> list[AttentionBlock]:
    """All attention layers of the pipeline's UNet: down, mid, up; within a block in the order of `attention`.

    SD 1.x has 16 blocks (6, 1, 9), SDXL 70. Raises UserError for a pipeline without a UNet and for an unknown kind.
    """
    unknown = sorted(set(attention) - set(_MODULES))
    if unknown or not attention:
        raise UserError(f"Attention {', '.join(unknown) or 'of no kind'} does not exist; choose self, cross or both.")
    unet = getattr(pipeline, "unet", None)
    if unet is None:
        raise UserError(f"{type(pipeline).__name__} has no UNet, so it has no attention blocks of this kind.")
    from diffusers.models.attention import BasicTransformerBlock

    found: list[AttentionBlock] = []
    for place, root in _ROOTS.items():
        part = getattr(unet, root, None)
        blocks = [] if part is None else [
            (path, module) for path, module in part.named_modules() if isinstance(module, BasicTransformerBlock)
        ]  # fmt: skip
        for number, (path, module) in enumerate(blocks):
            for kind in attention:
                layer = getattr(module, _MODULES[kind], None)
                if layer is not None:
                    hookpoint = Hookpoint(f"unet.{root}.{path}.{_MODULES[kind]}")
                    found.append(AttentionBlock(hookpoint, place, number, kind, layer.to_out[0].out_features))
    return found


def chosen_blocks(
    blocks: Sequence[AttentionBlock], places: Sequence[str], attention: ChosenAttention = "both"
) -> list[AttentionBlock]:
    """The blocks that `places` name: `down`, `mid`, `up`, or single ones such as `up.3`; in the order of `blocks`.

    Self- and cross-attention of a block share its name; `attention` says which is meant. Raises UserError for a place,
    a block or a kind that does not exist.
    """
    if attention not in get_args(ChosenAttention):
        raise UserError(
            f"Attention {attention!r} does not exist; choose one of {', '.join(get_args(ChosenAttention))}."
        )
    names = {block.name for block in blocks}
    unknown = [place for place in places if place not in PLACES and place not in names]
    if unknown or not places:
        counts = ", ".join(f"{place}.0 to {place}.{max(found)}" for place in PLACES
                           if (found := [b.number for b in blocks if b.place == place]))  # fmt: skip
        what = f"There is no block {', '.join(map(repr, unknown))}" if unknown else "No block is named"
        raise UserError(f"{what}; choose among down, mid, up, and {counts}.")
    return [
        block
        for block in blocks
        if (block.place in places or block.name in places) and attention in ("both", block.attention)
    ]
