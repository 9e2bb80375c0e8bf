import dataclasses
import json
from pathlib import Path

import pytest
import torch

from steerwright.errors import UserError
from steerwright.lab.operations.create_concept import create_concept
from steerwright.lab.operations.library import import_concept, rename_concept
from steerwright.lab.operations.mix_concepts import keep_mix
from steerwright.lab.workbench import Outline, Workbench
from steerwright.models.folder_digest import content_digest
from steerwright.models.identify import EMBEDDED_LANGUAGE
from steerwright.models.language.load import load_language_model
from steerwright.models.language.spec import LanguageSpec
from steerwright.vectors.formats.vectors_file import load_vectors, save_vectors


def _files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_the_built_in_concepts_are_those_of_the_library(workbench: Workbench) -> None:
    found = workbench.concepts()
    assert list(found) == ["happy", "sad", "pirate"]
    assert found["pirate"].factor == "personality"
    assert found["pirate"].origin == "built-in"
    assert (found["happy"].layer, found["happy"].strength) == (2, 0.5)
    assert [str(hookpoint) for hookpoint in found["happy"].vectors.hookpoints] == [
        f"model.layers.{layer}:out" for layer in range(4)
    ]


def test_a_vector_is_the_mean_difference_where_the_answer_begins(workbench: Workbench) -> None:
    """By transformers' own hidden states, one request at a time, without padding."""
    entry = workbench.concept("happy")
    model = workbench.language()
    sides = []
    for words in (" Answer in a happy tone.", ""):
        rows = []
        for pair in entry.pairs:
            chat = [{"role": "user", "content": pair.prompt + words}]
            ids = model.tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_tensors="pt")
            ids = ids if isinstance(ids, torch.Tensor) else ids["input_ids"]
            states = model.model(ids, output_hidden_states=True).hidden_states
            # hidden_states[i + 1] is what block i gives, except for the last, which is normed.
            rows.append(states[3][0, -1].double())
        sides.append(torch.stack(rows).mean(0))
    expected = sides[0] - sides[1]
    (direction,) = entry.vectors.at_layers([2]).directions.values()
    assert torch.allclose(direction.unit.double() * direction.norm.double(), expected, atol=1e-5)
    assert torch.allclose(direction.origin.double(), sides[1] @ direction.unit.double(), atol=1e-4)
    assert entry.vectors.token_policy == "request last"


def test_the_embedded_model_is_known_before_it_is_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    root = Path(__file__).resolve().parents[3]
    monkeypatch.chdir(root)
    spec = LanguageSpec(name=EMBEDDED_LANGUAGE, source="models/seasons-lm", dtype="float16")
    with monkeypatch.context() as patch:
        patch.setattr("steerwright.models.language.load.load_language_model", lambda *_: pytest.fail("it was loaded"))
        lab = Workbench(root, spec, {})
        known, concepts = lab.outline(), lab.concepts()
    model = load_language_model(spec)
    assert (known.name, known.layers, known.width) == (spec.name, model.layers, model.width)
    assert known.fingerprint == model.fingerprint
    # Their vectors are shipped, so that nothing has to be fitted either.
    assert {one.layer < model.layers for one in concepts.values()} == {True}
    assert len(concepts) >= 12


def test_another_model_is_known_once_it_is_loaded(workbench: Workbench) -> None:
    known = workbench.outline()
    assert (known.name, known.layers, known.width) == ("tiny", 4, workbench.language().width)
    assert known.fingerprint == workbench.language().fingerprint


def test_a_model_whose_config_says_too_little_is_loaded(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"hidden_size": 8}))
    assert Outline.of_embedded(LanguageSpec(name=EMBEDDED_LANGUAGE, source=str(tmp_path))) is None


def test_a_visitors_concept_is_listed_saved_and_found_again(workbench: Workbench, lab_project: Path) -> None:
    happy = workbench.concept("happy")
    before = workbench.revision
    mine = dataclasses.replace(happy, name="merry", origin="yours", factor=None, layer=2, strength=0.4)
    workbench.add_concept(mine, {"note": "mine"})
    assert workbench.revision == before + 1
    assert _files(lab_project / "lab") == {
        f"concepts/{workbench.language().fingerprint.digest[:12]}/merry.{ending}" for ending in ("json", "safetensors")
    }
    again = Workbench(lab_project, workbench.spec, {})
    found = again.concept("merry")
    assert (found.origin, found.layer, found.strength, found.pairs) == ("yours", 2, 0.4, happy.pairs)
    assert again.store().about("merry") == {"note": "mine"}
    for slot, direction in happy.vectors.directions.items():
        assert torch.equal(found.vectors.directions[slot].unit, direction.unit)


