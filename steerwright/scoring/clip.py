"""CLIP scores through open_clip: how near an image is to a concept, and to its own prompt.

A concept is a small ensemble of phrases; its embedding is the normalised mean of theirs (prompt ensembling,
arXiv:2103.00020, section 3.1.4). Similarities are cosines in [-1, 1]; those of different models are not comparable.
"""

import difflib
import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from torch import Tensor
from torch.nn.functional import normalize

from steerwright.errors import UserError
from steerwright.files import lfs_pointer_in
from steerwright.models.building import building
from steerwright.models.custom_code import code_refused, never_asking, wants_code
from steerwright.prompts.label_set import LabelSet
from steerwright.scoring.labels import Predictions

EMBEDDED = "models/seasons-clip"


def scorer_here(source: str) -> str:
    """A scorer's folder as an absolute path, for work in another folder; a name of open_clip's stays as it is."""
    return str(Path(source).absolute()) if Path(source).is_dir() else source


@dataclass(frozen=True, slots=True)
class ZeroShot:
    """The most similar class of each image, and the softmax over classes [N, classes] at CLIP's own temperature."""

    names: list[str]
    probabilities: Tensor
    classes: tuple[str, ...]


class ClipScorer:
    """Embeds images and texts with one open_clip model; everything it returns is float32 on the CPU.

    `source` is a folder in open_clip's `local-dir:` format, or ARCHITECTURE/TAG such as `ViT-B-32/laion2b_s34b_b79k`.
    Activation and preprocessing are those that the weights were trained with, as the tag or the folder's config says.
    Raises UserError if neither exists, or the weights can be had neither from the cache nor from the network.
    """

    def __init__(self, source: str | Path = EMBEDDED, *, device: str | None = None, batch_size: int = 64) -> None:
        self.source = str(source)
        self.device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        self.batch_size = batch_size
        self._model, self._preprocess, self._tokenizer = _load(self.source)
        self._model.to(self.device).eval()

    def images(self, pixels: NDArray[np.uint8]) -> Tensor:
        """Unit embeddings [N, e] of uint8 images [N, H, W, 3] of any one size."""
        from PIL import Image

        return self._embed(
            [Image.fromarray(picture) for picture in pixels],
            lambda batch: self._model.encode_image(
                torch.stack([self._preprocess(picture) for picture in batch]).to(self.device)
            ),
        )

    def texts(self, texts: Sequence[str]) -> Tensor:
        """Unit embeddings [M, e] of texts; what exceeds the model's context is cut off."""
        return self._embed(list(texts), lambda batch: self._model.encode_text(self._tokenizer(batch).to(self.device)))

    def concept(self, phrases: Sequence[str]) -> Tensor:
        """Unit embedding [e] of a concept: the normalised mean of its phrases' embeddings."""
        return normalize(self.texts(phrases).mean(0), dim=0)

    def concept_similarity(self, images: Tensor, phrases: Sequence[str]) -> Tensor:
        """Cosine [N] of each image embedding [N, e] to the concept."""
        return images @ self.concept(phrases)

    def concept_margin(
        self,
        images: Tensor,
        target: str,
        concepts: Mapping[str, Sequence[str]],
        against: Literal["mean", "max"] = "max",
    ) -> Tensor:
        """Similarity to `target` minus the mean, or the largest, of the similarities to the other concepts, [N]."""
        rest = torch.stack([self.concept_similarity(images, concepts[name]) for name in concepts if name != target])
        other = rest.mean(0) if against == "mean" else rest.amax(0)
        return self.concept_similarity(images, concepts[target]) - other

    def zero_shot(self, images: Tensor, concepts: Mapping[str, Sequence[str]]) -> ZeroShot:
        """The nearest concept of each image embedding [N, e]."""
        classes = tuple(concepts)
        similarities = images @ torch.stack([self.concept(concepts[name]) for name in classes]).T
        scale = float(self._model.logit_scale.detach().exp())
        names = [classes[i] for i in similarities.argmax(1).tolist()]
        return ZeroShot(names, (scale * similarities).softmax(1), classes)

    def _embed(self, items: list[Any], encode: Any) -> Tensor:
        if not items:
            raise ValueError("There is nothing to embed.")
        with torch.inference_mode():
            parts = [
                normalize(encode(items[start : start + self.batch_size]).float(), dim=1).cpu()
                for start in range(0, len(items), self.batch_size)
            ]
        return torch.cat(parts)


def paired_similarity(images: Tensor, texts: Tensor) -> Tensor:
    """Cosine [N] of image i [N, e] to text i [N, e], both unit."""
    return (images * texts).sum(1)


