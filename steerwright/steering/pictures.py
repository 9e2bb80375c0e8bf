"""Steered pictures in a few lines.

    from steerwright import add, erase, make_pictures, open_model

    model = open_model("models/seasons-sd", steps=20, guidance=4)
    picture, = make_pictures(
        model,
        "a red house beside a lake",
        seeds=42,
        changes=[add("winter.safetensors", 10, places=["mid", "up"]), erase("house.safetensors")],
    )
    picture.save("out.png")

Changes are made in the order given; without them the picture is the plain one. A saved PNG says how it was made.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict, Unpack

import numpy as np
import numpy.typing as npt
from pydantic import ValidationError

from steerwright.arguments import (
    known_settings,
    layer_list,
    negative_list,
    picture_settings,
    seed_list,
    strength_number,
    text_list,
)
from steerwright.errors import UserError, UserErrors, problems_at
from steerwright.models.attention_blocks import attention_blocks
from steerwright.models.generate import check_guidance, generate, image_size
from steerwright.models.load import LoadedModel, load_model
from steerwright.models.schedule import timesteps
from steerwright.models.select import select_model
from steerwright.models.spec import Dtype, ModelSpec
from steerwright.steering.algebra import Edit, EditBranch
from steerwright.steering.apply import check_branches, in_text_encoder, steered_batches
from steerwright.steering.attention import Action, AttentionRecipe, attention_edits
from steerwright.steering.idle_settings import check_given
from steerwright.steering.operators import Units
from steerwright.steering.text_encoder import text_edit
from steerwright.vectors.formats.vectors_file import load_vectors
from steerwright.vectors.steering_vectors import SteeringVectors

if TYPE_CHECKING:
    from PIL import Image

Vectors = SteeringVectors | str | Path
"""Vectors, or the file that holds them."""


class Settings(TypedDict, total=False):
    """How pictures are made, as `models.generate.Options` explains; what is left out is the model's own.

    negative_prompt: one text for all pictures, one for each picture, or one for each prompt.
    """

    negative_prompt: str | Sequence[str] | None
    batch_size: int
    steps: int | None
    guidance: float | None
    height: int | None
    width: int | None


@dataclass(frozen=True, slots=True)
class AttentionChange:
    """What to do with vectors of attention layers; `about` and `about_target` say which vectors these are."""

    action: Action
    vectors: SteeringVectors
    strength: float
    recipe: AttentionRecipe
    about: Mapping[str, str]
    target: SteeringVectors | None = None
    about_target: Mapping[str, str] | None = None

    def edits(self, model: LoadedModel, steps: int) -> list[Edit]:
        """The edits of a run of `steps` steps. Raises UserError for vectors of another model or unfit settings."""
        for vectors in (self.vectors, self.target):
            if vectors is not None:
                check_model(vectors, model)
        return attention_edits(
            self.action,
            self.vectors,
            self.strength,
            blocks=attention_blocks(model.pipeline, ("self", "cross")),
            timesteps=timesteps(model.pipeline, steps),
            recipe=self.recipe,
            target=self.target,
        )

    def described(self) -> dict[str, Any]:
        """All that decides what this change does, for the picture's record."""
        target = {} if self.about_target is None else {"target": dict(self.about_target)}
        return {"action": self.action, "strength": self.strength, **self.about, **target, **asdict(self.recipe)}


@dataclass(frozen=True, slots=True)
class TextChange:
    """Add vectors of text-encoder layers, each `strength` far."""

    vectors: SteeringVectors
    strength: float
    layers: tuple[int, ...]
    units: Units
    branch: EditBranch
    about: Mapping[str, str]

    def edits(self, model: LoadedModel, steps: int) -> list[Edit]:  # noqa: ARG002
        """The edits, the same for any number of steps. Raises UserError for vectors of another model."""
        check_model(self.vectors, model)
        return text_edit(self.vectors, self.layers, self.strength, branch=self.branch, units=self.units)

    def described(self) -> dict[str, Any]:
        """All that decides what this change does, for the picture's record."""
        where = {"layers": list(self.layers), "units": self.units, "branch": self.branch}
        return {"action": "add", "strength": self.strength, **self.about, **where}


Change = AttentionChange | TextChange


