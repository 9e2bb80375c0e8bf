"""`steerwright sae`: there and back on the command line, latents of rows, and a clear message for each mistake."""

import json
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from steerwright.sae.sae_file import describe_sae, load_sae
from steerwright.sae.site import Site
from tests.command_line import steerwright

sae = partial(steerwright, "sae")

ROOT = Path(__file__).parents[3]
GOLDEN = ROOT / "tests" / "data" / "sae"


class Shell:
    """A pickle that makes a file when it is loaded."""

    def __init__(self, target: Path) -> None:
        self._target = target

    def __reduce__(self) -> object:
        import os

        return os.system, (f"touch {self._target}",)


@pytest.mark.parametrize(
    "name", ["saelens/topk-layer_norm", "sparsify/topk-expansion", "dictionary_learning/batchtopk"]
)
def test_encode_gives_the_latents_that_the_library_gave(name: str, tmp_path: Path) -> None:
    out = tmp_path / "out.npz"
    assert f"32 rows, at most {'4' if 'topk-' in name else ''}" in sae(
        "encode", GOLDEN / name, GOLDEN / "rows.npy", out
    )
    with np.load(out) as found, np.load(GOLDEN / f"{name}.npz") as expected:
        indices, values = found["indices"], found["values"]
        used = indices >= 0
        # As many places as the fullest row needs; unused ones are last, with -1 and 0; the most active come first.
        assert indices.shape == values.shape == (32, int((expected["latents"] != 0).sum(1).max()))
        assert not values[~used].any() and (values[used] > 0).all()
        assert (np.diff(values, axis=1) <= 0).all()
        dense = np.zeros((32, 65), np.float32)
        np.put_along_axis(dense, np.where(used, indices, 64), values, 1)
        np.testing.assert_allclose(dense[:, :64], expected["latents"], rtol=0, atol=1e-6)
        np.testing.assert_allclose(found["reconstruction"], expected["reconstruction"], rtol=1e-6, atol=3e-6)


def test_import_export_and_encode_of_our_own_format_agree(tmp_path: Path) -> None:
    theirs = GOLDEN / "dictionary_learning" / "gated"
    assert sae("import", theirs, "-o", tmp_path / "ours") == (
        "note: not known of its rows: model, hookpoint, steps, branches, resolution; say it with --model, --hookpoint, "
        "--steps, --branches, --resolution or in params.yaml, where it is used\n"
        f"gated of 64 latents for rows of 16 from dictionary_learning in {tmp_path / 'ours'}\n"
    )
    sae("export", tmp_path / "ours", "-o", tmp_path / "lens", "--format", "saelens")
    for number, path in enumerate(
        (theirs, tmp_path / "ours", tmp_path / "lens", tmp_path / "ours" / "sae.safetensors")
    ):
        sae("encode", path, GOLDEN / "rows.npy", tmp_path / f"{number}.npz")
    arrays = [dict(np.load(tmp_path / f"{number}.npz")) for number in range(4)]
    for found in arrays[1:]:
        assert all(np.array_equal(found[name], arrays[0][name]) for name in arrays[0])


def test_an_import_may_say_the_hookpoint_and_replaces_an_earlier_one(tmp_path: Path) -> None:
    ours = tmp_path / "ours"
    sae("import", GOLDEN / "sparsify" / "groupmax", "-o", ours)
    sae("import", GOLDEN / "sparsify" / "topk-bf16", "-o", ours, "--hookpoint", "unet.mid_block:update")
    assert describe_sae(ours).site.hookpoint == "unet.mid_block:update"
    assert load_sae(ours).encoder.dtype == torch.bfloat16


def test_an_import_says_of_the_rows_what_the_checkpoint_does_not(tmp_path: Path) -> None:
    theirs, ours = GOLDEN / "sparsify" / "groupmax", tmp_path / "ours"
    said = ("--model", "d" * 64, "--hookpoint", "unet.mid_block", "--steps", "0-2,9", "--branches", "cond,uncond",
            "--resolution", "768x512")  # fmt: skip
    assert "not known" not in sae("import", theirs, "-o", ours, *said)
    assert describe_sae(ours).site == Site(
        model="d" * 64, hookpoint="unet.mid_block:out", steps=(0, 1, 2, 9), branches=("cond", "uncond"),
        resolution=(512, 768), unknown=(),
    )  # fmt: skip
    assert "not known of its rows: model, hookpoint;" in sae(
        "import", theirs, "-o", ours, "--steps", "all", "--branches", "all", "--resolution", "any"
    )
    for option, wrong in (("--steps", "9-3"), ("--branches", "both"), ("--resolution", "512")):
        assert f"{option} {wrong}: write " in sae("import", theirs, "-o", ours, option, wrong, fails=True)


