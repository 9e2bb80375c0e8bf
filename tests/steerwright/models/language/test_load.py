"""Loading language models of real shapes from disk, and every reason for which one cannot be."""

import json
import shutil
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from steerwright.errors import UserError
from steerwright.models.identify import fingerprint
from steerwright.models.language import load as loading
from steerwright.models.language.load import load_language_model, load_or_fall_back
from steerwright.models.language.memory import NotEnoughMemory, weight_bytes
from steerwright.models.language.reading import read_architecture
from steerwright.models.language.spec import LanguageSpec

CPU = torch.device("cpu")
COMMIT = "c0ffee" + "0" * 34


def spec(source: Path | str, **more: Any) -> LanguageSpec:
    return LanguageSpec(name="tiny", source=str(source), **more)


def test_every_shape_loads_by_its_path(language: Callable[[str], Any], language_shape: str) -> None:
    model = language(language_shape)
    assert (model.layers, model.width, model.dtype, model.context) == (4, 32, torch.float32, 128)
    assert model.has_chat == (language_shape != "gpt2")
    assert model.ends == {model.tokenizer.convert_tokens_to_ids("</s>")}
    assert not model.model.training
    assert not any(weights.requires_grad for weights in model.model.parameters())


def test_the_weights_are_those_that_were_saved(
    language: Callable[[str], Any], language_folder: Callable[[str], Path]
) -> None:
    saved = load_file(language_folder("mistral") / "model.safetensors")
    held = language("mistral").model.state_dict()
    assert all(torch.equal(held[name], tensor) for name, tensor in saved.items())


def test_half_precision_becomes_float32_on_a_cpu_and_bfloat16_stays(language_folder: Callable[[str], Path]) -> None:
    folder = language_folder("mistral")
    assert load_language_model(spec(folder, dtype="float16"), device=CPU).dtype == torch.float32
    assert load_language_model(spec(folder, dtype="bfloat16"), device=CPU).dtype == torch.bfloat16


def test_a_config_alone_tells_layers_width_and_kind(
    language: Callable[[str], Any], language_folder: Callable[[str], Path], language_shape: str
) -> None:
    found = read_architecture(spec(language_folder(language_shape)))
    model = language(language_shape)
    assert (found.kind, found.hookpoints, found.width) == (language_shape, model.hookpoints, model.width)


def test_weights_with_another_fingerprint_are_refused(language_folder: Callable[[str], Path]) -> None:
    own = fingerprint(spec(language_folder("gpt2"))).digest
    assert load_language_model(spec(language_folder("gpt2")), own, CPU).fingerprint.digest == own
    with pytest.raises(UserError, match=f"has the fingerprint {own[:12]}, but 000000000000 was asked for"):
        load_language_model(spec(language_folder("gpt2")), "0" * 64, CPU)


@pytest.fixture
def copy(language_folder: Callable[[str], Path], tmp_path: Path) -> Path:
    return Path(shutil.copytree(language_folder("mistral"), tmp_path / "copy"))


def test_weights_that_need_pickle_are_refused(copy: Path) -> None:
    (copy / "model.safetensors").unlink()
    (copy / "pytorch_model.bin").write_bytes(b"not even a pickle")
    with pytest.raises(UserError, match=r"could not be loaded .*safetensors"):
        load_language_model(spec(copy), device=CPU)


