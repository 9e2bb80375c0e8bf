from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from steerwright.errors import UserError
from steerwright.sae.activations import TopK
from steerwright.sae.formats.fold import ImportedSae
from steerwright.sae.formats.registry import FORMATS, WRITABLE, export_checkpoint, read_checkpoint
from steerwright.sae.sae import Sae
from steerwright.sae.sae_file import save_sae

GOLDEN = Path(__file__).parents[3] / "data" / "sae"


def sae() -> Sae:
    return Sae(torch.eye(4), torch.zeros(4), torch.eye(4), torch.zeros(4), TopK(2, relu="after"))


@pytest.mark.parametrize("name", ["saelens", "sparsify", "saeuron", "dictionary_learning", "sdxl-unbox", "flux"])
def test_what_is_written_in_a_format_is_recognised_as_that_and_as_no_other(name: str, tmp_path: Path) -> None:
    export_checkpoint(ImportedSae(sae(), "steerwright"), tmp_path / "out", name)
    assert read_checkpoint(tmp_path / "out")[2] == name


def test_our_own_format_is_one_of_them(tmp_path: Path) -> None:
    save_sae(sae(), tmp_path / "ours", {"rows": 5}, extra={"last": torch.arange(4)})
    for path in (tmp_path / "ours", tmp_path / "ours" / "sae.safetensors"):
        found, _, name = read_checkpoint(path)
        assert (name, found.library, found.facts) == ("steerwright", "steerwright", {"rows": 5})
        assert torch.equal(found.extra["last"], torch.arange(4))
    assert "steerwright" not in WRITABLE


def test_what_is_in_no_format_is_refused_with_the_formats(tmp_path: Path) -> None:
    save_file({"weight": torch.zeros(2), "bias": torch.zeros(2)}, tmp_path / "model.safetensors")
    with pytest.raises(UserError, match="is in no format that steerwright knows") as caught:
        read_checkpoint(tmp_path / "model.safetensors")
    assert "it holds bias, weight" in str(caught.value) and all(name in str(caught.value) for name in FORMATS)


def test_a_checkpoint_that_fits_two_formats_is_not_guessed(tmp_path: Path) -> None:
    # A state dict of OpenAI's and one of dictionary_learning's AutoEncoder, in one: what is it?
    weights = {"encoder.weight": torch.eye(4), "decoder.weight": torch.eye(4), "encoder.bias": torch.zeros(4)}
    torch.save(
        {
            "ae": weights | {"bias": torch.zeros(4)},
            "model_state_dict": weights | {"pre_bias": torch.zeros(4)},
            "config": {"use_topk": False},
        },
        tmp_path / "both.pt",
    )
    with pytest.raises(UserError, match=r"may be dictionary_learning or flux .* Say which with --format, one of"):
        read_checkpoint(tmp_path / "both.pt")
    assert read_checkpoint(tmp_path / "both.pt", "flux")[0].library == "lucas-zhao6/FLUX"


def test_a_format_that_it_is_not_in_is_a_users_error() -> None:
    for name in FORMATS:
        if name != "saelens":
            with pytest.raises(UserError):
                read_checkpoint(GOLDEN / "saelens" / "abstopk", name)
    with pytest.raises(UserError, match="There is no format 'sealens'; there are steerwright, saelens"):
        read_checkpoint(GOLDEN / "saelens" / "abstopk", "sealens")


def test_a_wrong_path_is_a_users_error_that_says_where_to_look(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="There is no checkpoint"):
        read_checkpoint(tmp_path / "nowhere")
    with pytest.raises(UserError, match="holds no file of weights"):
        read_checkpoint(tmp_path)
    with pytest.raises(UserError, match=r"It has abstopk, gated, .* in it: give one of these"):
        read_checkpoint(GOLDEN / "saelens")


def test_what_the_libraries_leave_beside_the_weights_is_not_taken_for_them(tmp_path: Path) -> None:
    export_checkpoint(ImportedSae(sae(), "steerwright"), tmp_path / "out", "saelens")
    for name in ("trainer_state.pt", "optimizer_0.pt", "lr_scheduler.pt", "state.pt", "rank_0_state.pt"):
        torch.save({}, tmp_path / "out" / name)
    save_file({"x": torch.zeros(1)}, tmp_path / "out" / "activations_store_state.safetensors")
    assert read_checkpoint(tmp_path / "out")[2] == "saelens"


@pytest.mark.parametrize(
    "name", ["sae-lens", "sae_lens", "SAELens", "eai-sparsify", "dictionary-learning", "sdxl_unbox"]
)
def test_a_format_may_be_spelled_as_its_package_is(name: str, tmp_path: Path) -> None:
    export_checkpoint(ImportedSae(sae(), "steerwright"), tmp_path / "out", name)
    assert read_checkpoint(tmp_path / "out", name)[2] == read_checkpoint(tmp_path / "out")[2]


def test_the_command_line_names_all_formats() -> None:
    from steerwright.cli import sae as command_line

    assert command_line._FORMATS.split(", ") == [name for name in FORMATS if ":" not in name]


def test_an_export_never_overwrites(tmp_path: Path) -> None:
    found = ImportedSae(sae(), "steerwright")
    export_checkpoint(found, tmp_path / "out", "saelens")
    with pytest.raises(UserError, match="holds other files"):
        export_checkpoint(found, tmp_path / "out", "saelens")
    with pytest.raises(UserError, match="No format 'steerwright' is written; there are saelens"):
        export_checkpoint(found, tmp_path / "other", "steerwright")
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
