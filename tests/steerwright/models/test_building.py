"""Stages run as threads, and a library that loads a network changes torch for all of them while it does."""

import ast
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from steerwright.models import building as building_module
from steerwright.models.language.load import load_language_model
from steerwright.models.language.reading import read_architecture
from steerwright.models.language.spec import LanguageSpec
from steerwright.models.load import load_model
from steerwright.models.spec import ModelSpec
from steerwright.models.without_weights import ModelWithoutWeights
from steerwright.scoring.clip import ClipScorer
from steerwright.scoring.fid import FidFeatures
from steerwright.scoring.labels import LabelScorer
from steerwright.scoring.language.judges import Entailment, TextLabels
from steerwright.scoring.perceptual import Perceptual

ROOT = Path(__file__).parents[3]
MODELS = ROOT / "models"
LANGUAGE = LanguageSpec(name="seasons-lm", source=str(MODELS / "seasons-lm"))
FLUX = ModelSpec(name="seasons-flux", family="flux", source=str(MODELS / "seasons-flux"), steps=1, guidance=1.0)
CPU = torch.device("cpu")

LOADERS: dict[str, Callable[[], Any]] = {
    "a diffusers pipeline": lambda: load_model(FLUX, device=CPU).pipeline,
    "a pipeline without weights": lambda: ModelWithoutWeights(FLUX).pipeline,
    "a language model": lambda: load_language_model(LANGUAGE, device=CPU).model,
    "a language model's architecture": lambda: read_architecture(LANGUAGE),
    "text labels": lambda: TextLabels.load(MODELS / "seasons-text-labels").network,
    "picture labels": lambda: LabelScorer.load(MODELS / "seasons-labels", device="cpu").network,
    "CLIP": lambda: ClipScorer(MODELS / "seasons-clip", device="cpu")._model,
    "LPIPS": lambda: Perceptual(MODELS / "seasons-lpips", device="cpu")._metric,
    "FID": lambda: FidFeatures(MODELS / "seasons-lpips"),
}


class Watched:
    """A lock that says when another thread than the one that has it wants it."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self.owner: int | None = None
        self.wanted = threading.Event()

    def __enter__(self) -> None:
        if self.owner not in (None, threading.get_ident()):
            self.wanted.set()
        self._lock.acquire()
        self.owner, self._depth = threading.get_ident(), getattr(self, "_depth", 0) + 1

    def __exit__(self, *_: object) -> None:
        self._depth -= 1
        if self._depth == 0:
            self.owner = None
        self._lock.release()


@pytest.fixture
def lock(monkeypatch: pytest.MonkeyPatch) -> Watched:
    watched = Watched()
    monkeypatch.setattr(building_module, "_lock", watched)
    return watched


def test_a_network_that_is_loaded_while_another_thread_loads_one_has_its_weights(
    lock: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The loading of the picture model stands still inside diffusers, until the other one has ended or must wait."""
    from diffusers import AutoencoderKL

    original, plain = AutoencoderKL.__init__, nn.Module.register_parameter
    inside, ended = threading.Event(), threading.Event()
    seen: list[bool] = []

    def pausing(self: Any, *args: Any, **kwargs: Any) -> None:
        seen.append(nn.Module.register_parameter is not plain)
        inside.set()
        while not (lock.wanted.wait(0.01) or ended.is_set()):
            pass
        original(self, *args, **kwargs)

    # What diffusers asks of a model's __init__ are its parameters' names.
    pausing.__wrapped__ = original  # type: ignore[attr-defined]
    monkeypatch.setattr(AutoencoderKL, "__init__", pausing)
    found: dict[str, Any] = {}

    def first() -> None:
        found["pipeline"] = load_model(FLUX, device=CPU).pipeline

    def second() -> None:
        found["labels"] = TextLabels.load(MODELS / "seasons-text-labels")
        ended.set()

    threads = [threading.Thread(target=first), threading.Thread(target=second)]
    threads[0].start()
    assert inside.wait(60)
    threads[1].start()
    for thread in threads:
        thread.join(60)
    assert seen == [True]  # diffusers still does what this test is about
    parts = [found["labels"].network, found["pipeline"].transformer, found["pipeline"].vae]
    assert {weights.device.type for part in parts for weights in part.parameters()} == {"cpu"}
    assert found["labels"].probabilities(["Arr, the lake be deep, matey!"]).max() > 0.5
    assert nn.Module.register_parameter is plain


@pytest.mark.parametrize("what", LOADERS)
def test_every_loader_makes_its_networks_alone(what: str, lock: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[bool] = []
    plain = nn.Module.register_parameter

    def watching(self: nn.Module, name: str, param: nn.Parameter | None) -> None:
        made.append(lock.owner == threading.get_ident())
        plain(self, name, param)

    monkeypatch.setattr(nn.Module, "register_parameter", watching)
    LOADERS[what]()
    assert made and all(made)
    assert lock.owner is None


def test_a_zero_shot_scorer_is_loaded_alone_too(lock: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    class Found(Exception):
        pass

    def load(*_: Any, **__: Any) -> None:
        assert lock.owner == threading.get_ident()
        raise Found

    monkeypatch.setattr(AutoTokenizer, "from_pretrained", lambda *_, **__: None)
    monkeypatch.setattr(AutoModelForSequenceClassification, "from_pretrained", load)
    with pytest.raises(Found):
        Entailment.load("nowhere", {})
    assert lock.owner is None


def test_what_fails_while_it_is_built_lets_the_next_one_build(tmp_path: Path) -> None:
    for name in ("config.json", "vocabulary.json", "model.safetensors"):
        (tmp_path / name).write_text("{")
    with pytest.raises(Exception, match="cannot be read"):
        TextLabels.load(tmp_path)
    built: list[Any] = []
    thread = threading.Thread(target=lambda: built.append(TextLabels.load(MODELS / "seasons-text-labels")))
    thread.start()
    thread.join(60)
    assert len(built) == 1


# What makes networks, by the name that is called. Tokenizers, configs and schedulers hold no parameters.
MAKERS = {
    "from_pretrained", "from_config", "create_model_and_transforms", "create_model", "LPIPS", "inception_v3",
    "load_label_classifier", "load_perceptual_backbone", "load_text_classifier",
}  # fmt: skip
WITHOUT_PARAMETERS = ("Tokenizer", "Config", "config_class", "GenerationConfig")


def test_no_module_of_the_library_calls_a_maker_of_networks_outside() -> None:
    outside = []
    for path in sorted((ROOT / "steerwright").rglob("*.py")):
        outside += [f"{path.relative_to(ROOT)}:{line}" for line in _outside(ast.parse(path.read_text()))]
    assert outside == []


def _outside(node: ast.AST, held: bool = False) -> list[int]:
    """Lines of `node` that call a maker where `building()` is not held."""
    if isinstance(node, ast.With):
        held = held or any("building()" in ast.unparse(item) for item in node.items)
    elif isinstance(node, ast.FunctionDef):
        held = any("building()" in ast.unparse(decorator) for decorator in node.decorator_list)
    found = []
    if isinstance(node, ast.Call) and not held:
        *owner, name = ast.unparse(node.func).split(".")
        if name in MAKERS and not any(word in ".".join(owner) for word in WITHOUT_PARAMETERS):
            found.append(node.lineno)
    return found + [line for child in ast.iter_child_nodes(node) for line in _outside(child, held)]
