"""From names to specs, and no taking of one kind of model for another."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from steerwright.errors import UserError, UserErrors
from steerwright.models.identify import fingerprint
from steerwright.models.language.spec import (
    LanguageSpec,
    is_language_folder,
    read_language_model,
    select_language_model,
)
from steerwright.models.select import select_model
from steerwright.models.spec import ModelSpec

REPOSITORY = Path(__file__).parents[4]
MODELS: dict[str, dict[str, Any]] = {
    "words": {"family": "language", "source": "models/words", "dtype": "float16"},
    "words-large": {"family": "language", "source": "models/words-large", "fallback": "words"},
    "broken": {"family": "language", "source": "x", "steps": 20, "dtype": "int8"},
    "paint": {"family": "sd", "source": "models/paint", "steps": 2, "guidance": 1.0},
}


def test_an_entry_of_the_family_is_a_spec() -> None:
    found = select_language_model("words", MODELS)
    assert found == LanguageSpec(name="words", source="models/words", dtype="float16")
    assert select_language_model("words-large", MODELS).fallback == "words"


def test_kinds_of_models_are_not_taken_for_each_other() -> None:
    with pytest.raises(UserError, match=r"'paint' is a model of pictures \(family sd\).*words, words-large, broken"):
        select_language_model("paint", MODELS)
    with pytest.raises(UserError, match="'words' is a language model, but pictures are asked for"):
        select_model("words", MODELS)
    with pytest.raises(UserError, match="holds a model of pictures"):
        select_language_model(str(REPOSITORY / "models" / "seasons-sd"), {})


def test_every_problem_of_an_entry_is_listed() -> None:
    with pytest.raises(UserErrors) as caught:
        select_language_model("broken", MODELS)
    assert [problem.partition(":")[0] for problem in caught.value.problems] == [
        "models.broken.dtype",
        "models.broken.steps",
    ]


def test_a_mistyped_name_offers_the_nearest() -> None:
    with pytest.raises(UserError, match=r"no model 'wods'.*did you mean words"):
        select_language_model("wods", MODELS)
    with pytest.raises(UserError, match="there are words, words-large, broken"):
        select_language_model("zzz", MODELS)


def test_a_folder_is_read_by_its_config(language_folder: Callable[[str], Path], language_shape: str) -> None:
    folder = language_folder(language_shape)
    assert is_language_folder(folder)
    assert not is_language_folder(folder.parent)
    assert select_language_model(str(folder), {}) == LanguageSpec(name=language_shape, source=str(folder))


@pytest.mark.parametrize(
    ("config", "dtype"), [({"dtype": "bfloat16"}, "bfloat16"), ({"torch_dtype": "float16"}, "float16"), ({}, "float32")]
)
def test_a_folder_runs_in_the_precision_of_its_weights(tmp_path: Path, config: dict[str, str], dtype: str) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"architectures": ["MistralForCausalLM"], **config}))
    assert select_language_model(str(tmp_path), {}).dtype == dtype


@pytest.mark.parametrize("content", ["", "[]", '{"widths": [24, 48]}', '{"architectures": null}'])
def test_other_configs_are_no_language_models(tmp_path: Path, content: str) -> None:
    (tmp_path / "config.json").write_text(content)
    assert not is_language_folder(tmp_path)


@pytest.mark.parametrize("name", ["Gemma3ForConditionalGeneration", "BertModel", "T5ForConditionalGeneration"])
def test_whether_a_model_of_transformers_is_a_language_model_loading_says(tmp_path: Path, name: str) -> None:
    (tmp_path / "config.json").write_text(
        json.dumps({"architectures": [name], "text_config": {"dtype": "bfloat16"}, "model_type": "x"})
    )
    assert is_language_folder(tmp_path)
    assert select_language_model(str(tmp_path), {}).dtype == "bfloat16"
    (tmp_path / "model_index.json").write_text("{}")
    assert not is_language_folder(tmp_path)


def test_spec_and_identity_read_back(language_folder: Callable[[str], Path], tmp_path: Path) -> None:
    spec = select_language_model(str(language_folder("gpt2")), {})
    identity = fingerprint(spec)
    written = {"spec": spec.model_dump(), "fingerprint": identity.model_dump()}
    (tmp_path / "model.json").write_text(json.dumps(written))
    assert read_language_model(tmp_path / "model.json") == (spec, identity)


def test_the_projects_language_models_are_whole_and_fall_back_to_one_that_is_there() -> None:
    models = YAML(typ="safe").load((REPOSITORY / "params.yaml").read_text())["models"]
    own = {name: select_language_model(name, models) for name, e in models.items() if e["family"] == "language"}
    assert set(own) == {"seasons-lm", "mistral-7b-instruct", "phi-3-mini"}
    assert own["mistral-7b-instruct"].fallback == "phi-3-mini"
    others = [select_model(name, models) for name in models if name not in own]
    assert others and all(isinstance(spec, ModelSpec) for spec in others)
