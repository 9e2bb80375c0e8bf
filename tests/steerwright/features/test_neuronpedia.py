"""Records in Neuronpedia's layout: what a reader of one would check."""

import json
from pathlib import Path

import numpy as np
import pytest

from steerwright.features.neuronpedia import ImageActivation, PublishedFeature, export_features, feature_record


def feature(index: int = 12, **changed: object) -> PublishedFeature:
    found = np.zeros((2, 3), dtype=np.float32)
    found[1, 0], found[0, 2] = 2.5, 0.5
    scores = np.array([0, 0, 2.5, 1.0, 0.5], dtype=np.float32)
    known = {
        "density": 0.6, "scores": scores, "activations": [ImageActivation("a.png", "p1-0", "a horse", found)],
        "label": "object:horse", "auroc": 0.93, "direction": np.array([0.5, -0.25], dtype=np.float32),
        "neighbours": {3: 0.5, 40: 0.25},
    }  # fmt: skip
    return PublishedFeature(index, **(known | changed))  # type: ignore[arg-type]


def test_a_record_says_where_and_how_much_the_latent_is_active() -> None:
    record = feature_record("seasons-flux", "late", feature())
    assert (record["modelId"], record["layer"], record["index"]) == ("seasons-flux", "late", "12")
    assert record["frac_nonzero"] == 0.6 and record["maxActApprox"] == 2.5
    (activation,) = record["activations"]
    assert activation["values"] == [0, 0, 0.5, 2.5, 0, 0]
    assert activation["tokens"] == ["0,0", "0,1", "0,2", "1,0", "1,1", "1,2"]
    assert (activation["maxValue"], activation["maxValueTokenIndex"], activation["minValue"]) == (2.5, 3, 0)
    assert (activation["image"], activation["prompt"], activation["grid"]) == ("a.png", "a horse", [2, 3])
    assert record["explanations"][0]["description"] == "object:horse"
    assert record["explanations"][0]["scores"][0]["value"] == 0.93
    assert record["topkCosSimIndices"] == [3, 40] and record["vector"] == [0.5, -0.25]
    # Heights and values are read place by place: as many of the one as of the other.
    assert len(record["freq_hist_data_bar_values"]) == len(record["freq_hist_data_bar_heights"]) == 50
    assert sum(record["freq_hist_data_bar_heights"]) == 3
    assert record["pos_str"] == record["neg_values"] == record["logits_hist_data_bar_heights"] == []


def test_a_latent_without_label_activity_or_images() -> None:
    record = feature_record(
        "m", "s", feature(label=None, scores=np.zeros(4), activations=[], direction=None, neighbours={})
    )
    assert record["explanations"] == [] and record["maxActApprox"] == 0 and record["activations"] == []
    assert record["freq_hist_data_bar_values"] == [] and record["hasVector"] is False


def test_files_are_json_by_model_source_and_index(tmp_path: Path) -> None:
    written = export_features(tmp_path, "seasons-flux", "late", [feature(), feature(7)])
    assert [str(path.relative_to(tmp_path)) for path in written] == [
        "seasons-flux/late/12.json", "seasons-flux/late/7.json", "seasons-flux/late/index.json",
    ]  # fmt: skip
    assert json.loads(written[1].read_text())["index"] == "7"
    index = json.loads(written[2].read_text())
    assert [record["index"] for record in index] == ["12", "7"] and "activations" not in index[0]
    with pytest.raises(ValueError):
        export_features(tmp_path, "m", "s", [feature(density=float("nan"))])
