"""Loading real pipelines by path, and what is said when there is nothing to load."""

import json
import shutil
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from steerwright.errors import UserError
from steerwright.models.families import family_of
from steerwright.models.identify import fingerprint
from steerwright.models.load import default_device, load_model
from steerwright.models.spec import ModelSpec

CPU = torch.device("cpu")
COMMIT = "0123456789abcdef0123456789abcdef01234567"


def spec(source: Path | str, **settings: Any) -> ModelSpec:
    return ModelSpec(**{"name": "mine", "source": str(source), "steps": 2, "guidance": 4.0, **settings})


def test_a_saved_pipeline_of_the_shape_of_sd21_loads_by_its_path(sd21: Any) -> None:
    assert len(sd21.pipeline.text_encoder.encoder.layers) == 23
    assert sd21.pipeline.tokenizer.model_max_length == 77
    assert sd21.pipeline.safety_checker is None
    assert not any(p.requires_grad for p in sd21.pipeline.unet.parameters())
    assert not sd21.pipeline.unet.training


def test_half_precision_becomes_float32_on_a_cpu(sd21: Any) -> None:
    assert sd21.spec.dtype == "float16"
    assert sd21.dtype == torch.float32


def test_the_fingerprint_follows_the_weights_and_not_the_place(sd21_folder: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(sd21_folder, copy)
    original, copied = fingerprint(spec(sd21_folder)), fingerprint(spec(copy, name="other"))
    assert original.same_model(copied)
    weights = copy / "vae" / "diffusion_pytorch_model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    assert not original.same_model(fingerprint(spec(copy)))


def test_a_hidden_file_does_not_change_the_fingerprint(sd21_folder: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(sd21_folder, copy)
    (copy / ".DS_Store").write_text("x")
    assert fingerprint(spec(copy)).same_model(fingerprint(spec(sd21_folder)))


def test_a_model_with_another_fingerprint_is_refused(sd21_folder: Path) -> None:
    with pytest.raises(UserError, match="made on other weights"):
        load_model(spec(sd21_folder), fingerprint="0" * 64, device=CPU)


def test_the_expected_fingerprint_is_accepted(sd21: Any, sd21_folder: Path) -> None:
    assert load_model(spec(sd21_folder), fingerprint=sd21.fingerprint.digest, device=CPU).spec.name == "mine"


def test_a_missing_folder_names_the_embedded_model(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"there is no folder .* seasons-sd"):
        load_model(spec(tmp_path / "absent"))


def test_a_folder_that_is_no_pipeline_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"holds no model_index\.json"):
        load_model(spec(tmp_path))


def test_a_pipeline_of_another_family_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model_index.json").write_text(json.dumps({"_class_name": "FluxPipeline"}))
    with pytest.raises(UserError, match="holds a FluxPipeline"):
        load_model(spec(tmp_path))


def test_an_index_that_names_no_class_is_refused(tmp_path: Path) -> None:
    for index, message in (("{}", "holds a None"), ("[]", "is no JSON object"), ("{", "is no JSON object")):
        (tmp_path / "model_index.json").write_text(index)
        with pytest.raises(UserError, match=message):
            load_model(spec(tmp_path))


def test_weights_that_need_pickle_are_refused(sd21_folder: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(sd21_folder, copy)
    weights = copy / "unet" / "diffusion_pytorch_model.safetensors"
    (copy / "unet" / "diffusion_pytorch_model.bin").write_bytes(b"not even a pickle")
    weights.unlink()
    with pytest.raises(UserError, match="could not be loaded"):
        load_model(spec(copy), device=CPU)


@pytest.fixture
def no_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty cache, and a network in which no name resolves and no address answers."""

    def refuse(*_: Any, **__: Any) -> Any:
        raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")

    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)


@pytest.mark.usefixtures("no_network")
def test_without_network_or_cache_a_hub_model_is_one_quick_message() -> None:
    start = time.monotonic()
    with pytest.raises(UserError) as caught:
        load_model(spec("stabilityai/stable-diffusion-2-1-base"), device=CPU)
    assert time.monotonic() - start < 20
    message = str(caught.value)
    assert "\n" not in message
    assert "stabilityai/stable-diffusion-2-1-base" in message
    assert "--model seasons-sd" in message


@pytest.mark.usefixtures("no_network")
def test_without_network_or_cache_a_fingerprint_says_the_same() -> None:
    with pytest.raises(UserError, match="--model seasons-sd"):
        fingerprint(spec("stabilityai/stable-diffusion-2-1-base"))


def cache(folder: Path, tmp_path: Path, commit: str) -> None:
    """Lay a pipeline folder into the cache as the hub's client does: refs name commits, snapshots hold their files."""
    cached = tmp_path / "hub" / "models--someone--tiny-sd"
    shutil.copytree(folder, cached / "snapshots" / commit)
    (cached / "refs").mkdir()
    (cached / "refs" / "main").write_text(commit)


@pytest.mark.usefixtures("no_network")
def test_the_class_of_a_hub_model_is_read_from_its_index(shape_folder: Callable[[str], Path], tmp_path: Path) -> None:
    cache(shape_folder("sdxl"), tmp_path, COMMIT)
    loaded = load_model(spec("someone/tiny-sd"), device=CPU)
    assert type(loaded.pipeline).__name__ == "StableDiffusionXLPipeline"
    assert loaded.fingerprint.revision == COMMIT


@pytest.mark.usefixtures("no_network")
def test_a_hub_model_of_another_class_is_refused_by_its_index_alone(tmp_path: Path) -> None:
    (tmp_path / "flux").mkdir()
    (tmp_path / "flux" / "model_index.json").write_text(json.dumps({"_class_name": "FluxPipeline"}))
    cache(tmp_path / "flux", tmp_path, COMMIT)
    with pytest.raises(UserError, match=r"someone/tiny-sd holds a FluxPipeline, but .*StableDiffusionXLPipeline"):
        load_model(spec("someone/tiny-sd"), device=CPU)


@pytest.mark.usefixtures("no_network")
def test_a_hub_model_in_the_cache_needs_no_network(sd21: Any, sd21_folder: Path, tmp_path: Path) -> None:
    cache(sd21_folder, tmp_path, COMMIT)
    loaded = load_model(spec("someone/tiny-sd"), device=CPU)
    assert loaded.fingerprint.revision == COMMIT
    mine, theirs = loaded.pipeline.unet.state_dict(), sd21.pipeline.unet.state_dict()
    assert all(torch.equal(mine[name], theirs[name]) for name in theirs)


def test_the_device_can_be_named_by_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STEERWRIGHT_DEVICE", "cpu")
    assert default_device() == CPU
    monkeypatch.setenv("STEERWRIGHT_DEVICE", "gpu0")
    with pytest.raises(UserError, match="STEERWRIGHT_DEVICE='gpu0' is no device"):
        default_device()


def test_a_pipeline_of_no_family_is_refused_and_never_taken_for_another(sd3_folder: Path) -> None:
    from diffusers import StableDiffusion3Pipeline

    pipeline = StableDiffusion3Pipeline.from_pretrained(sd3_folder, text_encoder_3=None, tokenizer_3=None)
    with pytest.raises(UserError, match="denoises by a SD3Transformer2DModel, which is of none of the families"):
        family_of(pipeline)
