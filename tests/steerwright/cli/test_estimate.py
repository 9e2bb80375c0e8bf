"""`steerwright estimate` in a project of its own: what it says, and that it changes nothing."""

import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

from steerwright.cli.app import app
from steerwright.cli.estimate import collections_of, with_file
from steerwright.errors import UserError
from steerwright.models.hookpoints import Hookpoint, resolve
from steerwright.models.select import select_model

REPOSITORY = Path(__file__).parents[3]
PARAMS = """
model: seasons-sd
models:
  seasons-sd: {family: sd, source: models/seasons-sd, revision: null, dtype: float32, steps: 20, guidance: 4.0}
latents:
  prompts:
    suite:
      axes: {object: [house, car], season: [summer, winter]}
      counts: {train: 8, test: 4}
  activations:
    {hookpoints: [unet.mid_block.attentions.0], splits: [train], steps: [0, 1], batch_size: 4}
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "tasks" / "demo").mkdir(parents=True)
    (tmp_path / "tasks" / "demo" / "pipeline.py").touch()
    (tmp_path / "data" / "latents").mkdir(parents=True)
    (tmp_path / "models").symlink_to(REPOSITORY / "models")
    for split in ("train", "test"):
        (tmp_path / "data" / "latents" / f"{split}.txt").write_text(
            "".join(f"{split} {n} {{object}} {{season}}\n" for n in "ab")
        )
    (tmp_path / "params.yaml").write_text(PARAMS)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def said(*arguments: str) -> str:
    result = CliRunner().invoke(app, ["estimate", *arguments], catch_exceptions=False)
    assert result.exit_code == 0
    return " ".join(result.output.split())


def test_it_says_pictures_bytes_time_and_memory(project: Path) -> None:
    text = said("latents", "--rate", "4")
    assert "8 (splits train)" in text
    # 8 pictures, 2 steps, 16 tokens.
    assert "256 at unet.mid_block.attentions.0:out" in text
    # Each of 128 float32 values and 48 bytes of index: 143 kB and what surrounds them.
    assert "on disk 14" in text and "kB in 1 shards" in text
    assert "0.0 minutes on one such machine, at 4 pictures a second (as stated)" in text
    assert sorted(path.name for path in project.iterdir()) == ["data", "models", "params.yaml", "tasks"]


def test_a_file_of_parameters_is_tried_and_not_written(project: Path) -> None:
    (project / "more.yaml").write_text("latents: {activations: {steps: null, splits: [train, test]}}\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("steerwright.dag.registry.all_stages", lambda root=None: {})
        text = said("latents", "--params", "more.yaml", "--rate", "4")
        assert "12 (splits train, test)" in text
        assert "3,840 at unet.mid_block.attentions.0:out" in text  # 12 pictures, 20 steps, 16 tokens
        (project / "more.yaml").write_text("latents: {activation: {steps: null}}\n")
        with pytest.raises(UserError, match=r"latents\.activation\b"):
            said("latents", "--params", "more.yaml")
    assert (project / "params.yaml").read_text() == PARAMS


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["winter"], "knows latents, flux, not 'winter'"),
        (["--rate", "0"], "above 0"),
        (["--model", "sd-9"], "no model 'sd-9'"),
        (["--params", "absent.yaml"], "no such file"),
        (["--configs"], "only for the family flux"),
        (["flux"], r"no section flux\.prompts\.suite"),
    ],
)
def test_mistakes_are_said(project: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], message: str) -> None:
    monkeypatch.setattr("steerwright.dag.registry.all_stages", lambda root=None: {})
    with pytest.raises(UserError, match=message):
        said(*arguments)


def test_a_project_without_the_sections_has_nothing_to_estimate(project: Path) -> None:
    (project / "params.yaml").write_text("model: seasons-sd\n")
    with pytest.raises(UserError, match=r"no section latents\.prompts\.suite"):
        said()


def test_a_probe_times_the_model(project: Path) -> None:
    text: Any = said("latents")
    assert "a few steps of one batch were timed" in text and "in all" in text


FLUX = """
models:
  tiny: {family: flux, source: FOLDER, revision: null, dtype: bfloat16, steps: 4, guidance: 3.5, offload: model}
flux:
  model: tiny
  prompts:
    suite:
      axes: {object: [house, car], season: [summer, winter]}
      counts: {train: 8, test: 4}
  activations:
    {hookpoints: [BLOCK, "BLOCK:out:text"], splits: [train], steps: [0, 3], batch_size: 4}
  images:
    {hookpoints: [BLOCK], step: 3, split: test, repetitions: 2, batch_size: 4, prompts_per_shard: 2}
"""


def test_flux_is_estimated_from_its_configs(
    project: Path, flux_folder: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    configs = tmp_path / "configs"
    shutil.copytree(flux_folder("dev"), configs, ignore=shutil.ignore_patterns("*.safetensors"))
    (project / "data" / "latents").rename(project / "data" / "flux")
    text = FLUX.replace("FOLDER", str(configs)).replace("BLOCK", "transformer.single_transformer_blocks.0")
    (project / "params.yaml").write_text(text)
    found = said("flux", "--configs", "--rate", "2")
    # 8 pictures, 2 steps: 16 image tokens, and 12 of the text; then every prompt of 4 twice, at one step.
    assert "flux-activations pictures 8 (splits train), none of them decoded" in found
    assert "256 at transformer.single_transformer_blocks.0:out:image" in found
    assert "192 at transformer.single_transformer_blocks.0:out:text" in found
    assert "flux-images pictures 8 (splits test), and the pictures themselves" in found
    assert "128 at transformer.single_transformer_blocks.0:out:image" in found
    assert "at once on a GPU (offload: model); what a batch computes comes on top" in found
    assert "not known from configs; say pictures a second with --rate" in said("flux", "--configs")
    with pytest.raises(UserError, match="could not be loaded"):
        said("flux")


@pytest.mark.parametrize(("name", "steps", "looked_at"), [("flux-dev", 20, 13), ("flux-schnell", 4, 2)])
def test_the_parameter_sets_of_real_flux_fit_its_blocks(name: str, steps: int, looked_at: int) -> None:
    """Against the transformer of diffusers with its own defaults, which are FLUX.1's."""
    from diffusers import FluxTransformer2DModel

    values = with_file(REPOSITORY, REPOSITORY / "params" / f"{name}.yaml")
    spec = select_model(values["flux"]["model"], values["models"])
    assert (spec.family, spec.steps, spec.dtype, spec.height) == ("flux", steps, "bfloat16", 256)
    with torch.device("meta"):
        transformer: Any = FluxTransformer2DModel(num_layers=19, num_single_layers=38)
    activations, images = collections_of(values, REPOSITORY, "flux")
    points = activations.collection.parsed()
    assert points == images.collection.parsed()
    for point in points:
        block = resolve(SimpleNamespace(transformer=transformer), point)
        assert block.net[2].out_features == 3072  # type: ignore[union-attr, index]
    assert images.collection.steps == (looked_at,) and looked_at < steps
    saes = values["flux"]["sae"]
    for layer, point in zip(("early", "late"), points, strict=True):
        assert {str(Hookpoint.parse(saes[layer][kind]["hookpoint"])) for kind in ("pooled", "conditioned")} == {
            str(point)
        }
        assert saes[layer]["conditioned"]["steps"] == [looked_at]
