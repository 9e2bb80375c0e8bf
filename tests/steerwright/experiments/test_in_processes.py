"""How many processes share a model's work, and with how many threads."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from steerwright.experiments import language as in_processes
from steerwright.experiments.language import LanguageTools
from steerwright.models.language.spec import LanguageSpec


@pytest.fixture(autouse=True)
def three_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def spec(language_folder: Callable[[str], Path]) -> LanguageSpec:
    return LanguageSpec(name="tiny", source=str(language_folder("mistral")))


def test_a_small_model_on_a_cpu_has_a_process_for_each_thread(
    spec: LanguageSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(in_processes, "language_device", lambda: torch.device("cpu"))
    tools = LanguageTools.here(spec, "d")
    assert (tools.processes, tools.threads) == (3, 1)
    monkeypatch.setattr(in_processes, "MOST", 2)
    assert LanguageTools.here(spec, "d").processes == 2


@pytest.mark.parametrize("why", ["accelerator", "large", "hub"])
def test_otherwise_one_process_has_all_threads(spec: LanguageSpec, monkeypatch: pytest.MonkeyPatch, why: str) -> None:
    monkeypatch.setattr(
        in_processes, "language_device", lambda: torch.device("cuda" if why == "accelerator" else "cpu")
    )
    if why == "large":
        monkeypatch.setattr(in_processes, "SMALL", 100)
    if why == "hub":
        spec = spec.model_copy(update={"source": "someone/a-model"})
    tools = LanguageTools.here(spec, "d")
    assert (tools.processes, tools.threads) == (1, 3)


def test_the_model_is_found_from_another_folder_and_loaded_once(
    spec: LanguageSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = Path(spec.source)
    monkeypatch.chdir(folder.parent)
    from steerwright.models.identify import fingerprint

    relative = spec.model_copy(update={"source": folder.name})
    tools = LanguageTools.here(relative, fingerprint(relative).digest)
    monkeypatch.chdir(tmp_path)
    assert tools.load() is tools.load()
    assert tools.load().fingerprint.digest == fingerprint(spec).digest
