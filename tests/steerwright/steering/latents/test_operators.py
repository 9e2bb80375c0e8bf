"""Edits by latents, by hand: an autoencoder small enough to write down, and independent routes to the same tensor."""

from typing import Any

import pytest
import torch
from torch import Tensor

from steerwright.errors import UserError
from steerwright.models.hookpoints import Hookpoint
from steerwright.sae.activations import Relu, TopK
from steerwright.sae.sae import ConstantNorm, Sae, ScaleBy
from steerwright.steering.algebra import Edit, edited
from steerwright.steering.latents.gates import WhereLatents
from steerwright.steering.latents.operators import (
    AddLatents,
    ClampLatents,
    EditLatents,
    LatentChange,
    LatentPart,
    MoveLatents,
    ReplacePatches,
    SaeuronEdit,
    ScaleByMean,
    ScaleLatents,
    SetLatents,
    SetMeans,
)

HERE = Hookpoint("unet.mid_block.attentions.0")
WIDTH, SIZE = 6, 24


def trained(activation: Any = None, **more: Any) -> Sae:
    """Random weights, decoder rows of length 1, biases that are not zero."""
    draw = torch.Generator().manual_seed(3)
    decoder = torch.nn.functional.normalize(torch.randn(SIZE, WIDTH, generator=draw), dim=1)
    return Sae(
        decoder.clone(),
        0.1 * torch.randn(SIZE, generator=draw),
        decoder,
        torch.randn(WIDTH, generator=draw),
        activation or TopK(5),
        **more,
    )


def axes() -> Sae:
    """Latent f is the positive part of coordinate f: everything about it can be said by hand."""
    return Sae(torch.eye(3), torch.zeros(3), torch.eye(3), torch.zeros(3), Relu())


def acts(images: int = 4, tokens: int = 9, seed: int = 1, dtype: torch.dtype = torch.float32) -> Tensor:
    return (3 * torch.randn(images, tokens, WIDTH, generator=torch.Generator().manual_seed(seed))).to(dtype)


def one(change: LatentChange, latents: list[int], sae: Sae, gate: Any = None) -> EditLatents:
    return EditLatents(sae, (LatentPart(torch.tensor(latents), change, gate),))


def applied(operator: Any, x: Tensor, strength: float = 1.0, **more: Any) -> Tensor:
    return edited(Edit(HERE, operator, strength), x, **more)


def all_active(sae: Sae, x: Tensor) -> list[int]:
    found = sae.encode(x.reshape(-1, x.shape[-1])).dense()
    return torch.nonzero(found.sum(0)).flatten().tolist()


IDENTITIES: dict[str, LatentChange] = {
    "scale by one": ScaleLatents(1.0),
    "clamp without limits": ClampLatents(),
    "clamp beyond all values": ClampLatents(-1e9, 1e9),
    "add nothing": AddLatents(torch.zeros(3)),
    "threshold above all values": ScaleByMean(-5.0, torch.ones(3), torch.full((3,), 1e9)),
    "means below all, one side": SetMeans(torch.full((3,), 1e9), torch.ones(3)),
    "further without the concept than the means are": MoveLatents(torch.full((3,), 2e3), torch.full((3,), 1e3)),
    "no way between the means": MoveLatents(torch.ones(3), torch.ones(3)),
    "values above all, one side": SetLatents(torch.full((3,), 1e9), torch.ones(3)),
}


