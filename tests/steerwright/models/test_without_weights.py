"""A FLUX known by its configs alone: what it weighs and what its hookpoints give, against loaded ones."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from steerwright.activations.record import record
from steerwright.errors import UserError
from steerwright.models.generate import batches, run_pipeline
from steerwright.models.hookpoints import Hookpoint
from steerwright.models.spec import ModelSpec
from steerwright.models.without_weights import ModelWithoutWeights

POINTS = [
    Hookpoint.parse(f"transformer.{path}")
    for path in (
        "transformer_blocks.0", "transformer_blocks.0:out:text", "transformer_blocks.1.ff.net.0:in",
        "transformer_blocks.1.ff.net.0", "transformer_blocks.1.ff_context", "single_transformer_blocks.0:update",
        "single_transformer_blocks.1.proj_mlp", "single_transformer_blocks.1.proj_out:in:text", "x_embedder:in",
    )
]  # fmt: skip


@pytest.fixture
def configs(flux_folder: Callable[[str], Path], tmp_path: Path) -> Path:
    """The folder of `flux` without a single weight."""
    folder = tmp_path / "configs"
    shutil.copytree(flux_folder("dev"), folder, ignore=shutil.ignore_patterns("*.safetensors"))
    return folder


def described(source: Path, **settings: Any) -> ModelWithoutWeights:
    known = {"name": "mine", "family": "flux", "source": str(source), "steps": 4, "guidance": 3.5, "dtype": "bfloat16"}
    return ModelWithoutWeights(ModelSpec(**{**known, **settings}))


def test_weights_are_counted_as_loaded_ones_are(flux: Any, configs: Path) -> None:
    parts = {name: part for name, part in flux.pipeline.components.items() if isinstance(part, torch.nn.Module)}
    bytes_ = {name: sum(p.numel() * 2 for p in part.parameters()) for name, part in parts.items()}
    found = described(configs).weights()
    assert found.networks == bytes_
    assert found.total == sum(bytes_.values()) == found.on_gpu("none")
    assert found.on_gpu("model") == max(bytes_.values())
    leaves = [module for part in parts.values() for module in part.modules() if not list(module.children())]
    assert found.on_gpu("sequential") == max(sum(2 * p.numel() for p in leaf.parameters()) for leaf in leaves)
    assert described(configs, dtype="float32").weights().total == 2 * found.total


def test_shapes_are_those_that_the_model_gives(flux: Any, configs: Path) -> None:
    found = described(configs, height=40, width=24).token_shapes(POINTS)
    (batch,) = batches(["a"], [0], 1)
    with record(flux.pipeline, POINTS) as recording:
        run_pipeline(flux, batch, "latent", height=40, width=24, steps=1)
    for point in POINTS:
        _, tokens, width = recording[point][0].shape
        assert found[point].width == width
        assert found[point].grid == ((tokens,) if point.tokens == "text" else (5, 3))


def test_the_models_own_size_is_known(configs: Path) -> None:
    assert described(configs).size == (32, 32)
    assert described(configs, width=64).size == (32, 64)


def test_the_real_flux_weighs_what_is_published(configs: Path) -> None:
    """12 billion parameters (its model card), and T5 v1.1 XXL's encoder of 4.76 billion (arXiv:2002.05202)."""
    from diffusers import FluxTransformer2DModel
    from transformers import T5Config

    with torch.device("meta"):
        transformer = FluxTransformer2DModel(num_layers=0, num_single_layers=0, guidance_embeds=True)
    (configs / "transformer" / "config.json").write_text(
        json.dumps({**transformer.config, "num_layers": 19, "num_single_layers": 38, "_class_name": "-"})
    )
    T5Config(
        vocab_size=32128, d_model=4096, d_kv=64, d_ff=10240, num_layers=24, num_heads=64, feed_forward_proj="gated-gelu"
    ).save_pretrained(configs / "text_encoder_2")
    model = described(configs, offload="model", height=256, width=256)
    found = model.weights()
    assert found.networks["transformer"] == pytest.approx(2 * 11.9e9, rel=0.01)
    assert found.networks["text_encoder_2"] == pytest.approx(2 * 4.76e9, rel=0.01)
    assert found.on_gpu("model") == found.networks["transformer"]
    # Seed 004's hookpoint: 3072 values; at 256 pixels with this autoencoder, whose token is 8 pixels wide.
    point = Hookpoint.parse("transformer.transformer_blocks.5.ff")
    shape = model.token_shapes([point])[point]
    assert (shape.width, shape.grid) == (3072, (32, 32))


def test_what_has_no_configs_or_no_tokens_is_said(configs: Path, sd21_folder: Path) -> None:
    with pytest.raises(UserError, match="only for the family flux"):
        described(sd21_folder, family="sd")
    with pytest.raises(UserError, match="without tokens"):
        described(configs).token_shapes([Hookpoint.parse("transformer.transformer_blocks.0.norm1.linear")])
    with pytest.raises(UserError, match="did you mean"):
        described(configs).token_shapes([Hookpoint.parse("transformer.transformer_block.0")])
    with pytest.raises(UserError, match="there is no folder"):
        described(configs / "absent" / "folder")
