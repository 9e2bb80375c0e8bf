"""The whole winter pipeline on a model, a concept and judges that the seasons world knows nothing of."""

import json
import shutil
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import torch
from safetensors.torch import load_file, save_file

from steerwright.errors import UserError, UserErrors
from tasks.shared.fingerprint import fingerprint_model
from tasks.winter.activations import collect_activations
from tasks.winter.images import adaptive_winter
from tasks.winter.prompts import read_prompts
from tasks.winter.report import write_report
from tasks.winter.scores import evaluate
from tasks.winter.search import search_strength
from tasks.winter.vectors import steering_vectors

MODELS = Path(__file__).resolve().parents[3] / "models"
FOG = {"pairs": "fog.csv", "phrases": ["a foggy scene"], "other_phrases": ["a clear scene"]}
WORDS = {"high": ["sun"], "medium": ["day"], "low": ["room"], "default": "low"}
LOOP = {
    "kind": "closed_loop", "target_margin": 0.9, "fidelity_floor": None, "prompt_floor": 0.1, "minimum": 0.5,
    "maximum": 1.0, "rounds": 2, "tolerance": 0.1, "search": "grid",
}  # fmt: skip


@pytest.fixture(scope="module")
def scorers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A CLIP with random weights, as open_clip saves one; no label classifier; a backbone under another name."""
    folder = tmp_path_factory.mktemp("scorers")
    for name in ("clip", "lpips"):
        shutil.copytree(MODELS / f"seasons-{name}", folder / name)
    weights = folder / "clip/open_clip_model.safetensors"
    generator = torch.Generator().manual_seed(4)
    drawn = {
        name: torch.randn(value.shape, generator=generator) * 0.1 if value.is_floating_point() else value
        for name, value in load_file(weights).items()
    }
    save_file(drawn, weights)
    return {"clip": str(folder / "clip"), "labels": "clip", "lpips": str(folder / "lpips")}


def inputs(folder: Path, sd21_folder: Path, scorers: dict[str, str], **changed: Any) -> dict[str, Any]:
    (folder / "scored.csv").write_text("ID,prompt\n0,the sea in the sun\n1,a room\n")
    (folder / "tuning.csv").write_text("ID,prompt\n0,the sea\n")
    (folder / "fog.csv").write_text("ID,positive,negative\n0,the sea in fog,the sea\n1,a hut in fog,a hut\n")
    entry = {"family": "sd", "source": str(sd21_folder), "steps": 1, "guidance": 4.0}
    return {
        "scored": folder / "scored.csv", "tuning": folder / "tuning.csv", "contrast": folder, "concept": "fog",
        "concepts": {"fog": FOG}, "added_words": "in the fog", "resistance": WORDS, "model": "tiny",
        "models": {"tiny": entry}, "scorers": scorers, "fidelity_floor": None, "prompt_floor": 0.2,
        "directional_floor": -1.0, "strategy": LOOP,
        "prompts": folder / "prompts.json", "pairs": folder / "pairs.json", "target": folder / "target.json",
    } | changed  # fmt: skip


def test_search_loop_scores_and_report_do_without_the_worlds_labels(
    tmp_path: Path, sd21_folder: Path, scorers: dict[str, str]
) -> None:
    given = inputs(tmp_path, sd21_folder, scorers)
    read_prompts(**given)
    model, target, prompts, pairs = (tmp_path / f"{name}.json" for name in ("model", "target", "prompts", "pairs"))
    fingerprint_model(name="tiny", models=given["models"], embedded=MODELS, model=model)
    collect_activations(model, pairs, "hooks", 1, tmp_path / "activations")
    vectors, norms = tmp_path / "vectors.safetensors", tmp_path / "norms.json"
    steering_vectors(model, tmp_path / "activations", pairs, target, "mean_difference", "content", vectors, norms)
    search_strength(
        model, target, prompts, vectors, MODELS, scorers["clip"], "cond", "raw",
        {"layer_sets": [[0], [22]], "strengths": [1.0], "refine_trials": 0, "sampler_seed": 1}, 1, [3], 0.99, None, 0.2,
        -1.0, tmp_path / "trials", tmp_path / "best.json", tmp_path / "search-metrics.json",
    )  # fmt: skip
    best = json.loads((tmp_path / "best.json").read_text())
    assert (
        best["feasible"] and {"prompt_share", "directional", "fog_probability"} <= set(best) and "fidelity" not in best
    )
    assert 0.2 <= best["prompt_share"] <= 1 and -1 <= best["directional"] <= 1
    adaptive_winter(
        model, target, prompts, pairs, vectors, tmp_path / "best.json", MODELS, scorers["clip"], WORDS, LOOP, [17],
        [201], 7, tmp_path / "pictures", tmp_path / "doses.json",
    )  # fmt: skip
    attempts = json.loads((tmp_path / "doses.json").read_text())["attempts"]
    assert attempts and all(
        "prompt_share" in one and one["prompt"] in (0, 1) and "fidelity" not in one for one in attempts
    )
    files = [tmp_path / f"{name}.parquet" for name in ("images", "per_prompt", "aggregate")]
    evaluate(
        target, prompts, tmp_path / "pictures", [], scorers, WORDS, [17], 20, 5, *files, tmp_path / "comparisons.json",
        tmp_path / "metrics.json", tmp_path / "rates.csv", tmp_path / "similarity.csv",
    )  # fmt: skip
    assert {"fog", "fog_similarity", "fog_changed"} <= set(pl.read_parquet(files[0]).columns)
    assert "a_fog_all_adaptive" in json.loads((tmp_path / "metrics.json").read_text())
    write_report(
        model, target, norms, vectors, tmp_path / "trials", tmp_path / "best.json", tmp_path / "pictures",
        tmp_path / "doses.json", *files, tmp_path / "comparisons.json", {"vectors": {"concept": "fog"}}, scorers, "id",
        "image", tmp_path / "report", tmp_path / "submission.csv",
    )  # fmt: skip
    page = (tmp_path / "report" / "report.html").read_text()
    assert "Towards fog" in page and "“in the fog”" in page and "no label classifier" in page
    assert (tmp_path / "report" / "fog-rate.csv").is_file()
    assert "Winter" not in page and "in winter" not in page


def test_the_first_stage_refuses_the_worlds_judges(tmp_path: Path, sd21_folder: Path, scorers: dict[str, str]) -> None:
    given = inputs(tmp_path, sd21_folder, scorers)
    with pytest.raises(UserErrors, match=r"tiny is not a model of the seasons world[\s\S]*scorers\.lpips: alex"):
        read_prompts(**given | {"scorers": {**scorers, "lpips": "models/seasons-lpips"}})
    with pytest.raises(UserErrors, match=r"winter\.search\.fidelity_floor: null"):
        read_prompts(**given | {"fidelity_floor": 0.9})
    with pytest.raises(UserError, match=r"winter\.search has no floor"):
        read_prompts(**given | {"prompt_floor": None, "directional_floor": None})
    assert not (tmp_path / "prompts.json").exists()
