"""The seasons world's scoring CLIP."""

import json
import logging
import shutil
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
from torch import Tensor

from seasons.captions import OPENINGS, caption, with_article
from seasons.labels import IMAGE_SIZE, LABELS
from seasons.render import render_all
from seasons.scene import Scene, sample_scenes
from seasons.tokenizer import MAX_TOKENS
from seasons.train_text_encoder import named_labels
from seasons.training import Draws, Schedule, fit, to_unit_range
from steerwright.dag import Dep, Out, Param


def train_clip(
    tokenizer: Annotated[Path, Dep()],
    scenes: Annotated[int, Param()],
    steps: Annotated[int, Param()],
    clip: Annotated[Path, Out("seasons-clip", cache=False, resume=True)],
) -> None:
    """Train the CLIP that scores pictures against texts."""
    fit_clip(tokenizer, clip, clip / ".work", steps, scenes)
    shutil.rmtree(clip / ".work")


# The scoring CLIP (open_clip), with multi-positive targets: a caption fits every scene that it is true of.
#
# Plain InfoNCE calls another red house in the batch a wrong answer to "a red house", and objects then learn several
# times more slowly. The true matches are known here, so they are all targets.

log = logging.getLogger(__name__)

SEED, SCENES_SEED, BATCH = 41, 200, 128
TOKENIZER_FILES = ("vocab.json", "merges.txt", "tokenizer.json", "tokenizer_config.json")


def write_config(tokenizer_folder: Path, folder: Path) -> None:
    """Write the open_clip folder's config and tokenizer."""
    vocabulary = json.loads((tokenizer_folder / "vocab.json").read_text())
    config = {
        "model_cfg": {
            "embed_dim": 128,
            "vision_cfg": {"image_size": IMAGE_SIZE, "layers": 4, "width": 128, "head_width": 32, "patch_size": 8},
            "text_cfg": {
                "context_length": MAX_TOKENS,
                "vocab_size": len(vocabulary),
                "width": 96,
                "heads": 3,
                "layers": 3,
                "hf_tokenizer_name": "seasons",
            },
        },
        "preprocess_cfg": {
            "size": IMAGE_SIZE,
            "mean": [0.5] * 3,
            "std": [0.5] * 3,
            "interpolation": "bicubic",
            "resize_mode": "squash",
        },
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "open_clip_config.json").write_text(json.dumps(config, indent=1))
    for name in TOKENIZER_FILES:
        shutil.copyfile(tokenizer_folder / name, folder / name)


def short_caption(scene: Scene, rng: np.random.Generator) -> str:
    """Object and sometimes colour, nothing else: most of what is hard to learn."""
    noun = f"{scene.colour} {scene.object}" if rng.random() < 0.4 else scene.object
    return OPENINGS[rng.integers(len(OPENINGS))] + with_article(noun)


def matches(texts: list[str], scenes: list[Scene]) -> Tensor:
    """1 where caption j is true of scene i, as far as its labels say, else 0; float32 [scenes, texts]."""
    labels = torch.tensor([scene.label_indices() for scene in scenes])
    named = torch.tensor([named_labels(text) for text in texts])
    unsaid = torch.tensor([len(values) for values in LABELS.values()])
    fits = (labels[:, None] == named[None]) | (named == unsaid)[None]
    return fits.all(-1).float()


def fit_clip(tokenizer_folder: Path, folder: Path, work: Path, steps: int, scenes: int) -> None:
    """Write the open_clip folder (fp16)."""
    import open_clip
    from safetensors.torch import save_file

    torch.manual_seed(SEED)
    write_config(tokenizer_folder, folder)
    model = open_clip.create_model(f"local-dir:{folder}", load_weights=False)
    tokenizer = open_clip.get_tokenizer(f"local-dir:{folder}")
    listed = sample_scenes(scenes, SCENES_SEED)
    pixels = render_all(listed)

    def loss_at(step: int) -> Tensor:
        draws = Draws.at(SEED, step)
        rows = draws.numpy.integers(scenes, size=BATCH)
        chosen = [listed[row] for row in rows]
        write = caption if step % 2 else short_caption
        texts = [write(scene, draws.numpy) for scene in chosen]
        x = to_unit_range(pixels[rows])
        # Generated images are a little noisy and a little off in brightness: so are these.
        x = x + 0.04 * draws.normal(BATCH, 1, 1, 1) + float(draws.numpy.uniform(0, 0.1)) * draws.normal(*x.shape)
        if draws.numpy.random() < 0.5:
            x = x.flip(3)
        image, said, scale = model(x, tokenizer(texts))
        logits = scale * image @ said.T
        target = matches(texts, chosen)
        by_image = -(target / target.sum(1, keepdim=True) * logits.log_softmax(1)).sum(1).mean()
        by_text = -(target / target.sum(0, keepdim=True) * logits.log_softmax(0)).sum(0).mean()
        return (by_image + by_text) / 2 + 10 * torch.relu(model.logit_scale - 4.6)

    fit(model, loss_at, Schedule(steps, 1e-3, 60, steps // 2), work / "clip.pt", weight_decay=0.1)
    weights = {name: w.half().contiguous() for name, w in model.state_dict().items() if w.is_floating_point()}
    save_file(weights, folder / "open_clip_model.safetensors")
