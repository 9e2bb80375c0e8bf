"""The label classifier: which season, object, colour, place and time a 64x64 picture shows: the ground truth."""

import json
from pathlib import Path

import torch
from torch import Tensor, nn

from steerwright.world.labels import LABELS


class ConvStage(nn.Sequential):
    """Two 3x3 convolutions, the first of stride 2, each with batch norm and ReLU."""

    def __init__(self, inside: int, outside: int) -> None:
        layers: list[nn.Module] = []
        for width, stride in ((inside, 2), (outside, 1)):
            layers += [nn.Conv2d(width, outside, 3, stride, 1, bias=False), nn.BatchNorm2d(outside), nn.ReLU()]
        super().__init__(*layers)


class LabelClassifier(nn.Module):
    """Four convolutional stages, then one linear head for each label."""

    def __init__(self, widths: tuple[int, ...] = (24, 48, 96, 128)) -> None:
        super().__init__()
        self.widths = widths
        self.stages = nn.Sequential(*(ConvStage(a, b) for a, b in zip((3, *widths), widths, strict=False)))
        # 4x4 positions stay apart: where things are says which place it is.
        self.dropout = nn.Dropout(0.2)
        self.heads = nn.ModuleDict({name: nn.Linear(widths[-1] * 16, len(values)) for name, values in LABELS.items()})

    def forward(self, pixels: Tensor) -> dict[str, Tensor]:
        """Logits of each label, [n, values], for pixels [n, 3, 64, 64] in [-1, 1]."""
        features = self.dropout(self.stages(pixels).flatten(1))
        return {name: head(features) for name, head in self.heads.items()}


def save_label_classifier(model: LabelClassifier, folder: Path) -> None:
    """Write config.json and model.safetensors (fp16)."""
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    config = {"widths": list(model.widths), "labels": {name: list(values) for name, values in LABELS.items()}}
    (folder / "config.json").write_text(json.dumps(config, indent=1))
    half = {k: (v.half() if v.is_floating_point() else v).contiguous() for k, v in model.state_dict().items()}
    save_file(half, folder / "model.safetensors")


def load_label_classifier(folder: Path) -> LabelClassifier:
    """The classifier of a folder, in float32 and eval mode. Raises ValueError if its labels are not this world's."""
    from safetensors.torch import load_file

    config = json.loads((folder / "config.json").read_text())
    if config["labels"] != {name: list(values) for name, values in LABELS.items()}:
        raise ValueError(f"{folder} was trained for the labels {config['labels']}, not for this world's {LABELS}.")
    model = LabelClassifier(tuple(config["widths"]))
    weights = load_file(folder / "model.safetensors")
    model.load_state_dict({k: v.float() if v.is_floating_point() else v for k, v in weights.items()})
    model.eval()
    return model


def accuracies(model: LabelClassifier, pixels: Tensor, truth: Tensor) -> dict[str, float]:
    """Share right of each label; pixels [n, 3, 64, 64] in [-1, 1], truth int64 [n, labels] in the order of LABELS."""
    with torch.inference_mode():
        batches = [model(x) for x in pixels.split(128)]
    shares = {}
    for index, name in enumerate(LABELS):
        said = torch.cat([batch[name] for batch in batches]).argmax(1)
        shares[name] = (said == truth[:, index]).float().mean().item()
    return shares
