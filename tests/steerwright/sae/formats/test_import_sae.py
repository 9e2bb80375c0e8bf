import hashlib
import json
import shutil
from pathlib import Path

import pytest
import torch

from steerwright.errors import UserError
from steerwright.sae.formats.registry import export_checkpoint, import_sae, read_checkpoint
from steerwright.sae.sae_file import describe_sae, load_sae

GOLDEN = Path(__file__).parents[3] / "data" / "sae"


def test_an_import_says_where_it_came_from(tmp_path: Path) -> None:
    path = GOLDEN / "saelens" / "train-matryoshka"
    found, name = import_sae(path, tmp_path / "ours", hookpoint="unet.mid_block.attentions.0:update")
    described = describe_sae(tmp_path / "ours")
    assert name == "saelens" and described.lossy == () == found.lossy
    provenance = described.provenance
    assert provenance is not None
    assert (provenance.format, provenance.library, provenance.version) == ("saelens", "sae-lens", "6.54.12")
    assert provenance.files == {
        file: hashlib.sha256((path / file).read_bytes()).hexdigest() for file in ("sae_weights.safetensors", "cfg.json")
    }
    assert provenance.config == json.loads((path / "cfg.json").read_text())
    assert described.training == {"architecture": "matryoshka_batchtopk", "k": 4, "groups": [16, 64]}
    assert described.site.hookpoint == "unet.mid_block.attentions.0:update"
    assert load_sae(tmp_path / "ours").size == 64


def test_a_configuration_that_json_cannot_hold_is_kept_as_text(tmp_path: Path) -> None:
    backup = torch.load(GOLDEN / "dictionary_learning" / "batchtopk-backup" / "ae.pt", weights_only=True)
    backup["config"] |= {"dtype": torch.float32, 3: (1, 2)}
    torch.save(backup, tmp_path / "ae.pt")
    import_sae(tmp_path / "ae.pt", tmp_path / "ours")
    provenance = describe_sae(tmp_path / "ours").provenance
    assert provenance is not None and provenance.config["dtype"] == "torch.float32" and provenance.config["3"] == [1, 2]


def test_importing_again_is_the_same_bytes_and_keeps_the_provenance(tmp_path: Path) -> None:
    import_sae(GOLDEN / "dictionary_learning" / "batchtopk", tmp_path / "a")
    import_sae(GOLDEN / "dictionary_learning" / "batchtopk", tmp_path / "b")
    # And of our own format: a copy.
    import_sae(tmp_path / "a", tmp_path / "c")
    for name in ("config.json", "sae.safetensors"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "c" / name).read_bytes()


def test_what_would_be_lost_needs_to_be_allowed(tmp_path: Path) -> None:
    shutil.copytree(GOLDEN / "sparsify" / "topk-few", tmp_path / "theirs")
    config = json.loads((tmp_path / "theirs" / "cfg.json").read_text())
    (tmp_path / "theirs" / "cfg.json").write_text(json.dumps(config | {"signed": True}))
    with pytest.raises(UserError, match="holds what is lost on import; add --allow-lossy") as caught:
        import_sae(tmp_path / "theirs", tmp_path / "ours")
    assert "  - signed: true" in str(caught.value) and not (tmp_path / "ours").exists()
    found, _ = import_sae(tmp_path / "theirs", tmp_path / "ours", allow_lossy=True)
    assert describe_sae(tmp_path / "ours").lossy == found.lossy != ()


def test_a_checkpoint_is_never_overwritten_by_its_own_import(tmp_path: Path) -> None:
    shutil.copytree(GOLDEN / "sparsify" / "topk-few", tmp_path / "theirs")
    with pytest.raises(UserError, match="holds other files"):
        import_sae(tmp_path / "theirs", tmp_path / "theirs")
    import_sae(tmp_path / "theirs", tmp_path / "ours")
    with pytest.raises(UserError, match="is where the checkpoint itself is"):
        import_sae(tmp_path / "ours", tmp_path / "ours")


def test_a_wrong_hookpoint_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="'sideways' is no side of a module"):
        import_sae(GOLDEN / "sparsify" / "topk-few", tmp_path / "ours", hookpoint="unet.mid_block:sideways")
    assert not (tmp_path / "ours").exists()


def test_from_one_library_to_another(tmp_path: Path) -> None:
    """A BatchTopK of dictionary_learning goes to SAELens as a JumpReLU, and comes back with the same latents."""
    found, _, _ = read_checkpoint(GOLDEN / "dictionary_learning" / "batchtopk")
    export_checkpoint(found, tmp_path / "saelens", "saelens")
    again, _, name = read_checkpoint(tmp_path / "saelens")
    rows = torch.randn(64, 16, generator=torch.Generator().manual_seed(3))
    expected, latents = found.sae.encode(rows), again.sae.encode(rows)
    assert name == "saelens" and torch.equal(latents.indices, expected.indices)
    assert torch.equal(latents.values, expected.values)