def _load(source: str) -> tuple[Any, Any, Any]:
    import open_clip

    folder = Path(source)
    if folder.is_dir():
        missing = [
            name for name in ("open_clip_config.json", "open_clip_model.safetensors") if not (folder / name).is_file()
        ]
        if missing:
            raise UserError(
                f"{folder} is not an open_clip model folder: {' and '.join(missing)} missing. "
                f"Use {EMBEDDED}, or a folder that open_clip wrote."
            )
        name, tag = f"local-dir:{folder.resolve()}", None
    else:
        name, tag = _published(source, open_clip.list_pretrained())
    trained = {} if tag is None else _trained_with(name, tag)
    try:
        with building(), _quiet_root(), never_asking(), warnings.catch_warnings():
            # open_clip compares the tag with the architecture's file before it sees what `trained` says.
            warnings.filterwarnings("ignore", message="QuickGELU mismatch")
            model, _, preprocess = open_clip.create_model_and_transforms(name, pretrained=tag, **trained)
            return model, preprocess, open_clip.get_tokenizer(name)
    except (SafetensorError, RuntimeError, OSError, ValueError, KeyError) as error:
        if wants_code(error):
            raise code_refused("CLIP", source, folder) from error
        if tag is None:
            if (pointer := lfs_pointer_in(folder)) is not None:
                raise UserError(pointer) from error
            raise UserError(f"open_clip cannot read {folder}: {error}. Use {EMBEDDED}.") from error
        raise UserError(
            f"The weights of CLIP {source} are neither in the cache nor to be had from the network. "
            f"Connect once to fetch them, or set the scorer to the embedded {EMBEDDED}."
        ) from error


def _trained_with(architecture: str, tag: str) -> dict[str, Any]:
    """What the weights of a tag need of the model and the architecture's own file may not say.

    open_clip builds the architecture as its file says and only warns: OpenAI's `ViT-B-32` was trained with QuickGELU,
    LAION's with GELU. A tag that says nothing was trained as the file says (roberta-ViT-B-32). Mean, deviation,
    interpolation and resizing of pictures open_clip takes from the tag itself.
    """
    from open_clip.pretrained import get_pretrained_cfg

    found = get_pretrained_cfg(architecture, tag).get("quick_gelu")
    return {} if found is None else {"quick_gelu": bool(found)}


def _published(source: str, known: Sequence[tuple[str, str]]) -> tuple[str, str]:
    """ARCHITECTURE/TAG as open_clip names them, or a UserError with the nearest names."""
    names = {f"{architecture}/{tag}": (architecture, tag) for architecture, tag in known}
    if source in names:
        return names[source]
    near = difflib.get_close_matches(source, names, n=3, cutoff=0.5)
    raise UserError(
        f"There is no CLIP {source!r}: neither a folder nor a model that open_clip knows"
        + (f" (near: {', '.join(near)})" if near else "")
        + f". The embedded one is {EMBEDDED}."
    )


@contextmanager
def _quiet_root() -> Iterator[None]:
    """Drop what open_clip logs on the root logger while it loads: it would stand beside our own message."""

    def other(record: logging.LogRecord) -> bool:
        return "open_clip" not in record.pathname

    root = logging.getLogger()
    root.addFilter(other)
    try:
        yield
    finally:
        root.removeFilter(other)


# The labels of a set by CLIP's zero-shot answer, for models whose pictures the label classifier has never seen.


def zero_shot_labels(scorer: ClipScorer, images: Tensor, labels: LabelSet) -> Predictions:
    """Labels of image embeddings [N, e], in the shape that the label classifier gives.

    A colour is asked for with the object that was found: `a photo of a red boat` against `a photo of a blue boat`.
    """
    names: dict[str, list[str]] = {}
    probabilities: dict[str, Tensor] = {}
    for label, concepts in labels.phrases.items():
        if label not in labels.with_each:
            answer = scorer.zero_shot(images, concepts)
            names[label], probabilities[label] = answer.names, answer.probabilities
    for label, other in labels.with_each.items():
        values = labels.values[label]
        found = torch.zeros(len(images), len(values))
        for place, thing in enumerate(labels.values[other]):
            rows = torch.tensor([i for i, said in enumerate(names[other]) if said == thing], dtype=torch.long)
            if len(rows):
                asked = {value: (phrases[place],) for value, phrases in labels.phrases[label].items()}
                found[rows] = scorer.zero_shot(images[rows], asked).probabilities
        probabilities[label] = found
        names[label] = [values[i] for i in found.argmax(1).tolist()]
    return Predictions(names, probabilities)