def test_weights_that_are_missing_are_not_made_up(copy: Path) -> None:
    weights = load_file(copy / "model.safetensors")
    for name in ("model.layers.2.mlp.up_proj.weight", "model.layers.3.mlp.up_proj.weight"):
        del weights[name]
    save_file(weights, copy / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(UserError, match=r"holds no model\.layers\.2\.mlp\.up_proj\.weight and 1 more of its weights"):
        load_language_model(spec(copy), device=CPU)


def test_a_damaged_file_of_weights_is_named(copy: Path) -> None:
    (copy / "model.safetensors").write_bytes(b"\x10" * 40)
    with pytest.raises(UserError, match=f"it could not be loaded from {copy}"):
        load_language_model(spec(copy), device=CPU)


def test_what_is_no_language_model_is_named(copy: Path, tmp_path: Path) -> None:
    vision = transformers.ViTConfig(hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8)
    (copy / "config.json").write_text(json.dumps(vision.to_dict()))
    with pytest.raises(UserError, match="must be a causal language model"):
        load_language_model(spec(copy), device=CPU)
    with pytest.raises(UserError, match=r"holds no config\.json, so no model of transformers.*--model seasons-lm"):
        load_language_model(spec(tmp_path), device=CPU)
    with pytest.raises(UserError, match=r"there is no folder .*--model seasons-lm"):
        load_language_model(spec(tmp_path / "no" / "such" / "folder"), device=CPU)


def test_a_folder_without_a_tokenizer_is_named(copy: Path) -> None:
    for path in copy.glob("tokenizer*"):
        path.unlink()
    with pytest.raises(UserError, match="tokenizer"):
        load_language_model(spec(copy), device=CPU)


def test_the_models_own_way_of_decoding_is_left_behind(copy: Path) -> None:
    settings = json.loads((copy / "generation_config.json").read_text())
    own = {"repetition_penalty": 1.7, "do_sample": True, "temperature": 0.1, "eos_token_id": [2, 9]}
    (copy / "generation_config.json").write_text(json.dumps({**settings, **own}))
    model = load_language_model(spec(copy), device=CPU)
    assert model.ends == {2, 9}
    assert model.model.generation_config.repetition_penalty in (None, 1.0)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"template": {"enable_thinkng": False}}, "its chat template does not ask for enable_thinkng"),
        ({"system": "Be brief.", "chat": False}, "system would change nothing, as chat is false"),
    ],
)
def test_settings_of_the_template_that_change_nothing_are_refused(
    copy: Path, settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        load_language_model(spec(copy, **settings), device=CPU)


def test_settings_without_a_template_are_refused(language_folder: Callable[[str], Path]) -> None:
    with pytest.raises(UserError, match="system and template would change nothing, as its tokenizer has no chat templ"):
        load_language_model(spec(language_folder("gpt2"), system="Be brief.", template={"x": 1}), device=CPU)


# Memory.


def test_bytes_are_counted_from_the_headers_in_the_precision_that_runs(
    language_folder: Callable[[str], Path], language: Callable[[str], Any]
) -> None:
    folder = language_folder("llama")
    values = sum(tensor.numel() for tensor in load_file(folder / "model.safetensors").values())
    assert weight_bytes(folder, torch.float32) == 4 * values
    assert weight_bytes(folder, torch.bfloat16) == 2 * values


@pytest.fixture
def two(language_folder: Callable[[str], Path]) -> tuple[LanguageSpec, dict[str, dict[str, Any]]]:
    """A model that names a fallback, and the entries in which that is found."""
    models = {"small": {"family": "language", "source": str(language_folder("gpt2"))}}
    return spec(language_folder("mistral"), fallback="small"), models


def test_a_model_that_does_not_fit_gives_way_to_its_fallback_and_says_so(
    two: tuple[LanguageSpec, dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, models = two
    needs = [weight_bytes(Path(source), torch.float32) for source in (asked.source, models["small"]["source"])]
    told: list[str] = []
    monkeypatch.setattr(loading, "language_device", lambda: CPU)
    monkeypatch.setattr("steerwright.models.language.memory.free_bytes", lambda device, spread: 1.1 * min(needs) + 1)
    if needs[1] > needs[0]:  # whichever is smaller must be the fallback
        models = {"small": {"family": "language", "source": asked.source}}
        asked = asked.model_copy(update={"source": two[1]["small"]["source"]})
    model = load_or_fall_back(asked, models, told.append)
    assert model.spec.name == "small"
    assert len(told) == 1
    assert "'tiny' does not fit: it takes" in told[0]
    assert "Taking 'small' instead" in told[0]


def test_memory_that_runs_out_while_loading_is_the_same(
    two: tuple[LanguageSpec, dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, models = two
    real = transformers.AutoModelForCausalLM.from_pretrained

    def loads(folder: str, **more: Any) -> Any:
        if folder == asked.source:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 13.5 GiB")
        return real(folder, **more)

    monkeypatch.setattr(transformers.AutoModelForCausalLM, "from_pretrained", loads)
    monkeypatch.setenv("STEERWRIGHT_DEVICE", "cpu")
    told: list[str] = []
    assert load_or_fall_back(asked, models, told.append).spec.name == "small"
    assert "loading it onto cpu ran out of memory" in told[0]


def test_without_a_fallback_the_message_says_what_to_do(
    two: tuple[LanguageSpec, dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, models = two
    monkeypatch.setattr("steerwright.models.language.memory.free_bytes", lambda device, spread: 1000)
    monkeypatch.setenv("STEERWRIGHT_DEVICE", "cpu")
    told: list[str] = []
    with pytest.raises(NotEnoughMemory, match=r"'small' does not fit.*cpu has 0\.0 GiB free.*--model seasons-lm"):
        load_or_fall_back(asked, models, told.append)
    assert len(told) == 1, "the first model's fallback was tried"
    with pytest.raises(NotEnoughMemory, match="'tiny' does not fit"):
        load_or_fall_back(asked.model_copy(update={"fallback": "tiny"}), models, told.append)


def test_a_fallback_that_does_not_exist_is_named(
    two: tuple[LanguageSpec, dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, models = two
    monkeypatch.setattr("steerwright.models.language.memory.free_bytes", lambda device, spread: 1000)
    monkeypatch.setenv("STEERWRIGHT_DEVICE", "cpu")
    with pytest.raises(UserError, match=r"no model 'smal'.*did you mean small"):
        load_or_fall_back(asked.model_copy(update={"fallback": "smal"}), models, lambda words: None)


# The hub.


@pytest.fixture
def no_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty cache, and a network in which no name resolves and no address answers."""

    def refuse(*_: Any, **__: Any) -> Any:
        raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")

    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)


@pytest.mark.usefixtures("no_network")
def test_without_network_or_cache_a_hub_model_names_the_embedded_one() -> None:
    with pytest.raises(UserError, match=r"Mistral-7B-Instruct-v0\.2 is neither .*the hub does not answer.*seasons-lm"):
        load_language_model(spec("mistralai/Mistral-7B-Instruct-v0.2"), device=CPU)


@pytest.mark.usefixtures("no_network")
def test_a_hub_model_in_the_cache_needs_no_network(language_folder: Callable[[str], Path], tmp_path: Path) -> None:
    cached = tmp_path / "hub" / "models--someone--tiny"
    shutil.copytree(language_folder("qwen2"), cached / "snapshots" / COMMIT)
    (cached / "refs").mkdir()
    (cached / "refs" / "main").write_text(COMMIT)
    model = load_language_model(spec("someone/tiny"), device=CPU)
    assert model.fingerprint.revision == COMMIT
    assert model.layers == 4


def test_a_model_whose_layers_are_brought_in_one_by_one_can_be_loaded_and_run(copy: Path) -> None:
    """What device_map: auto does where a GPU is too small: weights wait elsewhere until their layer runs."""
    from accelerate import cpu_offload

    from steerwright.models.language.encode import encode

    model = load_language_model(spec(copy), device=CPU)
    encoded = encode(model, ["Tell me about the lake."])
    before = model.model(input_ids=encoded.ids).logits
    cpu_offload(model.model, execution_device=CPU)
    assert next(model.model.model.layers[0].parameters()).device.type == "meta"
    assert torch.equal(model.model(input_ids=encoded.ids).logits, before)
