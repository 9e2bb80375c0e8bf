"""A layer's features come back from the folder that they are shipped in; which are offered follows what they do."""

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch

from steerwright.errors import UserError
from steerwright.lab.pictures.features import FluxLayer, LabFeature, offered, read_layer, two_rows, write_layer
from steerwright.lab.pictures.sources import read_json
from steerwright.sae.activations import Relu
from steerwright.sae.sae import Sae
from steerwright.sae.sae_file import save_sae


def feature(latent: int, **more: Any) -> LabFeature:
    known: dict[str, Any] = {
        "label": "object", "value": "cat", "auroc": 0.9, "coherence": 0.5, "frequency": 0.1, "change": None,
        "limit": 2.0, "prompts": ("a cat", "two cats"),
    }  # fmt: skip
    return LabFeature(layer="late", latent=latent, **{**known, **more})


@pytest.fixture
def layer() -> FluxLayer:
    eye = torch.eye(8)
    sae = Sae(
        encoder=eye, encoder_bias=torch.zeros(8), decoder=eye, decoder_bias=torch.zeros(8), activation=Relu()
    )  # fmt: skip
    pixels = np.full((16, 32, 3), (200, 80, 40), np.uint8)
    return FluxLayer("late", sae, 4.5, 5, (feature(3), feature(1, value=None, label=None)), lambda one: pixels)


def test_a_written_layer_is_read_back(layer: FluxLayer, tmp_path: Path) -> None:
    write_layer(layer, tmp_path)
    save_sae(layer.sae, tmp_path / "sae")
    found = read_layer(tmp_path, "late")
    assert (found.features, found.norm, found.step) == (layer.features, 4.5, 5)
    strip = found.strip(found.features[0])
    assert strip.shape == (16, 32, 3)
    assert np.abs(strip.astype(int) - (200, 80, 40)).max() < 6  # WebP loses a little


def test_a_feature_that_is_not_there_is_named_with_those_that_are(layer: FluxLayer) -> None:
    assert layer.feature(3).title == "cat · 3"
    assert layer.feature(1).title == "feature 1"
    with pytest.raises(UserError, match=r"no feature 7 .*late layer; choose one of 3, 1"):
        layer.feature(7)


def test_damaged_features_are_refused(layer: FluxLayer, tmp_path: Path) -> None:
    write_layer(layer, tmp_path)
    content = read_json(tmp_path / "features.json")
    for broken in ("[]", "{}", str(content).replace("'", '"')[:-3]):
        (tmp_path / "features.json").write_text(broken)
        with pytest.raises(UserError):
            read_layer(tmp_path, "late")


def test_latents_that_change_a_label_come_before_the_selected_ones() -> None:
    selected = pl.DataFrame({"rank": [2, 1], "latent": [8, 5]})
    changes = pl.DataFrame({"latent": [4, 8, 6, 9], "change": [0.4, 0.7, 0.1, None]})
    assert offered(selected, changes) == [8, 4, 5]


def test_pictures_stand_over_their_heat() -> None:
    dark, light = np.zeros((2, 2, 3), np.uint8), np.full((2, 2, 3), 255, np.uint8)
    rows = two_rows([dark, light], [light, dark])
    assert rows.shape == (8, 8, 3)
    assert rows[0, 0, 0] == 0 and rows[0, 6, 0] == 255 and rows[6, 0, 0] == 255 and rows[7, 7, 0] == 0
    assert (rows[2:6] == 128).all() and (rows[:, 2:6] == 128).all()