@dataclass(frozen=True, slots=True, eq=False)
class Picture:
    """`pixels` uint8 [height, width, 3], and how they were made: the texts that `save` writes into the PNG."""

    pixels: npt.NDArray[np.uint8]
    about: Mapping[str, str] = field(default_factory=dict)

    @property
    def image(self) -> Image.Image:
        """The same as an image of PIL, which notebooks show."""
        from PIL import Image

        return Image.fromarray(self.pixels)

    def save(self, path: str | Path) -> Path:
        """Write a PNG in place of what is there, whole or not at all. OSError where the folder does not allow it."""
        from PIL.PngImagePlugin import PngInfo

        path = Path(path)
        texts = PngInfo()
        for key, text in self.about.items():
            # Beyond Latin-1 this becomes an iTXt chunk, which is UTF-8.
            texts.add_text(key, text)
        partial = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        try:
            self.image.save(partial, format="PNG", pnginfo=texts)
            os.replace(partial, path)
        finally:
            partial.unlink(missing_ok=True)
        return path


def open_model(
    source: str | Path,
    *,
    steps: int | None = None,
    guidance: float | None = None,
    dtype: Dtype = "float32",
    revision: str | None = None,
) -> LoadedModel:
    """Load a folder that `save_pretrained` wrote, or an id on the Hugging Face Hub (with its `revision`).

    `steps` and `guidance` are what its pictures are made with, by default the usual ones: 50 and 7.5, for a folder with
    Stable Diffusion XL 30 and 5. Raises UserError when there is no such model, and for settings that cannot be.
    """
    picture_settings(steps=steps, guidance=guidance)
    if (Path(source) / "model_index.json").is_file():
        if revision is not None:
            raise UserError(f"revision {revision}: {source} is a folder, which has none; leave the revision out.")
        spec = select_model(str(source), {})
    else:
        spec = ModelSpec(name=Path(source).name, source=str(source), revision=revision, steps=50, guidance=7.5)
    given = {"steps": steps, "guidance": guidance, "dtype": dtype}
    # Built again, not copied, so that what is given is checked.
    asked = {**spec.model_dump(), **{key: value for key, value in given.items() if value is not None}}
    try:
        spec = ModelSpec(**asked)
    except ValidationError as error:
        raise UserErrors(f"{source} cannot be opened so:", problems_at(error)) from None
    model = load_model(spec)
    check_guidance(model, guidance)
    return model


def add(vectors: Vectors, strength: float = 10.0, **recipe: Any) -> AttentionChange:
    """Add a concept to the attention layers; `recipe` is any of AttentionRecipe's settings (places, window, ...)."""
    return _attention("add", vectors, strength, recipe)


def erase(vectors: Vectors, strength: float = 1.0, **recipe: Any) -> AttentionChange:
    """Take a concept out of the attention layers: 1 removes it, 2 reflects it. `recipe` as for `add`."""
    return _attention("erase", vectors, strength, recipe)


def replace(vectors: Vectors, target: Vectors, strength: float = 1.0, **recipe: Any) -> AttentionChange:
    """Turn the concept of `vectors` into that of `target`. `recipe` as for `add`."""
    return _attention("replace", vectors, strength, recipe, target)


def add_to_text(
    vectors: Vectors,
    strength: float = 1.0,
    *,
    layers: Sequence[int],
    units: Units = "raw",
    branch: EditBranch = "cond",
) -> TextChange:
    """Add a concept to `layers` of the text encoder; `units` and `branch` as in `text_edit`."""
    found, about = _opened(vectors)
    far = strength_number(strength, about.get("vectors", found.concept))
    return TextChange(found, far, layer_list(layers), units, branch, about)


def is_for_text(vectors: SteeringVectors) -> bool:
    """Whether the vectors belong into the text encoder, so that only `add_to_text` can use them."""
    return all(in_text_encoder(hookpoint) for hookpoint in vectors.hookpoints)


