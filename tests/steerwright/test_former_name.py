"""What steerkit wrote is read, and what was set for it is refused with the new name."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from steerwright.errors import UserError
from steerwright.file_kind import kind_of
from steerwright.former_name import current, read_header, refuse_former_settings, setting
from steerwright.models.fingerprint import Fingerprint
from steerwright.models.hookpoints import Hookpoint
from steerwright.sae.activations import TopK
from steerwright.sae.sae import Sae
from steerwright.sae.sae_file import load_sae, save_sae
from steerwright.vectors.direction import normalised
from steerwright.vectors.formats.vectors_file import load_vectors, save_vectors
from steerwright.vectors.steering_vectors import SteeringVectors, VectorKey

ROOT = Path(__file__).parents[2]
MODEL = Fingerprint(name="m", source="folder", revision=None, digest="0" * 64, libraries={})


def under_the_former_name(path: Path) -> Path:
    """The same safetensors file as steerkit wrote it."""
    with safe_open(str(path), framework="pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        header = file.metadata()["steerwright"]
    old = path.with_name("old.safetensors")
    save_file(tensors, old, metadata={"steerkit": header.replace('"steerwright.', '"steerkit.')})
    return old


def test_vectors_of_the_former_name_are_read_to_the_bit(tmp_path: Path) -> None:
    made = SteeringVectors("joy", MODEL, "", "all", {VectorKey(Hookpoint("a.b")): normalised(torch.tensor([3.0, 4.0]))})
    save_vectors(made, tmp_path / "new.safetensors")
    old = under_the_former_name(tmp_path / "new.safetensors")
    found = kind_of(old)
    assert found is not None and found.kind == "own_vectors"
    (direction,) = load_vectors(old).directions.values()
    assert torch.equal(direction.unit, next(iter(made.directions.values())).unit)


def test_autoencoders_of_the_former_name_are_read(tmp_path: Path) -> None:
    eye = torch.eye(3)
    save_sae(Sae(eye, torch.zeros(3), eye, torch.zeros(3), TopK(1)), tmp_path / "sae")
    config = tmp_path / "sae" / "config.json"
    config.write_text(config.read_text().replace("steerwright.sae", "steerkit.sae"))
    assert load_sae(tmp_path / "sae").activation.kind == "topk"


def test_the_shipped_files_of_the_former_name_are_read() -> None:
    path = ROOT / "models/seasons-starters/winter/vectors.safetensors"
    assert b'"steerkit' in path.read_bytes()[:2000], "this test is about a file that steerkit wrote"
    vectors = load_vectors(path)
    assert vectors.concept == "winter" and all(torch.isfinite(one.unit).all() for one in vectors.directions.values())


def test_only_the_names_of_schemas_change() -> None:
    found = current({"schema_name": "steerkit.sae", "note": "steerkit.sae", "schema": "other.sae", "format": 3})
    assert found == {"schema_name": "steerwright.sae", "note": "steerkit.sae", "schema": "other.sae", "format": 3}
    assert current([1]) == [1] and read_header(None) == {}
    assert read_header({"steerkit": json.dumps({"schema_name": "steerkit.x"})}) == {"schema_name": "steerwright.x"}


def test_settings_of_the_former_name_are_refused_with_the_new_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STEERWRIGHT_DEVICE", "cpu")
    assert setting("DEVICE") == "cpu"
    monkeypatch.setenv("STEERKIT_DEVICE", "cuda")
    with pytest.raises(UserError, match=r"STEERKIT_DEVICE: .* set STEERWRIGHT_DEVICE instead"):
        setting("DEVICE")
    monkeypatch.setenv("STEERKIT_RUNNER", "dask")
    with pytest.raises(UserError, match="set STEERWRIGHT_DEVICE, STEERWRIGHT_RUNNER instead"):
        refuse_former_settings()


def test_the_command_line_refuses_them_before_it_says_that_all_is_done() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "steerwright.cli.main", "status"],
        env={**os.environ, "STEERKIT_RUNNER": "dask", "PYTHONPATH": str(ROOT)}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert (
        done.stderr
        == "steerwright: STEERKIT_RUNNER: steerkit is called steerwright now; set STEERWRIGHT_RUNNER instead.\n"
    )