def test_a_loss_needs_to_be_allowed_and_is_said(tmp_path: Path) -> None:
    theirs, ours = tmp_path / "theirs", tmp_path / "ours"
    shutil.copytree(GOLDEN / "saelens" / "standard-no_b_dec", theirs)
    config = json.loads((theirs / "cfg.json").read_text())
    (theirs / "cfg.json").write_text(json.dumps(config | {"normalize_activations": "expected_average_only_in"}))
    message = sae("import", theirs, "-o", ours, fails=True)
    assert "--allow-lossy" in message and "normalize_activations: expected_average_only_in" in message
    assert not ours.exists()
    assert "lost: normalize_activations" in sae("import", theirs, "-o", ours, "--allow-lossy")
    assert len(describe_sae(ours).lossy) == 1
    # Latents are what the library gives; that something is missing is said beside them.
    assert "lost: normalize_activations" in sae("encode", theirs, GOLDEN / "rows.npy", tmp_path / "out.npz")


def test_inspect_says_what_it_holds_for_people_and_for_programs(tmp_path: Path) -> None:
    path = GOLDEN / "saelens" / "train-batchtopk-scaled"
    text = sae("inspect", path)
    for expected in (
        "format      saelens",
        "library     sae-lens 6.54.12",
        "latents     64",
        "activation  kind jumprelu",
    ):
        assert expected in text
    found = json.loads(sae("inspect", path, "--json"))
    assert (found["format"], found["latents"], found["width"], found["dtype"]) == ("saelens", 64, 16, "float32")
    assert found["training"] == {"architecture": "batchtopk", "k": 4} and found["lossy"] == []
    assert list(tmp_path.iterdir()) == []


def test_what_is_ambiguous_lists_the_choices_and_takes_one(tmp_path: Path) -> None:
    shutil.copy(GOLDEN / "dictionary_learning" / "batchtopk" / "ae.pt", tmp_path / "ae.pt")
    message = sae("inspect", tmp_path / "ae.pt", fails=True)
    assert "--format, one of dictionary_learning:AutoEncoderTopK, dictionary_learning:BatchTopKSAE" in message
    text = sae("inspect", tmp_path / "ae.pt", "--format", "dictionary_learning:BatchTopKSAE")
    assert "kind jumprelu" in text


def test_an_architecture_that_a_format_does_not_have_is_refused(tmp_path: Path) -> None:
    message = sae("export", GOLDEN / "saelens" / "gated", "-o", tmp_path / "out", "--format", "sparsify", fails=True)
    assert "cannot be written as sparsify: sparsify chooses a fixed number of latents" in message
    assert list(tmp_path.iterdir()) == []


def test_mistakes_with_paths_are_one_message(tmp_path: Path) -> None:
    theirs, rows = GOLDEN / "sparsify" / "groupmax", GOLDEN / "rows.npy"
    assert "There is no checkpoint" in sae("inspect", tmp_path / "nothing", fails=True)
    assert "There is no file of rows" in sae("encode", theirs, tmp_path / "rows.npy", tmp_path / "o.npz", fails=True)
    assert "cannot be written" in sae("encode", theirs, rows, tmp_path, fails=True)
    assert "cannot be written" in sae("encode", theirs, rows, tmp_path / "no" / "o.npz", fails=True)
    np.save(tmp_path / "wide.npy", np.zeros((2, 17), np.float32))
    message = sae("encode", theirs, tmp_path / "wide.npy", tmp_path / "o.npz", fails=True)
    assert "17 wide, but the autoencoder is for 16" in message
    assert "holds other files" in sae("import", theirs, "-o", tmp_path, fails=True)
    assert "There is no format 'lens'" in sae("inspect", theirs, "--format", "lens", fails=True)
    assert [path.name for path in tmp_path.iterdir()] == ["wide.npy"]


def test_a_hostile_pickle_runs_nothing_and_ends_in_one_line(tmp_path: Path) -> None:
    torch.save({"encoder.weight": torch.zeros(4, 2), "bias": Shell(tmp_path / "done")}, tmp_path / "ae.pt")
    result = subprocess.run(
        [sys.executable, "-m", "steerwright.cli.main", "sae", "inspect", str(tmp_path / "ae.pt")],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert result.returncode == 2 and result.stdout == ""
    assert result.stderr.startswith(f"steerwright: {tmp_path / 'ae.pt'} is a pickle that asks for posix.system,")
    assert len(result.stderr.splitlines()) == 1 and not (tmp_path / "done").exists()
