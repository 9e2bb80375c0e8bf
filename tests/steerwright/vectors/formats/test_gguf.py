"""Control vectors in GGUF: read back by the gguf package and by repeng, and theirs read here."""

import json
import os
import subprocess
from pathlib import Path

import gguf
import numpy as np
import pytest
import torch

from steerwright.errors import UserError
from steerwright.models.fingerprint import Fingerprint
from steerwright.models.hookpoints import Hookpoint
from steerwright.vectors.direction import Direction, normalised
from steerwright.vectors.formats.gguf import read_gguf, write_gguf
from steerwright.vectors.steering_vectors import SteeringVectors, VectorKey

MODEL = Fingerprint(name="tiny", source="tiny", revision=None, digest="a1" * 32, libraries={})
HOOKPOINTS = [Hookpoint(f"model.layers.{layer}") for layer in range(6)]
WIDTH = 24


def vectors(layers: tuple[int, ...] = (0, 2, 3, 5)) -> SteeringVectors:
    torch.manual_seed(1)
    directions = {VectorKey(HOOKPOINTS[layer]): normalised(3.0 * torch.randn(WIDTH)) for layer in layers}
    return SteeringVectors("joy", MODEL, "mean_difference", "content", directions)


def raw(found: SteeringVectors, layer: int) -> torch.Tensor:
    direction = found.directions[VectorKey(HOOKPOINTS[layer])]
    return direction.norm * direction.unit


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "joy.gguf"
    assert write_gguf(vectors(), path, "mistral") == (0,)
    return path


def test_the_gguf_package_reads_keys_shapes_and_equal_values(file: Path) -> None:
    reader = gguf.GGUFReader(file)
    assert reader.get_field("general.architecture").contents() == "controlvector"
    assert reader.get_field("controlvector.model_hint").contents() == "mistral"
    assert reader.get_field("controlvector.model_hint").types == [gguf.GGUFValueType.STRING]
    assert reader.get_field("controlvector.layer_count").contents() == 3
    assert reader.get_field("controlvector.layer_count").types == [gguf.GGUFValueType.UINT32]
    assert [tensor.name for tensor in reader.tensors] == ["direction.2", "direction.3", "direction.5"]
    for tensor in reader.tensors:
        assert tensor.tensor_type == gguf.GGMLQuantizationType.F32
        assert tensor.data.shape == (WIDTH,)
        assert np.array_equal(tensor.data, raw(vectors(), int(tensor.name.split(".")[1])).numpy())


def test_llama_cpp_reads_the_layers_that_were_meant(file: Path) -> None:
    """It refuses direction.0, and puts direction.N at N - 1 of a table whose place il - 1 is added after block il."""
    reader = gguf.GGUFReader(file)
    layers = [int(tensor.name.split(".")[1]) for tensor in reader.tensors]
    assert min(layers) > 0
    table = np.zeros((len(HOOKPOINTS) - 1, WIDTH), np.float32)
    for tensor in reader.tensors:
        table[int(tensor.name.split(".")[1]) - 1] = tensor.data
    after_block_3 = table[3 - 1]
    assert np.array_equal(after_block_3, raw(vectors(), 3).numpy())


def test_what_was_written_reads_back(file: Path) -> None:
    found = read_gguf(file, MODEL, HOOKPOINTS, "joy", WIDTH)
    assert [slot.hookpoint for slot in found.directions] == [HOOKPOINTS[layer] for layer in (2, 3, 5)]
    for layer in (2, 3, 5):
        assert torch.allclose(raw(found, layer), raw(vectors(), layer), rtol=1e-6, atol=1e-7)
    assert (found.concept, found.model, found.estimator) == ("joy", MODEL, "imported-gguf")
    assert all(direction.origin is None for direction in found.directions.values())


def test_the_same_vectors_are_the_same_bytes_and_nothing_half_written_stays(file: Path, tmp_path: Path) -> None:
    again = tmp_path / "again.gguf"
    write_gguf(vectors(), again, "mistral")
    assert again.read_bytes() == file.read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["again.gguf", "joy.gguf"]


REPENG = os.environ.get("STEERWRIGHT_REPENG")


@pytest.mark.skipif(REPENG is None, reason="STEERWRIGHT_REPENG names no Python in which repeng is installed")
def test_repeng_reads_equal_values_and_its_own_export_is_read_here(file: Path, tmp_path: Path) -> None:
    program = (
        "import sys, json, repeng\n"
        "found = repeng.ControlVector.import_gguf(sys.argv[1])\n"
        "found.export_gguf(sys.argv[2])\n"
        "print(json.dumps([found.model_type, {k: [float(x) for x in v] for k, v in found.directions.items()}]))\n"
    )
    theirs = tmp_path / "theirs.gguf"
    assert REPENG is not None
    said = subprocess.run([REPENG, "-c", program, file, theirs], capture_output=True, text=True, check=True).stdout
    kind, directions = json.loads(said.strip().splitlines()[-1])
    assert kind == "mistral"
    assert sorted(directions) == ["2", "3", "5"]
    for layer, values in directions.items():
        assert torch.equal(torch.tensor(values), raw(vectors(), int(layer)))
    back = read_gguf(theirs, MODEL, HOOKPOINTS, "joy", WIDTH)
    for layer in (2, 3, 5):
        assert torch.allclose(raw(back, layer), raw(vectors(), layer), rtol=1e-6, atol=1e-7)


