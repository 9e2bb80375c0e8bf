"""`steerwright generate` on the embedded model: the pictures, what they say, and each mistake's message."""

import errno
import json
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from steerwright.activations.attention import attention_moments
from steerwright.cli.app import app
from steerwright.errors import UserError
from steerwright.models.attention_blocks import attention_blocks
from steerwright.models.generate import generate
from steerwright.models.hookpoints import Hookpoint
from steerwright.models.load import LoadedModel
from steerwright.models.schedule import timesteps
from steerwright.prompts.suite import ContrastPair
from steerwright.steering.apply import steer
from steerwright.steering.attention import AttentionRecipe, attention_edits
from steerwright.steering.pictures import Picture, add, as_grid, erase, make_pictures, open_model
from steerwright.vectors.direction import normalised
from steerwright.vectors.fit import vectors_from_moments
from steerwright.vectors.formats.vectors_file import load_vectors, save_vectors
from steerwright.vectors.steering_vectors import SteeringVectors, VectorKey

REPOSITORY = Path(__file__).parents[3]
STEPS = 3
PROMPT = "a red house by a lake"


@pytest.fixture(scope="module")
def model() -> LoadedModel:
    return open_model(REPOSITORY / "models" / "seasons-sd", steps=STEPS, guidance=4.0)


