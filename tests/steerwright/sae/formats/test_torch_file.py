import os
import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from steerwright.errors import UserError
from steerwright.sae.formats.registry import read_checkpoint
from steerwright.torch_file import load_torch


class Hostile:
    """A pickle that makes a file when it is loaded, by a method, which pickles get with getattr."""

    def __init__(self, target: Path) -> None:
        self._target = target

    def __reduce__(self) -> Any:
        return Path.touch, (self._target,)


class Shell:
    """The same by a command."""

    def __init__(self, target: Path) -> None:
        self._target = target

    def __reduce__(self) -> Any:
        return os.system, (f"touch {self._target}",)


@pytest.mark.parametrize("hostile", [Hostile, Shell])
@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("hidden_in", ["alone", "state_dict", "config"])
def test_a_hostile_pickle_runs_nothing(hostile: type, zipped: bool, hidden_in: str, tmp_path: Path) -> None:
    done = tmp_path / "done"
    content: Any = {
        "alone": hostile(done),
        "state_dict": {"encoder.weight": torch.zeros(4, 2), "bias": hostile(done)},
        "config": {"model_state_dict": {"encoder.weight": torch.zeros(4, 2)}, "config": {"note": hostile(done)}},
    }[hidden_in]
    torch.save(content, tmp_path / "ae.pt", _use_new_zipfile_serialization=zipped)
    with pytest.raises(UserError, match=r"is a pickle that asks for (posix\.system|getattr),"):
        read_checkpoint(tmp_path)
    with pytest.raises(UserError):
        read_checkpoint(tmp_path / "ae.pt", "flux")
    assert not done.exists()
    # The sample is what it is meant to be.
    torch.load(tmp_path / "ae.pt", weights_only=False)
    assert done.exists()


@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
def test_a_bare_pickle_runs_nothing_either(protocol: int, tmp_path: Path) -> None:
    path = tmp_path / "sae_final.pt"
    path.write_bytes(pickle.dumps({"model_state_dict": Shell(tmp_path / "done")}, protocol=protocol))
    # Protocol 0 is plain text, which begins like nothing that is read at all.
    with pytest.raises(UserError, match=r"asks for posix\.system" if protocol else "neither safetensors nor"):
        read_checkpoint(path)
    assert not (tmp_path / "done").exists()


def test_what_is_not_plain_is_refused_by_name(tmp_path: Path) -> None:
    torch.save({"log": np.float64(0.5)}, tmp_path / "a.pt")
    with pytest.raises(UserError, match=r"asks for numpy\S*scalar"):
        load_torch(tmp_path / "a.pt")
    torch.save({"model": torch.nn.Linear(2, 2)}, tmp_path / "b.pt")
    with pytest.raises(UserError, match=r"asks for torch\.nn\.modules\.linear\.Linear"):
        load_torch(tmp_path / "b.pt")


@pytest.mark.parametrize("zipped", [True, False])
def test_tensors_and_plain_values_are_read(zipped: bool, tmp_path: Path) -> None:
    content = {"a": torch.arange(6.0).reshape(2, 3).T, "b": {"k": 4, "name": "topk", "none": None, "list": [1, 2.5]}}
    torch.save(content, tmp_path / "a.pt", _use_new_zipfile_serialization=zipped)
    found = load_torch(tmp_path / "a.pt")
    assert torch.equal(found["a"], content["a"]) and found["b"] == content["b"]


@pytest.mark.parametrize("damage", ["cut", "empty", "zip of something else", "text"])
def test_a_damaged_file_is_a_users_error(damage: str, tmp_path: Path) -> None:
    path = tmp_path / "ae.pt"
    torch.save({"encoder.weight": torch.zeros(64, 16)}, path)
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:700])
    elif damage == "empty":
        path.write_bytes(b"")
    elif damage == "text":
        path.write_text("<!DOCTYPE html>")
    else:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("readme.txt", "no tensors")
    with pytest.raises(UserError, match=str(path)):
        read_checkpoint(path)
