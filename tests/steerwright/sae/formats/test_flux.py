"""The FLUX checkpoints of seed 004: k is not in the weights, and is never guessed."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from steerwright.errors import UserError
from steerwright.sae.activations import JumpRelu, Relu, TopK
from steerwright.sae.formats.fold import ImportedSae
from steerwright.sae.formats.registry import export_checkpoint, import_sae, read_checkpoint
from steerwright.sae.sae import PerRow, Sae
from steerwright.sae.sae_file import load_sae
from steerwright.sae.site import Site

N, D = 24, 6
TOPK = {"use_topk": True, "topk_k": 5, "normalize_data": False, "layer": "transformer_blocks.15", "timestep": 14}


def state() -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {
        "pre_bias": torch.randn(D, generator=generator),
        "encoder.weight": torch.randn(N, D, generator=generator),
        "encoder.bias": torch.randn(N, generator=generator) - 1,
        "decoder.weight": torch.nn.functional.normalize(torch.randn(D, N, generator=generator), dim=0),
    }


def save(folder: Path, config: Any, name: str = "sae_best.pt", **more: Any) -> Path:
    folder.mkdir(exist_ok=True)
    content = {"epoch": 9, "model_state_dict": state(), **more}
    torch.save(content if config is None else content | {"config": config}, folder / name)
    return folder


@pytest.mark.parametrize("config", [TOPK, TOPK | {"use_topk": False, "topk_k": None, "l1_coeff": 1e-3}])
def test_it_gives_the_latents_of_its_own_code(config: dict[str, Any], tmp_path: Path) -> None:
    found, _, name = read_checkpoint(save(tmp_path / "run", config))
    assert name == "flux" and found.facts["layer"] == "transformer_blocks.15" and found.facts["timestep"] == 14
    rows, weights = torch.randn(128, D, generator=torch.Generator().manual_seed(1)), state()
    expected = torch.nn.functional.linear(
        rows - weights["pre_bias"], weights["encoder.weight"], weights["encoder.bias"]
    ).relu()
    if config["use_topk"]:
        values, indices = expected.topk(5, dim=-1)
        expected = torch.zeros_like(expected).scatter_(-1, indices, values)
    latents, decoded = found.sae.reconstruct(rows)
    assert torch.equal(latents.dense() != 0, expected != 0)
    torch.testing.assert_close(latents.dense(), expected, rtol=0, atol=1e-6)
    torch.testing.assert_close(decoded, expected @ weights["decoder.weight"].T + weights["pre_bias"])


@pytest.mark.parametrize(
    ("config", "folder", "k"),
    [
        (TOPK, "run", 5),
        # The key is there and says that there is none: an L1 run, of before use_topk was a setting.
        ({"topk_k": None}, "run", None),
        ({"use_topk": False, "topk_k": 5}, "run", None),
        ({"topk_k": 5}, "run", 5),
        ({"use_topk": True}, "sae_training_transformer_blocks.15_t14_topk12_x4_20251201", 12),
        (None, "sae_training_transformer_blocks.15_t14_topk12_x4_20251201", 12),
        (None, "sae_training_transformer_blocks.5_t14_l10.001_x4_20251201", None),
    ],
)
def test_k_is_where_the_training_run_put_it(config: Any, folder: str, k: int | None, tmp_path: Path) -> None:
    activation = read_checkpoint(save(tmp_path / folder, config))[0].sae.activation
    assert isinstance(activation, Relu) if k is None else isinstance(activation, TopK) and activation.k == k


@pytest.mark.parametrize(
    "config", [None, {}, {"use_topk": True}, {"use_topk": True, "topk_k": None}, TOPK | {"topk_k": 25}]
)
def test_a_k_that_is_nowhere_is_not_guessed(config: Any, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="k is not guessed"):
        read_checkpoint(save(tmp_path / "run", config))


def test_rows_normed_by_statistics_that_were_not_kept_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="normalize_data"):
        read_checkpoint(save(tmp_path / "run", TOPK | {"normalize_data": True}))


def test_a_run_has_several_files_and_one_of_them_is_to_be_given(tmp_path: Path) -> None:
    run = save(tmp_path / "run", TOPK)
    save(run, TOPK, "sae_epoch_3.pt", optimizer_state_dict={"state": {}, "param_groups": []}, training_log=[1.0, 0.5])
    with pytest.raises(UserError, match=r"several files of weights: sae_best\.pt, sae_epoch_3\.pt\. Give one"):
        read_checkpoint(run)
    assert read_checkpoint(run / "sae_epoch_3.pt")[0].sae.size == N


@pytest.mark.parametrize("activation", [TopK(5), Relu()])
def test_there_and_back_is_the_same(activation: Any, tmp_path: Path) -> None:
    config = TOPK if isinstance(activation, TopK) else TOPK | {"use_topk": False, "topk_k": None}
    found, _, _ = read_checkpoint(save(tmp_path / "run", config))
    export_checkpoint(found, tmp_path / "out", "flux")
    again = torch.load(tmp_path / "out" / "sae_final.pt", weights_only=True)
    assert all(torch.equal(again["model_state_dict"][name], tensor) for name, tensor in state().items())
    assert {name: again["config"][name] for name in config} == config
    assert type(read_checkpoint(tmp_path / "out")[0].sae.activation) is type(activation)


@pytest.mark.parametrize(
    "how",
    [
        {"activation": JumpRelu(torch.zeros(4))},
        {"activation": Relu(), "input_norm": PerRow(1e-5, 1)},
        {"activation": Relu(), "skip": torch.eye(4)},
    ],
)
def test_what_it_does_not_have_is_not_written(how: dict[str, Any], tmp_path: Path) -> None:
    weights = torch.eye(4)
    sae = Sae(weights, torch.zeros(4), weights, torch.zeros(4), **how)
    with pytest.raises(UserError, match="cannot be written as flux"):
        export_checkpoint(ImportedSae(sae, "steerwright"), tmp_path / "out", "flux")


@pytest.mark.parametrize(
    ("layer", "hookpoint"),
    [
        ("layer15", "transformer.transformer_blocks.15.ff:out"),
        (5, "transformer.transformer_blocks.5.ff:out"),
        ("transformer_blocks.15.ff", "transformer.transformer_blocks.15.ff:out"),
        # The block or its MLP? The authors' code means the MLP, but does not write this.
        ("transformer_blocks.15", None),
        (None, None),
    ],
)
def test_layer_and_timestep_are_where_its_rows_come_from(layer: Any, hookpoint: str | None, tmp_path: Path) -> None:
    site = read_checkpoint(save(tmp_path / "run", TOPK | {"layer": layer}))[0].sae.site
    assert (site.hookpoint, site.steps, site.branches) == (hookpoint, (14,), ("cond",))
    assert site.unknown == ("model", *(() if hookpoint else ("hookpoint",)), "resolution")


def test_the_run_says_it_where_the_checkpoint_does_not(tmp_path: Path) -> None:
    run = save(tmp_path / "sae_training_layer5_t9_topk4_x4_20251201", None)
    site = read_checkpoint(run)[0].sae.site
    assert (site.hookpoint, site.steps) == ("transformer.transformer_blocks.5.ff:out", (9,))
    # Beside its checkpoints the run leaves its configuration, which has the last word.
    (run / "config.json").write_text(json.dumps(TOPK | {"layer": "layer15"}))
    site = read_checkpoint(run)[0].sae.site
    assert (site.hookpoint, site.steps) == ("transformer.transformer_blocks.15.ff:out", (14,))


def test_the_seeds_own_mistake_is_refused(tmp_path: Path) -> None:
    """Trained on call 14 of pictures of 1024 pixels; its scripts look at call 13 of pictures of 256."""
    import_sae(save(tmp_path / "run", TOPK | {"layer": "layer15"}), tmp_path / "ours", model="d" * 64)
    rows = {"model": "d" * 64, "hookpoint": "transformer.transformer_blocks.15.ff:out", "branches": ("cond",)}
    with pytest.raises(UserError, match=r"steps: \(14,\) and \(13,\)\n.*resolution: not known and \(256, 256\)"):
        load_sae(tmp_path / "ours", Site(**rows, steps=(13,), resolution=(256, 256)))
    import_sae(tmp_path / "ours", tmp_path / "stated", resolution=(1024, 1024))
    with pytest.raises(UserError, match=r"resolution: \(1024, 1024\) and \(256, 256\)"):
        load_sae(tmp_path / "stated", Site(**rows, steps=(14,), resolution=(256, 256)))
    assert load_sae(tmp_path / "stated", Site(**rows, steps=(14,), resolution=(1024, 1024))).size == N


@pytest.mark.parametrize(("layer", "fits"), [("layer15", False), ("transformer_blocks.15", False), ("layer5", True)])
def test_another_layer_than_its_own_cannot_be_stated(layer: str, fits: bool, tmp_path: Path) -> None:
    run = save(tmp_path / "run", TOPK | {"layer": layer})
    if fits:
        import_sae(run, tmp_path / "ours", hookpoint="transformer.transformer_blocks.5.ff")
        return
    with pytest.raises(UserError, match=r"belongs to .*15"):
        import_sae(run, tmp_path / "ours", hookpoint="transformer.transformer_blocks.5.ff")
    import_sae(run, tmp_path / "ours", hookpoint="transformer.transformer_blocks.15.ff")


def test_one_of_ours_says_its_layer_and_step_too(tmp_path: Path) -> None:
    site = Site(model="d" * 64, hookpoint="transformer.transformer_blocks.3.ff", steps=(7,))
    sae = Sae(torch.eye(4), torch.zeros(4), torch.eye(4), torch.zeros(4), TopK(1), site=site)
    export_checkpoint(ImportedSae(sae, "steerwright"), tmp_path / "out", "flux")
    config = torch.load(tmp_path / "out" / "sae_final.pt", weights_only=True)["config"]
    assert (config["layer"], config["timestep"]) == ("layer3", 7)
