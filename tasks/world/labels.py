"""The seasons world's label classifier."""

import logging
import shutil
from pathlib import Path
from typing import Annotated

import torch
from torch import Tensor, nn

from seasons.labels import LABELS
from seasons.render import render_all
from seasons.scene import sample_scenes
from seasons.training import Draws, Schedule, fit, to_unit_range
from steerwright.dag import Out, Param
from steerwright.scoring.labels import LabelClassifier, save_label_classifier


def train_classifier(
    scenes: Annotated[int, Param()],
    steps: Annotated[int, Param()],
    labels: Annotated[Path, Out("seasons-labels", cache=False, resume=True)],
) -> None:
    """Train the classifier that says what a picture shows: the ground truth of generated pictures."""
    fit_classifier(labels, labels / ".work", steps, scenes)
    shutil.rmtree(labels / ".work")


# Training of the label classifier on rendered scenes, disturbed the way that generated images are.

log = logging.getLogger(__name__)

SEED, SCENES_SEED, HELD_OUT_SEED, BATCH = 51, 300, 901, 128


def disturb(x: Tensor, draws: Draws) -> Tensor:
    """Noise, blur, brightness, contrast and mirroring, drawn for each image; pixels [n, 3, 64, 64] in [-1, 1]."""
    n = len(x)
    blurred = nn.functional.avg_pool2d(x, 3, 1, 1, count_include_pad=False)
    share = torch.from_numpy(draws.numpy.uniform(0, 1, (n, 1, 1, 1))).float()
    x = x + share * (blurred - x)
    gain = 1 + 0.08 * draws.normal(n, 1, 1, 1)
    level = torch.from_numpy(draws.numpy.uniform(0, 0.15, (n, 1, 1, 1))).float()
    x = gain * x + 0.05 * draws.normal(n, 3, 1, 1) + level * draws.normal(*x.shape)
    mirrored = torch.from_numpy(draws.numpy.random(n) < 0.5)
    return torch.where(mirrored[:, None, None, None], x.flip(3), x)


def fit_classifier(folder: Path, work: Path, steps: int, scenes: int) -> None:
    """Write models/seasons-labels: config.json and fp16 weights."""
    torch.manual_seed(SEED)
    listed = sample_scenes(scenes, SCENES_SEED)
    pixels, truth = render_all(listed), torch.tensor([scene.label_indices() for scene in listed])
    model = LabelClassifier(LABELS).to(memory_format=torch.channels_last)

    def loss_at(step: int) -> Tensor:
        draws = Draws.at(SEED, step)
        rows = draws.numpy.integers(scenes, size=BATCH)
        x = disturb(to_unit_range(pixels[rows]), draws).contiguous(memory_format=torch.channels_last)
        logits = model(x)
        losses = [nn.functional.cross_entropy(logits[name], truth[rows, i]) for i, name in enumerate(logits)]
        return torch.stack(losses).mean()

    # Dropout draws from torch's global generator; seeding it by step keeps a resumed run exact.
    def seeded(step: int) -> Tensor:
        torch.manual_seed(SEED * 1_000_003 + step)
        return loss_at(step)

    fit(model, seeded, Schedule(steps, 2e-3, 50, steps // 2), work / "classifier.pt", weight_decay=0.02)
    model.eval()
    held_out = sample_scenes(2000, HELD_OUT_SEED)
    held_truth = torch.tensor([scene.label_indices() for scene in held_out])
    log.info("held-out accuracy %s", accuracies(model, to_unit_range(render_all(held_out)), held_truth))
    save_label_classifier(model, folder)


def accuracies(model: LabelClassifier, pixels: Tensor, truth: Tensor) -> dict[str, float]:
    """Share right of each label; pixels [n, 3, 64, 64] in [-1, 1], truth int64 [n, labels] in the order of LABELS."""
    with torch.inference_mode():
        batches = [model(x) for x in pixels.split(128)]
    shares = {}
    for index, name in enumerate(LABELS):
        said = torch.cat([batch[name] for batch in batches]).argmax(1)
        shares[name] = (said == truth[:, index]).float().mean().item()
    return shares
