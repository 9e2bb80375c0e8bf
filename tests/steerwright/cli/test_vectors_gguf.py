"""`steerwright vectors` to and from GGUF on the command line."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch

from steerwright.vectors.direction import normalised
from steerwright.vectors.formats.vectors_file import load_vectors, save_vectors
from steerwright.vectors.steering_vectors import SteeringVectors, VectorKey
from tests.command_line import steerwright

run = partial(steerwright, "vectors")

REPOSITORY = Path(__file__).parents[3]


@pytest.fixture
def saved(language: Callable[[str], Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(REPOSITORY)
    model = language("phi3")
    torch.manual_seed(2)
    directions = {VectorKey(hookpoint): normalised(torch.randn(32)) for hookpoint in model.hookpoints}
    save_vectors(SteeringVectors("joy", model.fingerprint, "none", "last", directions), tmp_path / "joy.safetensors")
    return tmp_path / "joy.safetensors"


def test_there_and_back_gives_the_same_vectors_but_the_first_layers(
    saved: Path, language_folder: Callable[[str], Path]
) -> None:
    exported, back = saved.with_name("joy.gguf"), saved.with_name("back.safetensors")
    said = run("export", saved, "-o", exported, "--format", "gguf")
    assert "3 vectors for 'joy'" in said and "no place for the first layer's" in said
    reader = gguf.GGUFReader(exported)
    assert reader.get_field("controlvector.model_hint").contents() == "phi3"
    said = run("import", exported, "--model", language_folder("phi3"), "-o", back)
    assert "3 vectors for 3 layers of phi3" in said
    before, after = load_vectors(saved), load_vectors(back)
    assert after.model.same_model(before.model)
    assert after.concept == "joy"
    assert [slot.hookpoint.path for slot in after.directions] == [f"model.layers.{layer}" for layer in (1, 2, 3)]
    for slot, direction in after.directions.items():
        assert torch.allclose(direction.unit, before.directions[slot].unit, atol=1e-6)
        assert torch.allclose(direction.norm, before.directions[slot].norm, rtol=1e-6)


def test_the_kind_of_model_can_be_said_where_the_files_own_is_gone(
    saved: Path, language_folder: Callable[[str], Path]
) -> None:
    lost = load_vectors(saved)
    gone = lost.model.model_copy(update={"name": "gone", "source": "nowhere/at-all/gone"})
    save_vectors(SteeringVectors("joy", gone, "none", "last", lost.directions), saved)
    exported = saved.with_name("joy.gguf")
    message = run("export", saved, "-o", exported, "--format", "gguf", fails=True)
    assert "The vectors are for gone from nowhere/at-all/gone, which is not here; say where with --model" in message
    assert not exported.exists()
    run("export", saved, "-o", exported, "--format", "gguf", "--model", language_folder("phi3"))
    assert exported.exists()


def test_each_mistake_has_its_message_and_leaves_no_file(saved: Path, language_folder: Callable[[str], Path]) -> None:
    exported, back = saved.with_name("joy.gguf"), saved.with_name("back.safetensors")
    run("export", saved, "-o", exported, "--format", "gguf")
    cut = saved.with_name("cut.gguf")
    cut.write_bytes(exported.read_bytes()[:-40])
    narrow = saved.with_name("narrow.gguf")
    writer = gguf.GGUFWriter(narrow, "controlvector")
    writer.add_tensor("direction.1", np.ones(31, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    folder = language_folder("phi3")
    for words, message in (
        (("import", exported, "--model", "seasons-sd", "-o", back), "'seasons-sd' is a model of pictures"),
        (("import", exported, "--model", folder, "-o", back, "--steps", 3), "has no denoising steps"),
        (("import", saved.with_name("none.gguf"), "--model", folder, "-o", back), "There is no file"),
        (("import", cut, "--model", folder, "-o", back), "is damaged"),
        (("import", narrow, "--model", folder, "-o", back), "phi3 is 32 wide; it is of another model"),
        (("import", exported, "--model", folder, "-o", saved), "exists. Choose another name, or add --force"),
    ):
        assert message in run(*words, fails=True)
    assert not back.exists()


def test_vectors_of_pictures_have_no_gguf(saved: Path) -> None:
    from steerwright.models.hookpoints import Hookpoint

    found = load_vectors(saved)
    pictures = {VectorKey(Hookpoint("unet.mid_block.attentions.0"), branch="cond"): normalised(torch.ones(8))}
    save_vectors(SteeringVectors("joy", found.model, "none", "mean", pictures), saved)
    message = run("export", saved, "-o", saved.with_name("x.gguf"), "--format", "gguf", fails=True)
    assert "not one per layer of a language model" in message
