"""The label scorer on classifiers whose answers are planted."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from seasons.label_set import SEASONS_WORLD
from seasons.labels import LABELS
from steerwright.errors import UserError
from steerwright.scoring.labels import LabelClassifier, LabelScorer, save_label_classifier


class ReadsTheRedChannel(nn.Module):
    """The value of every label is the mean of the red channel, from 0 at -1 upwards in steps of 0.5."""

    def __init__(self) -> None:
        super().__init__()
        self.labels = LABELS
        self.shapes: list[torch.Size] = []

    def forward(self, pixels: Tensor) -> dict[str, Tensor]:
        self.shapes.append(pixels.shape)
        red = pixels[:, 0].mean((1, 2))[:, None]
        return {label: -50 * (red - (torch.arange(len(values)) * 0.5 - 1.0)).abs() for label, values in LABELS.items()}


def test_labels_follow_the_pixels_scaled_to_minus_one_and_one_in_batches() -> None:
    network = ReadsTheRedChannel()
    pixels = np.zeros((5, 64, 64, 3), np.uint8)
    # -1, 0, 1/2 and -1/2 of the scaled range are 0, 127.5, 191 and 64; green and blue must not matter.
    pixels[..., 0] = np.array([0, 127, 191, 64, 0])[:, None, None]
    pixels[..., 1:] = 255
    found = LabelScorer(network, device="cpu", batch_size=2).predict(pixels)
    assert found.names["season"] == ["spring", "autumn", "winter", "summer", "spring"]
    assert found.names["object"] == ["house", "boat", "horse", "car", "house"]
    assert [shape[0] for shape in network.shapes] == [2, 2, 1]
    assert found.probabilities["time"].shape == (5, 3)
    assert found.confidence("season")[0] > 0.99


def test_large_pictures_are_resized_before_they_are_read() -> None:
    network = ReadsTheRedChannel()
    pixels = np.full((1, 512, 512, 3), 191, np.uint8)
    assert LabelScorer(network, device="cpu").predict(pixels).names["season"] == ["winter"]
    assert network.shapes == [torch.Size([1, 3, 64, 64])]


def test_a_saved_classifier_predicts_what_its_logits_say(tmp_path: Path) -> None:
    torch.manual_seed(1)
    network = LabelClassifier(LABELS, (4, 4, 4, 4))
    save_label_classifier(network, tmp_path)
    pixels = np.random.default_rng(0).integers(0, 256, (3, 64, 64, 3), dtype=np.uint8)
    found = LabelScorer.load(tmp_path, device="cpu").predict(pixels)
    with torch.inference_mode():
        logits = network.half().float().eval()(torch.from_numpy(pixels).permute(0, 3, 1, 2) / 127.5 - 1)
    for label, values in LABELS.items():
        assert torch.allclose(found.probabilities[label], logits[label].softmax(1), atol=1e-5)
        assert found.names[label] == [values[i] for i in logits[label].argmax(1)]


def test_a_folder_without_a_classifier_names_the_embedded_one(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"config\.json and model\.safetensors missing.*models/seasons-labels"):
        LabelScorer.load(tmp_path)


def test_a_classifier_of_other_labels_says_what_it_shows_but_does_not_score_ours(tmp_path: Path) -> None:
    torch.manual_seed(1)
    save_label_classifier(LabelClassifier({"weather": ("fog", "rain")}, (4, 4, 4, 4)), tmp_path)
    found = LabelScorer.load(tmp_path, device="cpu").predict(np.zeros((2, 64, 64, 3), np.uint8))
    assert list(found.names) == ["weather"] and set(found.names["weather"]) <= {"fog", "rain"}
    with pytest.raises(UserError, match=r"labels weather.*not those of the seasons world.*scorers\.labels"):
        LabelScorer.load(tmp_path, SEASONS_WORLD)
