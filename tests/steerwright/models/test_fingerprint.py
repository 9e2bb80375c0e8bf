"""What makes two models one: weights and what the computation reads; and how fingerprints of both versions meet."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file

from steerwright.errors import UserError
from steerwright.models import model_parts as tensor_digest
from steerwright.models.fingerprint import Fingerprint, check_expected, same_digest
from steerwright.models.hookpoints import Hookpoint
from steerwright.models.identify import fingerprint
from steerwright.models.language.spec import LanguageSpec
from steerwright.models.model_parts import tensors_digest
from steerwright.models.spec import ModelSpec
from steerwright.steering.pictures import check_model
from steerwright.vectors.direction import Direction
from steerwright.vectors.formats.vectors_file import load_vectors, save_vectors
from steerwright.vectors.mixing import mix
from steerwright.vectors.steering_vectors import SteeringVectors, VectorKey

COMMIT = "0123456789abcdef0123456789abcdef01234567"
Edit = Callable[[Path], object]


def tensors(seed: int) -> dict[str, np.ndarray[Any, Any]]:
    draw = np.random.default_rng(seed)
    return {name: draw.normal(size=(4, 3)).astype(np.float32) for name in ("b.weight", "a.weight", "c.bias")}


def write(path: Path, content: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content, indent=2))


def weights(path: Path, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(tensors(seed), path)


def change(path: Path, **values: Any) -> None:
    """Change keys of a JSON file; None removes one."""
    found = json.loads(path.read_text()) | values
    path.write_text(json.dumps({key: value for key, value in found.items() if value is not None}))


@pytest.fixture
def pipeline(tmp_path: Path) -> Path:
    folder = tmp_path / "pipeline"
    network = {"unet": ["diffusers", "UNet2DConditionModel"], "text_encoder": ["transformers", "CLIPTextModel"]}
    beside = {"scheduler": ["diffusers", "DDIMScheduler"], "tokenizer": ["transformers", "CLIPTokenizer"]}
    judge = {"safety_checker": ["stable_diffusion", "StableDiffusionSafetyChecker"], "image_encoder": [None, None]}
    about = {"_class_name": "StableDiffusionPipeline", "_diffusers_version": "0.30.0"}
    write(folder / "model_index.json", about | network | beside | judge)
    write(
        folder / "unet" / "config.json", {"_class_name": "UNet2DConditionModel", "cross_attention_dim": 768, "eps": 1}
    )
    weights(folder / "unet" / "diffusion_pytorch_model.safetensors", 1)
    write(folder / "text_encoder" / "config.json", {"hidden_size": 768, "eos_token_id": 2, "torch_dtype": "float16"})
    weights(folder / "text_encoder" / "model.safetensors", 2)
    write(
        folder / "scheduler" / "scheduler_config.json", {"_class_name": "DDIMScheduler", "prediction_type": "epsilon"}
    )
    write(folder / "tokenizer" / "tokenizer.json", {"model": {"vocab": {"a": 0}}})
    write(folder / "safety_checker" / "config.json", {"x": 1})
    return folder


@pytest.fixture
def language(tmp_path: Path) -> Path:
    folder = tmp_path / "language"
    config = {"model_type": "mistral", "hidden_size": 8, "rope_theta": 10000.0, "eos_token_id": 2, "dtype": "float16"}
    write(folder / "config.json", config)
    weights(folder / "model.safetensors", 3)
    write(folder / "tokenizer.json", {"model": {"vocab": {"a": 0}}})
    write(folder / "tokenizer_config.json", {"chat_template": "{{ x }}", "eos_token": "</s>"})
    return folder


def identify(source: Path | str, revision: str | None = None) -> Fingerprint:
    if (Path(source) / "config.json").is_file():
        return fingerprint(LanguageSpec(name="mine", source=str(source)))
    return fingerprint(ModelSpec(name="mine", source=str(source), revision=revision, steps=1, guidance=1.0))


def vectors(model: Fingerprint) -> SteeringVectors:
    direction = Direction(torch.eye(3)[1], torch.tensor(1.0))
    return SteeringVectors("joy", model, "none", "all", {VectorKey(Hookpoint("unet.mid_block"), "all"): direction})


# What does not count.

_SAME_PIPELINE: dict[str, Edit] = {
    "a page about it": lambda f: (f / "README.md").write_text("x"),
    "pictures": lambda f: (f / "unet" / "sample.png").write_bytes(b"x"),
    "a config indented again": lambda f: change(f / "unet" / "config.json"),
    "who saved it": lambda f: change(f / "unet" / "config.json", _name_or_path="/x", _diffusers_version="9"),
    "by which release": lambda f: change(f / "text_encoder" / "config.json", transformers_version="9", dtype="x"),
    "the precision it is loaded in": lambda f: change(f / "text_encoder" / "config.json", torch_dtype="float32"),
    "a float that is whole": lambda f: change(f / "unet" / "config.json", eps=1.0),
    "another scheduler": lambda f: change(f / "scheduler" / "scheduler_config.json", prediction_type="v_prediction"),
    "another tokenizer": lambda f: change(f / "tokenizer" / "tokenizer.json", added=1),
    "the judge of pictures": lambda f: change(f / "safety_checker" / "config.json", x=2),
    "no judge of pictures": lambda f: change(f / "model_index.json", safety_checker=None, image_encoder=None),
    "weights in a form that is not loaded": lambda f: (f / "unet" / "diffusion_pytorch_model.bin").write_bytes(b"x"),
    "weights of another precision beside": lambda f: weights(
        f / "unet" / "diffusion_pytorch_model.fp16.safetensors", 9
    ),
}
_SAME_LANGUAGE: dict[str, Edit] = {
    "a page about it": lambda f: (f / "README.md").write_text("x"),
    "a config indented again": lambda f: change(f / "config.json"),
    "who saved it": lambda f: change(f / "config.json", _name_or_path="/x", transformers_version="9"),
    "another key for precision": lambda f: change(f / "config.json", dtype=None, torch_dtype="float32"),
    "another tokenizer": lambda f: change(f / "tokenizer.json", added=1),
    "another chat template": lambda f: (f / "chat_template.jinja").write_text("x"),
    "where texts end": lambda f: write(f / "generation_config.json", {"eos_token_id": [2, 7]}),
    "the weights of another program": lambda f: weights(f / "consolidated.safetensors", 9),
}


@pytest.mark.parametrize("what", _SAME_PIPELINE)
def test_vectors_fit_a_pipeline_that_differs_only_in(what: str, pipeline: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(pipeline, tmp_path / "copy")
    _SAME_PIPELINE[what](copy)
    save_vectors(vectors(identify(pipeline)), tmp_path / "joy.safetensors")
    assert load_vectors(tmp_path / "joy.safetensors", identify(copy)).concept == "joy"
    assert identify(pipeline).digest == identify(copy).digest


@pytest.mark.parametrize("what", _SAME_LANGUAGE)
def test_vectors_fit_a_language_model_that_differs_only_in(what: str, language: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(language, tmp_path / "copy")
    _SAME_LANGUAGE[what](copy)
    assert identify(language).same_model(identify(copy))


# What counts, and is named.

_OTHER_PIPELINE: dict[str, tuple[Edit, str]] = {
    "weights": (
        lambda f: weights(f / "unet" / "diffusion_pytorch_model.safetensors", 9),
        "They differ in the weights of unet.",
    ),
    "a key": (
        lambda f: change(f / "unet" / "config.json", cross_attention_dim=1024),
        r"They differ in unet/config.json \(cross_attention_dim: 768 and 1024\)\.",
    ),
    "a key that is missing": (
        lambda f: change(f / "text_encoder" / "config.json", eos_token_id=None),
        r"text_encoder/config.json \(eos_token_id: 2 and not written\)",
    ),
    "a class": (
        lambda f: change(f / "model_index.json", text_encoder=["transformers", "CLIPTextModelWithProjection"]),
        r"model_index.json \(text_encoder: CLIPTextModel and CLIPTextModelWithProjection\)",
    ),
    "both": (
        lambda f: (
            weights(f / "text_encoder" / "model.safetensors", 9),
            change(f / "unet" / "config.json", eps=2, a=1, b=1),
        ),
        r"the weights of text_encoder, unet/config.json \(a: not written and 1\), .*b.* and 1 more\.",
    ),
}


@pytest.mark.parametrize("what", _OTHER_PIPELINE)
def test_vectors_are_refused_by_a_pipeline_that_differs_in(what: str, pipeline: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(pipeline, tmp_path / "copy")
    edit, named = _OTHER_PIPELINE[what]
    edit(copy)
    save_vectors(vectors(identify(pipeline)), tmp_path / "joy.safetensors")
    with pytest.raises(UserError, match=named):
        load_vectors(tmp_path / "joy.safetensors", identify(copy))
    with pytest.raises(UserError, match=named):
        mix({"joy": vectors(identify(pipeline)), "fog": vectors(identify(copy))}, {"joy": 1.0, "fog": 1.0})
    with pytest.raises(UserError, match=named):
        check_expected(ModelSpec(name="m", source="s", steps=1, guidance=1.0), identify(copy), identify(pipeline))
    with pytest.raises(UserError, match=named):
        check_expected(
            ModelSpec(name="m", source="s", steps=1, guidance=1.0), identify(copy), identify(pipeline).digest
        )


def test_vectors_are_refused_by_a_pipeline_with_another_linked_network(pipeline: Path, tmp_path: Path) -> None:
    folders = []
    for name, seed in (("a", 1), ("b", 9)):
        network = shutil.copytree(pipeline / "unet", tmp_path / f"unet_{name}")
        weights(network / "diffusion_pytorch_model.safetensors", seed)
        folders.append(shutil.copytree(pipeline, tmp_path / f"pipeline_{name}", ignore=shutil.ignore_patterns("unet")))
        (folders[-1] / "unet").symlink_to(f"../unet_{name}")
    first, second = map(identify, folders)
    save_vectors(vectors(first), tmp_path / "joy.safetensors")
    with pytest.raises(UserError, match="the weights of unet"):
        load_vectors(tmp_path / "joy.safetensors", second)
    # A link and what it leads to are one.
    assert load_vectors(tmp_path / "joy.safetensors", identify(pipeline)).concept == "joy"


# Weights by their tensors.


def test_the_same_tensors_in_several_files_are_the_same_weights(pipeline: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(pipeline, tmp_path / "copy")
    found, name = tensors(1), "diffusion_pytorch_model"
    (copy / "unet" / f"{name}.safetensors").unlink()
    save_file({"c.bias": found["c.bias"]}, copy / "unet" / f"{name}-1.safetensors", metadata={"format": "pt"})
    save_file({key: found[key] for key in ("a.weight", "b.weight")}, copy / "unet" / f"{name}-2.safetensors")
    named = {key: f"{name}-{1 if key == 'c.bias' else 2}.safetensors" for key in found}
    write(copy / "unet" / f"{name}.safetensors.index.json", {"weight_map": named})
    assert identify(copy).digest == identify(pipeline).digest


def test_the_digest_of_tensors_by_hand(tmp_path: Path) -> None:
    save_file({"w": np.array([[1.0, 2.0]], dtype=np.float32)}, tmp_path / "a.safetensors")
    content = hashlib.sha256(bytes.fromhex("0000803f00000040")).hexdigest()
    expected = hashlib.sha256(f'{{"w": "F32 [1, 2] {content}"}}'.encode()).hexdigest()
    assert tensors_digest([tmp_path / "a.safetensors"]) == expected


def test_what_is_no_safetensors_counts_by_its_content(tmp_path: Path) -> None:
    found = []
    for content in (b"", b"x" * 40, b"x" * 41, (2).to_bytes(8, "little") + b"[]"):
        (tmp_path / "a.safetensors").write_bytes(content)
        found.append(tensors_digest([tmp_path / "a.safetensors"]))
    assert len(set(found)) == 4


def test_weights_are_read_once_and_again_when_they_change(
    pipeline: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []
    inner = tensor_digest._tensors
    monkeypatch.setattr(tensor_digest, "_tensors", lambda path: (read.append(path.parent.name), inner(path))[1])
    monkeypatch.setattr(tensor_digest, "_SETTLED", -1)
    monkeypatch.setattr(tensor_digest, "_WORTH_KEEPING", 0)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    before = identify(pipeline)
    assert identify(pipeline) == before
    assert sorted(read) == ["text_encoder", "unet"]
    # Another process.
    monkeypatch.setattr(tensor_digest, "_remembered", {})
    assert identify(pipeline) == before
    assert len(read) == 2
    weights(pipeline / "unet" / "diffusion_pytorch_model.safetensors", 9)
    assert identify(pipeline).digest != before.digest
    assert read[2:] == ["unet"]


# The hub.


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a commit in an empty cache of the hub; the hub itself is not asked."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("steerwright.models.identify.ask_hub", lambda spec: COMMIT)
    cached = tmp_path / "hub" / "models--someone--tiny"
    write(cached / "refs" / "main", COMMIT)
    return cached / "snapshots" / COMMIT


def test_a_hub_model_and_a_folder_with_its_files_are_one(pipeline: Path, hub: Path, tmp_path: Path) -> None:
    # The hub's client keeps files elsewhere and links to them; a download leaves out what is not loaded.
    blobs = shutil.copytree(pipeline, hub.parents[1] / "blobs")
    shutil.rmtree(blobs / "safety_checker")
    for file in [path for path in blobs.rglob("*") if path.is_file()]:
        (hub / file.relative_to(blobs)).parent.mkdir(parents=True, exist_ok=True)
        (hub / file.relative_to(blobs)).symlink_to(file)
    found = identify("someone/tiny")
    assert (found.revision, found.version) == (COMMIT, 2)
    assert found.same_model(identify(pipeline)) and identify(pipeline).same_model(found)
    weights(pipeline / "unet" / "diffusion_pytorch_model.safetensors", 9)
    assert not found.same_model(identify(pipeline))


def test_a_hub_model_is_its_commit_until_its_weights_are_there(pipeline: Path, hub: Path, tmp_path: Path) -> None:
    early = identify("someone/tiny")
    shutil.copytree(pipeline, hub, ignore=shutil.ignore_patterns("*.safetensors"))
    assert identify("someone/tiny") == early
    assert early.digest == hashlib.sha256(f"someone/tiny@{COMMIT}".encode()).hexdigest()
    assert not early.same_model(identify(pipeline))
    shutil.rmtree(hub)
    shutil.copytree(pipeline, hub)
    late = identify("someone/tiny")
    assert late.digest != early.digest
    assert late.same_model(early) and early.same_model(late) and same_digest(early.digest, late.digest)
    # What was fitted before the download is known as the same model when a folder is steered, too.
    assert early.same_model(identify(pipeline))


# Fingerprints of version 1.


def earlier(folder: Path) -> Fingerprint:
    """As steerwright 0.1 made it: over all files that are not hidden, without following links to folders."""
    total = hashlib.sha256()
    for path in sorted(folder.rglob("*"), key=lambda path: path.relative_to(folder).as_posix()):
        if path.is_file() and not any(part.startswith(".") for part in path.relative_to(folder).parts):
            name, content = path.relative_to(folder).as_posix(), hashlib.sha256(path.read_bytes()).hexdigest()
            total.update(f"{name}\0{content}\n".encode())
    text = {"name": "mine", "source": str(folder), "revision": None, "digest": total.hexdigest(), "libraries": {}}
    return Fingerprint.model_validate(text)


def test_what_carries_a_digest_of_all_files_is_accepted(pipeline: Path, tmp_path: Path) -> None:
    old, new = earlier(pipeline), identify(pipeline)
    assert old.digest != new.digest
    save_vectors(vectors(old), tmp_path / "joy.safetensors")
    assert load_vectors(tmp_path / "joy.safetensors", new).concept == "joy"
    assert old.same_model(new) and same_digest(new.digest, old.digest)
    mix({"joy": vectors(old), "fog": vectors(new)}, {"joy": 1.0, "fog": 1.0})
    copy = shutil.copytree(pipeline, tmp_path / "copy")
    (copy / "README.md").write_text("x")
    assert load_vectors(tmp_path / "joy.safetensors", identify(copy)).concept == "joy"
    change(copy / "unet" / "config.json", eps=None)
    with pytest.raises(UserError, match=r"They differ in unet/config.json \(eps: 1 and not written\)"):
        load_vectors(tmp_path / "joy.safetensors", identify(copy))
    weights(pipeline / "unet" / "diffusion_pytorch_model.safetensors", 9)
    with pytest.raises(UserError, match="One fingerprint is of an earlier form"):
        load_vectors(tmp_path / "joy.safetensors", identify(pipeline))


def test_a_digest_that_did_not_follow_links_is_not_believed(pipeline: Path, tmp_path: Path) -> None:
    shutil.move(pipeline / "unet", tmp_path / "unet_a")
    (pipeline / "unet").symlink_to("../unet_a")
    assert not earlier(pipeline).same_model(identify(pipeline))


@pytest.mark.parametrize("kind", ["vectors", "removals"])
def test_the_shipped_concepts_fit_the_shipped_model(kind: str) -> None:
    model = identify("models/seasons-lm")
    files = sorted(Path("models", "seasons-concepts", kind, "vectors").glob("*.safetensors"))
    assert len(files) > 10
    for file in files:
        assert load_vectors(file, model).model.version == 1


# What is beside the model.


def test_another_scheduler_or_tokenizer_is_told_once(
    pipeline: Path, language: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    made, read = identify(pipeline), identify(language)
    change(pipeline / "scheduler" / "scheduler_config.json", prediction_type="v_prediction")
    change(language / "tokenizer.json", added=1)
    change(language / "tokenizer_config.json", chat_template="{{ y }}")
    save_vectors(vectors(made), tmp_path / "joy.safetensors")
    for _ in range(2):
        load_vectors(tmp_path / "joy.safetensors", identify(pipeline))
    (told,) = [record.message for record in caplog.records]
    assert "joy.safetensors: fitted on" in told
    assert "the scheduler (prediction_type: epsilon and v_prediction)" in told
    read.note_beside(identify(language), "The vectors for 'joy'")
    assert "the chat template and the tokenizer" in caplog.records[-1].message
    # They change activations, so that nothing computed with the other one is taken for these.
    assert made.computation != identify(pipeline).computation
    assert read.computation != identify(language).computation


def test_the_place_of_a_chat_template_does_not_count(language: Path) -> None:
    before = identify(language)
    change(language / "tokenizer_config.json", chat_template=None, name_or_path="/x")
    (language / "chat_template.jinja").write_text("{{ x }}")
    assert identify(language).beside == before.beside


def test_check_model_names_what_differs(pipeline: Path) -> None:
    fitted = identify(pipeline)
    change(pipeline / "unet" / "config.json", eps=2)

    class Loaded:
        fingerprint = identify(pipeline)

    with pytest.raises(UserError, match=r"unet/config.json \(eps: 1 and 2\)"):
        check_model(vectors(fitted), Loaded())  # type: ignore[arg-type]


def test_a_config_that_is_no_json_is_named(pipeline: Path) -> None:
    (pipeline / "unet" / "config.json").write_text("{")
    with pytest.raises(UserError, match=r"unet/config\.json cannot be read"):
        identify(pipeline)
