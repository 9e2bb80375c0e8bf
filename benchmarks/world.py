"""How good the embedded models are, on scenes and captions that they were not trained on.

    python -m benchmarks.world [--images 500] [--only seasons-flux] [--sheet sheet.png]

Prints one table: the scoring CLIP's zero-shot labels and the label classifier on 2,000 rendered scenes, and the labels
of pictures that each model generates from full captions, judged by the classifier. `--sheet` saves the first 64
pictures of the last model.
"""

import argparse
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from rich.console import Console
from rich.table import Table

from seasons.captions import full_caption
from seasons.label_set import SEASONS_WORLD
from seasons.labels import LABELS
from seasons.render import render_all
from seasons.scene import Scene, sample_scenes
from steerwright.models.generate import generate
from steerwright.models.load import load_model
from steerwright.models.spec import ModelSpec
from steerwright.scoring.clip import ClipScorer, zero_shot_labels
from steerwright.scoring.labels import LabelScorer, Predictions

RENDERED_SEED, CAPTIONS_SEED = 902, 903
BARS = {
    "CLIP zero-shot": {"season": 0.98, "object": 0.98},
    "label classifier": dict.fromkeys(LABELS, 0.98),
    "seasons-sd": {"season": 0.95, "place": 0.95, "object": 0.85, "time": 0.90},
    "seasons-flux": {"season": 0.90, "object": 0.80},
}
MODELS = {
    "seasons-sd": {"family": "sd", "steps": 20, "guidance": 4.0},
    "seasons-flux": {"family": "flux", "steps": 12, "guidance": 3.5},
}


def shares(found: Predictions, scenes: list[Scene]) -> dict[str, float]:
    """Share of pictures whose label is the scene's."""
    return {
        label: float(np.mean([said == getattr(scene, label) for said, scene in zip(names, scenes, strict=True)]))
        for label, names in found.names.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=500, help="how many pictures to generate")
    parser.add_argument("--scenes", type=int, default=2000, help="how many scenes to render")
    parser.add_argument("--models", type=Path, default=Path("models"), help="folder of the embedded models")
    parser.add_argument("--only", choices=list(MODELS), help="generate with this model alone")
    parser.add_argument("--sheet", type=Path, help="save the first 64 generated pictures here")
    arguments = parser.parse_args()

    clip = ClipScorer(arguments.models / "seasons-clip")
    labels = LabelScorer.load(arguments.models / "seasons-labels", SEASONS_WORLD)
    rendered = sample_scenes(arguments.scenes, RENDERED_SEED)
    pixels = render_all(rendered)
    rows = {
        "CLIP zero-shot": (shares(zero_shot_labels(clip, clip.images(pixels), SEASONS_WORLD), rendered), len(rendered)),
        "label classifier": (shares(labels.predict(pixels), rendered), len(rendered)),
    }
    seconds: dict[str, float] = {}
    for name, settings in MODELS.items() if arguments.images else ():
        if arguments.only not in (None, name):
            continue
        spec = ModelSpec.model_validate({"name": name, "source": str(arguments.models / name), **settings})
        asked = sample_scenes(arguments.images, CAPTIONS_SEED)
        model, captions = load_model(spec), [full_caption(scene) for scene in asked]
        begun = time.perf_counter()
        pictures = generate(model, captions, list(range(len(asked))), batch_size=16)
        seconds[name] = (time.perf_counter() - begun) / len(asked)
        rows[name] = (shares(labels.predict(pictures), asked), len(asked))
        if arguments.sheet:
            save_sheet(pictures[:64], arguments.sheet)

    table = Table(title="Share of right labels, held-out scenes (bar in brackets)")
    for column in ("", *LABELS, "pictures"):
        table.add_column(column, justify="left" if not column else "right")
    for name, (found, count) in rows.items():
        bars = BARS[name]
        cells = [f"{found[label]:.3f}" + (f" ({bars[label]:.2f})" if label in bars else "") for label in LABELS]
        table.add_row(name, *cells, str(count))
    Console(width=120).print(table)
    for name, took in seconds.items():
        print(f"{name}: {took:.2f} s a picture on {torch.get_num_threads()} threads")


def save_sheet(pictures: np.ndarray, path: Path) -> None:
    """Pictures [n, 64, 64, 3], n a multiple of 8, eight in a row, doubled in size."""
    rows = len(pictures) // 8
    grid = pictures[: rows * 8].reshape(rows, 8, 64, 64, 3).transpose(0, 2, 1, 3, 4).reshape(rows * 64, 512, 3)
    Image.fromarray(grid).resize((1024, rows * 128), Image.Resampling.NEAREST).save(path)


if __name__ == "__main__":
    main()
