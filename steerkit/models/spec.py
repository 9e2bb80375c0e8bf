"""Which model, and how it is run: what params.yaml says about one model."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

Dtype = Literal["float32", "float16", "bfloat16"]


class ModelSpec(BaseModel):
    """A model by name, where it comes from, and the settings that images are made with."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(min_length=1, description="The model's name in params.yaml and in reports.")
    family: Literal["sd"] = Field(
        default="sd", description="sd: Stable Diffusion 1.x, 2.x, XL and Turbo pipelines of diffusers."
    )
    source: str = Field(
        min_length=1, description="A folder that save_pretrained wrote, or an id on the Hugging Face Hub."
    )
    revision: str | None = Field(default=None, description="Commit or tag on the Hub; null for a folder.")
    dtype: Dtype = Field(
        default="float32", description="Precision of weights and activations; CPUs run float32 for float16."
    )
    steps: int = Field(ge=1, description="Denoising steps per image.")
    guidance: float = Field(
        ge=0.0, description="Classifier-free guidance scale; 1 or less runs no unconditional branch."
    )
    height: int | None = Field(default=None, ge=8, multiple_of=8, description="Pixels; null: the model's own size.")
    width: int | None = Field(default=None, ge=8, multiple_of=8, description="Pixels; null: the model's own size.")
