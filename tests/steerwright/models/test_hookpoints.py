"""Hookpoints: reading, finding on both spellings of CLIP's layers, near matches."""

from types import SimpleNamespace
from typing import Any

import pytest
from torch import nn

from steerwright.errors import UserError
from steerwright.models.hookpoints import Hookpoint, resolve, text_encoder_mlps


def layer() -> nn.Module:
    return nn.ModuleDict({"mlp": nn.Linear(2, 2), "self_attn": nn.Linear(2, 2)})


def flat_pipeline() -> Any:
    """As transformers 5 builds CLIPTextModel."""
    return SimpleNamespace(text_encoder=nn.ModuleDict({"encoder": nn.ModuleDict({"layers": layers()})}))


def deep_pipeline() -> Any:
    """As transformers before 5 built it."""
    inner = nn.ModuleDict({"encoder": nn.ModuleDict({"layers": layers()})})
    return SimpleNamespace(text_encoder=nn.ModuleDict({"text_model": inner}))


def layers() -> nn.ModuleList:
    return nn.ModuleList(layer() for _ in range(12))


SPELLINGS = ("text_encoder.encoder.layers.3.mlp", "text_encoder.text_model.encoder.layers.3.mlp")


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_both_spellings_resolve_on_a_flat_encoder(spelling: str) -> None:
    pipeline = flat_pipeline()
    wanted = pipeline.text_encoder["encoder"]["layers"][3]["mlp"]
    assert resolve(pipeline, Hookpoint.parse(spelling)) is wanted


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_both_spellings_resolve_on_a_deep_encoder(spelling: str) -> None:
    pipeline = deep_pipeline()
    wanted = pipeline.text_encoder["text_model"]["encoder"]["layers"][3]["mlp"]
    assert resolve(pipeline, Hookpoint.parse(spelling)) is wanted


def test_both_spellings_are_one_hookpoint() -> None:
    assert Hookpoint.parse(SPELLINGS[0]) == Hookpoint.parse(SPELLINGS[1] + ":out")


def test_a_hookpoint_reads_back_from_its_text() -> None:
    for text in ("unet.mid_block:in", "unet.mid_block:out", "unet.mid_block:update"):
        assert str(Hookpoint.parse(text)) == text


@pytest.mark.parametrize("pipeline", [flat_pipeline(), deep_pipeline()])
def test_the_mlps_come_in_the_order_of_layers(pipeline: Any) -> None:
    # By name, layer 10 would come before layer 2.
    expected = [f"text_encoder.encoder.layers.{i}.mlp:out" for i in range(12)]
    assert [str(hookpoint) for hookpoint in text_encoder_mlps(pipeline)] == expected


def test_a_mistyped_path_offers_the_nearest() -> None:
    with pytest.raises(UserError, match=r"did you mean .*text_encoder\.encoder\.layers\.3\.mlp"):
        resolve(flat_pipeline(), Hookpoint.parse("text_encoder.encoder.layer.3.mlp"))


def test_a_layer_too_many_offers_another() -> None:
    with pytest.raises(UserError, match=r"layers\.12\.mlp.*did you mean"):
        resolve(flat_pipeline(), Hookpoint.parse("text_encoder.encoder.layers.12.mlp"))


def test_a_path_like_nothing_here_names_the_roots() -> None:
    with pytest.raises(UserError, match="paths begin with text_encoder"):
        resolve(flat_pipeline(), Hookpoint.parse("xyz"))


def test_an_attribute_that_is_no_module_is_no_hookpoint() -> None:
    with pytest.raises(UserError, match="no module"):
        resolve(flat_pipeline(), Hookpoint.parse("text_encoder.training"))


@pytest.mark.parametrize("text", ["unet.mid_block:output", "", ":in", "unet..mid_block"])
def test_what_is_no_hookpoint_is_refused(text: str) -> None:
    with pytest.raises(UserError):
        Hookpoint.parse(text)


def test_every_layer_of_a_real_pipeline_is_found(sd21: Any) -> None:
    hookpoints = text_encoder_mlps(sd21.pipeline)
    assert len(hookpoints) == 23
    encoder = sd21.pipeline.text_encoder
    assert [resolve(sd21.pipeline, hookpoint) for hookpoint in hookpoints] == [x.mlp for x in encoder.encoder.layers]
