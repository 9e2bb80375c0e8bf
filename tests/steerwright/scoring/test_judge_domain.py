"""Judges that know only the seasons world are refused for other models, by every pipeline, before anything runs."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from steerwright.cli.run import change_params
from steerwright.dag.params import load_params, merge_file
from steerwright.errors import UserErrors
from steerwright.models.select import select_model
from steerwright.scoring.judge_domain import JUDGES, check_judges, is_embedded, of_seasons_world

ROOT = Path(__file__).resolve().parents[3]
FREE = ("scorers", "winter.search.space", "attention.edits", "attention.prompts.concepts", "models")


@pytest.fixture
def params() -> dict[str, Any]:
    return load_params(ROOT)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A folder with params.yaml and the embedded models, as links."""
    shutil.copy(ROOT / "params.yaml", tmp_path)
    (tmp_path / ".dvc").mkdir()
    (tmp_path / "models").mkdir()
    for folder in (ROOT / "models").iterdir():
        (tmp_path / "models" / folder.name).symlink_to(folder)
    return tmp_path


def test_the_embedded_models_with_the_embedded_judges_are_fine(params: dict[str, Any]) -> None:
    for pipeline in JUDGES:
        check_judges(pipeline, params, ROOT)


@pytest.mark.parametrize(
    ("pipeline", "key", "model", "lines"),
    [
        ("winter", "model", "sd-2.1-base", [
            "scorers.clip: ViT-B-32/laion2b_s34b_b79k", "scorers.labels: clip", "scorers.lpips: alex",
            "winter.search.fidelity_floor: null",
        ]),
        ("attention", "model", "sdxl", ["scorers.clip", "scorers.labels", "scorers.lpips",
                                        "attention.scores.fid: inception", "attention.search.kept: prompt"]),
        ("latents", "model", "sd-1.5", ["scorers.clip", "scorers.labels", "scorers.lpips",
                                        "latents.scores.fid: inception", "latents.winter.kept: prompt"]),
        ("flux", "flux.model", "flux.1-dev", ["scorers.clip", "scorers.labels", "scorers.lpips",
                                              "flux.truth.scenes: 0"]),
        ("language", "language.model", "mistral-7b-instruct", ["language.scorer: facebook/bart-large-mnli"]),
    ],
)  # fmt: skip
def test_another_model_with_them_is_refused_with_the_lines_to_set(
    params: dict[str, Any], pipeline: str, key: str, model: str, lines: list[str]
) -> None:
    *section, last = key.split(".")
    (params[section[0]] if section else params)[last] = model
    with pytest.raises(UserErrors, match=f"{model} is not a model of the seasons world") as refused:
        check_judges(pipeline, params, ROOT)
    assert len(refused.value.problems) == len(lines)
    for line, problem in zip(lines, refused.value.problems, strict=True):
        assert problem.startswith(line)


@pytest.mark.parametrize(
    ("pipeline", "model", "file"),
    [
        ("winter", "sd-2.1-base", "real-models.yaml"), ("attention", "sdxl", "real-models.yaml"),
        ("latents", "sd-1.5", "real-models.yaml"), ("language", None, "real-models.yaml"),
        ("flux", None, "flux-dev.yaml"), ("flux", None, "flux-schnell.yaml"),
    ],
)  # fmt: skip
def test_the_shipped_files_of_parameters_have_the_lines(
    project: Path, pipeline: str, model: str | None, file: str
) -> None:
    merge_file(project, ROOT / "params" / file, FREE)
    params = load_params(project)
    check_judges(pipeline, params | ({"model": model} if model else {}), project)


def test_a_closed_loop_needs_floors_without_labels_too(project: Path) -> None:
    merge_file(project, ROOT / "params/real-models.yaml", FREE)
    params = load_params(project) | {"model": "sd-2.1-base"}
    params["winter"]["images"]["strategy"] = {"kind": "closed_loop", "fidelity_floor": 0.9}
    with pytest.raises(UserErrors, match=r"winter\.images\.strategy\.fidelity_floor: null"):
        check_judges("winter", params, project)


def test_what_is_built_as_an_embedded_model_is_of_its_world_and_what_is_not_is_not(
    tmp_path: Path, sd21_folder: Path
) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(ROOT / "models/seasons-sd", copy)
    config = json.loads((copy / "unet/config.json").read_text())
    (copy / "unet/config.json").write_text(json.dumps(config, indent=8, sort_keys=True))
    (copy / "README.md").write_text("mine")
    weights = copy / "unet/diffusion_pytorch_model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    entry = {"family": "sd", "steps": 1, "guidance": 4.0}

    def world(source: Path | str, **more: Any) -> bool:
        return of_seasons_world(select_model("x", {"x": {**entry, "source": str(source), **more}}), ROOT)

    assert world(copy) and world("models/seasons-sd")
    assert not world(sd21_folder) and not world("stabilityai/stable-diffusion-2-1-base")
    assert not world(copy, world="other") and world(sd21_folder, world="seasons")
    wider = {**config, "block_out_channels": [16, 32, 64]}
    (copy / "unet/config.json").write_text(json.dumps(wider))
    assert not world(copy)


def test_the_embedded_scorers_are_known_by_any_path_to_them(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(ROOT / "models/seasons-clip")
    assert is_embedded("models/seasons-clip", ROOT) and is_embedded(f"{tmp_path}/link", ROOT)
    assert not is_embedded("ViT-B-32/openai", ROOT) and not is_embedded("clip", ROOT)


def test_a_refused_run_leaves_the_parameters_as_they_were(project: Path) -> None:
    before = (project / "params.yaml").read_bytes()
    with pytest.raises(UserErrors, match=r"sd-2\.1-base is not a model of the seasons world"):
        change_params(project, "winter", "sd-2.1-base", None)
    assert (project / "params.yaml").read_bytes() == before


def test_a_folder_does_not_inherit_the_world_of_the_model_before_it(project: Path, sd21_folder: Path) -> None:
    text = (project / "params.yaml").read_text()
    marked = text.replace("source: models/seasons-sd,", "source: models/seasons-sd, world: seasons,")
    (project / "params.yaml").write_text(marked)
    with pytest.raises(UserErrors, match="is not a model of the seasons world"):
        change_params(project, "winter", str(sd21_folder), None)
