"""`steerwright generate` with a language model: the texts are the library's, and each mistake is one message."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

from steerwright.cli.app import app
from steerwright.errors import UserError
from steerwright.steering.language.apply import text_edits
from steerwright.steering.language.generate import Sampling, complete
from steerwright.vectors.direction import Direction
from steerwright.vectors.formats.vectors_file import save_vectors
from steerwright.vectors.mixing import mix
from steerwright.vectors.steering_vectors import SteeringVectors, VectorKey

REPOSITORY = Path(__file__).parents[3]
PROMPT = "Tell me about the lake."
SAMPLING = Sampling(max_new_tokens=9)


def fitted(model: Any, concept: str, place: int, **other: str) -> SteeringVectors:
    directions = {
        VectorKey(hookpoint): Direction(torch.eye(32)[place], torch.tensor(2.0), torch.tensor(0.0))
        for hookpoint in model.hookpoints
    }
    return SteeringVectors(concept, model.fingerprint.model_copy(update=other), "none", "content", directions)


@pytest.fixture(scope="module")
def model(language: Callable[[str], Any]) -> Any:
    return language("mistral")


@pytest.fixture(scope="module")
def files(model: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("vectors")
    save_vectors(fitted(model, "happy", 0), folder / "happy.safetensors")
    save_vectors(fitted(model, "sad", 1), folder / "sad.safetensors")
    save_vectors(fitted(model, "happy", 0, name="other", digest="f" * 64), folder / "foreign.safetensors")
    return folder


@pytest.fixture
def run(files: Path, language_folder: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Call the command with the small model; NAME.safetensors is found by its name."""
    monkeypatch.chdir(REPOSITORY)
    monkeypatch.setenv("STEERWRIGHT_DEVICE", "cpu")

    def call(*words: str, prompt: str = PROMPT, model: str | None = None) -> Any:
        given = [str(files / word) if word.endswith(".safetensors") else word for word in words]
        fixed = ["--model", model or str(language_folder("mistral")), "--prompt", prompt]
        return CliRunner().invoke(app, ["generate", *fixed, *given])

    return call


def lines(result: Any) -> list[str]:
    assert result.exit_code == 0, result.exception
    return str(result.stdout).splitlines()


def expected(model: Any, edits: Any, seeds: tuple[int, ...] = (42,), sampling: Sampling = SAMPLING) -> list[str]:
    plain = complete(model, [PROMPT] * len(seeds), seeds, sampling)
    steered = complete(model, [PROMPT] * len(seeds), seeds, sampling, edits)
    blocks = [
        f"{PROMPT}  (seed {seed})\n  unsteered: {before.text.strip()}\n  steered:   {after.text.strip()}"
        for seed, before, after in zip(seeds, plain, steered, strict=True)
    ]
    return "\n\n".join(blocks).splitlines()


def test_without_vectors_it_prints_the_plain_text(run: Callable[..., Any], model: Any) -> None:
    found = lines(run("--tokens", "9", "--temperature", "0", "--seed", "3"))
    text = complete(model, [PROMPT], [3], Sampling(max_new_tokens=9, temperature=0))[0].text
    assert found == f"{PROMPT}  (seed 3)\n{text.strip()}".splitlines()


def test_a_concept_is_added_beside_the_unsteered_text_of_the_same_seed(run: Callable[..., Any], model: Any) -> None:
    words = ["--vectors", "happy.safetensors", "--add", "1.5", "--layer", "2", "--tokens", "9"]
    edits = text_edits(fitted(model, "happy", 0), [2], 1.5)
    assert lines(run(*words)) == expected(model, edits)
    assert lines(run(*words, "--seed", "7", "--count", "2")) == expected(model, edits, (7, 8))


def test_layers_are_named_one_by_one_or_from_one_to_another(run: Callable[..., Any], model: Any) -> None:
    words = ["--vectors", "happy.safetensors", "--add", "1.5", "--tokens", "9", "--layers"]
    edits = text_edits(fitted(model, "happy", 0), [3, 0, 1], 1.5)
    assert lines(run(*words, "3,0-1")) == lines(run(*words, "3,0,1")) == expected(model, edits)


