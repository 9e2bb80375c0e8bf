"""Which language model, and how it is run: what params.yaml says about one."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, SerializerFunctionWrapHandler, model_serializer

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
