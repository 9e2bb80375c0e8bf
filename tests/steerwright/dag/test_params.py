"""params.yaml against the signatures, and changing it from the command line."""

from pathlib import Path
from typing import Annotated

import pytest

from steerwright.dag import Out, Param, Stage, declarations, params, stage
from steerwright.errors import UserError, UserErrors


def fit(
    estimator: Annotated[str, Param()],
    layers: Annotated[list[int], Param()],
    strategy: Annotated[dict, Param("how.strategy")],
    seed: Annotated[int, Param("/seed")],
    vectors: Annotated[Path, Out("vectors.bin")],
) -> None:
    """Fit."""


@pytest.fixture
def fit_stage(monkeypatch: pytest.MonkeyPatch) -> Stage:
    monkeypatch.setattr(declarations, "declared", {})
    return stage("winter-vectors", fit)


def good() -> dict:
    section = {"estimator": "mean", "layers": [0, 6], "how": {"strategy": {"kind": "x", "dose": 1}}}
    return {"seed": 3, "winter": {"vectors": section}}


def problems(stages: list[Stage], values: dict) -> list[str]:
    with pytest.raises(UserErrors) as raised:
        params.check(stages, values)
    return raised.value.problems


def test_a_file_that_fits_passes_and_gives_the_arguments(fit_stage: Stage) -> None:
    params.check([fit_stage], good())
    strategy = {"kind": "x", "dose": 1}
    assert params.arguments(fit_stage, good()) == {
        "estimator": "mean", "layers": [0, 6], "strategy": strategy, "seed": 3,
    }  # fmt: skip


def test_a_mistyped_key_is_reported_once_as_missing_and_once_as_unknown_with_near_matches(fit_stage: Stage) -> None:
    values = good()
    values["winter"]["vectors"]["estimater"] = values["winter"]["vectors"].pop("estimator")
    missing, unknown = problems([fit_stage], values)
    assert missing.startswith("winter.vectors.estimator is missing; stage winter-vectors reads it")
    assert "did you write winter.vectors.estimater instead?" in missing
    assert unknown == "winter.vectors.estimater: no stage reads this key; did you mean winter.vectors.estimator?"


def test_all_problems_are_told_at_once_and_free_values_are_left_alone(fit_stage: Stage) -> None:
    values = good()
    del values["seed"]
    values["winter"]["vektors"] = {"a": 1}
    values["winter"]["vectors"]["extra"] = 1
    values["elsewhere"] = {"anything": 1}
    assert len(problems([fit_stage], values)) == 3


def test_a_value_of_the_wrong_type_names_key_value_and_stage(fit_stage: Stage) -> None:
    values = good()
    values["winter"]["vectors"]["layers"] = [0, "six"]
    with pytest.raises(UserErrors, match=r"winter\.vectors\.layers\.1 is 'six'.*winter-vectors"):
        params.arguments(fit_stage, values)


@pytest.mark.parametrize(("text", "said"), [("a: [1", "cannot be read"), ("- 1\n", "list at the top")])
def test_a_broken_file_is_one_message(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "params.yaml").write_text(text)
    with pytest.raises(UserError, match=said):
        params.load_params(tmp_path)


TEXT = """\
# Which model.
model: small

models:
  small: {family: sd, source: models/small}   # ours
  large: {family: sd, source: somebody/large}

winter:
  images:
    seeds: [17, 18]   # two
    strategy:
      kind: keywords
      high: [hot]
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / ".dvc").mkdir()
    (tmp_path / "params.yaml").write_text(TEXT)
    return tmp_path


def test_values_are_written_and_comments_stay(project: Path) -> None:
    said = params.merge(project, {"winter": {"images": {"seeds": [1]}}}, (), "tiny.yaml")
    assert said == ["winter.images.seeds: [17, 18] -> [1]"]
    text = (project / "params.yaml").read_text()
    assert "# Which model." in text
    assert "# ours" in text
    assert params.load_params(project)["winter"]["images"]["seeds"] == [1]
    assert params.merge(project, {"winter": {"images": {"seeds": [1]}}}, (), "tiny.yaml") == []


def test_another_kind_replaces_the_options_of_the_old_one(project: Path) -> None:
    other = {"winter": {"images": {"strategy": {"kind": "projection", "dose": 2}}}}
    params.merge(project, other, ["winter.images.strategy"], "tiny.yaml")
    assert params.load_params(project)["winter"]["images"]["strategy"] == {"kind": "projection", "dose": 2}


def test_unknown_keys_are_refused_together_and_nothing_is_written(project: Path) -> None:
    with pytest.raises(UserErrors) as raised:
        params.merge(project, {"winter": {"image": {"seeds": [1]}}, "mode": "x", "model": "large"}, (), "tiny.yaml")
    assert [one.partition(";")[0] for one in raised.value.problems] == ["winter.image", "mode"]
    assert "winter.images" in raised.value.problems[0]
    assert (project / "params.yaml").read_text() == TEXT


def test_a_model_is_chosen_by_entry_or_by_folder(project: Path) -> None:
    assert params.choose_model(project, "large") == ["model: 'small' -> 'large'"]
    folder = project / "mine"
    folder.mkdir()
    (folder / "model_index.json").write_text("{}")
    params.choose_model(project, str(folder))
    values = params.load_params(project)
    assert values["model"] == "mine"
    assert values["models"]["mine"]["source"] == "mine"
    with pytest.raises(UserError, match="did you mean large"):
        params.choose_model(project, "larg")


def test_a_pipeline_with_a_model_of_its_own_gets_it_and_the_others_keep_theirs(project: Path) -> None:
    (project / "params.yaml").write_text(TEXT + "flux:\n  model: small\n")
    values = params.load_params(project)
    assert params.model_key(values, "flux") == "flux.model"
    assert params.model_key(values, "winter") == params.model_key(values, "everything") == "model"
    params.choose_model(project, "large", "flux.model")
    values = params.load_params(project)
    assert (values["model"], values["flux"]["model"]) == ("small", "large")