def test_settings_reach_the_edit(run: Callable[..., Any], model: Any) -> None:
    found = lines(
        run(
            "--vectors", "happy.safetensors", "--add", "6", "--layers", "1,3", "--units", "unit", "--bound", "cap:0.4",
            "--on", "all", "--tokens", "9", "--temperature", "1.3", "--top-p", "0.5",
        )
    )  # fmt: skip
    edits = text_edits(fitted(model, "happy", 0), [1, 3], 6.0, units="unit", bound="cap:0.4", tokens="all")
    assert found == expected(model, edits, sampling=Sampling(9, temperature=1.3, top_p=0.5))


def test_concepts_are_erased_and_combined_in_the_order_written(run: Callable[..., Any], model: Any) -> None:
    found = lines(
        run(
            "--layer", "2", "--vectors", "happy.safetensors", "--erase", "1", "--vectors", "sad.safetensors",
            "--add", "2", "--tokens", "9",
        )
    )  # fmt: skip
    edits = text_edits(fitted(model, "happy", 0), [2], 1.0, action="erase")
    assert found == expected(model, edits + text_edits(fitted(model, "sad", 1), [2], 2.0))


def test_settings_belong_to_the_vectors_before_them(run: Callable[..., Any], model: Any) -> None:
    happy, sad = ["--vectors", "happy.safetensors"], ["--vectors", "sad.safetensors"]
    words = [
        *happy,
        "--add",
        "2",
        "--layers",
        "1",
        "--units",
        "unit",
        *sad,
        "--add",
        "3",
        "--layers",
        "3",
        "--on",
        "all",
    ]
    edits = text_edits(fitted(model, "happy", 0), [1], 2.0, units="unit")
    edits += text_edits(fitted(model, "sad", 1), [3], 3.0, tokens="all")
    assert lines(run(*words, "--tokens", "9")) == expected(model, edits)
    # Before all vectors: for each, unless it has its own.
    words = ["--layers", "1", "--bound", "cap:0.4", *happy, "--erase", "1", *sad, "--add", "3", "--layers", "2,3"]
    edits = text_edits(fitted(model, "happy", 0), [1], 1.0, action="erase", bound="cap:0.4")
    edits += text_edits(fitted(model, "sad", 1), [2, 3], 3.0, bound="cap:0.4")
    assert lines(run(*words, "--tokens", "9")) == expected(model, edits)


def test_a_seed_is_said_to_be_nothing_to_greedy_decoding(run: Callable[..., Any]) -> None:
    said = run("--tokens", "2", "--temperature", "0", "--seed", "3")
    assert said.exit_code == 0 and "the likeliest token each time, whatever --seed is" in said.stderr
    assert run("--tokens", "2", "--temperature", "0").stderr == ""


def test_a_mix_is_one_concept_of_all_vectors(run: Callable[..., Any], model: Any) -> None:
    found = lines(
        run(
            "--vectors", "happy.safetensors", "--vectors", "sad.safetensors", "--mix", "sad:-0.5,happy:1",
            "--add", "2", "--layer", "2", "--tokens", "9",
        )
    )  # fmt: skip
    parts = {"happy": fitted(model, "happy", 0), "sad": fitted(model, "sad", 1)}
    assert found == expected(model, text_edits(mix(parts, {"sad": -0.5, "happy": 1.0}), [2], 2.0))


def test_raw_continues_the_prompt_as_it_is(run: Callable[..., Any], model: Any) -> None:
    text = complete(model, [PROMPT], [42], SAMPLING, chat=False)[0].text
    assert lines(run("--raw", "--tokens", "9"))[1:] == text.strip().splitlines()


