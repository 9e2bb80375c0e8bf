"""The file of concept moments, and what is said when something is not in it."""

from pathlib import Path

import pytest
import torch

from steerwright.concepts.scores import ConceptMoments, load_concept_moments, save_concept_moments
from steerwright.errors import UserError


def moments() -> ConceptMoments:
    made = ConceptMoments.empty(("object:cat", "object:horse"), (0, 5), 3, {"sae": "mid", "timesteps": [981.0, 1.0]})
    means = torch.rand(7, 3, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    made.add(torch.tensor([0, 1, 0, -1, 1, 1, 0]), means, torch.ones(7, 3, dtype=torch.bool))
    made.fired += 2
    made.tokens += 8
    return made


def test_what_is_saved_reads_back_and_is_the_same_bytes(tmp_path: Path) -> None:
    first, second = tmp_path / "mid.safetensors", tmp_path / "again.safetensors"
    save_concept_moments(moments(), first)
    found = load_concept_moments(first)
    save_concept_moments(found, second)
    assert first.read_bytes() == second.read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["again.safetensors", "mid.safetensors"]
    for name in ("sums", "squares", "active", "count", "fired", "tokens"):
        assert torch.equal(getattr(found, name), getattr(moments(), name))
    assert (found.concepts, found.steps, found.facts) == (moments().concepts, (0, 5), moments().facts)
    assert found.count.tolist() == [[3, 3, 3], [3, 3, 3]]  # the image of no concept counts for none
    assert found.density.tolist() == [[0.25] * 3] * 3


def test_means_are_float32_over_images() -> None:
    made = ConceptMoments.empty(("object:cat", "object:horse"), (0,), 2)
    means = torch.tensor([[[1.0, 0.0]], [[3.0, 2.0]], [[8.0, 8.0]]]).double().expand(-1, 2, -1)
    made.add(torch.tensor([0, 0, 1]), means, torch.ones(3, 2, dtype=torch.bool))
    assert made.concept_means("object:cat", 0).tolist() == [2.0, 1.0]
    assert made.others_means("object:cat", None).tolist() == [8.0, 8.0]
    assert made.axis_means("object:cat", 0).tolist() == [5.0, 4.5]
    assert made.concept_means("object:cat", 0).dtype == torch.float32


def test_unknown_concepts_and_steps_are_said() -> None:
    with pytest.raises(UserError, match=r"no concept 'object:cats' \(did you mean 'object:cat'\?\); there are"):
        moments().concept_means("object:cats", 0)
    with pytest.raises(UserError, match="no concept means at step 3; there are steps 0, 5"):
        moments().concept_means("object:cat", 3)


def test_files_that_cannot_be_read_are_said(tmp_path: Path) -> None:
    path = tmp_path / "mid.safetensors"
    save_concept_moments(moments(), path)
    with pytest.raises(UserError, match=r"no concept moments .*late.*there are mid"):
        load_concept_moments(tmp_path / "late.safetensors")
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(UserError, match="damaged"):
        load_concept_moments(path)
    from safetensors.torch import save_file

    save_file({"sums": torch.zeros(1)}, path)
    with pytest.raises(UserError, match="no concept moments of version 1"):
        load_concept_moments(path)