def test_a_built_in_concept_can_be_neither_replaced_nor_deleted(workbench: Workbench, lab_project: Path) -> None:
    entry = dataclasses.replace(workbench.concept("happy"), origin="yours")
    with pytest.raises(UserError, match="built-in"):
        workbench.add_concept(entry)
    with pytest.raises(UserError, match="built in and stays"):
        workbench.remove_concept("happy")
    assert not (lab_project / "lab").exists()


def test_a_deleted_concept_leaves_no_file(workbench: Workbench, lab_project: Path) -> None:
    workbench.add_concept(dataclasses.replace(workbench.concept("sad"), name="blue", origin="yours"))
    workbench.remove_concept("blue")
    assert "blue" not in workbench.concepts()
    assert _files(lab_project / "lab") == set()


def test_no_more_concepts_are_kept_than_there_is_room_for(
    workbench: Workbench, lab_project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("steerwright.lab.workbench.MOST_OWN", 2)
    sad = workbench.concept("sad")
    for name in ("blue", "green"):
        workbench.add_concept(dataclasses.replace(sad, name=name, origin="yours"))
    before = _files(lab_project / "lab")
    with pytest.raises(UserError, match="2 concepts of your own already, and at most 2 are kept; delete some"):
        workbench.add_concept(dataclasses.replace(sad, name="red", origin="yours"))
    pairs = [["Tell me about the lake sadly.", "Tell me about the lake."]]
    for more in (
        lambda: create_concept(workbench, "red", pairs),
        lambda: keep_mix(workbench, "red", "happy:1,sad:1"),
        lambda: import_concept(workbench, lab_project / "red.safetensors"),
    ):
        with pytest.raises(UserError, match="at most 2 are kept"):
            more()
    assert _files(lab_project / "lab") == before
    # What is there can still be changed, and makes room when it goes.
    workbench.add_concept(dataclasses.replace(workbench.concept("blue"), layer=1))
    rename_concept(workbench, "green", "red")
    workbench.remove_concept("blue")
    workbench.add_concept(dataclasses.replace(sad, name="blue", origin="yours"))
    assert list(workbench.concepts()) == ["happy", "sad", "pirate", "red", "blue"]


def test_names_that_lead_elsewhere_write_nothing(workbench: Workbench, lab_project: Path) -> None:
    before = _files(lab_project.parent)
    for name in ("../../evil", "/tmp/evil", "a/b", ".."):
        with pytest.raises(UserError):
            workbench.add_concept(dataclasses.replace(workbench.concept("sad"), name=name, origin="yours"))
    assert _files(lab_project.parent) == before


def test_a_damaged_file_is_left_out_and_told(workbench: Workbench, lab_project: Path) -> None:
    workbench.add_concept(dataclasses.replace(workbench.concept("sad"), name="blue", origin="yours"))
    (workbench.folder / "broken.safetensors").write_bytes(b"\x80\x04 a pickle")
    again = Workbench(lab_project, workbench.spec, {})
    assert list(again.concepts()) == ["happy", "sad", "pirate", "blue"]
    assert any("broken.safetensors is left out" in note and "pickle" in note for note in again.notes)


def test_a_concept_of_another_model_is_left_out(workbench: Workbench, lab_project: Path) -> None:
    happy = workbench.concept("happy")
    other = happy.vectors.model.model_copy(update={"digest": "0" * 64, "name": "stranger"})
    workbench.folder.mkdir(parents=True)
    save_vectors(dataclasses.replace(happy.vectors, model=other), workbench.folder / "foreign.safetensors")
    again = Workbench(lab_project, workbench.spec, {})
    assert "foreign" not in again.concepts()
    assert any("stranger" in note for note in again.notes)


def _pipeline_has_run(workbench: Workbench, root: Path, digest: str) -> None:
    """What the language pipeline leaves behind, with vectors that are told apart by their sign."""
    folder = root / "artifacts" / "language"
    for name in ("model", "prompts", "vectors/vectors", "choice"):
        (folder / name).mkdir(parents=True)
    (folder / "model" / "model.json").write_text(json.dumps({"fingerprint": {"digest": digest}}))
    happy = workbench.concept("happy")
    pairs = [{"id": "x", **dataclasses.asdict(pair)} for pair in happy.pairs]
    known = {
        "happy": {"instruction": "Answer in a happy tone.", "pairs": pairs},
        "sad": {"instruction": "Answer in tears.", "pairs": pairs},
    }
    (folder / "prompts" / "pairs.json").write_text(json.dumps(known))
    for name in ("happy", "sad"):
        vectors = workbench.concept(name).vectors
        turned = {
            slot: dataclasses.replace(direction, unit=-direction.unit) for slot, direction in vectors.directions.items()
        }
        path = folder / "vectors" / "vectors" / f"{name}.safetensors"
        save_vectors(dataclasses.replace(vectors, directions=turned), path)
    choice = {"layer": 3, "strength": 0.9, "units": "relative", "safe": [0.0, 1.1]}
    (folder / "choice" / "chosen.json").write_text(json.dumps({"happy": choice, "sad": {**choice, "units": "raw"}}))


def test_what_the_pipeline_measured_on_this_model_is_taken(workbench: Workbench, lab_project: Path) -> None:
    fitted = workbench.concept("happy").vectors, workbench.concept("sad").vectors
    _pipeline_has_run(workbench, lab_project, workbench.language().fingerprint.digest)
    found = Workbench(lab_project, workbench.spec, {}).concepts()
    slot = next(iter(fitted[0].directions))
    assert torch.equal(found["happy"].vectors.directions[slot].unit, -fitted[0].directions[slot].unit)
    # Its vectors were fitted from other words, and its strength is in other units.
    assert torch.allclose(found["sad"].vectors.directions[slot].unit, fitted[1].directions[slot].unit, atol=1e-5)
    assert (found["happy"].layer, found["happy"].strength, found["happy"].safe) == (3, 0.9, (0.0, 1.1))
    assert (found["sad"].layer, found["sad"].strength, found["sad"].safe) == (2, 0.5, None)


def test_what_is_shipped_is_taken_until_the_pipeline_has_run(workbench: Workbench, lab_project: Path) -> None:
    _pipeline_has_run(workbench, lab_project, workbench.language().fingerprint.digest)
    shipped = lab_project / "models" / "seasons-concepts"
    shipped.parent.mkdir(parents=True, exist_ok=True)
    (lab_project / "artifacts" / "language").rename(shipped)
    assert Workbench(lab_project, workbench.spec, {}).concept("happy").layer == 3
    _pipeline_has_run(workbench, lab_project, workbench.language().fingerprint.digest)
    choice = {"layer": 0, "strength": 0.2, "units": "relative", "safe": None}
    (lab_project / "artifacts/language/choice/chosen.json").write_text(json.dumps({"happy": choice}))
    assert Workbench(lab_project, workbench.spec, {}).concept("happy").layer == 0


def test_what_an_earlier_steerwright_left_for_this_model_is_found(workbench: Workbench, lab_project: Path) -> None:
    identity = workbench.language().fingerprint
    # Of the first version: over all files of the folder.
    before = {"version": 1, "weights": {}, "configs": {}, "beside": {}}
    earlier = identity.model_copy(update={"digest": content_digest(Path(identity.source)), **before})
    assert earlier.digest != identity.digest
    happy = workbench.concept("happy")
    mine = dataclasses.replace(happy.vectors, model=earlier)
    folder = lab_project / "lab" / "concepts" / earlier.digest[:12]
    folder.mkdir(parents=True)
    save_vectors(mine, folder / "merry.safetensors")
    _pipeline_has_run(workbench, lab_project, earlier.digest)
    again = Workbench(lab_project, workbench.spec, {})
    assert (again.concept("merry").origin, again.folder) == ("yours", folder)
    assert again.concept("happy").layer == 3


def test_what_was_measured_on_another_model_is_not(workbench: Workbench, lab_project: Path) -> None:
    _pipeline_has_run(workbench, lab_project, "0" * 64)
    assert Workbench(lab_project, workbench.spec, {}).concept("happy").layer == 2


def test_a_saved_concept_is_an_ordinary_vectors_file(workbench: Workbench) -> None:
    workbench.add_concept(dataclasses.replace(workbench.concept("sad"), name="blue", origin="yours"))
    found = load_vectors(workbench.folder / "blue.safetensors", workbench.language().fingerprint)
    assert found.estimator == "mean_difference"