ADD = ["--vectors", "happy.safetensors", "--add", "1"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (ADD, "Choose where to steer with --layer"),
        ([*ADD, "--layer", "9"], r"hold nothing at layer 9; they hold layers 0, 1, 2, 3"),
        ([*ADD, "--layer", "x"], "write numbers of layers"),
        ([*ADD, "--layer", "3-1"], "write numbers of layers"),
        ([*ADD, "--layer", "1-"], "write numbers of layers"),
        ([*ADD, "--layer", "0-2,1"], "each once"),
        (["--vectors", "happy.safetensors", "--layer", "1"], "has no action"),
        (["--vectors", "happy.safetensors", "--add", "nan", "--layer", "1"], "strength nan .* is not a finite number"),
        (["--vectors", "foreign.safetensors", "--add", "1", "--layer", "1"], "were fitted on other from"),
        (["--vectors", "none.safetensors", "--add", "1", "--layer", "1"], "There is no vectors file"),
        ([*ADD, "--layer", "1", "--on", "eos"], "Tokens 'eos' .* do not exist in a text"),
        ([*ADD, "--layer", "1", "--units", "half_raw"], "--units half_raw does not exist"),
        ([*ADD, "--layer", "1", "--bound", "0.4"], "--bound 0.4 does not exist; write cap:0.4"),
        ([*ADD, "--layer", "1", "--mix", "happy"], "write concepts with weights"),
        ([*ADD, "--layer", "1", "--mix", "sad:1"], "needs the vectors of sad; there are happy"),
        (["--vectors", "happy.safetensors", "--mix", "happy:1", "--layer", "1"], "write one --add STRENGTH with it"),
        (["--vectors", "happy.safetensors", "--add", "inf", "--mix", "happy:1", "--layer", "1"], "a finite number"),
        (["--vectors", "happy.safetensors", "--erase", "1", "--layer", "1", "--units", "unit"], "--units is for --add"),
        ([*ADD, "--layer", "1", "--layer", "2"], "--layers is given twice for"),
        ([*ADD, "--vectors", "sad.safetensors", "--add", "1", "--layer", "2"], "--layer 4, after --vectors .*happy"),
        (
            [*ADD, "--layer", "1", "--vectors", "sad.safetensors", "--layer", "2", "--mix", "happy:1,sad:1"],
            "--layers is given twice, but --mix makes one concept",
        ),
        (
            [*ADD, "--vectors", "sad.safetensors", "--layer", "1", "--mix", "happy:1"],
            "says nothing of sad; name it, or leave its --vectors out",
        ),
        (
            [*ADD, "--vectors", "happy.safetensors", "--layer", "1", "--mix", "happy:1"],
            "Two --vectors are of the concept 'happy'",
        ),
        ([*ADD, "--layer", "1", "--on", "generated", "--tokens", "1"], "no written token is read again"),
        (["--temperature", "0", "--top-p", "0.9"], "--top-p: --temperature 0 takes the likeliest token"),
        (["--temperature", "0", "--count", "2"], "the texts of 2 seeds would be one"),
        (["--tokens", "3", "--tokens", "4"], "--tokens is given twice; give it once"),
        (["--add", "1"], "--add is given, but no --vectors"),
        (["--layer", "1"], "--layers is given, but no --vectors"),
        (["--tokens", "0"], "write at least 1 token"),
        (["--temperature", "-1"], "temperature -1"),
        (["--top-p", "2"], "top_p 2"),
        (["--seed", "-1"], "a seed is a whole number"),
        (["-o", "x.png"], "--output: this is for pictures, but the model makes texts"),
        (["--steps", "3", "--grid"], "--grid, --steps: this is for pictures"),
    ],
)
def test_every_mistake_is_one_message(run: Callable[..., Any], words: list[str], message: str) -> None:
    result = run(*words)
    assert isinstance(result.exception, UserError), result.output
    assert result.stdout == ""
    with pytest.raises(UserError, match=message):
        raise result.exception


def test_an_empty_prompt_and_settings_of_texts_for_pictures_are_refused(run: Callable[..., Any]) -> None:
    assert "is empty" in str(run(prompt="  ").exception)
    refused = run("--tokens", "3", "--mix", "a:1", model="seasons-sd")
    assert "--mix, --tokens: this is for texts, but the model makes pictures" in str(refused.exception)
    assert "-o is missing" in str(run(model="seasons-sd").exception)


