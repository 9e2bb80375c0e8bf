"""Declaring stages: names, folders, sections, and what is refused."""

from pathlib import Path
from typing import Annotated

import pytest

from steerwright.dag import Dep, File, Out, Param, declarations, stage
from steerwright.errors import UserError


def fit(
    activations: Annotated[Path, Dep()],
    estimator: Annotated[str, Param()],
    vectors: Annotated[Path, Out("vectors.bin")],
) -> None:
    """Fit vectors.

    More.
    """


def draw(vectors: Annotated[Path, Dep()], seed: Annotated[int, Param("/seed")], page: Annotated[Path, Out()]) -> None:
    """Draw."""


def unmarked(vectors: Path, page: Annotated[Path, Out()]) -> None:
    """Draw."""


@pytest.fixture(autouse=True)
def nothing_declared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(declarations, "declared", {})


def test_one_noun_names_stage_folder_and_section() -> None:
    made = stage("winter-first-vectors", fit, activations=File("data/a.csv"), tags=("gpu",), retries=1)
    assert made.section == "winter.first-vectors"
    assert made.params == {"estimator": "winter.first-vectors.estimator"}
    assert made.out("vectors").path == "artifacts/winter/first-vectors/vectors.bin"
    assert made.pipeline == "winter"
    assert made.desc == "Fit vectors."
    assert made.dep_paths() == ["data/a.csv"]


def test_outputs_of_one_stage_are_inputs_of_another() -> None:
    first = stage("winter-vectors", fit, activations=File("data"), section="other", outs={"vectors": "models/v"})
    second = stage("winter-page", draw, vectors=first.out("vectors"))
    assert first.params == {"estimator": "other.estimator"}
    assert second.dep_paths() == ["models/v"]
    assert second.params == {"seed": "seed"}
    with pytest.raises(UserError, match="no Out named 'vector'"):
        first.out("vector")


@pytest.mark.parametrize(
    ("name", "function", "wiring", "said"),
    [
        ("winter_a@b", fit, {"activations": File("a")}, "stage name"),
        ("winter-a", fit, {}, "input `activations` is not wired"),
        ("winter-a", fit, {"activations": File("a"), "other": File("b")}, "no Dep named `other`"),
        ("winter-a", fit, {"activations": File("a"), "outs": {"vector": "x"}}, "no Out named `vector`"),
        ("winter-a", unmarked, {}, "`vectors` has no marker"),
    ],
)
def test_a_wrong_declaration_is_refused(name: str, function: object, wiring: dict, said: str) -> None:
    with pytest.raises(UserError, match=said):
        stage(name, function, **wiring)


def test_a_name_is_declared_once() -> None:
    stage("winter-a", fit, activations=File("a"))
    with pytest.raises(UserError, match="declared twice"):
        stage("winter-a", draw, vectors=File("b"))
