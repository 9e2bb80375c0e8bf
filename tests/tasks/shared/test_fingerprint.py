"""What the stage writes tells later stages of every change of the model that can change what they make."""

import inspect
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from tasks.shared.fingerprint import fingerprint_model

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def written(source: Path | str, out: Path) -> dict[str, Any]:
    models = {"mine": {"family": "sd", "source": str(source), "steps": 2, "guidance": 4.0}}
    inspect.unwrap(fingerprint_model)("mine", models, Path("models/seasons-sd"), out / "model.json")
    found: dict[str, Any] = json.loads((out / "model.json").read_text())["fingerprint"]
    return found


@pytest.mark.parametrize(
    ("file", "counts"),
    [
        ("unet/config.json", True),
        ("scheduler/scheduler_config.json", True),
        ("tokenizer/tokenizer_config.json", True),
        ("README.md", False),
    ],
)
def test_a_change_is_seen_if_it_changes_pictures(file: str, counts: bool, sd_copy: Path, tmp_path: Path) -> None:
    before = written(sd_copy, tmp_path)
    path = sd_copy / file
    content = json.loads(path.read_text()) if path.is_file() else {}
    path.write_text(json.dumps({**content, "a_new_key": 1}))
    assert (written(sd_copy, tmp_path) != before) == counts


def test_a_hub_model_is_downloaded_so_that_its_files_identify_it(
    sd_copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cached = tmp_path / "hub" / "models--someone--tiny"
    (cached / "refs").mkdir(parents=True)
    (cached / "refs" / "main").write_text(COMMIT)
    snapshot = cached / "snapshots" / COMMIT
    shutil.copytree(sd_copy, snapshot, ignore=shutil.ignore_patterns("*.safetensors"))
    asked: dict[str, Any] = {}

    def download(source: str, **settings: Any) -> None:
        asked.update(settings, source=source)
        shutil.copytree(sd_copy, snapshot, dirs_exist_ok=True)

    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("huggingface_hub.hf_hub_download", lambda *_, **__: str(snapshot / "model_index.json"))
    monkeypatch.setattr("diffusers.DiffusionPipeline.download", download)
    found = written("someone/tiny", tmp_path)
    assert (found["revision"], found["digest"]) == (COMMIT, written(sd_copy, tmp_path)["digest"])
    assert (asked["source"], asked["revision"], asked["use_safetensors"]) == ("someone/tiny", COMMIT, True)
    assert asked["safety_checker"] is None


@pytest.fixture
def sd_copy(tmp_path: Path) -> Path:
    return Path(shutil.copytree("models/seasons-sd", tmp_path / "sd"))
