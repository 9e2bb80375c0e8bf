"""Concepts go out and come in as they are; what is no vectors file of this model never gets in, nor a crooked name."""

import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from steerwright.errors import UserError
from steerwright.lab.operations import library
from steerwright.lab.operations.library import (
    concept_details,
    delete_concept,
    export_concept,
    import_concept,
    rename_concept,
    temporary_export,
)
from steerwright.models.hookpoints import Hookpoint
from steerwright.vectors.direction import Direction
from steerwright.vectors.formats.vectors_file import load_vectors, save_vectors
from steerwright.vectors.steering_vectors import SteeringVectors, VectorKey

ROOT = Path(__file__).parents[4]


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A workbench of the embedded language model, in a project of its own."""
    import yaml

    from steerwright.lab.workbench import Workbench
    from steerwright.models.identify import EMBEDDED_LANGUAGE
    from steerwright.models.language.spec import select_language_model

    root = tmp_path_factory.mktemp("lab")
    for name in ("models", "data"):
        (root / name).symlink_to(ROOT / name)
    models = yaml.safe_load((ROOT / "params.yaml").read_text())["models"]

    return Workbench(root, select_language_model(EMBEDDED_LANGUAGE, models), models)


@pytest.fixture
def lab(shared: Any) -> Any:
    """The same without concepts of visitors, before and after."""
    yield shared
    for name, entry in shared.concepts().items():
        if entry.origin == "yours":
            shared.remove_concept(name)


def planted(lab: Any, concept: str = "sunny", **more: Any) -> SteeringVectors:
    """A direction along axis `layer` at each layer, `layer + 1` long."""
    model = lab.language()
    directions = {}
    for layer, hookpoint in enumerate(model.hookpoints):
        unit = torch.zeros(more.get("width", model.width))
        unit[layer] = 1.0
        directions[VectorKey(hookpoint)] = Direction(unit, torch.tensor(layer + 1.0))
    return SteeringVectors(concept, more.get("fingerprint", model.fingerprint), "planted", "content", directions)


def own(lab: Any) -> list[str]:
    return [name for name, entry in lab.concepts().items() if entry.origin == "yours"]


def files(lab: Any) -> list[str]:
    return sorted(path.name for path in lab.folder.iterdir()) if lab.folder.is_dir() else []


def test_an_exported_file_is_the_vectors_themselves(lab: Any, tmp_path: Path) -> None:
    path = export_concept(lab, "happy", "safetensors", tmp_path)
    assert path.name == "happy.safetensors"
    found, kept = load_vectors(path, lab.language().fingerprint), lab.concept("happy").vectors
    assert list(found.directions) == list(kept.directions)
    for slot, direction in kept.directions.items():
        assert torch.equal(found.directions[slot].unit, direction.unit)
        assert torch.equal(found.directions[slot].norm, direction.norm)


def test_gguf_is_read_by_its_own_package_and_comes_back_the_same_but_for_the_first_layer(
    lab: Any, tmp_path: Path
) -> None:
    from gguf import GGUFReader

    save_vectors(planted(lab), tmp_path / "sunny.safetensors")
    import_concept(lab, tmp_path / "sunny.safetensors")
    path = export_concept(lab, "sunny", "gguf", tmp_path)
    reader = GGUFReader(path)
    layers = lab.language().layers
    assert {tensor.name for tensor in reader.tensors} == {f"direction.{layer}" for layer in range(1, layers)}
    for tensor in reader.tensors:
        layer = int(tensor.name.rpartition(".")[2])
        wanted = np.zeros(lab.language().width, np.float32)
        wanted[layer] = layer + 1
        assert np.array_equal(tensor.data, wanted)
    back = import_concept(lab, path, "sunny-again")
    assert back.vectors.concept == "sunny-again"
    assert [float(one.norm) for one in back.vectors.directions.values()] == list(range(2, layers + 1))


def test_an_import_is_kept_on_disk_and_told_where_it_came_from(lab: Any, tmp_path: Path) -> None:
    before = lab.revision
    save_vectors(planted(lab, "Very Sunny!"), tmp_path / "x.safetensors")
    entry = import_concept(lab, tmp_path / "x.safetensors")
    assert entry.name == "very-sunny" and entry.layer == lab.usual().layer
    assert lab.revision == before + 1
    assert files(lab) == ["very-sunny.json", "very-sunny.safetensors"]
    found = concept_details(lab, "very-sunny")
    assert found.about["imported"] == {"file": "x.safetensors", "format": "safetensors"}
    assert [one.norm for one in found.statistics] == pytest.approx(
        [layer + 1.0 for layer in range(lab.language().layers)]
    )


def test_a_concept_is_set_to_the_layer_nearest_the_middle_that_it_has_a_vector_for(lab: Any, tmp_path: Path) -> None:
    vectors = planted(lab)
    last = lab.language().layers - 1
    save_vectors(vectors.at_layers([last, last - 1]), tmp_path / "late.safetensors")
    assert import_concept(lab, tmp_path / "late.safetensors", "late").layer == last - 1


class _Evil:
    def __reduce__(self) -> Any:
        return (Path.touch, (Path("ran"),))


def test_plain_tensors_of_others_are_taken_in(lab: Any, tmp_path: Path) -> None:
    model = lab.language()
    rows = torch.randn(model.layers + 1, model.width, generator=torch.Generator().manual_seed(0))
    torch.save(rows, tmp_path / "kind_response_avg_diff.pt")
    entry = import_concept(lab, tmp_path / "kind_response_avg_diff.pt")
    assert entry.name == "kind" and own(lab) == ["kind"]
    first = next(iter(entry.vectors.directions.values()))
    torch.testing.assert_close(first.norm * first.unit, rows[1])
    save_file({"lora_up.weight": torch.ones(2)}, tmp_path / "style.safetensors")
    with pytest.raises(UserError, match=r"style\.safetensors .* It is a LoRA"):
        import_concept(lab, tmp_path / "style.safetensors")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (pickle.dumps(_Evil()), r"up.safetensors is a pickle .* was not opened"),
        (b"", "up.safetensors is not a safetensors file"),
        (b"GGUF", "up.safetensors"),
        (b"GGUF" + b"\xff" * 64, "up.safetensors"),
    ],
)
def test_pickles_and_torn_files_are_refused_under_the_name_that_the_visitor_knows(
    lab: Any, tmp_path: Path, content: bytes, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "up.safetensors").write_bytes(content)
    with pytest.raises(UserError, match=message) as caught:
        import_concept(lab, tmp_path / "up.safetensors", "up")
    assert str(tmp_path) not in str(caught.value)
    assert own(lab) == [] and not (tmp_path / "ran").exists()


def test_vectors_of_another_model_layer_or_width_are_refused_by_name(lab: Any, tmp_path: Path) -> None:
    model = lab.language()
    other = model.fingerprint.model_copy(update={"digest": "a" * 64, "name": "another-lm"})
    path = tmp_path / "v.safetensors"
    save_vectors(planted(lab, fingerprint=other), path)
    with pytest.raises(UserError, match=r"fitted on 'another-lm'|another-lm"):
        import_concept(lab, path)
    unit = torch.zeros(model.width)
    unit[0] = 1.0
    deep = {VectorKey(Hookpoint(f"model.layers.{model.layers}")): Direction(unit, torch.tensor(1.0))}
    save_vectors(SteeringVectors("deep", model.fingerprint, "planted", "content", deep), path)
    with pytest.raises(UserError, match=rf"model.layers.{model.layers}:out is no layer of it"):
        import_concept(lab, path)
    save_vectors(planted(lab, width=model.width + 1), path)
    with pytest.raises(UserError, match=f"{model.width + 1} wide, its layers {model.width}"):
        import_concept(lab, path)
    assert own(lab) == [] and files(lab) == []


def test_names_that_are_crooked_or_taken_are_refused_and_nothing_is_written(lab: Any, tmp_path: Path) -> None:
    save_vectors(planted(lab), tmp_path / "v.safetensors")
    for name in ("../../evil", "a/b", "A", "x" * 41, "-", ".hidden"):
        with pytest.raises(UserError, match="cannot be a concept's name"):
            import_concept(lab, tmp_path / "v.safetensors", name)
    with pytest.raises(UserError, match="There is a concept 'happy' already"):
        import_concept(lab, tmp_path / "v.safetensors", "happy")
    save_vectors(planted(lab, "!?"), tmp_path / "v.safetensors")
    with pytest.raises(UserError, match="cannot be a concept's name"):
        import_concept(lab, tmp_path / "v.safetensors")
    assert own(lab) == [] and files(lab) == []


def test_files_that_are_too_large_are_not_opened(lab: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(library, "LARGEST_FILE", 1000)
    save_vectors(planted(lab), tmp_path / "v.safetensors")
    with pytest.raises(UserError, match="at most 0 are taken"):
        import_concept(lab, tmp_path / "v.safetensors")


def test_a_concept_is_renamed_with_its_files_and_its_notes(lab: Any, tmp_path: Path) -> None:
    save_vectors(planted(lab), tmp_path / "v.safetensors")
    import_concept(lab, tmp_path / "v.safetensors", "old")
    assert rename_concept(lab, "old", "new").vectors.concept == "new"
    assert own(lab) == ["new"] and files(lab) == ["new.json", "new.safetensors"]
    assert concept_details(lab, "new").about["imported"]["file"] == "v.safetensors"
    for name, new, message in (("happy", "glad", "built in and keeps its name"), ("new", "happy", "already")):
        with pytest.raises(UserError, match=message):
            rename_concept(lab, name, new)
    assert own(lab) == ["new"]


def test_only_a_visitors_concept_is_deleted(lab: Any, tmp_path: Path) -> None:
    save_vectors(planted(lab), tmp_path / "v.safetensors")
    import_concept(lab, tmp_path / "v.safetensors", "mine")
    delete_concept(lab, "mine")
    assert own(lab) == [] and files(lab) == []
    with pytest.raises(UserError, match="built in and stays"):
        delete_concept(lab, "happy")
    with pytest.raises(UserError, match="no concept"):
        delete_concept(lab, "mine")


def test_a_download_lies_in_the_labs_cache_and_a_refused_one_leaves_nothing(lab: Any) -> None:
    path = temporary_export(lab, "happy", "gguf")
    assert lab.cache in path.parents
    before = sorted(lab.cache.iterdir())
    with pytest.raises(UserError, match="no format 'pickle'"):
        temporary_export(lab, "happy", "pickle")
    assert sorted(lab.cache.iterdir()) == before


def test_downloads_end_where_the_room_for_them_does_and_go_after_an_hour(
    lab: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = temporary_export(lab, "happy", "safetensors")
    monkeypatch.setattr(library, "MOST_IN_PASSING", library.LARGEST_FILE)
    with pytest.raises(UserError, match="They go after an hour"):
        temporary_export(lab, "happy", "safetensors")
    monkeypatch.setattr(library, "MOST_IN_PASSING", 100 * library.LARGEST_FILE)
    hour_ago = path.parent.stat().st_mtime - library.SECONDS_KEPT - 1
    os.utime(path.parent, (hour_ago, hour_ago))
    temporary_export(lab, "happy", "safetensors")
    assert not path.exists()
