"""What of dictionary_learning no golden file shows: which class it is, and what each class cannot hold."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from steerwright.errors import UserError
from steerwright.sae.activations import AbsTopK, Gated, JumpRelu, Relu, TopK
from steerwright.sae.formats.fold import ImportedSae
from steerwright.sae.formats.registry import export_checkpoint, read_checkpoint
from steerwright.sae.sae import PerRow, Sae

N, D, K = 8, 4, 3


def linear(**more: Tensor) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {
        "encoder.weight": torch.randn(N, D, generator=generator),
        "encoder.bias": torch.zeros(N),
        "decoder.weight": torch.randn(D, N, generator=generator),
        **more,
    }


def chosen(threshold: float = 0.5, k: int = K) -> dict[str, Tensor]:
    return linear(b_dec=torch.ones(D), k=torch.tensor(k, dtype=torch.int32), threshold=torch.tensor(threshold))


def save(folder: Path, state: Any, trainer: dict[str, Any] | None = None) -> Path:
    torch.save(state, folder / "ae.pt")
    if trainer is not None:
        (folder / "config.json").write_text(json.dumps({"trainer": trainer}))
    return folder


def test_topk_and_batchtopk_look_alike_so_without_a_configuration_neither_is_guessed(tmp_path: Path) -> None:
    save(tmp_path, chosen())
    with pytest.raises(
        UserError, match=r"may be AutoEncoderTopK or BatchTopKSAE, and no config.json says which"
    ) as caught:
        read_checkpoint(tmp_path)
    assert "--format, one of dictionary_learning:AutoEncoderTopK, dictionary_learning:BatchTopKSAE" in str(caught.value)
    topk, _, _ = read_checkpoint(tmp_path, "dictionary_learning:AutoEncoderTopK")
    assert isinstance(topk.sae.activation, TopK) and topk.sae.activation.k == K and topk.facts["threshold"] == 0.5
    batchtopk, _, _ = read_checkpoint(tmp_path, "dictionary_learning:BatchTopKSAE")
    assert isinstance(batchtopk.sae.activation, JumpRelu) and batchtopk.facts["k"] == K
    assert torch.equal(batchtopk.sae.activation.threshold, torch.full((N,), 0.5))


@pytest.mark.parametrize("prefix", ["_orig_mod.", "module.", "module._orig_mod."])
def test_prefixes_of_wrappers_do_not_matter(prefix: str, tmp_path: Path) -> None:
    state = {prefix + name: tensor for name, tensor in linear(bias=torch.ones(D)).items()}
    found, _, name = read_checkpoint(save(tmp_path, state))
    assert name == "dictionary_learning" and found.facts["architecture"] == "AutoEncoder"
    assert found.sae.subtract_bias and isinstance(found.sae.activation, Relu)


@pytest.mark.parametrize(
    ("more", "expected"),
    [({"bias": torch.ones(D)}, "AutoEncoder"), ({"decoder.bias": torch.ones(D)}, "AutoEncoderNew")],
)
def test_the_name_of_the_bias_tells_the_two_autoencoders_apart(
    more: dict[str, Tensor], expected: str, tmp_path: Path
) -> None:
    found, _, _ = read_checkpoint(save(tmp_path, linear(**more)))
    assert found.facts["architecture"] == expected
    assert found.sae.subtract_bias == (expected == "AutoEncoder")


def test_an_early_state_dict_has_its_k_in_the_configuration_only(tmp_path: Path) -> None:
    state = linear(b_dec=torch.ones(D))
    found, _, _ = read_checkpoint(save(tmp_path, state, {"dict_class": "AutoEncoderTopK", "k": 5}))
    assert isinstance(found.sae.activation, TopK) and found.sae.activation.k == 5
    with pytest.raises(UserError, match="k is None; AutoEncoderTopK with 8 latents needs 1 to 8"):
        read_checkpoint(save(tmp_path, state, {"dict_class": "AutoEncoderTopK"}))


def test_a_configuration_of_another_class_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"BatchTopKSAE, but config\.json says GatedAutoEncoder"):
        read_checkpoint(save(tmp_path, chosen(), {"dict_class": "GatedAutoEncoder"}))
    with pytest.raises(UserError, match="is of class 'CrossCoder'; known are AutoEncoder"):
        read_checkpoint(save(tmp_path, chosen(), {"dict_class": "CrossCoder"}))
    with pytest.raises(UserError, match="k is 9"):
        read_checkpoint(save(tmp_path, chosen(k=9), {"dict_class": "BatchTopKSAE"}))


def test_a_backup_holds_its_own_configuration(tmp_path: Path) -> None:
    backup = {"step": 3, "ae": chosen(), "optimizer": {"state": {}}, "config": {"dict_class": "BatchTopKSAE"}}
    found, _, _ = read_checkpoint(save(tmp_path, backup | {"norm_factor": 4.0}))
    assert isinstance(found.sae.activation, JumpRelu)
    # scale_biases: the threshold and both biases by the factor that rows were divided by; the weights stay.
    assert torch.equal(found.sae.activation.threshold, torch.full((N,), 2.0))
    assert torch.equal(found.sae.decoder_bias, torch.full((D,), 4.0))
    assert torch.equal(found.sae.encoder, chosen()["encoder.weight"])
    assert found.lossy == () and "backup" in found.notes[0]


def test_an_unset_threshold_is_told(tmp_path: Path) -> None:
    found, _, _ = read_checkpoint(save(tmp_path, chosen(-1.0), {"dict_class": "BatchTopKSAE"}))
    assert "never set" in found.notes[0]
    assert read_checkpoint(save(tmp_path, chosen(-1.0), {"dict_class": "AutoEncoderTopK"}))[0].notes == ()


@pytest.mark.parametrize(("name", "k"), [("BatchTopKSAE", 3), ("AutoEncoderTopK", 3.5), ("AutoEncoderTopK", True)])
def test_a_threshold_or_k_that_is_missing_or_no_number_is_not_guessed(name: str, k: Any, tmp_path: Path) -> None:
    message = "BatchTopKSAE without threshold" if name == "BatchTopKSAE" else f"k is {k}; AutoEncoderTopK"
    with pytest.raises(UserError, match=message):
        read_checkpoint(save(tmp_path, linear(b_dec=torch.ones(D)), {"dict_class": name, "k": k}))
    half = linear(b_dec=torch.ones(D), k=torch.tensor(3.5), threshold=torch.tensor(0.5))
    with pytest.raises(UserError, match=r"k is 3\.5"):
        read_checkpoint(save(tmp_path, half, {"dict_class": name}))


def exported(
    tmp_path: Path, activation: Any, facts: dict[str, Any] | None = None, **how: Any
) -> tuple[str, dict[str, Tensor]]:
    generator = torch.Generator().manual_seed(0)
    decoder = torch.nn.functional.normalize(torch.randn(N, D, generator=generator), dim=1)
    decoder = how.pop("decoder", decoder)
    sae = Sae(decoder, torch.zeros(N), decoder, torch.ones(D), activation, **how)
    export_checkpoint(ImportedSae(sae, "steerwright", facts=facts or {}), tmp_path / "out", "dictionary_learning")
    config = json.loads((tmp_path / "out" / "config.json").read_text())["trainer"]
    return config["dict_class"], torch.load(tmp_path / "out" / "ae.pt", weights_only=True)


def test_relu_becomes_the_class_that_does_not_rescale_its_latents(tmp_path: Path) -> None:
    assert exported(tmp_path, Relu())[0] == "AutoEncoder"
    # AutoEncoder.from_pretrained would make its decoder's rows one long, and the latents longer.
    (tmp_path / "b").mkdir()
    name, state = exported(tmp_path / "b", Relu(), decoder=2 * torch.ones(N, D))
    # Nothing is subtracted there: encoder (x - b) = encoder x - encoder b, and 2 * (1 + 1 + 1 + 1) is 8.
    assert name == "AutoEncoderNew" and torch.equal(state["encoder.bias"], torch.full((N,), -8.0))


def test_one_threshold_with_its_k_is_batchtopk_and_any_other_is_jumprelu(tmp_path: Path) -> None:
    common, each = JumpRelu(torch.full((N,), 0.5)), JumpRelu(torch.linspace(0, 1, N))
    for number, (activation, facts, expected) in enumerate(
        [
            (common, {"k": 3}, "BatchTopKSAE"),
            (common, {"config": {"architecture": "batchtopk", "k": 3}}, "BatchTopKSAE"),
            (common, {}, "JumpReluAutoEncoder"),
            (each, {"k": 3}, "JumpReluAutoEncoder"),
            (common, {"k": 3, "architecture": "MatryoshkaBatchTopKSAE", "groups": [2, 6]}, "MatryoshkaBatchTopKSAE"),
        ]
    ):
        (tmp_path / str(number)).mkdir()
        name, state = exported(tmp_path / str(number), activation, facts)
        assert name == expected
        if expected == "BatchTopKSAE":
            assert (int(state["k"]), float(state["threshold"])) == (3, 0.5) and state["k"].dtype == torch.int32


@pytest.mark.parametrize(
    "how",
    [
        {"activation": AbsTopK(2)},
        {"activation": TopK(2, by_decoder_norm=True)},
        {"activation": Relu(), "skip": torch.eye(D)},
        {"activation": Gated(torch.zeros(N), torch.zeros(N), torch.zeros(N)), "input_norm": PerRow(1e-5, 1)},
    ],
)
def test_what_it_does_not_have_is_not_written(how: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be written as dictionary_learning"):
        exported(tmp_path, **how)
    assert list(tmp_path.iterdir()) == []
