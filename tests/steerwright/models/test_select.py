"""From a model's name to its spec."""

import json
from pathlib import Path

import pytest

from steerwright.errors import UserError, UserErrors
from steerwright.models.fingerprint import Fingerprint
from steerwright.models.select import read_model, select_model

MODELS = {"seasons-sd": {"family": "sd", "source": "models/seasons-sd", "steps": 20, "guidance": 4.0}}


def test_an_entry_of_params_is_taken_as_it_is() -> None:
    spec = select_model("seasons-sd", MODELS)
    assert (spec.name, spec.source, spec.steps, spec.guidance) == ("seasons-sd", "models/seasons-sd", 20, 4.0)


def test_a_folder_needs_no_entry(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "model_index.json").write_text("{}")
    spec = select_model(str(tmp_path / "mine"), MODELS)
    assert (spec.name, spec.source) == ("mine", str(tmp_path / "mine"))


@pytest.mark.parametrize(
    ("index", "expected"),
    [
        ('{"_class_name": "StableDiffusionPipeline"}', (50, 7.5)),
        ('{"_class_name": "StableDiffusionXLPipeline"}', (30, 5.0)),
        ("[]", (50, 7.5)),
        ("{", (50, 7.5)),
    ],
)
def test_a_folder_runs_with_the_usual_settings_of_its_class(
    tmp_path: Path, index: str, expected: tuple[int, float]
) -> None:
    (tmp_path / "model_index.json").write_text(index)
    spec = select_model(str(tmp_path), MODELS)
    assert (spec.steps, spec.guidance, spec.dtype) == (*expected, "float32")


def test_the_models_of_params_are_specs() -> None:
    from ruamel.yaml import YAML

    models = YAML(typ="safe").load((Path(__file__).parents[3] / "params.yaml").read_text())["models"]
    specs = {name: select_model(name, models) for name, entry in models.items() if entry["family"] != "language"}
    # As their model cards run them.
    expected = {"sd-1.4": (50, 7.5), "sd-1.5": (50, 7.5), "sd-2.1-base": (50, 7.5), "sdxl": (30, 5.0)}
    expected |= {"sd-turbo": (1, 0.0), "sdxl-turbo": (1, 0.0), "seasons-flux": (12, 3.5)}
    expected |= {f"flux.1-{kind}{size}": run for size in ("", "-256")
                 for kind, run in {"dev": (20, 3.5), "schnell": (4, 0.0)}.items()}  # fmt: skip
    assert {name: (specs[name].steps, specs[name].guidance) for name in expected} == expected
    # float16 overflows there; a picture of 256 pixels has another schedule, so it is an entry of its own.
    large = [found for name, found in specs.items() if name.startswith("flux.1-")]
    assert {(found.family, found.dtype, found.offload) for found in large} == {("flux", "bfloat16", "model")}
    assert {found.name.endswith("-256"): (found.height, found.width) for found in large} == {
        True: (256, 256), False: (1024, 1024)
    }  # fmt: skip


def test_a_mistyped_name_gets_the_near_match() -> None:
    with pytest.raises(UserError, match="did you mean seasons-sd"):
        select_model("season-sd", MODELS)


def test_all_mistakes_of_an_entry_are_listed_by_key() -> None:
    with pytest.raises(UserErrors) as caught:
        select_model("bad", {"bad": {"source": "x", "steps": 0, "guidance": 1.0, "stepz": 3}})
    assert [problem.split(":")[0] for problem in caught.value.problems] == ["models.bad.steps", "models.bad.stepz"]


def test_what_the_stage_wrote_reads_back(tmp_path: Path) -> None:
    spec = select_model("seasons-sd", MODELS)
    path = tmp_path / "model.json"
    identity = Fingerprint(name="seasons-sd", source="x", revision=None, digest="abc", libraries={"torch": "2"})
    path.write_text(json.dumps({"spec": spec.model_dump(), "fingerprint": identity.model_dump()}))
    assert read_model(path) == (spec, identity)
