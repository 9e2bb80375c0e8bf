import json
import pickle
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from steerwright.errors import UserError
from steerwright.models.fingerprint import Fingerprint
from steerwright.models.hookpoints import Hookpoint
from steerwright.vectors.direction import Direction
from steerwright.vectors.formats.vectors_file import load_vectors, save_vectors
from steerwright.vectors.steering_vectors import SteeringVectors, VectorKey

MODEL = Fingerprint(name="seasons-sd", source="models/seasons-sd", revision=None, digest="a1" * 32, libraries={})
OTHER = Fingerprint(name="sd-1.5", source="somewhere", revision="main", digest="b2" * 32, libraries={})


def vectors() -> SteeringVectors:
    path = "text_encoder.encoder.layers.{}.mlp"
    directions = {
        VectorKey(Hookpoint(path.format(10)), "eos"): Direction(torch.eye(3)[1], torch.tensor(2.5)),
        VectorKey(Hookpoint(path.format(2)), "content"): Direction(torch.tensor([0.6, 0.0, -0.8]), torch.tensor(0.25)),
        VectorKey(Hookpoint("unet.mid_block"), "all", (3, 7), "cond"): Direction(
            torch.tensor([[0.0, 0.0], [1.0, 0.0]]), torch.tensor([0.0, 3.0]), torch.tensor([0.0, -1.5])
        ),
    }
    timesteps = tuple(961.5 - 125 * step for step in range(8))
    controls = {slot: 0.5 for slot in list(directions)[1:]}
    return SteeringVectors("winter", MODEL, "mean_difference", "typed", directions, timesteps, controls)


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    save_vectors(vectors(), tmp_path / "vectors.safetensors")
    return tmp_path / "vectors.safetensors"


def test_what_was_saved_is_what_is_loaded(saved: Path) -> None:
    found, expected = load_vectors(saved, MODEL), vectors()
    assert (found.concept, found.model, found.estimator, found.token_policy) == (
        "winter",
        MODEL,
        "mean_difference",
        "typed",
    )
    assert list(found.directions) == list(expected.directions)
    for slot, direction in expected.directions.items():
        assert torch.equal(found.directions[slot].unit, direction.unit)
        assert torch.equal(found.directions[slot].norm, direction.norm)
    assert [direction.origin is None for direction in found.directions.values()] == [True, True, False]
    assert [direction.origin.tolist() for direction in found.directions.values() if direction.origin is not None] == [
        [0.0, -1.5]
    ]
    assert found.timesteps == (961.5, 836.5, 711.5, 586.5, 461.5, 336.5, 211.5, 86.5)
    assert found.controls == {slot: 0.5 for slot in list(expected.directions)[1:]}
    # 2.5 was not held against a control, 0.25 is shorter than its own, 3 is longer.
    assert [found.is_noise(slot) for slot in found.directions] == [False, True, False]
    assert [path.name for path in saved.parent.iterdir()] == ["vectors.safetensors"]


def test_equal_vectors_are_equal_bytes(saved: Path) -> None:
    first = saved.read_bytes()
    save_vectors(vectors(), saved)
    assert saved.read_bytes() == first


def test_any_reader_of_safetensors_finds_the_documented_names(saved: Path) -> None:
    names = [f"{index:05d}.{part}" for index in range(3) for part in ("norm", "unit")]
    assert sorted(load_file(saved)) == sorted([*names, "00002.origin"])
    with safe_open(str(saved), framework="pt") as file:
        header = json.loads(file.metadata()["steerwright"])
    assert (header["schema_name"], header["schema_version"]) == ("steerwright.vectors", 2)
    assert header["timesteps"][:2] == [961.5, 836.5]
    assert [slot["control"] for slot in header["slots"]] == [None, 0.5, 0.5]
    assert header["slots"][2] == {
        "name": "00002",
        "hookpoint": "unet.mid_block:out",
        "tokens": "all",
        "steps": [3, 7],
        "branch": "cond",
        "control": 0.5,
    }


def test_vectors_of_another_model_are_refused_by_both_names_and_digests(saved: Path) -> None:
    with pytest.raises(UserError, match=r"seasons-sd .*a1a1a1a1a1a1.*sd-1\.5 .*b2b2b2b2b2b2"):
        load_vectors(saved, OTHER)