def make_pictures(
    model: LoadedModel,
    prompts: str | Sequence[str],
    seeds: int | Sequence[int] = 42,
    changes: Sequence[Change] = (),
    **settings: Unpack[Settings],
) -> list[Picture]:
    """A picture of every prompt with every seed: all seeds of the first prompt, then those of the next.

    Seeds are whole numbers from 0, or an array or a tensor of them. Raises UserError for settings that there are not,
    cannot be, or would change nothing, for changes that do not fit the model or the run, and for pictures that are not
    finite.
    """
    known_settings(settings, Settings)
    prompts, seeds = text_list(prompts), seed_list(seeds)
    asked = [(prompt, seed) for prompt in prompts for seed in seeds]
    given: dict[str, Any] = dict(settings)
    negatives = negative_list(given.pop("negative_prompt", None), len(asked), len(prompts))
    given = picture_settings(**given)
    guidance, steps = given.get("guidance"), given.get("steps")
    check_guidance(model, guidance, negatives)
    edits = [edit for change in changes for edit in change.edits(model, model.spec.steps if steps is None else steps)]
    check_branches(model, edits, guidance, negatives)
    pixels = generate(
        model,
        [prompt for prompt, _ in asked],
        [seed for _, seed in asked],
        edits=steered_batches(model, edits) if edits else None,
        negative_prompt=negatives,
        **given,
    )
    common = _common(model, changes, given)
    return [
        Picture(image, {"prompt": prompt, "negative_prompt": negative, "seed": str(seed), **common})
        for image, (prompt, seed), negative in zip(pixels, asked, negatives, strict=True)
    ]


def as_grid(pictures: Sequence[Picture], columns: int) -> Picture:
    """The pictures as one, row by row, with nothing between them; its record lists all prompts and seeds."""
    if not pictures or len(pictures) % columns:
        raise ValueError(f"{len(pictures)} pictures do not fill rows of {columns}")
    rows = [np.concatenate([p.pixels for p in pictures[i : i + columns]], 1) for i in range(0, len(pictures), columns)]
    each = {key: json.dumps([picture.about[key] for picture in pictures], ensure_ascii=False)
            for key in ("prompt", "seed")}  # fmt: skip
    negatives = [picture.about.get("negative_prompt", "") for picture in pictures]
    if len(set(negatives)) > 1:
        each["negative_prompt"] = json.dumps(negatives, ensure_ascii=False)
    return Picture(np.concatenate(rows), {**pictures[0].about, **each})


def check_model(vectors: SteeringVectors, model: LoadedModel) -> None:
    """Raise UserError unless `vectors` were fitted on `model`."""
    fitted, running = vectors.model, model.fingerprint
    if not fitted.same_model(running):
        raise UserError(
            f"The vectors for {vectors.concept!r} were fitted on {fitted.name} (fingerprint {fitted.digest[:12]}), but "
            f"the model to steer is {running.name} ({running.digest[:12]}).{fitted.difference(running)} Fit "
            "them on this model, or take the other."
        )
    fitted.note_beside(running, f"The vectors for {vectors.concept!r}")


def _attention(
    action: Action, vectors: Vectors, strength: float, recipe: Mapping[str, Any], target: Vectors | None = None
) -> AttentionChange:
    found, about = _opened(vectors)
    other, about_other = (None, None) if target is None else _opened(target)
    for one in (found, other):
        if one is not None and is_for_text(one):
            raise UserError(
                f"The vectors for {one.concept!r} belong into the text encoder; they can be added only, to layers."
            )
    known = [one.name for one in fields(AttentionRecipe)]
    unknown = sorted(set(recipe) - set(known))
    if unknown:
        raise UserError(f"An edit has no setting {', '.join(unknown)}; choose among {', '.join(known)}.")
    check_given(recipe, [action])
    far = strength_number(strength, about.get("vectors", found.concept))
    return AttentionChange(action, found, far, AttentionRecipe(**recipe), about, other, about_other)


def _opened(vectors: Vectors) -> tuple[SteeringVectors, dict[str, str]]:
    if isinstance(vectors, SteeringVectors):
        return vectors, {"concept": vectors.concept}
    path = Path(vectors)
    found = load_vectors(path)
    # The name and the content: where the file lay says nothing on another machine.
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return found, {"concept": found.concept, "vectors": path.name, "vectors_sha256": digest}


def _common(model: LoadedModel, changes: Sequence[Change], settings: Mapping[str, Any]) -> dict[str, str]:
    from importlib.metadata import PackageNotFoundError, version

    try:
        release = version("steerwright")
    except PackageNotFoundError:  # run from a checkout that is not installed
        release = ""
    guidance = settings.get("guidance")
    height, width = image_size(model, settings.get("height"), settings.get("width"))
    steps = settings.get("steps")
    return {
        "model": model.fingerprint.name,
        "model_digest": model.fingerprint.digest,
        "steps": str(model.spec.steps if steps is None else steps),
        "guidance": str(model.spec.guidance if guidance is None else guidance),
        "size": f"{width}x{height}",
        "edits": json.dumps([change.described() for change in changes], ensure_ascii=False),
        "Software": f"steerwright {release}".strip(),
    }