def written(path: Path, tensors: dict[str, np.ndarray], architecture: str = "controlvector") -> Path:
    """A file of the gguf package's own making."""
    writer = gguf.GGUFWriter(path, architecture)
    writer.add_string("controlvector.model_hint", "llama")
    writer.add_array("tokenizer.words", ["a", "b"])
    writer.add_bool("some.flag", True)
    for name, values in tensors.items():
        writer.add_tensor(name, values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def test_files_of_others_are_read_whatever_else_they_hold(tmp_path: Path) -> None:
    half = np.linspace(-1, 1, WIDTH).astype(np.float16)
    path = written(
        tmp_path / "x.gguf", {"direction.1": half, "direction.2": np.zeros(WIDTH, np.float32), "other": half}
    )
    found = read_gguf(path, MODEL, HOOKPOINTS, "joy", WIDTH)
    assert [slot.hookpoint for slot in found.directions] == [HOOKPOINTS[1]], "zeros steer nothing"
    assert torch.allclose(raw(found, 1), torch.from_numpy(half).float())


def test_bfloat16_is_read_to_the_bit(tmp_path: Path) -> None:
    """A bfloat16 is the upper half of a float32; torch rounds to it by itself."""
    values = torch.linspace(-3, 3, WIDTH).bfloat16()
    path = tmp_path / "x.gguf"
    writer = gguf.GGUFWriter(path, "controlvector")
    bits = values.view(torch.int16).numpy().view(np.uint8)
    writer.add_tensor("direction.2", bits, raw_dtype=gguf.GGMLQuantizationType.BF16)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    assert torch.allclose(raw(read_gguf(path, MODEL, HOOKPOINTS, "joy", WIDTH), 2), values.float(), atol=1e-6)


def test_a_models_own_file_is_named_though_it_is_quantised_and_large(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "llama.gguf"
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_token_list(["a"] * 1000)
    writer.add_tensor("blk.0.ffn_up.weight", np.zeros((2, 18), np.uint8), raw_dtype=gguf.GGMLQuantizationType.Q4_0)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    for largest in (1 << 28, 10):
        monkeypatch.setattr("steerwright.vectors.formats.gguf.LARGEST_FILE", largest)
        with pytest.raises(UserError, match="a GGUF file of 'llama', not of control vectors"):
            read_gguf(path, MODEL, HOOKPOINTS, "joy", WIDTH)
    # Cut in the middle of its vocabulary, as the beginning of a large file is.
    monkeypatch.setattr("steerwright.vectors.formats.gguf._START", 200)
    with pytest.raises(UserError, match="a GGUF file of 'llama'"):
        read_gguf(path, MODEL, HOOKPOINTS, "joy", WIDTH)


@pytest.mark.parametrize(
    ("tensors", "architecture", "message"),
    [
        ({"direction.1": np.ones(WIDTH, np.float32)}, "llama", "a GGUF file of 'llama', not of control vectors"),
        ({"direction.6": np.ones(WIDTH, np.float32)}, "controlvector", "layer 6, but tiny has layers 0 to 5"),
        ({"direction.1": np.ones(8, np.float32)}, "controlvector", r"has the shape \[8\], but tiny is 24 wide"),
        ({"direction.1": np.ones((2, 12), np.float32)}, "controlvector", r"has the shape \[2, 12\]"),
        ({"direction.1": np.full(WIDTH, np.nan, np.float32)}, "controlvector", "values that are not finite"),
        ({"direction.1": np.zeros(WIDTH, np.float32)}, "controlvector", "no direction that is not zero"),
        ({"direction.x": np.ones(WIDTH, np.float32)}, "controlvector", "no direction that is not zero"),
        ({}, "controlvector", "no direction that is not zero"),
    ],
)
def test_files_of_other_things_and_models_are_named(
    tmp_path: Path, tensors: dict[str, np.ndarray], architecture: str, message: str
) -> None:
    path = written(tmp_path / "x.gguf", tensors, architecture)
    with pytest.raises(UserError, match=message):
        read_gguf(path, MODEL, HOOKPOINTS, "joy", WIDTH)


def test_widths_that_differ_are_damage_also_where_the_models_is_not_known(tmp_path: Path) -> None:
    path = written(tmp_path / "x.gguf", {"direction.1": np.ones(8, np.float32), "direction.2": np.ones(9, np.float32)})
    with pytest.raises(UserError, match="not equally wide"):
        read_gguf(path, MODEL, HOOKPOINTS, "joy")


def test_vectors_that_gguf_has_no_place_for_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.gguf"
    with pytest.raises(UserError, match="of the first layer alone"):
        write_gguf(vectors((0,)), path, "mistral")
    for slot, direction in (
        (VectorKey(Hookpoint("unet.mid_block")), normalised(torch.ones(4))),
        (VectorKey(Hookpoint("model.layers.2", "in")), normalised(torch.ones(4))),
        (VectorKey(Hookpoint("text_encoder.encoder.layers.2")), Direction(torch.eye(2), torch.ones(2))),
    ):
        with pytest.raises(UserError, match="not one per layer of a language model"):
            write_gguf(SteeringVectors("joy", MODEL, "", "", {slot: direction}), path, "mistral")
    assert not path.exists()
