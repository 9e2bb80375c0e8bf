"""`steerwright vectors`: there and back on the command line, and a clear message for each mistake."""

import json
import os
import pickle
import subprocess
import sys
from collections import defaultdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from steerwright.models.fingerprint import Fingerprint
from steerwright.models.hookpoints import Hookpoint
from steerwright.vectors.direction import Direction
from steerwright.vectors.formats.vectors_file import load_vectors, save_vectors
from steerwright.vectors.steering_vectors import SteeringVectors, VectorKey
from tests.command_line import steerwright

ROOT = Path(__file__).parents[3]
run = partial(steerwright, "vectors", cwd=ROOT)
MODEL = Fingerprint(name="other", source="nowhere/at-all", revision=None, digest="c3" * 32, libraries={})
# The cross-attention blocks of models/seasons-sd, as its config.json says.
WIDTHS = {"down": (32, 64), "mid": (128,), "up": (64, 64, 32, 32)}


def published(steps: int, seed: int = 0) -> dict[int, Any]:
    rng = np.random.default_rng(seed)
    found: dict[int, Any] = {}
    for step in range(steps):
        found[step] = defaultdict(list)
        for place, widths in WIDTHS.items():
            for width in widths:
                vector = rng.standard_normal(width)
                found[step][place].append((vector / np.linalg.norm(vector)).astype(np.float32))
    return found