@pytest.mark.parametrize("name", IDENTITIES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("norm", [ScaleBy(0.37), ConstantNorm()])
def test_an_edit_that_changes_no_latent_keeps_every_bit(name: str, dtype: torch.dtype, norm: Any) -> None:
    x = acts(dtype=dtype)
    after = applied(one(IDENTITIES[name], [1, 4, 7], trained(input_norm=norm)), x, strength=2.0)
    assert after.dtype == dtype
    assert torch.equal(after, x)


def test_factor_zero_removes_just_what_the_latents_decode_to() -> None:
    sae, x = trained(), acts()
    latents = all_active(sae, x)[:4]
    rows = x.reshape(-1, WIDTH)
    found = sae.encode(rows).dense()
    part = found[:, latents] @ sae.decoder[latents]
    assert part.abs().max() > 0.1
    after = applied(one(ScaleLatents(0.0), latents, sae), x)
    assert torch.allclose(after, x - part.view_as(x), atol=1e-5)


@pytest.mark.parametrize("norm", [None, ScaleBy(0.37)])
def test_the_change_is_the_difference_of_two_full_reconstructions(norm: Any) -> None:
    """Encode, change the dense latents, decode all of them: the same without ever leaving anything out."""
    sae, x = trained(**({} if norm is None else {"input_norm": norm})), acts()
    scale = 1.0 if norm is None else norm.factor
    latents = all_active(sae, x)[:5]
    wanted = torch.linspace(0.5, 2.0, len(latents))
    dense = sae.encode(x.reshape(-1, WIDTH)).dense()
    after = dense.clone()
    after[:, latents] = wanted
    difference = ((after @ sae.decoder + sae.decoder_bias) - (dense @ sae.decoder + sae.decoder_bias)) / scale
    assert torch.allclose(applied(one(SetLatents(wanted), latents, sae), x), x + difference.view_as(x), atol=1e-5)


def test_every_change_says_what_becomes_of_the_values() -> None:
    x = torch.tensor([[[1.0, 2.0, -1.0], [3.0, 0.0, 4.0]]])  # latents (1, 2, 0) and (3, 0, 4)
    expected: list[tuple[LatentChange, list[list[float]]]] = [
        (ScaleLatents(-2.0), [[-2.0, -4.0, -1.0], [-6.0, 0.0, 4.0]]),
        (ClampLatents(low=1.5), [[1.5, 2.0, -1.0], [3.0, 1.5, 4.0]]),
        (ClampLatents(high=1.5), [[1.0, 1.5, -1.0], [1.5, 0.0, 4.0]]),
        (SetLatents(torch.tensor([0.5, 1.0])), [[0.5, 1.0, -1.0], [0.5, 1.0, 4.0]]),
        # The first comes down to its value only where it is above, the second comes up only where it is below.
        (SetLatents(torch.tensor([2.0, 1.0]), torch.tensor([1.0, -1.0])), [[1.0, 2.0, -1.0], [2.0, 1.0, 4.0]]),
        # The image's means are (2, 1): the first falls by one and the second rises by two, on both tokens.
        (SetMeans(torch.tensor([1.0, 3.0])), [[0.0, 4.0, -1.0], [2.0, 2.0, 4.0]]),
        (SetMeans(torch.tensor([1.0, 3.0]), torch.tensor([1.0, 1.0])), [[0.0, 2.0, -1.0], [2.0, 0.0, 4.0]]),
        # On the way from (3, 1) to (1, 1) the first token stands at its end, and the second at its beginning.
        (MoveLatents(torch.tensor([3.0, 1.0]), torch.tensor([1.0, 1.0])), [[1.0, 2.0, -1.0], [1.0, 0.0, 4.0]]),
        # To (1, -1): (z - to) . (2, 2) / 8 is 3/4 for (1, 2) and 3/4 for (3, 0).
        (MoveLatents(torch.tensor([3.0, 1.0]), torch.tensor([1.0, -1.0])), [[-0.5, 0.5, -1.0], [1.5, -1.5, 4.0]]),
        (AddLatents(torch.tensor([10.0, -10.0])), [[11.0, -8.0, -1.0], [13.0, -10.0, 4.0]]),
        # Only above the threshold: -2 * mean * z.
        (
            ScaleByMean(-2.0, torch.tensor([0.5, 3.0]), torch.tensor([2.0, 1.0])),
            [[1.0, -12.0, -1.0], [-3.0, 0.0, 4.0]],
        ),
    ]
    for change, wanted in expected:
        found = applied(one(change, [0, 1], axes()), x)
        assert torch.allclose(found, torch.tensor([wanted])), change


def test_strength_interpolates_between_the_old_and_the_new_values_and_overshoots() -> None:
    x = torch.tensor([[[4.0, 0.0, 0.0]]])
    operator = one(SetLatents(torch.tensor([2.0])), [0], axes())
    for strength, wanted in ((0.0, 4.0), (0.5, 3.0), (1.0, 2.0), (1.5, 1.0)):
        assert applied(operator, x, strength)[0, 0, 0] == wanted


def saeuron(x: Tensor, sae: Sae, latents: list[int], factor: float, mean: Tensor, means: Tensor) -> Tensor:
    """The published procedure, step by step, on dense latents: tokens of all images, error with its published sign."""
    tokens = x.reshape(-1, x.shape[-1])
    pre = torch.relu((tokens - sae.decoder_bias) @ sae.encoder.T + sae.encoder_bias)
    kept = pre.topk(5, dim=-1)
    dense = torch.zeros_like(pre).scatter(-1, kept.indices, kept.values)
    reconstruction = dense @ sae.decoder + sae.decoder_bias
    error = reconstruction - tokens
    for latent in latents:
        column = dense[:, latent]
        fired = column > means[:, latent].mean()
        dense[:, latent] = torch.where(fired, column * (factor * mean[latent]), column)
    return (dense @ sae.decoder + sae.decoder_bias + error).view_as(x)


def test_compat_saeuron_equals_the_published_procedure() -> None:
    sae, x = trained(), acts()
    means = 0.3 * torch.rand(3, SIZE, generator=torch.Generator().manual_seed(8))  # three concepts; the first is erased
    latents = all_active(sae, x)[:3]
    change = ScaleByMean(-7.0, means[0, latents], means.mean(0)[latents])
    published = saeuron(x, sae, latents, -7.0, means[0], means)
    assert torch.allclose(applied(SaeuronEdit(sae, torch.tensor(latents), change), x), published, atol=1e-4)
    # With the sign that the paper's text has, the same change leaves what the autoencoder misses in place.
    right = applied(EditLatents(sae, (LatentPart(torch.tensor(latents), change),)), x)
    dense = sae.encode(x.reshape(-1, WIDTH))
    twice = 2 * (sae.decode(dense) - x.reshape(-1, WIDTH)).view_as(x)
    assert torch.allclose(right + twice, published, atol=1e-4)
    assert (right - published).abs().max() > 0.5


def test_a_token_that_saeuron_does_not_change_is_moved_by_twice_the_error_all_the_same() -> None:
    sae, x = trained(), acts()
    change = ScaleByMean(-7.0, torch.ones(1), torch.full((1,), 1e9))
    reconstruction = sae.decode(sae.encode(x.reshape(-1, WIDTH))).view_as(x)
    after = applied(SaeuronEdit(sae, torch.tensor([0]), change), x)
    assert torch.allclose(after, 2 * reconstruction - x, atol=1e-5)


def test_several_concepts_are_merged_as_asked() -> None:
    x = torch.tensor([[[4.0, 4.0, 4.0]]])
    first = LatentPart(torch.tensor([0, 1]), AddLatents(torch.tensor([1.0, 1.0])))
    second = LatentPart(torch.tensor([2, 1]), AddLatents(torch.tensor([5.0, -3.0])))
    for merge, shared in (("sum", 2.0), ("max", 1.0), ("first", 5.0)):
        operator = EditLatents(axes(), (first, second), merge)  # type: ignore[arg-type]
        assert applied(operator, x)[0, 0].tolist() == [5.0, shared, 9.0], merge


def test_first_means_the_first_concept_that_acts_there() -> None:
    x = torch.tensor([[[4.0, 4.0, 0.0], [4.0, 4.0, 9.0]]])
    where = WhereLatents(axes(), torch.tensor([2]), 5.0)  # on the second token only
    gated = LatentPart(torch.tensor([0]), AddLatents(torch.tensor([1.0])), where)
    always = LatentPart(torch.tensor([0]), AddLatents(torch.tensor([-2.0])))
    after = applied(EditLatents(axes(), (gated, always), "first"), x)
    assert after[0, :, 0].tolist() == [2.0, 5.0]


def test_a_token_gate_lets_only_tokens_change_where_a_latent_fires() -> None:
    x = torch.tensor([[[1.0, 5.0, 0.0], [1.0, 1.0, 0.0]], [[1.0, 0.0, 0.0], [1.0, 6.0, 0.0]]])
    gate = WhereLatents(axes(), torch.tensor([1]), 4.0)
    operator = one(SetLatents(torch.tensor([0.0])), [0], axes())
    by_gate = edited(Edit(HERE, operator, 1.0, gate=gate), x)
    by_part = applied(one(SetLatents(torch.tensor([0.0])), [0], axes(), gate), x)
    assert by_gate[..., 0].tolist() == [[0.0, 1.0], [1.0, 0.0]]
    assert torch.equal(by_gate, by_part)


def test_a_row_is_edited_the_same_whatever_else_is_in_the_batch() -> None:
    sae, x = trained(), acts(images=6)
    operator = one(SetMeans(torch.full((4,), 0.5)), all_active(sae, x)[:4], sae)
    together = applied(operator, x)
    for image in range(6):
        assert torch.allclose(applied(operator, x[image : image + 1])[0], together[image], atol=1e-5)
    turned = applied(operator, x.flip(0)).flip(0)
    assert torch.allclose(turned, together, atol=1e-5)


def test_flagged_patches_take_the_content_of_the_unconditional_branch() -> None:
    x = torch.tensor([[[1.0, 5.0, 0.0], [1.0, 1.0, 0.0]]])
    other = torch.tensor([[[7.0, 8.0, 9.0], [7.0, 8.0, 9.0]]])
    operator = ReplacePatches(axes(), torch.tensor([1]), 4.0, "uncond")
    assert applied(operator, x, uncond=other).tolist() == [[[7.0, 8.0, 9.0], [1.0, 1.0, 0.0]]]
    assert applied(operator, x, 0.5, uncond=other)[0, 0].tolist() == [4.0, 6.5, 4.5]
    with pytest.raises(UserError, match="guidance above 1"):
        applied(operator, x)


def test_flagged_patches_are_filled_from_the_ring_around_them() -> None:
    """A grid of 4 x 5 whose inner six tokens are flagged: the ring is filled in from outside, then nothing is left."""
    values = torch.arange(20.0).view(4, 5)
    x = torch.zeros(1, 20, 3)
    x[0, :, 0] = values.flatten()
    inner = torch.zeros(4, 5, dtype=torch.bool)
    inner[1:3, 1:4] = True
    x[0, :, 1] = inner.flatten() * 9.0
    after = applied(ReplacePatches(axes(), torch.tensor([1]), 4.0, "neighbours", grid=(4, 5)), x)
    found = after[0, :, 0].view(4, 5)
    assert torch.equal(found[~inner], values[~inner])
    # Token (1, 1) touches (0,0) (0,1) (0,2) (1,0) (2,0) that are not flagged: 0, 1, 2, 5, 10.
    assert found[1, 1] == pytest.approx(18 / 5)
    # Token (1, 2) touches only (0,1) (0,2) (0,3).
    assert found[1, 2] == pytest.approx(2.0)
    assert after[0, :, 1].max() == 0


def test_a_patch_out_of_reach_is_filled_from_the_filled_ones_and_an_image_all_flagged_stays() -> None:
    x = torch.zeros(2, 25, 3)
    x[..., 1] = 9.0
    x[0, 0, 1] = 0.0
    x[0, 0, 0] = 4.0
    after = applied(ReplacePatches(axes(), torch.tensor([1]), 4.0, "neighbours"), x)
    assert torch.all(after[0, :, 0] == 4.0)
    assert torch.all(after[0, :, 1] == 0.0)
    assert torch.equal(after[1], x[1])
    with pytest.raises(UserError, match="do not form a grid of 5 x 5"):
        applied(ReplacePatches(axes(), torch.tensor([1]), 4.0, "neighbours", grid=(5, 5)), x[:, :24])


def test_mistakes_are_named() -> None:
    with pytest.raises(UserError, match="named twice"):
        LatentPart(torch.tensor([1, 1]), ScaleLatents(0.0))
    with pytest.raises(UserError, match="change of 2 latents was given for 1"):
        LatentPart(torch.tensor([1]), AddLatents(torch.zeros(2)))
    with pytest.raises(UserError, match="latents 0 to 2; the edit names others"):
        one(ScaleLatents(0.0), [3], axes())
    with pytest.raises(UserError, match="merged by 'mean'"):
        EditLatents(axes(), (), "mean")  # type: ignore[arg-type]
    with pytest.raises(UserError, match="taken from 'memory'"):
        ReplacePatches(axes(), torch.tensor([1]), 0.0, "memory")  # type: ignore[arg-type]
    with pytest.raises(UserError, match="tensors ending in \\[3\\]"):
        applied(one(ScaleLatents(0.0), [0], axes()), acts())
