"""`steerkit estimate` in a project of its own: what it says, and that it changes nothing."""

from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from steerkit.cli.app import app
from steerkit.errors import UserError

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
    (tmp_path / "tasks" / "pipelines").mkdir(parents=True)
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
        patch.setattr("steerkit.dag.registry.all_stages", lambda root=None: {})
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
        (["winter"], "knows latents, not 'winter'"),
        (["--rate", "0"], "above 0"),
        (["--model", "sd-9"], "no model 'sd-9'"),
        (["--params", "absent.yaml"], "no such file"),
    ],
)
def test_mistakes_are_said(project: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], message: str) -> None:
    monkeypatch.setattr("steerkit.dag.registry.all_stages", lambda root=None: {})
    with pytest.raises(UserError, match=message):
        said(*arguments)


def test_a_project_without_the_sections_has_nothing_to_estimate(project: Path) -> None:
    (project / "params.yaml").write_text("model: seasons-sd\n")
    with pytest.raises(UserError, match=r"no section latents\.prompts\.suite"):
        said()


def test_a_probe_times_the_model(project: Path) -> None:
    text: Any = said("latents")
    assert "a few steps of one batch were timed" in text and "in all" in text
