"""An adapter beside weights is applied or refused, never left out without a word."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from steerwright.errors import UserError
from steerwright.models.custom_code import check_adapters
from steerwright.models.language.load import load_language_model
from steerwright.models.language.spec import LanguageSpec
from steerwright.models.load import load_model
from steerwright.models.spec import ModelSpec

CPU = torch.device("cpu")


@pytest.fixture
def copy(language_folder: Callable[[str], Path], tmp_path: Path) -> Path:
    folder = Path(shutil.copytree(language_folder("mistral"), tmp_path / "adapted"))
    (folder / "adapter_config.json").write_text('{"peft_type": "LORA", "base_model_name_or_path": "somebody/else"}')
    return folder


def test_an_adapter_is_refused_where_peft_is_not_installed(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("transformers.utils.is_peft_available", lambda: False)
    with pytest.raises(UserError, match=r"Model 'it': an adapter lies .*adapter_config.json\).*peft is not installed"):
        load_language_model(LanguageSpec(name="it", source=str(copy)), device=CPU)


def test_with_peft_an_adapter_must_be_safetensors(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("transformers.utils.is_peft_available", lambda: True)
    (copy / "adapter_model.bin").write_bytes(b"a pickle")
    with pytest.raises(UserError, match=r"has no adapter_model.safetensors beside it"):
        check_adapters("Model 'it'", copy)
    (copy / "adapter_model.safetensors").write_bytes(b"")
    check_adapters("Model 'it'", copy)  # transformers reads and applies it


def test_an_adapter_without_its_model_is_named(copy: Path) -> None:
    (copy / "config.json").unlink()
    with pytest.raises(UserError, match=r"holds an adapter without the model that it changes. Merge the two"):
        load_language_model(LanguageSpec(name="it", source=str(copy)), device=CPU)


def test_an_adapter_in_a_part_of_a_pipeline_is_refused(tmp_path: Path) -> None:
    folder = Path(shutil.copytree("models/seasons-sd", tmp_path / "sd"))
    (folder / "unet" / "adapter_config.json").write_text("{}")
    with pytest.raises(UserError, match=r"weights of a part \(.*unet/adapter_config.json\)"):
        load_model(ModelSpec(name="it", source=str(folder), steps=1, guidance=1.0), device=CPU)