@pytest.fixture(scope="module")
def imported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with pig.pkl, in the layout of seed 002, and pig.safetensors, imported from it."""
    folder = tmp_path_factory.mktemp("vectors")
    (folder / "pig.pkl").write_bytes(pickle.dumps(published(3)))
    told = run("import", folder / "pig.pkl", "--model", "seasons-sd", "-o", folder / "pig.safetensors")
    assert "21 vectors for 7 blocks and 3 steps of seasons-sd" in told
    return folder


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    """Vectors of another kind: the text encoder and the UNet, time bins, both branches, origins, controls."""
    text, mid = Hookpoint("text_encoder.encoder.layers.2.mlp"), Hookpoint("unet.mid_block.attentions.0")

    def direction(norm: float, origin: float | None = None) -> Direction:
        at = None if origin is None else torch.tensor(origin)
        return Direction(torch.tensor([0.6, 0.8]), torch.tensor(norm), at)

    directions = {
        VectorKey(text, "eos"): direction(2.5),
        VectorKey(mid, steps=(0, 1), branch="cond"): direction(4.0, -1.0),
        VectorKey(mid, steps=(2, 2), branch="cond"): direction(0.25, 0.5),
        VectorKey(mid, steps=(0, 2), branch="uncond"): direction(3.0),
    }
    controls = {slot: 1.0 for slot in directions if slot.branch == "cond"}
    path = tmp_path / "v.safetensors"
    save_vectors(SteeringVectors("fog", MODEL, "mean_difference", "mean", directions, (9.0, 5.0, 1.0), controls), path)
    return path


def test_what_was_imported_says_its_model_and_holds_every_vector(imported: Path) -> None:
    found = load_vectors(imported / "pig.safetensors")
    assert (found.concept, found.model.name, found.model.source) == ("pig", "seasons-sd", "models/seasons-sd")
    assert len(found.timesteps or ()) == 3
    expected = [published(3)[step][place][i] for place, w in WIDTHS.items() for i in range(len(w)) for step in range(3)]
    for direction, vector in zip(found.directions.values(), expected, strict=True):
        assert np.abs(direction.unit.numpy() - vector).max() <= 1e-6
    assert sorted(path.name for path in imported.iterdir()) == ["pig.pkl", "pig.safetensors"]


def test_the_same_import_gives_the_same_bytes_by_name_and_by_folder_and_from_anywhere(
    imported: Path, tmp_path: Path
) -> None:
    run("import", imported / "pig.pkl", "--model", "models/seasons-sd", "-o", tmp_path / "a.safetensors")
    assert (tmp_path / "a.safetensors").read_bytes() == (imported / "pig.safetensors").read_bytes()
    folder = ROOT / "models" / "seasons-sd"
    arguments = ("import", imported / "pig.pkl", "--model", folder, "--concept", "a pig", "-o", "b.safetensors")
    run(*arguments, cwd=tmp_path)
    first, second = load_vectors(tmp_path / "a.safetensors"), load_vectors(tmp_path / "b.safetensors")
    assert second.concept == "a pig" and first.model.same_model(second.model)


def test_the_number_of_steps_gives_the_timesteps(imported: Path, tmp_path: Path) -> None:
    out = tmp_path / "v.safetensors"
    run("import", imported / "pig.pkl", "--model", "seasons-sd", "--steps", 5, "-o", out)
    # DDIM, trailing: 1000 / 5 apart, from 999 down.
    assert load_vectors(out).timesteps == (999, 799, 599)
    told = run("import", imported / "pig.pkl", "--model", "seasons-sd", "--steps", 2, "-o", tmp_path / "w", fails=True)
    assert "vectors for 3 steps, but a run of seasons-sd with 2 steps has only 2" in told


def test_the_export_to_seed_002s_layout_is_what_came_in(imported: Path, tmp_path: Path) -> None:
    out = tmp_path / "back.pkl"
    run("export", imported / "pig.safetensors", "-o", out, "--format", "steering-hogs")
    found, expected = pickle.loads(out.read_bytes()), published(3)
    assert list(found) == [0, 1, 2]
    for step, places in expected.items():
        assert type(found[step]) is defaultdict and found[step].default_factory is list
        for place, vectors in places.items():
            for mine, theirs in zip(found[step][place], vectors, strict=True):
                assert mine.dtype == np.float32 and mine.shape == theirs.shape and np.abs(mine - theirs).max() <= 1e-6


def test_an_npz_holds_all_that_the_file_does(saved: Path, tmp_path: Path) -> None:
    out = tmp_path / "v.npz"
    run("export", saved, "-o", out, "--format", "npz")
    tensors = load_file(saved)
    with np.load(out, allow_pickle=False) as found:
        assert sorted(found.files) == sorted([*tensors, "header"])
        for name, tensor in tensors.items():
            assert np.array_equal(found[name], tensor.numpy()) and found[name].dtype == np.float32
        header = json.loads(str(found["header"]))
    assert header["concept"] == "fog" and len(header["slots"]) == 4


def test_inspect_as_json_names_every_vector(saved: Path) -> None:
    found = json.loads(run("inspect", saved, "--json"))
    assert (found["concept"], found["model"]["name"], found["estimator"]) == ("fog", "other", "mean_difference")
    assert found["timesteps"] == [9.0, 5.0, 1.0]
    slots = [[slot[k] for k in ("tokens", "steps", "branch", "norm", "control", "noise")] for slot in found["slots"]]
    assert slots == [
        ["eos", None, None, 2.5, None, None],
        ["all", [0, 1], "cond", 4.0, 1.0, False],
        ["all", [2, 2], "cond", 0.25, 1.0, True],
        ["all", [0, 2], "uncond", 3.0, None, None],
    ]
    assert [slot["origin"] for slot in found["slots"]] == [None, -1.0, 0.5, None]
    assert {slot["width"] for slot in found["slots"]} == {2}


def rows(text: str) -> list[list[str]]:
    lines = text.splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith("hookpoint"))
    return [line.replace(" to ", "..").split() for line in lines[start + 1 :] if line.strip()]


def test_inspect_says_why_no_vector_is_marked_as_noise(imported: Path) -> None:
    assert "no noise is marked: fitted by another tool" in run("inspect", imported / "pig.safetensors")


def test_inspect_shows_a_row_for_each_block_and_branch(saved: Path) -> None:
    told = run("inspect", saved)
    assert "fog" in told and "other from nowhere/at-all (fingerprint c3c3c3c3c3c3)" in told
    assert "4: 2 hookpoints, 3 steps; 1 of 2 are noise" in told
    assert rows(told) == [
        ["text_encoder.encoder.layers.2.mlp:out", "-", "eos", "all", "1", "2", "2.5", "-", "-"],
        ["unet.mid_block.attentions.0:out", "cond", "all", "0..2", "2", "2", "0.25..4", "1", "1"],
        ["unet.mid_block.attentions.0:out", "uncond", "all", "0..2", "1", "2", "3", "-", "-"],
    ]
    assert [row[3] for row in rows(run("inspect", saved, "--each"))] == ["all", "0..1", "2", "0..2"]


def test_a_file_in_the_way_stays_unless_forced(imported: Path, saved: Path, tmp_path: Path) -> None:
    there = tmp_path / "there"
    there.write_text("precious")
    for arguments in (
        ("import", imported / "pig.pkl", "--model", "seasons-sd", "-o", there),
        ("export", saved, "-o", there, "--format", "npz"),
    ):
        assert "there exists. Choose another name, or add --force" in run(*arguments, fails=True)
        assert there.read_text() == "precious"
    run("export", saved, "-o", there, "--format", "npz", "--force")
    assert there.read_bytes()[:2] == b"PK"


class Bomb:
    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (self.command,)


def test_a_hostile_pickle_is_refused_and_runs_nothing(tmp_path: Path) -> None:
    content = published(1)
    content[0]["up"].append(Bomb(f"touch '{tmp_path / 'marker'}'"))
    (tmp_path / "evil.pkl").write_bytes(pickle.dumps(content))
    # In a process of its own, as a user meets it: a message on stderr, exit code 2.
    arguments = ("import", tmp_path / "evil.pkl", "--model", "seasons-sd", "-o", tmp_path / "v")
    done = subprocess.run(
        [sys.executable, "-m", "steerwright.cli.main", "vectors", *map(str, arguments)],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2 and done.stdout == ""
    assert "refused, and nothing in it was run: it asks for 'posix.system'" in done.stderr
    assert "Traceback" not in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["evil.pkl"]


def test_each_mistake_has_its_message_and_leaves_no_file(imported: Path, saved: Path, tmp_path: Path) -> None:
    narrow = published(1)
    narrow[0]["up"][3] = np.eye(16, dtype=np.float32)[0]
    (tmp_path / "narrow.pkl").write_bytes(pickle.dumps(narrow))
    out = tmp_path / "out"
    before = sorted(path.name for path in tmp_path.iterdir())
    pig = imported / "pig.pkl"
    for message, arguments in {
        "block up.3 has 16 values, but that block": ("import", tmp_path / "narrow.pkl", "--model", "seasons-sd"),
        "no model 'season-sd'": ("import", pig, "--model", "season-sd"),
        "There is no file": ("import", tmp_path / "none.pkl", "--model", "seasons-sd"),
        "a safetensors file; vectors in that format need no import": ("import", saved, "--model", "seasons-sd"),
        "which could run any code, so it was not opened": ("export", pig, "--format", "npz"),
        "which is not here; say where with --model": ("export", saved, "--format", "steering-hogs"),
        "has the fingerprint": ("export", saved, "--format", "steering-hogs", "--model", "seasons-sd"),
        "no vectors file": ("export", tmp_path / "none", "--format", "npz"),
    }.items():
        assert message in run(*arguments, "-o", out, fails=True), message
    assert "there is no folder" in run("export", saved, "--format", "npz", "-o", tmp_path / "no" / "v", fails=True)
    assert "is a folder" in run("export", saved, "--format", "npz", "-o", tmp_path, fails=True)
    assert "not opened" in run("inspect", pig, fails=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == before


def test_options_that_would_change_nothing_are_refused(saved: Path, tmp_path: Path) -> None:
    out = tmp_path / "v.npz"
    said = run("export", saved, "-o", out, "--format", "npz", "--model", "seasons-sd", fails=True)
    assert "--model is for steering-hogs and gguf" in said and not out.exists()
    assert "Leave one of them out" in run("inspect", saved, "--each", "--json", fails=True)
    twice = run("export", saved, "-o", out, "-o", tmp_path / "w.npz", "--format", "npz", fails=True)
    assert "--output is given twice; give it once" in twice