def test_outside_of_a_project_a_folder_serves(
    run: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert len(lines(run("--tokens", "2", "--temperature", "0"))) >= 1
    refused = run(model="seasons-lm")
    assert "outside of a steerwright project" in str(refused.exception)


def test_the_embedded_model_is_found_by_its_name_from_anywhere_in_the_project(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from steerwright.cli.choices import choose_language_model, is_language

    monkeypatch.chdir(REPOSITORY / "docs")
    spec, models = choose_language_model(None)
    assert (spec.name, spec.source) == ("seasons-lm", "../models/seasons-lm")
    assert models["mistral-7b-instruct"]["fallback"] == "phi-3-mini"
    assert is_language("seasons-lm") and is_language(str(REPOSITORY / "models" / "seasons-lm"))
    assert not is_language("seasons-sd") and not is_language(None)
    with pytest.raises(UserError, match="no model 'nothing'"):
        is_language("nothing")


# Models of every origin.


@pytest.fixture
def seasons(tmp_path: Path) -> Path:
    return Path(shutil.copytree(REPOSITORY / "models" / "seasons-lm", tmp_path / "seasons"))


def test_a_tokenizer_that_adds_eos_continues_the_prompt(run: Callable[..., Any], seasons: Path) -> None:
    words = ["--raw", "--tokens", "8", "--temperature", "0"]
    plain = run(*words, prompt="The lake is known", model=str(seasons))
    content = json.loads((seasons / "tokenizer.json").read_text())
    single = content["post_processor"]["single"]
    content["post_processor"]["single"] = [*single, {"SpecialToken": {"id": "</s>", "type_id": 0}}]
    content["post_processor"]["special_tokens"]["</s>"] = {"id": "</s>", "ids": [2], "tokens": ["</s>"]}
    (seasons / "tokenizer.json").write_text(json.dumps(content))
    ending = run(*words, prompt="The lake is known", model=str(seasons))
    assert ending.exit_code == 0 and ending.stdout == plain.stdout


def test_an_adapter_beside_the_weights_is_named(
    run: Callable[..., Any], seasons: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("transformers.utils.is_peft_available", lambda: False)
    (seasons / "adapter_config.json").write_text('{"peft_type": "LORA"}')
    found = run(model=str(seasons))
    assert isinstance(found.exception, UserError)
    assert "an adapter lies beside the weights" in str(found.exception)


def test_code_of_a_folder_is_refused_without_asking(run: Callable[..., Any], tmp_path: Path) -> None:
    folder = tmp_path / "foo"
    folder.mkdir()
    config = {"model_type": "foo", "auto_map": {"AutoConfig": "configuration_foo.FooConfig"}}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "configuration_foo.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    found = run(model=str(folder))
    assert isinstance(found.exception, UserError)
    assert "needs custom code to be loaded (auto_map in its config.json: configuration_foo.FooConfig)" in str(
        found.exception
    )
    assert "[y/N]" not in found.output and not (tmp_path / "ran").exists()


def test_a_model_of_another_kind_says_what_it_is(run: Callable[..., Any]) -> None:
    found = run(model="models/seasons-text-encoder")
    assert isinstance(found.exception, UserError)
    assert "CLIPTextModel, for which transformers has no causal language model" in str(found.exception)


def test_a_system_prompt_and_arguments_of_the_template_reach_it(run: Callable[..., Any], seasons: Path) -> None:
    settings = json.loads((seasons / "tokenizer_config.json").read_text())
    settings["chat_template"] = (
        "{{ bos_token }}{% for m in messages %}{% if m['role'] == 'system' %}{{ m['content'] }}{% else %}"
        "{{ '[INST] ' + m['content'] + ' [/INST]' }}{% endif %}{% endfor %}{{ wise if wise is string else '' }}"
    )
    (seasons / "tokenizer_config.json").write_text(json.dumps(settings))
    words = ["--tokens", "8", "--temperature", "0"]
    plain = run(*words, model=str(seasons)).stdout
    assert run(*words, "--system", "[INST] Be sad. [/INST] Alas, ", model=str(seasons)).stdout != plain
    assert run(*words, "--template", "wise=Alas, woe", model=str(seasons)).stdout != plain
    assert run(*words, "--template", "wise=7", model=str(seasons)).stdout == plain
    for given, message in (
        (["--template", "wis=7"], "does not ask for wis"),
        (["--template", "wise"], "write NAME=VALUE"),
        (["--raw", "--system", "Be sad."], "--raw continues the prompt without a chat template"),
    ):
        found = run(*words, *given, model=str(seasons))
        assert isinstance(found.exception, UserError) and message in str(found.exception)
