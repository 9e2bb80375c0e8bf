"""Which model, and how it is run: what params.yaml says about one model."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    field_validator,
    model_serializer,
    model_validator,
)

from steerwright.models.families import FAMILIES

Dtype = Literal["float32", "float16", "bfloat16"]
Offload = Literal["none", "model", "sequential"]


class ModelSpec(BaseModel):
    """A model by name, where it comes from, and the settings that images are made with."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(min_length=1, description="The model's name in params.yaml and in reports.")
    family: str = Field(
        default="sd",
        description="Pipelines of diffusers; sd: Stable Diffusion 1.x, 2.x, XL, Turbo; flux: FLUX.1 dev and schnell.",
    )
    source: str = Field(
        min_length=1, description="A folder that save_pretrained wrote, or an id on the Hugging Face Hub."
    )
    revision: str | None = Field(default=None, description="Commit or tag on the Hub; null for a folder.")
    dtype: Dtype = Field(
        default="float32",
        description="Precision of weights and activations; CPUs run float32 for float16, and FLUX bfloat16.",
    )
    steps: int = Field(ge=1, description="Denoising steps per image.")
    guidance: float = Field(
        ge=0.0,
        description="Classifier-free guidance scale; 1 or less runs no unconditional branch, and FLUX never does.",
    )
    height: int | None = Field(default=None, ge=8, multiple_of=8, description="Pixels; null: the model's own size.")
    width: int | None = Field(default=None, ge=8, multiple_of=8, description="Pixels; null: the model's own size.")
    offload: Offload = Field(
        default="none",
        description="Where a GPU has not room for all: model brings each network there when it runs, sequential each "
        "of its modules. Pictures stay the same.",
    )
    device_map: Literal["balanced"] | None = Field(
        default=None, description="balanced: the networks are spread over all GPUs. Goes without offload."
    )
    world: Literal["seasons", "other"] | None = Field(
        default=None,
        description="Whether it was trained on the seasons world, whose judges know no other pictures; null: it was if "
        "it is built as the embedded model is.",
    )

    @field_validator("family")
    @classmethod
    def _known(cls, family: str) -> str:
        if family not in FAMILIES:
            raise ValueError(f"there is no family {family!r}; choose one of {', '.join(FAMILIES)}")
        return family

    @model_validator(mode="after")
    def _one_way(self) -> ModelSpec:
        if self.offload != "none" and self.device_map is not None:
            raise ValueError("offload and device_map exclude each other")
        return self

    @model_serializer(mode="wrap")
    def _what_counts(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        # What is not used is not written, so that specs of models that need neither read as they always did.
        found: dict[str, Any] = dump(self)
        unused = {"offload": "none", "device_map": None, "world": None}
        return {key: value for key, value in found.items() if key not in unused or value != unused[key]}