def test_another_version_of_a_library_is_no_other_model(saved: Path) -> None:
    load_vectors(saved, MODEL.model_copy(update={"libraries": {"torch": "9"}, "name": "renamed"}))


class Bomb:
    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[object, ...]:
        return (Path.touch, (self.target,))


@pytest.mark.parametrize("protocol", [0, 2, 5, "torch", "torch_old"])
def test_a_pickle_is_refused_and_nothing_in_it_runs(tmp_path: Path, protocol: int | str) -> None:
    evil, exploded = tmp_path / "vectors.safetensors", tmp_path / "exploded"
    if isinstance(protocol, int):
        evil.write_bytes(pickle.dumps(Bomb(exploded), protocol))
    else:
        torch.save(Bomb(exploded), evil, _use_new_zipfile_serialization=protocol == "torch")
    with pytest.raises(UserError, match=r"vectors\.safetensors is .*safetensors only") as caught:
        load_vectors(evil)
    assert "\n" not in str(caught.value)
    assert not exploded.exists()
    if protocol != 0:
        assert "pickle" in str(caught.value)


def test_a_missing_a_cut_and_a_foreign_file_each_get_their_message(saved: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no vectors file"):
        load_vectors(tmp_path / "nothing.safetensors")
    saved.write_bytes(saved.read_bytes()[:-4])
    with pytest.raises(UserError, match="damaged"):
        load_vectors(saved)
    saved.write_bytes(b"")
    with pytest.raises(UserError, match="not a safetensors file"):
        load_vectors(saved)
    save_file({"weight": torch.ones(2)}, saved)
    with pytest.raises(UserError, match="no steering vectors"):
        load_vectors(saved)


def rewritten(path: Path, **changes: object) -> None:
    with safe_open(str(path), framework="pt") as file:
        header = json.loads(file.metadata()["steerwright"]) | changes
    save_file(load_file(path), path, metadata={"steerwright": json.dumps(header)})


@pytest.mark.parametrize("version", [1, 3])
def test_another_version_is_refused_with_what_to_do(saved: Path, version: int) -> None:
    rewritten(saved, schema_version=version)
    message = f"version {version} of the vectors format; this steerwright reads version 2. .*fit the vectors again"
    with pytest.raises(UserError, match=message):
        load_vectors(saved)


def test_vectors_without_steps_need_no_timesteps(tmp_path: Path) -> None:
    whole = SteeringVectors("winter", MODEL, "x", "eos", dict(list(vectors().directions.items())[:2]))
    save_vectors(whole, tmp_path / "v.safetensors")
    found = load_vectors(tmp_path / "v.safetensors")
    assert found.timesteps is None and found.controls == {}


def test_damage_is_named_by_where_it_is(saved: Path) -> None:
    rewritten(saved, timesteps=[999.0, 500.0])
    with pytest.raises(UserError, match="damaged: A slot is for step 7, but the schedule has 2 timesteps"):
        load_vectors(saved)
    rewritten(saved, timesteps="long")
    with pytest.raises(UserError, match="damaged at timesteps"):
        load_vectors(saved)
    rewritten(saved, timesteps=None, concept=3)
    with pytest.raises(UserError, match="damaged at concept"):
        load_vectors(saved)


def test_a_direction_that_is_not_of_length_one_is_damaged(saved: Path) -> None:
    tensors = load_file(saved)
    tensors["00000.unit"] *= 2
    with safe_open(str(saved), framework="pt") as file:
        metadata = file.metadata()
    save_file(tensors, saved, metadata=metadata)
    with pytest.raises(UserError, match="damaged: Every row of a direction has length 1"):
        load_vectors(saved)


def test_an_origin_of_another_shape_is_damaged(saved: Path) -> None:
    with safe_open(str(saved), framework="pt") as file:
        metadata = file.metadata()
    save_file(load_file(saved) | {"00000.origin": torch.zeros(2)}, saved, metadata=metadata)
    with pytest.raises(UserError, match="damaged: The origin of a direction is finite and shaped like its norm"):
        load_vectors(saved)


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = saved.read_bytes()

    def full(self: Path, data: bytes) -> int:
        with self.open("wb") as file:
            file.write(data[:10])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match="No space left"):
        save_vectors(vectors(), saved)
    assert saved.read_bytes() == first
    assert [path.name for path in saved.parent.iterdir()] == ["vectors.safetensors"]
