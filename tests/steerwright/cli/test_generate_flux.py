"""`steerwright generate` on a FLUX folder, outside of any project."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from steerwright.cli.app import app
from steerwright.errors import UserError
from steerwright.models.generate import generate
from steerwright.models.hookpoints import Hookpoint
from steerwright.vectors.direction import normalised
from steerwright.vectors.formats.vectors_file import save_vectors
from steerwright.vectors.steering_vectors import SteeringVectors, VectorKey


@pytest.fixture
def run(flux_folder: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    monkeypatch.chdir(tmp_path)

    def call(*words: str, catch: bool = False) -> Any:
        fixed = ["--model", str(flux_folder("dev")), "--prompt", "a red house", "--steps", "2", "-o", "out.png"]
        return CliRunner().invoke(app, ["generate", *fixed, *words], catch_exceptions=catch)

    return call


def test_a_picture_is_the_librarys_and_says_how_it_was_made(flux: Any, run: Callable[..., Any], tmp_path: Path) -> None:
    assert run("--seed", "3").exit_code == 0
    with Image.open(tmp_path / "out.png") as picture:
        assert np.array_equal(np.asarray(picture), generate(flux, ["a red house"], [3], steps=2)[0])
        said = picture.text  # type: ignore[attr-defined]
    assert (said["size"], said["guidance"], said["negative_prompt"]) == ("32x32", "3.5", "")
    assert said["model_digest"] == flux.fingerprint.digest
    assert run("--size", "72x64", "--guidance", "1.5", "--force").exit_code == 0
    with Image.open(tmp_path / "out.png") as picture:
        assert picture.size == (72, 64)


def test_vectors_of_its_text_encoder_steer_it(flux: Any, run: Callable[..., Any], tmp_path: Path) -> None:
    layers = {VectorKey(Hookpoint("text_encoder.encoder.layers.1.mlp")): normalised(torch.ones(16).cumsum(0))}
    save_vectors(SteeringVectors("text", flux.fingerprint, "none", "all", layers), tmp_path / "text.safetensors")
    assert run().exit_code == 0
    plain = np.asarray(Image.open(tmp_path / "out.png")).astype(int)
    vectors = ("--vectors", "text.safetensors", "--add", "30", "--layers", "1", "--force")
    assert run(*vectors).exit_code == 0
    assert np.abs(np.asarray(Image.open(tmp_path / "out.png")) - plain).max() > 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--negative", "bad"], "takes no negative prompt"),
        (["--size", "100x64"], "multiples of 8"),
    ],
)
def test_mistakes_are_said(run: Callable[..., Any], words: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        run(*words)
