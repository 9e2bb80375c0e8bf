"""Which language model, and how it is run: what params.yaml says about one."""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    JsonValue,
    SerializerFunctionWrapHandler,
    ValidationError,
    model_serializer,
)

from steerwright.errors import UserError, UserErrors, problems_at
from steerwright.models.fingerprint import Fingerprint, library_versions
from steerwright.models.spec import Dtype


class LanguageSpec(BaseModel):
    """A causal language model by name, where it comes from, and how it is loaded."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(min_length=1, description="The model's name in params.yaml and in reports.")
    family: Literal["language"] = Field(default="language", description="Causal language models of transformers.")
    source: str = Field(
        min_length=1, description="A folder that save_pretrained wrote, or an id on the Hugging Face Hub."
    )
    revision: str | None = Field(default=None, description="Commit or tag on the Hub; null for a folder.")
    dtype: Dtype = Field(
        default="float32", description="Precision of weights and activations; CPUs run float32 for float16."
    )
    device_map: Literal["auto"] | None = Field(
        default=None, description="auto: the layers are spread over GPUs and, where these are full, the CPU's memory."
    )
    fallback: str | None = Field(
        default=None, description="Another entry of `models`, which is taken when memory does not suffice for this one."
    )
    chat: bool = Field(
        default=True, description="Whether prompts are put into the tokenizer's chat template, where it has one."
    )
    system: str | None = Field(
        default=None, description="What the system turn says that goes before every request; null: none."
    )
    template: dict[str, JsonValue] = Field(
        default_factory=dict, description="Arguments of the chat template: {enable_thinking: false}."
    )
    world: Literal["seasons", "other"] | None = Field(
        default=None,
        description="Whether it was trained on the seasons world, whose judge knows no other texts; null: it was if it "
        "is built as the embedded model is.",
    )

    @model_serializer(mode="wrap")
    def _what_counts(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        # As before there was such a key, so that what was fitted on a model keeps its bytes.
        found: dict[str, Any] = dump(self)
        return {key: value for key, value in found.items() if key != "world" or value is not None}


# From the name of a language model to its spec: an entry of params.yaml's `models`, or a local folder.


def select_language_model(name: str, models: Mapping[str, Mapping[str, Any]]) -> LanguageSpec:
    """The spec of `name`: its entry in `models`, else a folder that `save_pretrained` wrote, in the weights' precision.

    Raises UserError for an entry that is no language model, with near matches for a name that is neither, and
    UserErrors for a bad entry.
    """
    if name in models:
        if models[name].get("family") != "language":
            raise UserError(
                f"{name!r} is a model of pictures (family {models[name].get('family', 'sd')}); what you ask for needs "
                f"a language model: {_known(models)}."
            )
        try:
            return LanguageSpec(name=name, **models[name])
        except ValidationError as error:
            raise UserErrors("params.yaml: this model cannot be used:", problems_at(error, "models", name)) from None
    folder = Path(name)
    if is_language_folder(folder):
        config = _config(folder)
        # A model that sees or hears as well may say it of its text model alone.
        parts = [config, config.get("text_config") or {}]
        dtype = next((part[key] for part in parts for key in ("dtype", "torch_dtype") if part.get(key)), None)
        held: Dtype = dtype if dtype in ("float16", "bfloat16") else "float32"
        return LanguageSpec(name=folder.resolve().name, source=str(folder), dtype=held)
    if (folder / "model_index.json").is_file():
        raise UserError(f"{name} holds a model of pictures; what you ask for needs a language model: {_known(models)}.")
    near = difflib.get_close_matches(name, models, n=2)
    hint = f"did you mean {' or '.join(near)}?" if near else f"there are {_known(models)}."
    raise UserError(f"params.yaml has no model {name!r}, and it is no folder with a language model; {hint}")


def is_language_folder(folder: Path) -> bool:
    """Whether `folder` holds a single model of transformers, by its config.json, or an adapter of one.

    Whether that is a causal language model only loading it shows, which says what it is where it is another kind.
    """
    if (folder / "model_index.json").is_file():
        return False
    config = _config(folder)
    named = any(config.get(key) for key in ("architectures", "model_type", "auto_map"))
    return named or (folder / "adapter_config.json").is_file()


def read_language_model(path: Path) -> tuple[LanguageSpec, Fingerprint]:
    """Spec and identity that the fingerprint stage wrote."""
    content = json.loads(path.read_text(encoding="utf-8"))
    return LanguageSpec(**content["spec"]), Fingerprint(**{"libraries": library_versions(), **content["fingerprint"]})


def _known(models: Mapping[str, Mapping[str, Any]]) -> str:
    return ", ".join(name for name, entry in models.items() if entry.get("family") == "language") or "none"


def _config(folder: Path) -> dict[str, Any]:
    """The object in the folder's config.json; empty where there is none."""
    try:
        content = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}
