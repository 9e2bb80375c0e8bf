"""The tasks from pairs to vectors, on the embedded model, with both kinds of attention and both branches."""

import json
from pathlib import Path

import polars as pl
import pytest

from steerwright.models.load import load_model
from steerwright.models.spec import ModelSpec
from steerwright.vectors.formats.vectors_file import load_vectors
from tasks.attention.activations import collect_attention
from tasks.attention.vectors import attention_vectors

MODEL = Path(__file__).parents[3] / "models" / "seasons-sd"


@pytest.mark.parametrize("keep", ["moments", "rows"])
def test_every_vector_has_one_row_of_norms_and_few_pairs_say_nothing_of_noise(tmp_path: Path, keep: str) -> None:
    spec = ModelSpec(name="seasons-sd", source=str(MODEL), steps=2, guidance=4.0, dtype="float32")
    fingerprint = load_model(spec).fingerprint
    (tmp_path / "model.json").write_text(
        json.dumps({"spec": spec.model_dump(), "fingerprint": fingerprint.model_dump()})
    )
    pairs = [
        {"id": i, "positive": f"a {what} in winter", "negative": f"a {what} in summer"}
        for i, what in enumerate(["car", "cat", "house"])
    ]
    concepts = {"snow": {"pairs": pairs}, "frost": {"pairs": pairs[:2]}}
    (tmp_path / "prompts.json").write_text(json.dumps({"concepts": concepts}))
    files = tmp_path / "model.json", tmp_path / "prompts.json"
    collect_attention(*files, ["self", "cross"], ["cond", "uncond"], keep, [0], 3, 2, tmp_path / "activations")  # type: ignore[arg-type]
    attention_vectors(
        *files, tmp_path / "activations", ["self", "cross"], keep, 3, None,  # type: ignore[arg-type]
        tmp_path / "vectors", tmp_path / "geometry.parquet", tmp_path / "norms.csv",
    )  # fmt: skip
    norms = pl.read_csv(tmp_path / "norms.csv")
    key = ["concept", "block", "attention", "branch", "step_first"]
    # Two concepts, seven blocks of two kinds, two branches, two steps.
    assert norms.height == norms.unique(key).height == 2 * 7 * 2 * 2 * 2
    assert norms.unique(["panel", "series", "step_first"]).height == norms.height
    # Three pairs have three swaps, two have one: all that there are, or fewer than asked for.
    assert norms.filter(concept="snow")["control"].is_not_null().all()
    assert norms.filter(concept="frost")["control"].is_null().all()
    snow = load_vectors(tmp_path / "vectors" / "snow.safetensors")
    late = [slot for slot in snow.directions if slot.branch == "cond" and slot.hookpoint.path.endswith("attn2")]
    assert late and not any(snow.is_noise(slot) for slot in late)
    geometry = pl.read_parquet(tmp_path / "geometry.parquet")
    assert geometry.filter(concept="frost")["noise"].is_null().all()