@pytest.fixture(scope="module")
def files(model: LoadedModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """winter and night, fitted on two pairs each; the same winter as of another model; vectors of the text encoder."""
    folder = tmp_path_factory.mktemp("vectors")
    blocks = attention_blocks(model.pipeline)
    for concept, opposite in (("winter", "summer"), ("night", "day")):
        pairs = [ContrastPair(i, f"a {what} in {concept}", f"a {what} in {opposite}") for i, what in enumerate("hc")]
        moments = attention_moments(model, pairs, blocks, seeds=[0])
        by_hookpoint = {(block.hookpoint, str(branch)): sums for (block, branch), sums in moments.items()}
        schedule = timesteps(model.pipeline, STEPS)
        vectors = vectors_from_moments(by_hookpoint, concept=concept, model=model.fingerprint, timesteps=schedule)
        save_vectors(vectors, folder / f"{concept}.safetensors")
    other = model.fingerprint.model_copy(update={"name": "other", "digest": "f" * 64})
    winter = load_vectors(folder / "winter.safetensors")
    foreign = SteeringVectors("winter", other, "none", "mean", winter.directions, winter.timesteps)
    save_vectors(foreign, folder / "foreign.safetensors")
    torch.manual_seed(0)
    width = model.pipeline.text_encoder.config.hidden_size
    layers = {
        VectorKey(Hookpoint(f"text_encoder.encoder.layers.{i}.mlp")): normalised(torch.randn(width)) for i in (0, 2)
    }
    save_vectors(SteeringVectors("text", model.fingerprint, "none", "all", layers), folder / "text.safetensors")
    return folder


@pytest.fixture
def run(files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Call the command in the project with the embedded model and few steps; NAME.safetensors is found by its name."""
    monkeypatch.chdir(REPOSITORY)

    def call(*words: str, prompt: str = PROMPT, steps: str = str(STEPS), output: str = "out.png") -> Any:
        given = [str(files / word) if word.endswith(".safetensors") else word for word in words]
        fixed = ["--prompt", prompt, "--steps", steps, "-o", str(tmp_path / output)]
        return CliRunner().invoke(app, ["generate", *fixed, *given])

    return call


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as picture:
        return np.asarray(picture)


def test_without_vectors_it_makes_the_plain_picture(
    run: Callable[..., Any], model: LoadedModel, tmp_path: Path
) -> None:
    result = run("--guidance", "4")
    assert result.exit_code == 0, result.output
    assert result.output.split() == [str(tmp_path / "out.png")]
    # The call of diffusers itself, with nothing of steerwright around it.
    with torch.inference_mode():
        found = model.pipeline(
            PROMPT, num_inference_steps=STEPS, guidance_scale=4.0, generator=torch.Generator().manual_seed(42),
            output_type="np",
        ).images[0]  # fmt: skip
    assert np.abs(pixels(tmp_path / "out.png") - (found * 255).round()).max() <= 1


@pytest.mark.parametrize("words", [["winter.safetensors", "--add"], ["winter.safetensors", "--erase"]])
def test_zero_strength_gives_the_plain_pixels(run: Callable[..., Any], tmp_path: Path, words: list[str]) -> None:
    assert run(output="plain.png").exit_code == 0
    assert run("--vectors", *words, "0").exit_code == 0
    assert np.array_equal(pixels(tmp_path / "out.png"), pixels(tmp_path / "plain.png"))


def test_a_gate_at_a_block_leaves_alone_the_pictures_that_do_not_hold_the_concept(
    run: Callable[..., Any], tmp_path: Path
) -> None:
    words = ("--vectors", "winter.safetensors", "--erase", "1", "--centred", "--bound", "none", "--gate-at", "mid.0")
    assert run(output="plain.png").exit_code == 0
    # No picture holds the concept a thousand times over, and every one holds it more than minus a thousand times.
    assert run(*words, "--gate", "1000", output="closed.png").exit_code == 0
    opened = run(*words, "--gate", "-1000", output="open.png")
    assert opened.exit_code == 0, opened.output
    assert np.array_equal(pixels(tmp_path / "closed.png"), pixels(tmp_path / "plain.png"))
    assert not np.array_equal(pixels(tmp_path / "open.png"), pixels(tmp_path / "plain.png"))


def test_a_gate_is_decided_at_one_step_and_held(run: Callable[..., Any], tmp_path: Path) -> None:
    words = ("--vectors", "winter.safetensors", "--erase", "1", "--centred", "--bound", "none", "--gate-at", "mid.0")
    held = run(*words, "--gate", "-1000", "--gate-until", "0", "--places", "mid", output="held.png")
    assert held.exit_code == 0, held.output
    # Open at every step, or open at the first one and held: the same edits.
    assert run(*words, "--gate", "-1000", "--places", "mid", output="open.png").exit_code == 0
    assert np.array_equal(pixels(tmp_path / "held.png"), pixels(tmp_path / "open.png"))
    lonely = run("--vectors", "winter.safetensors", "--erase", "1", "--gate", "0.5", "--gate-until", "0")
    assert isinstance(lonely.exception, UserError) and "--gate-at the block to look at" in str(lonely.exception)


def test_a_gate_at_a_block_needs_a_gate(run: Callable[..., Any]) -> None:
    result = run("--vectors", "winter.safetensors", "--erase", "1", "--gate-at", "mid.0")
    assert isinstance(result.exception, UserError) and "give --gate too" in str(result.exception)


def test_the_picture_is_that_of_the_library_and_of_the_edits_by_hand(
    run: Callable[..., Any], files: Path, model: LoadedModel, tmp_path: Path
) -> None:
    settings = ["--places", "mid,up", "--window", "0-1", "--bound", "none", "--gate", "0.1", "--guidance", "4"]
    result = run("--vectors", "winter.safetensors", "--add", "3", "--seed", "7", *settings)
    assert result.exit_code == 0, result.output
    change = add(files / "winter.safetensors", 3, places=["mid", "up"], window=(0, 1), bound="none", gate=0.1)
    (picture,) = make_pictures(model, PROMPT, 7, [change], steps=STEPS)
    assert np.array_equal(pixels(tmp_path / "out.png"), picture.pixels)
    # Without the conveniences of either: the edits of the algebra around `generate`.
    edits = attention_edits(
        "add", load_vectors(files / "winter.safetensors"), 3.0, blocks=attention_blocks(model.pipeline),
        timesteps=timesteps(model.pipeline, STEPS),
        recipe=AttentionRecipe(places=("mid", "up"), window=(0, 1), bound="none", gate=0.1),
    )  # fmt: skip
    with steer(model, edits):
        by_hand = generate(model, [PROMPT], [7])
    assert np.array_equal(picture.pixels, by_hand[0])
    assert not np.array_equal(picture.pixels, generate(model, [PROMPT], [7])[0])


def test_self_and_cross_attention_of_one_file_are_chosen_apart(
    run: Callable[..., Any], files: Path, model: LoadedModel, tmp_path: Path
) -> None:
    cross = load_vectors(files / "winter.safetensors")
    kinds = {block.hookpoint: block for block in attention_blocks(model.pipeline, ("self", "cross"))}
    twin = {(block.name, block.attention): point for point, block in kinds.items()}
    selves = {
        replace(slot, hookpoint=twin[kinds[slot.hookpoint].name, "self"]): one for slot, one in cross.directions.items()
    }
    save_vectors(replace(cross, directions={**cross.directions, **selves}, controls={}), tmp_path / "both.safetensors")
    drawn = {}
    for attention in ("self", "cross", "both"):
        words = ("--vectors", str(tmp_path / "both.safetensors"), "--add", "3", "--attention", attention)
        result = run(*words, output=f"{attention}.png")
        assert result.exit_code == 0, result.output
        drawn[attention] = pixels(tmp_path / f"{attention}.png")
        with Image.open(tmp_path / f"{attention}.png") as opened:
            assert json.loads(opened.text["edits"])[0]["attention"] == attention  # type: ignore[attr-defined]
        (ours,) = make_pictures(
            model, PROMPT, 42, [add(tmp_path / "both.safetensors", 3, attention=attention)], steps=STEPS
        )
        assert np.array_equal(ours.pixels, drawn[attention])
    assert run("--vectors", "winter.safetensors", "--add", "3", output="alone.png").exit_code == 0
    assert np.array_equal(drawn["cross"], pixels(tmp_path / "alone.png"))
    assert not np.array_equal(drawn["self"], drawn["both"]) and not np.array_equal(drawn["cross"], drawn["both"])
    unknown = run("--vectors", "winter.safetensors", "--add", "3", "--attention", "crossed")
    assert isinstance(unknown.exception, UserError) and "--attention crossed" in str(unknown.exception)


def test_each_action_is_of_the_vectors_before_it_and_edits_come_in_that_order(
    run: Callable[..., Any], files: Path, model: LoadedModel, tmp_path: Path
) -> None:
    winter, night = "winter.safetensors", "night.safetensors"
    words = ["--vectors", winter, "--erase", "2", "--vectors", night, "--add", "4", "--vectors", night]
    result = run(*words, "--replace-by", winter, "--strength", "0.5", "--guidance", "4")
    assert result.exit_code == 0, result.output
    with Image.open(tmp_path / "out.png") as opened:
        edits = json.loads(opened.text["edits"])  # type: ignore[attr-defined]
    assert [(e["action"], e["concept"], e["strength"]) for e in edits] == [
        ("erase", "winter", 2.0), ("add", "night", 4.0), ("replace", "night", 0.5),
    ]  # fmt: skip
    assert edits[2]["target"]["concept"] == "winter"
    first_two = [erase(files / winter, 2), add(files / night, 4)]
    forward, backward = (make_pictures(model, PROMPT, 42, changes)[0] for changes in (first_two, first_two[::-1]))
    assert not np.array_equal(forward.pixels, backward.pixels)


def test_vectors_of_the_text_encoder_steer_by_layers(run: Callable[..., Any], tmp_path: Path) -> None:
    text = ["--vectors", "text.safetensors", "--layers", "0,2", "--add"]
    assert run(output="plain.png").exit_code == 0
    assert run(*text, "0", output="zero.png").exit_code == 0
    assert run(*text, "3").exit_code == 0
    assert np.array_equal(pixels(tmp_path / "zero.png"), pixels(tmp_path / "plain.png"))
    assert not np.array_equal(pixels(tmp_path / "out.png"), pixels(tmp_path / "plain.png"))
    both = ["--vectors", "winter.safetensors", "--erase", "1", "--places", "up"]
    assert run(*text, "3", *both, output="both.png").exit_code == 0
    assert not np.array_equal(pixels(tmp_path / "both.png"), pixels(tmp_path / "out.png"))


def edits_of(path: Path) -> list[dict[str, Any]]:
    with Image.open(path) as opened:
        found: list[dict[str, Any]] = json.loads(opened.text["edits"])  # type: ignore[attr-defined]
    return found


def test_settings_belong_to_the_vectors_before_them_and_those_before_all_to_each_that_they_fit(
    run: Callable[..., Any], tmp_path: Path
) -> None:
    winter, night, text = "winter.safetensors", "night.safetensors", "text.safetensors"
    words = [
        "--branch", "cond", "--window", "0-1", "--units", "raw",
        "--vectors", winter, "--add", "2", "--places", "up", "--bound", "none", "--units", "unit",
        "--vectors", night, "--erase", "1", "--places", "mid", "--branch", "both", "--centred", "--gate", "0.1",
        "--vectors", text, "--add", "3", "--layers", "2", "--branch", "both",
        "--vectors", text, "--add", "4", "--layers", "0",
        "--vectors", night, "--replace-by", winter,
    ]  # fmt: skip
    result = run(*words)
    assert result.exit_code == 0, result.exception
    first, second, third, fourth, fifth = edits_of(tmp_path / "out.png")
    wanted = {"places": ["up"], "bound": "none", "units": "unit", "branch": "cond", "window": [0, 1], "centred": False}
    assert {name: first[name] for name in wanted} == wanted and first["gate"] is None
    wanted = {"places": ["mid"], "bound": "keep_norm", "branch": "both", "window": [0, 1], "centred": True, "gate": 0.1}
    assert {name: second[name] for name in wanted} == wanted
    assert (third["layers"], third["branch"], third["units"]) == ([2], "both", "raw")
    assert (fourth["layers"], fourth["branch"]) == ([0], "cond")
    assert (fifth["places"], fifth["branch"], fifth["centred"]) == (["down", "mid", "up"], "cond", False)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--vectors", "winter.safetensors", "--erase", "1", "--vectors", "night.safetensors", "--add", "1",
          "--two-sided"], "--two-sided is for --erase"),
        (["--vectors", "winter.safetensors", "--erase", "1", "--units", "raw", "--vectors", "night.safetensors",
          "--add", "1"], "--units is for --add"),
        (["--units", "raw", "--vectors", "winter.safetensors", "--erase", "1"], "--units is for --add"),
        (["--vectors", "text.safetensors", "--add", "1", "--vectors", "text.safetensors", "--add", "1", "--layers",
          "0"], "choose --layers among 0, 2, after its --vectors, or before all"),
        (["--vectors", "winter.safetensors", "--add", "1", "--layers", "0", "--vectors", "text.safetensors", "--add",
          "1", "--layers", "0"], "these are for the UNet; use --places"),
        (["--vectors", "winter.safetensors", "--add", "1", "--places", "up", "--places", "mid"],
         "--places is given twice for"),
        (["--places", "up", "--places", "mid", "--vectors", "winter.safetensors", "--add", "1"],
         "--places is given twice; give it once"),
        (["--guidance", "2", "--guidance", "4"], "--guidance is given twice; give it once"),
        (["--model", "seasons-sd", "--model", "sd-1.5"], "--model is given twice; give it once"),
    ],
)  # fmt: skip
def test_what_would_be_dropped_is_refused(run: Callable[..., Any], words: list[str], message: str) -> None:
    result = run(*words)
    assert isinstance(result.exception, UserError), result.output
    assert message in str(result.exception)


def test_what_would_change_nothing_is_refused(run: Callable[..., Any], tmp_path: Path) -> None:
    uncond = ["--vectors", "winter.safetensors", "--add", "5", "--branch", "uncond"]
    for words, message in (
        (["--guidance", "1", "--negative", "a house"], "the negative prompt would change nothing"),
        (["--guidance", "0", *uncond], "branch uncond: seasons-sd with guidance 0 has one branch only"),
    ):
        result = run(*words)
        assert isinstance(result.exception, UserError) and message in str(result.exception)
        assert not list(tmp_path.iterdir())
    assert run("--guidance", "1.5", "--negative", "a house", "--force", *uncond).exit_code == 0


def test_several_prompts_and_seeds_are_numbered_files_or_a_grid_and_a_batch_is_as_one_alone(
    run: Callable[..., Any], tmp_path: Path
) -> None:
    steered = ["--vectors", "winter.safetensors", "--add", "5", "--prompt", "a blue car"]
    assert run(*steered, "--seed", "3", "--count", "2").exit_code == 0
    made = [pixels(tmp_path / f"out-{i}.png") for i in range(4)]
    assert not (tmp_path / "out.png").exists()
    assert run("--vectors", "winter.safetensors", "--add", "5", "--seed", "4", prompt="a blue car").exit_code == 0
    assert np.abs(made[3].astype(int) - pixels(tmp_path / "out.png")).max() <= 1
    assert run(*steered, "--seed", "3", "--seed", "4", "--grid", output="grid.png").exit_code == 0
    grid = pixels(tmp_path / "grid.png")
    assert np.array_equal(grid, np.block([[[made[0]], [made[1]]], [[made[2]], [made[3]]]]))


def test_a_picture_says_how_it_was_made(run: Callable[..., Any], model: LoadedModel, tmp_path: Path) -> None:
    words = ["--vectors", "night.safetensors", "--erase", "1.5", "--two-sided", "--negative", "Schnee, снег"]
    assert run(*words, "--seed", "9", "--guidance", "2.5", "--size", "96x64").exit_code == 0
    with Image.open(tmp_path / "out.png") as opened:
        text = dict(opened.text)  # type: ignore[attr-defined]
        assert opened.size == (96, 64)
    (edit,) = json.loads(text.pop("edits"))
    assert text.pop("Software").startswith("steerwright")
    assert text == {
        "prompt": PROMPT, "negative_prompt": "Schnee, снег", "seed": "9", "model": "seasons-sd",
        "model_digest": model.fingerprint.digest, "steps": "3", "guidance": "2.5", "size": "96x64",
    }  # fmt: skip
    assert edit["vectors"] == "night.safetensors" and len(edit["vectors_sha256"]) == 64
    assert edit["two_sided"] is True and edit["strength"] == 1.5 and edit["places"] == ["down", "mid", "up"]


ADD = ["--vectors", "winter.safetensors", "--add", "5"]
TEXT = ["--vectors", "text.safetensors"]
MISTAKES = {
    "empty prompt": (["--prompt", "  "], "A --prompt is empty"),
    "no such vectors": (["--vectors", "lost.safetensors", "--add", "1"], "There is no vectors file"),
    "a pickle": (["--vectors", "evil.pkl", "--add", "1"], "could run any code"),
    "no action": (["--vectors", "winter.safetensors"], "has no action; let --add 10"),
    "two actions": ([*ADD, "--erase", "1"], "has --add and --erase"),
    "an action twice": ([*ADD, "--add", "1"], "--add is given twice"),
    "an action before its vectors": (["--add", "1", "--vectors", "winter.safetensors"], "stands before any --vectors"),
    "an action alone": (["--erase", "1"], "--erase stands before any --vectors"),
    "strength of add": ([*ADD, "--strength", "1"], "--strength is for --replace-by"),
    "no number": (["--vectors", "winter.safetensors", "--add", "nan"], "not a finite number"),
    "settings alone": (["--places", "up"], "no --vectors"),
    "idle setting": ([*ADD, "--two-sided"], "--two-sided is for --erase"),
    "unknown branch": ([*ADD, "--branch", "left"], "choose one of cond, uncond"),
    "unknown units": ([*ADD, "--units", "metres"], "choose one of unit, raw"),
    "bad bound": ([*ADD, "--bound", "-1"], "cap:SHARE with a share of the norm above 0"),
    "bad gate": ([*ADD, "--gate", "inf"], "give a finite number"),
    "bad window": ([*ADD, "--window", "3"], "write the first and the last step"),
    "layers for the UNet": ([*ADD, "--layers", "0"], "these are for the UNet; use --places"),
    "text without layers": ([*TEXT, "--add", "1"], "choose --layers among 0, 2"),
    "text erased": ([*TEXT, "--erase", "1", "--layers", "0"], "can only be added"),
    "text with places": ([*TEXT, "--add", "1", "--layers", "0", "--places", "up"], "--places: this is for vectors of"),
    "size": (["--size", "60x64"], "multiples of 8"),
    "size in words": (["--size", "big"], "write width and height"),
    "seed": (["--seed", "-1"], "from 0 to 2"),
    "count": (["--count", "0"], "--count is at least 1"),
    "seeds and count": (["--count", "2", "--seed", "1", "--seed", "2"], "single --seed"),
    "guidance": (["--guidance", "-1"], "not negative"),
    "model": (["--model", "seasons"], "params.yaml has no model 'seasons'"),
}  # fmt: skip
# These show only when the model is there.
LATE_MISTAKES = {
    "vectors of another model": (["--vectors", "foreign.safetensors", "--add", "1"], "were fitted on other"),
    "unknown place": ([*ADD, "--places", "sideways"], "There is no block 'sideways'; choose among down, mid, up"),
    "window outside": ([*ADD, "--window", "1-9"], "this run has steps 0 to 2"),
    "unknown layer": ([*TEXT, "--add", "1", "--layers", "7"], "nothing at layer 7"),
    "too strong": ([*ADD[:3], "1e38", "--bound", "none", "--branch", "cond"], "is not finite"),
}


@pytest.mark.parametrize("name", [*MISTAKES, *LATE_MISTAKES])
def test_every_mistake_is_one_message_and_leaves_nothing(
    run: Callable[..., Any], files: Path, tmp_path: Path, name: str
) -> None:
    words, message = (MISTAKES | LATE_MISTAKES)[name]
    (tmp_path / "evil.pkl").write_bytes(b"\x80\x04N.")
    result = run(*(str(tmp_path / word) if word == "evil.pkl" else word for word in words))
    assert isinstance(result.exception, UserError), result.output
    assert message in str(result.exception) and "\n" not in str(result.exception)
    assert [path.name for path in tmp_path.iterdir()] == ["evil.pkl"]


def test_where_it_writes_is_checked_before_anything_is_made(run: Callable[..., Any], tmp_path: Path) -> None:
    kept = tmp_path / "out.png"
    kept.write_bytes(b"precious")
    for output, message in (
        ("lost/out.png", "there is no folder"), ("out.jpg", "ends in .png"), ("out.png", "exists. Choose another name"),
    ):  # fmt: skip
        begun = time.monotonic()
        result = run(output=output)
        assert isinstance(result.exception, UserError) and message in str(result.exception)
        assert time.monotonic() - begun < 1
    assert kept.read_bytes() == b"precious"
    assert run("--force").exit_code == 0
    assert pixels(kept).shape == (64, 64, 3)
    assert [path.name for path in tmp_path.iterdir()] == ["out.png"]


def test_a_full_disk_is_one_message_and_leaves_no_half_picture(
    run: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("steerwright.steering.pictures.os.replace", full)
    result = run(steps="1")
    assert isinstance(result.exception, UserError) and "out.png cannot be written: No space" in str(result.exception)
    assert not list(tmp_path.iterdir())


def test_outside_of_a_project_a_folder_serves_and_a_name_does_not(
    files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    words = ["generate", "--prompt", PROMPT, "--steps", "1", "-o", "out.png"]
    for more in ([], ["--model", "seasons-sd"]):
        result = CliRunner().invoke(app, [*words, *more])
        assert isinstance(result.exception, UserError)
        assert "The installed package holds no models: give --model FOLDER" in str(result.exception)
    assert CliRunner().invoke(app, [*words, "--model", str(REPOSITORY / "models" / "seasons-sd")]).exit_code == 0


def test_a_name_means_the_same_model_anywhere_in_the_project(
    run: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(REPOSITORY / "docs")
    assert run("--model", "seasons-sd", steps="1").exit_code == 0


def test_as_a_process_a_mistake_is_one_line_and_exit_code_2(tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "steerwright.cli.main",
        "generate",
        "--prompt",
        "x",
        "-o",
        str(tmp_path / "a" / "o.png"),
    ]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 2 and done.stdout == ""
    assert (
        done.stderr
        == f"steerwright: -o {tmp_path}/a/o.png: there is no folder {tmp_path}/a; make it first, or choose another.\n"
    )


def test_help_loads_nothing_heavy() -> None:
    code = (
        "import sys; import steerwright.cli.app; "
        "sys.exit(any(name in sys.modules for name in ('torch', 'numpy', 'diffusers', 'PIL', 'safetensors')))"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, check=False, timeout=60).returncode == 0


def test_a_grid_that_does_not_come_out_even_is_refused() -> None:
    picture = Picture(np.zeros((8, 8, 3), np.uint8), {"prompt": "x", "seed": "1"})
    with pytest.raises(ValueError, match="3 pictures do not fill rows of 2"):
        as_grid([picture] * 3, 2)
