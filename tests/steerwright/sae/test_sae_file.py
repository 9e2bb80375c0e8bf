import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from steerwright.errors import UserError
from steerwright.sae.activations import AbsTopK, Activation, Gated, GroupMax, JumpRelu, Relu, TopK
from steerwright.sae.sae import ConstantNorm, InputNorm, NoNorm, PerRow, Sae, ScaleBy, Standardise
from steerwright.sae.sae_file import Provenance, describe_sae, load_extra, load_sae, save_sae
from steerwright.sae.site import Site

N, D = 8, 4
SITE = Site(model="a1" * 32, hookpoint="unet.mid_block:update", steps=(0, 5), branches=("cond",), grid=(4, 4))
ACTIVATIONS: list[Activation] = [
    Relu(),
    TopK(3, relu="after", by_decoder_norm=True),
    TopK(2),
    AbsTopK(3),
    GroupMax(4),
    JumpRelu(torch.linspace(0, 1, N)),
    Gated(torch.ones(N), torch.zeros(N), torch.linspace(-1, 1, N)),
]
NORMS: list[InputNorm] = [
    NoNorm(),
    ScaleBy(0.1),
    PerRow(1e-5, 1),
    ConstantNorm(),
    Standardise(torch.zeros(D), torch.ones(D)),
]


