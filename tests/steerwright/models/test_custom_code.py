"""Code that comes with a model is never run, by any command, and nobody is asked on the terminal."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from steerwright.errors import UserError
from steerwright.models.language.load import load_language_model
from steerwright.models.language.reading import read_architecture
from steerwright.models.language.spec import LanguageSpec
from steerwright.models.load import load_model
from steerwright.models.spec import ModelSpec
from steerwright.scoring.clip import ClipScorer
from steerwright.scoring.language.judges import Entailment

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def marker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A file that the models' code would write; a terminal that says yes to everything, and remembers that it did."""
    asked: list[str] = []

    def yes(question: str = "") -> str:
        asked.append(question)
        return "y"

    monkeypatch.setattr("builtins.input", yes)
    written = tmp_path / "code-was-run"
    yield written
    assert not written.exists()
    assert not asked


def put_code(folder: Path, marker: Path) -> None:
    (folder / "code_of_foo.py").write_text(
        f"open({str(marker)!r}, 'w').close()\n"
        "from transformers import PretrainedConfig\n"
        "class FooConfig(PretrainedConfig):\n    model_type = 'foo'\n"
    )


def set_json(path: Path, **more: Any) -> None:
    content = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps({**content, **more}))


@pytest.fixture
def folder(language_folder: Callable[[str], Path], tmp_path: Path, marker: Path) -> Path:
    """A language model whose config names a class of its own."""
    copy = Path(shutil.copytree(language_folder("mistral"), tmp_path / "foo"))
    put_code(copy, marker)
    set_json(
        copy / "config.json", model_type="foo", architectures=["FooForCausalLM"],
        auto_map={"AutoConfig": "code_of_foo.FooConfig", "AutoModelForCausalLM": "code_of_foo.Foo"},
    )  # fmt: skip
    return copy


def test_a_language_model_with_a_class_of_its_own_is_refused_by_name(folder: Path) -> None:
    spec = LanguageSpec(name="foo", source=str(folder))
    message = (
        rf"Model 'foo': {folder} needs custom code to be loaded \(auto_map in its config.json: code_of_foo.FooConfig\)"
        ", and steerwright runs no code"
    )
    with pytest.raises(UserError, match=message):
        load_language_model(spec, device=CPU)
    with pytest.raises(UserError, match=message):
        read_architecture(spec)


def test_a_tokenizer_with_a_class_of_its_own_is_read_from_its_file_or_refused(
    language_folder: Callable[[str], Path], tmp_path: Path, marker: Path
) -> None:
    copy = Path(shutil.copytree(language_folder("mistral"), tmp_path / "foo"))
    put_code(copy, marker)
    set_json(
        copy / "tokenizer_config.json", tokenizer_class="FooTokenizer",
        auto_map={"AutoTokenizer": [None, "code_of_foo.FooTokenizer"]},
    )  # fmt: skip
    spec = LanguageSpec(name="foo", source=str(copy))
    assert load_language_model(spec, device=CPU).tokenizer("A boat.").input_ids
    (copy / "tokenizer.json").unlink()
    with pytest.raises(UserError, match=r"its tokenizer could not be loaded|needs custom code"):
        load_language_model(spec, device=CPU)


def test_code_beside_a_model_that_needs_none_is_left_alone(
    language_folder: Callable[[str], Path], tmp_path: Path, marker: Path
) -> None:
    """As in the published Phi-3, whose class transformers has itself."""
    copy = Path(shutil.copytree(language_folder("phi3"), tmp_path / "phi3"))
    put_code(copy, marker)
    set_json(
        copy / "config.json",
        auto_map={"AutoConfig": "code_of_foo.FooConfig", "AutoModelForCausalLM": "code_of_foo.Foo"},
    )
    model = load_language_model(LanguageSpec(name="phi3", source=str(copy)), device=CPU).model
    assert type(model).__module__.startswith("transformers.")


def test_a_zero_shot_scorer_with_a_class_of_its_own_is_refused(folder: Path) -> None:
    with pytest.raises(UserError, match=r"zero-shot scorer: .*foo needs custom code .*auto_map in its config.json"):
        Entailment.load(str(folder), {"happy": "This text is happy."})


def test_a_clip_folder_whose_tokenizer_is_code_is_refused(tmp_path: Path, marker: Path) -> None:
    """open_clip hands the folder to transformers, and leaves open whether its code may be run."""
    copy = Path(shutil.copytree("models/seasons-clip", tmp_path / "clip"))
    put_code(copy, marker)
    (copy / "tokenizer_config.json").write_text(
        json.dumps({"tokenizer_class": "FooTokenizer", "auto_map": {"AutoTokenizer": ["code_of_foo.Foo", None]}})
    )
    with pytest.raises(UserError, match=r"CLIP: .*clip needs custom code .*auto_map in its tokenizer_config.json"):
        ClipScorer(copy, device="cpu")


def test_a_pipeline_with_parts_of_its_own_is_refused_by_name(tmp_path: Path, marker: Path) -> None:
    copy = Path(shutil.copytree("models/seasons-sd", tmp_path / "sd"))
    put_code(copy / "unet", marker)
    spec = ModelSpec(name="foo", source=str(copy), steps=1, guidance=1.0)
    set_json(copy / "model_index.json", unet=["code_of_foo", "FooUNet"])
    with pytest.raises(
        UserError, match=r"'foo': model_index.json of .*sd takes unet from custom code \(code_of_foo.py"
    ):
        load_model(spec, device=CPU)
    set_json(copy / "model_index.json", unet=["diffusers", "UNet2DConditionModel"], _class_name=["pipeline", "Foo"])
    with pytest.raises(UserError, match=r"'foo': .*sd needs custom code to be loaded, and steerwright runs no code"):
        load_model(spec, device=CPU)


def test_every_auto_class_of_transformers_is_told_to_run_no_code() -> None:
    """Also where somebody adds a call: each `Auto....from_pretrained` or `from_config` says so."""
    root = Path(__file__).parents[3]
    calls = [
        (path.relative_to(root), line.strip())
        for package in ("steerwright", "tasks", "flows")
        for path in (root / package).rglob("*.py")
        for line in path.read_text(encoding="utf-8").splitlines()
        if "Auto" in line and (".from_pretrained(" in line or ".from_config(" in line)
    ]
    unset = [
        call for call in calls
        if "NO_CODE" not in call[1] and not call[1].endswith("from_pretrained(") and "world" not in call[0].parts
    ]  # fmt: skip
    assert len(calls) >= 5 and not unset
