import math
from pathlib import Path

import pytest
import torch

from steerwright.errors import UserError
from steerwright.lab.jobs import Cancelled, Job
from steerwright.lab.operations.mix_concepts import keep_mix, mix_concepts
from steerwright.lab.operations.steer_text import steer_text
from steerwright.lab.workbench import Workbench

PROMPTS = ("Tell me about the garden.", "Tell me about the market.", "Tell me about the house.", "about the old boat")
MIX = "happy:0.6,pirate:0.4"


def test_rates_are_those_of_the_answers_one_by_one(workbench: Workbench) -> None:
    found = mix_concepts(workbench, MIX, 2, 0.8, tokens=8, temperature=0)
    answers = [
        steer_text(workbench, prompt, MIX, 2, 0.8, tokens=8, temperature=0, seed=seed)
        for seed, prompt in enumerate(PROMPTS)
    ]
    for part in found.parts:
        assert part.rate == sum(one.steered.expressed[part.concept] >= 0.5 for one in answers) / 4
        assert part.unsteered == sum(one.unsteered.expressed[part.concept] >= 0.5 for one in answers) / 4
    assert found.all_shown == sum(min(one.steered.expressed.values()) >= 0.5 for one in answers) / 4
    assert [sample[2] for sample in found.samples] == [one.steered.text for one in answers[:3]]


def test_the_cosine_of_a_part_is_that_of_the_sum_of_unit_vectors(workbench: Workbench) -> None:
    found = mix_concepts(workbench, MIX, 2, 0.8, tokens=2, temperature=0)
    units = {
        name: workbench.concept(name).vectors.at_layers([2]).directions.popitem()[1].unit.double()
        for name in ("happy", "pirate")
    }
    mixed = 0.6 * units["happy"] + 0.4 * units["pirate"]
    for part in found.parts:
        expected = torch.cosine_similarity(units[part.concept], mixed, dim=0)
        assert part.cosine == pytest.approx(float(expected), abs=1e-5)


def test_concepts_that_take_turns_have_no_cosine_and_cannot_be_kept(workbench: Workbench, lab_project: Path) -> None:
    found = mix_concepts(workbench, "happy:0.6|pirate:0.4", 2, 0.8, tokens=4, temperature=0)
    assert found.mix == "happy:0.6|pirate:0.4"
    assert all(math.isnan(part.cosine) for part in found.parts)
    with pytest.raises(UserError, match="takes turns"):
        keep_mix(workbench, "jolly", found.mix)
    assert not (lab_project / "lab").exists()


def test_a_part_that_is_taken_away_need_not_show(workbench: Workbench) -> None:
    found = mix_concepts(workbench, "happy:1,sad:-0.5", 2, 0.8, tokens=4, temperature=0)
    assert found.all_shown == next(part.rate for part in found.parts if part.concept == "happy")


def test_a_kept_mix_is_a_concept_like_any_other(workbench: Workbench, lab_project: Path) -> None:
    keep_mix(workbench, "jolly-pirate", MIX, 2, 0.7)
    again = Workbench(lab_project, workbench.spec, {})
    entry = again.concept("jolly-pirate")
    assert (entry.origin, entry.layer, entry.strength) == ("yours", 2, 0.7)
    assert again.store().about("jolly-pirate") == {"mix": MIX}
    asked = {"tokens": 6, "temperature": 0}
    kept = steer_text(again, PROMPTS[0], "jolly-pirate", 2, 0.7, **asked)
    mixed = steer_text(workbench, PROMPTS[0], MIX, 2, 0.7, **asked)
    assert kept.steered.text == mixed.steered.text


@pytest.mark.parametrize("name", ["happy", "../x", "", "Jolly"])
def test_a_mix_is_not_kept_under_a_name_that_is_taken_or_none(
    workbench: Workbench, lab_project: Path, name: str
) -> None:
    with pytest.raises(UserError):
        keep_mix(workbench, name, MIX)
    assert not (lab_project / "lab").exists()


def test_a_stopped_mix_ends(workbench: Workbench) -> None:
    with pytest.raises(Cancelled):
        mix_concepts(workbench, MIX, job=Job(cancelled=lambda: True))