def sae(activation: Activation | None = None, norm: InputNorm | None = None) -> Sae:
    generator = torch.Generator().manual_seed(0)
    encoder = torch.randn(N, D, generator=generator)
    bias = torch.randn(N, generator=generator)
    return Sae(
        encoder, bias, encoder, torch.randn(D, generator=generator), activation or TopK(2), norm or NoNorm(), site=SITE
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    save_sae(sae(), tmp_path / "mid", {"architecture": "topk", "rows": 1000})
    return tmp_path / "mid"


@pytest.mark.parametrize("activation", ACTIVATIONS, ids=lambda each: type(each).__name__)
@pytest.mark.parametrize("norm", NORMS, ids=lambda each: type(each).__name__)
def test_what_was_saved_is_what_is_loaded(activation: Activation, norm: InputNorm, tmp_path: Path) -> None:
    saved = replace(sae(activation, norm), subtract_bias=False, input_bias=torch.ones(D), skip=torch.eye(D))
    save_sae(saved, tmp_path / "sae")
    found = load_sae(tmp_path / "sae")
    rows = torch.randn(32, D, generator=torch.Generator().manual_seed(1))
    (latents, decoded), (expected, reconstruction) = found.reconstruct(rows), saved.reconstruct(rows)
    assert torch.equal(latents.indices, expected.indices) and torch.equal(latents.values, expected.values)
    assert torch.equal(decoded, reconstruction)
    assert (found.site, found.subtract_bias) == (SITE, False)
    assert type(found.activation) is type(activation) and type(found.input_norm) is type(norm)
    if isinstance(activation, TopK):
        assert isinstance(found.activation, TopK)
        assert (found.activation.k, found.activation.relu) == (activation.k, activation.relu)
        assert found.activation.by_decoder_norm == activation.by_decoder_norm
    if isinstance(norm, PerRow):
        assert isinstance(found.input_norm, PerRow) and (found.input_norm.eps, found.input_norm.ddof) == (1e-5, 1)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
def test_weights_keep_their_precision(dtype: torch.dtype, tmp_path: Path) -> None:
    save_sae(sae().to(dtype=dtype), tmp_path / "sae")
    found = load_sae(tmp_path / "sae")
    assert {found.encoder.dtype, found.encoder_bias.dtype, found.decoder.dtype, found.decoder_bias.dtype} == {dtype}
    assert torch.equal(found.encoder, sae().encoder.to(dtype))
    assert describe_sae(tmp_path / "sae").dtype == str(dtype).removeprefix("torch.")


def test_the_same_autoencoder_is_the_same_bytes_and_replaces_what_was_there(folder: Path) -> None:
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert sorted(before) == ["config.json", "sae.safetensors"]
    save_sae(sae(), folder, {"rows": 1000, "architecture": "topk"})
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    save_sae(sae(Relu()), folder)
    assert isinstance(load_sae(folder).activation, Relu)
    assert [path.name for path in folder.parent.iterdir()] == ["mid"]


def test_any_reader_finds_the_documented_names(folder: Path) -> None:
    assert sorted(load_file(folder / "sae.safetensors")) == ["decoder", "decoder_bias", "encoder", "encoder_bias"]
    found = json.loads((folder / "config.json").read_text())
    assert (found["schema_name"], found["schema_version"]) == ("steerwright.sae", 1)
    assert (found["latents"], found["width"], found["dtype"]) == (8, 4, "float32")
    assert found["activation"] == {"kind": "topk", "k": 2, "relu": "before", "by_decoder_norm": False}
    assert found["training"] == {"architecture": "topk", "rows": 1000}
    assert found["site"]["hookpoint"] == "unet.mid_block:update"


def test_provenance_what_is_lost_and_extra_tensors_are_kept(tmp_path: Path) -> None:
    provenance = Provenance(
        format="saelens", library="sae-lens", version="6.54.12", files={"a": "0" * 64}, config={"k": 4}
    )
    extra = {"sparsity": torch.arange(8.0), "last": torch.arange(8)}
    save_sae(sae(), tmp_path / "sae", provenance=provenance, lossy=["the factor"], extra=extra)
    described = describe_sae(tmp_path / "sae")
    assert described.provenance == provenance and described.lossy == ("the factor",)
    found = load_extra(tmp_path / "sae")
    assert found.keys() == extra.keys() and all(torch.equal(found[name], extra[name]) for name in extra)
    assert load_sae(tmp_path / "sae").size == 8


def test_rows_of_another_place_are_refused_with_what_differs(folder: Path) -> None:
    load_sae(folder, SITE)
    # What is not known on one side is not held against it.
    load_sae(folder, Site(steps=(0, 5)))
    elsewhere = SITE.model_copy(update={"hookpoint": "unet.up_blocks.1:out", "grid": (8, 8)})
    with pytest.raises(UserError, match="other rows") as caught:
        load_sae(folder, elsewhere)
    message = str(caught.value)
    assert (
        "hookpoint: unet.mid_block:update and unet.up_blocks.1:out" in message and "grid: (4, 4) and (8, 8)" in message
    )
    assert "steps" not in message
    assert load_sae(folder, elsewhere, allow_mismatch=True).site == SITE


def test_a_folder_of_something_else_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("all of it")
    with pytest.raises(UserError, match="holds other files"):
        save_sae(sae(), tmp_path / "mine")
    (tmp_path / "file").write_text("x")
    with pytest.raises(UserError, match="is a file"):
        save_sae(sae(), tmp_path / "file")
    with pytest.raises(UserError, match="cannot be written"):
        save_sae(sae(), tmp_path / "file" / "sae")
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "all of it"
    (tmp_path / "empty").mkdir()
    save_sae(sae(), tmp_path / "empty")
    assert load_sae(tmp_path / "empty").width == D


def test_a_failure_in_the_middle_leaves_what_was_there(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = (folder / "sae.safetensors").read_bytes()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("steerwright.sae.sae_file.save_file", full)
    with pytest.raises(UserError, match="No space left on device"):
        save_sae(sae(Relu()), folder)
    assert (folder / "sae.safetensors").read_bytes() == before
    assert [path.name for path in folder.parent.iterdir()] == ["mid"]


def test_what_does_not_fit_together_is_never_written(tmp_path: Path) -> None:
    for wrong in (
        sae(TopK(9)),
        sae(GroupMax(3)),
        sae(JumpRelu(torch.zeros(1))),
        replace(sae(), decoder_bias=torch.zeros(5)),
    ):
        with pytest.raises(ValueError):
            save_sae(wrong, tmp_path / "sae")
    assert not (tmp_path / "sae").exists()


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        ("no folder", "There is no autoencoder"),
        ("no weights", "no sae.safetensors"),
        ("cut", "damaged"),
        ("pickle", "damaged"),
        ("shape", r"encoder is \[8, 4\], not \[8, 5\]"),
        ("missing tensor", "no tensor decoder_bias"),
        ("unknown tensor", "unknown tensors surprise"),
        ("json", "cannot be read"),
        ("other json", "does not describe one of our"),
        ("version", "version 2"),
        ("field", "damaged at activation.kind"),
        ("k", "topk without k"),
        ("relu", "topk without relu"),
        ("by", "topk without by_decoder_norm"),
    ],
)
def test_a_damaged_folder_is_a_users_error(damage: str, message: str, folder: Path) -> None:
    config, weights = folder / "config.json", folder / "sae.safetensors"
    # Copies: the tensors are mapped from the file that is about to be damaged.
    tensors = {name: tensor.clone() for name, tensor in load_file(weights).items()}
    found = json.loads(config.read_text())
    match damage:
        case "no folder":
            config.unlink()
        case "no weights":
            weights.unlink()
        case "cut":
            weights.write_bytes(weights.read_bytes()[:-20])
        case "pickle":
            torch.save(tensors, weights)
        case "missing tensor":
            del tensors["decoder_bias"]
            save_file(tensors, weights)
        case "unknown tensor":
            save_file(tensors | {"surprise": torch.zeros(2)}, weights)
        case "json":
            config.write_text("{")
        case "other json":
            config.write_text('{"d_in": 4}')
        case _:
            change = {
                "shape": {"width": 5},
                "version": {"schema_version": 2},
                "field": {"activation": {"kind": "softmax"}},
                "k": {"activation": {"kind": "topk"}},
                "relu": {"activation": {"kind": "topk", "k": 2, "by_decoder_norm": False}},
                "by": {"activation": {"kind": "topk", "k": 2, "relu": "before"}},
            }[damage]
            config.write_text(json.dumps(found | change))
    with pytest.raises(UserError, match=message):
        load_sae(folder)


def test_a_linked_folder_and_the_working_directory_can_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_sae(sae(), tmp_path / "elsewhere")
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    save_sae(sae(Relu()), tmp_path / "link")
    assert isinstance(load_sae(tmp_path / "link").activation, Relu)
    assert isinstance(load_sae(tmp_path / "elsewhere").activation, TopK)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    save_sae(sae(), Path())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["elsewhere", "here", "link"]
    assert load_sae(tmp_path / "here").size == N
