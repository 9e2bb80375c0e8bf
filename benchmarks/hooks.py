"""What capturing attention and editing it cost beside the plain call of diffusers, and what memory collecting takes.

    python -m benchmarks.hooks                a UNet of SD 1.5's widths, 64x64 latents
    python -m benchmarks.hooks --quick        32x32 latents
    python -m benchmarks.hooks --memory       peak memory of collecting 10, 100 and 1000 prompts on the embedded model

The weights are random, float32 on a CPU and float16 on CUDA; every call makes the latents of two prompts with guidance.
The ways take turns (A B C ... A B C ...), so that whatever else the machine does falls on all of them alike, and each
turn's time is divided by the plain call's of the same turn. On a CPU the ratios are also given in processor time, which
neighbours disturb less (set OMP_WAIT_POLICY=passive on a busy machine: waiting counts too), and beside them how much of
it the hooks themselves took, which is exact where the ratio is lost in the noise. Exit code 1 when moments or an edit
cost more than 5 % (by processor time on a CPU).
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from benchmarks.collect_memory import collect, memory
from steerwright.activations.attention import attention_moments
from steerwright.activations.record import Capture, capture
from steerwright.activations.trace import as_nnsight, uninstrumented_after
from steerwright.models.attention_blocks import AttentionBlock, attention_blocks
from steerwright.models.fingerprint import Fingerprint
from steerwright.models.generate import Batch, run_pipeline
from steerwright.models.load import LoadedModel, load_model
from steerwright.models.schedule import timesteps
from steerwright.models.spec import ModelSpec
from steerwright.prompts.suite import ContrastPair
from steerwright.steering.apply import steered_batches
from steerwright.steering.attention import Action, attention_edits
from steerwright.vectors.direction import normalised
from steerwright.vectors.steering_vectors import SteeringVectors, VectorKey

ALLOWED = 1.05
PROMPTS = ("a house in winter", "a house in summer")
SEEDS = (0, 1)
GUIDANCE = 7.5
PLAIN, ROWS, ERASE = "plain call of diffusers", "capture into rows", "edit: erase, norm kept"
TOKEN_MEANS, TRACED_ERASE = "nnsight: token means", "nnsight: erase, norm kept"


@dataclass
class Way:
    """One way of making the same pictures; `call` makes them once, given what `around` prepares, and returns latents.

    `bar`: whether the ratio must be within bounds.
    """

    name: str
    call: Callable[..., torch.Tensor | None]
    bar: bool = False
    around: Callable[[], Any] = nullcontext
    walls: list[float] = field(default_factory=list)
    processor: list[float] = field(default_factory=list)
    inside: list[float] = field(default_factory=list)

    def time(self, device: torch.device) -> torch.Tensor | None:
        with self.around() as prepared:
            _wait(device)
            wall, processor = time.perf_counter(), time.process_time()
            with timed_hooks() as inside:
                made = self.call() if prepared is None else self.call(prepared)
            _wait(device)
            self.inside.append(inside[0])
            self.walls.append(time.perf_counter() - wall)
            self.processor.append(time.process_time() - processor)
        return made


@contextmanager
def timed_hooks() -> Iterator[list[float]]:
    """Processor seconds inside the hooks that are installed while the block runs, as the one entry of the list."""
    spent = [0.0]

    def timing(install: Callable[..., Any]) -> Callable[..., Any]:
        def installed(module: Any, hook: Callable[..., Any], **how: Any) -> Any:
            def timed(*given: Any) -> Any:
                begun = time.process_time()
                try:
                    return hook(*given)
                finally:
                    spent[0] += time.process_time() - begun

            return install(module, timed, **how)

        return installed

    names = ("register_forward_hook", "register_forward_pre_hook")
    before = {name: getattr(torch.nn.Module, name) for name in names}
    try:
        for name in names:
            setattr(torch.nn.Module, name, timing(before[name]))
        yield spent
    finally:
        for name in names:
            setattr(torch.nn.Module, name, before[name])


def random_model(latents: int, steps: int, device: torch.device) -> LoadedModel:
    """A Stable Diffusion pipeline whose UNet has SD 1.5's shape and random weights; the rest is as small as can be."""
    from diffusers import AutoencoderKL, PNDMScheduler, StableDiffusionPipeline, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel

    folder = Path("models/seasons-sd")
    tokenizer = load_model(ModelSpec(name="seasons-sd", source=str(folder), steps=1, guidance=1)).pipeline.tokenizer
    dtype = torch.float16 if device.type == "cuda" else torch.float32
    torch.manual_seed(15)
    with torch.device(device):
        unet = UNet2DConditionModel(
            sample_size=latents, block_out_channels=(320, 640, 1280, 1280), cross_attention_dim=768
        )
        encoder = CLIPTextModel(
            CLIPTextConfig(
                vocab_size=len(tokenizer), hidden_size=768, intermediate_size=768, num_hidden_layers=1,
                num_attention_heads=12, max_position_embeddings=tokenizer.model_max_length,
                bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id,
            )
        )  # fmt: skip
        # Never run, as the latents are all that is asked for; its four levels say how many pixels a latent is.
        vae = AutoencoderKL(
            block_out_channels=(8,) * 4, down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4, norm_num_groups=4,
        )  # fmt: skip
    scheduler = PNDMScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", skip_prk_steps=True, steps_offset=1
    )
    pipeline = StableDiffusionPipeline(
        vae=vae, text_encoder=encoder, tokenizer=tokenizer, unet=unet, scheduler=scheduler, safety_checker=None,
        feature_extractor=None, requires_safety_checker=False,
    ).to(device, dtype)  # fmt: skip
    pipeline.set_progress_bar_config(disable=True)
    for module in (unet, encoder, vae):
        module.eval().requires_grad_(False)
    spec = ModelSpec(name="random", source="memory", steps=steps, guidance=GUIDANCE)
    identity = Fingerprint(name="random", source="memory", revision=None, digest="0" * 64, libraries={})
    return LoadedModel(spec, pipeline, identity, device)


def random_vectors(model: LoadedModel, blocks: Sequence[AttentionBlock]) -> SteeringVectors:
    """One vector for each block and step, as those of attention-vectors, of any direction."""
    schedule = timesteps(model.pipeline, model.spec.steps)
    directions = {
        VectorKey(block.hookpoint, steps=(step, step), branch="cond"): normalised(torch.randn(block.width))
        for block in blocks
        for step in range(len(schedule))
    }
    return SteeringVectors("anything", model.fingerprint, "none", "mean", directions, schedule)


def ways(model: LoadedModel, blocks: Sequence[AttentionBlock], vectors: SteeringVectors) -> list[Way]:
    """Every way that is compared, the plain call first."""
    batch = Batch(0, len(PROMPTS), PROMPTS, SEEDS)
    schedule = timesteps(model.pipeline, model.spec.steps)
    pair = ContrastPair(0, *PROMPTS)
    hookpoints = [block.hookpoint for block in blocks]

    def asked() -> dict[str, Any]:
        size = model.pipeline.unet.config.sample_size * model.pipeline.vae_scale_factor
        return {
            "num_inference_steps": model.spec.steps,
            "guidance_scale": GUIDANCE,
            "generator": [torch.Generator("cpu").manual_seed(seed) for seed in SEEDS],
            "output_type": "latent",
            "height": size,
            "width": size,
        }

    def plain() -> torch.Tensor:
        with torch.inference_mode():
            return model.pipeline(prompt=list(PROMPTS), **asked()).images

    def moments() -> None:
        attention_moments(model, [pair], blocks, seeds=[0])

    def rows() -> torch.Tensor:
        # As a store of rows takes them: one copy per step and block; dropped where a store would write.
        held: dict[Any, torch.Tensor] = {}

        def keep(seen: Capture) -> None:
            held[seen.hookpoint] = seen.tensor.to("cpu", copy=True)

        with capture(model.pipeline, hookpoints, keep, copy=False):
            return run_pipeline(model, batch, "latent")

    def edit(action: Action, strength: float) -> Callable[[], torch.Tensor]:
        edits = attention_edits(action, vectors, strength, blocks=blocks, timesteps=schedule)
        return lambda: run_pipeline(model, batch, "latent", edits=steered_batches(model, edits))

    def traced(change: bool) -> Callable[[Any], torch.Tensor]:
        units = [
            [vectors.directions[VectorKey(h, steps=(step, step), branch="cond")].unit.to(model.device, model.dtype)
             for step in range(len(schedule))] for h in hookpoints
        ]  # fmt: skip

        def call(traceable: Any) -> torch.Tensor:
            held: list[torch.Tensor] = []
            made: list[Any] = []
            with torch.inference_mode(), traceable.trace(**asked()) as tracer:
                with tracer.invoke(list(PROMPTS)):
                    made.append(traceable.output)
                with tracer.invoke():
                    for step in tracer.iter[: len(schedule)]:
                        for place, hookpoint in enumerate(hookpoints):
                            layer = traceable
                            for name in hookpoint.path.split("."):
                                layer = layer[int(name)] if name.isdigit() else getattr(layer, name)
                            if change:
                                layer.output = erased(layer.output, units[place][step])
                            else:
                                held.append(layer.output.mean(1))
            assert change or len(held) == len(schedule) * len(hookpoints)
            return made[0].images

        return call

    instrumented = lambda: _Instrumented(model.pipeline)  # noqa: E731
    return [
        Way(PLAIN, plain),
        Way("capture into moments", moments, bar=True),
        Way(ROWS, rows),
        Way(ERASE, edit("erase", 1.0), bar=True),
        Way("edit: add 10, norm kept", edit("add", 10.0), bar=True),
        Way(TOKEN_MEANS, traced(False), around=instrumented),
        Way(TRACED_ERASE, traced(True), around=instrumented),
    ]


def erased(acts: torch.Tensor, unit: torch.Tensor) -> torch.Tensor:
    """The same erasure as one writes it by hand."""
    moved = acts - (acts @ unit).clamp(min=0)[..., None] * unit
    return moved * (acts.norm(dim=-1, keepdim=True) / moved.norm(dim=-1, keepdim=True))


class _Instrumented:
    """nnsight around the pipeline for the time of a block; wrapping it is not timed, as one does that once."""

    def __init__(self, pipeline: Any) -> None:
        self._undo = uninstrumented_after(pipeline)
        self._pipeline = pipeline

    def __enter__(self) -> Any:
        self._undo.__enter__()
        return as_nnsight(self._pipeline)

    def __exit__(self, *error: Any) -> None:
        self._undo.__exit__(*error)


def compare(latents: int, steps: int, turns: int, device: torch.device, only: Sequence[str]) -> bool:
    """Measure, print the table, and say whether every bar was met."""
    model = random_model(latents, steps, device)
    blocks = attention_blocks(model.pipeline)
    torch.manual_seed(3)
    compared = ways(model, blocks, random_vectors(model, blocks))
    compared = [way for way in compared if not only or way is compared[0] or any(part in way.name for part in only)]
    made = {}
    for way in compared:  # warm up: the first call of each allocates memory and loads what it needs
        made[way.name] = way.time(device)
        for times in (way.walls, way.processor, way.inside):
            times.clear()
    check_same(made)
    loads = [os.getloadavg()[0]]
    for turn in range(turns):
        for way in compared:
            way.time(device)
            print(
                f"  {turn + 1}/{turns} {way.name:28s} {way.walls[-1]:8.3f} s, processor {way.processor[-1]:8.3f} s, "
                f"in hooks {way.inside[-1]:6.3f} s",
                file=sys.stderr,
                flush=True,
            )
        loads.append(os.getloadavg()[0])
    forwards = len(timesteps(model.pipeline, steps))
    where = torch.cuda.get_device_name() if device.type == "cuda" else f"CPU, {torch.get_num_threads()} threads"
    table = Table(
        title=f"{len(blocks)} cross-attention blocks, {latents}x{latents} latents, {2 * len(PROMPTS)} rows x "
        f"{forwards} forwards, {model.dtype} on {where}; {turns} turns, load {min(loads):.1f} to {max(loads):.1f}"
    )
    for column in ("", "median s", "ratio", "spread", "processor s", "ratio", "spread", "in hooks", "bar"):
        table.add_column(column, justify="right" if column else "left")
    met = True
    for way in compared:
        wall = ratios(way.walls, compared[0].walls)
        processor = ratios(way.processor, compared[0].processor)
        inside = ratios(way.inside, compared[0].processor)
        # A processor that waits for a GPU says nothing.
        found = statistics.median(wall if device.type == "cuda" else processor)
        met &= not way.bar or found <= ALLOWED
        table.add_row(
            way.name, f"{statistics.median(way.walls):.3f}", *_ratio(wall),
            f"{statistics.median(way.processor):.3f}", *_ratio(processor),
            f"{statistics.median(inside):.1%}" if max(inside) > 0 and device.type == "cpu" else "",
            ("met" if found <= ALLOWED else "missed") if way.bar else "",
        )  # fmt: skip
    Console(width=150).print(table)
    return met


def check_same(made: dict[str, torch.Tensor | None]) -> None:
    """Capturing changes no latents, and both ways of erasing make the same ones: else the times compare nothing."""
    for names in ((PLAIN, ROWS, TOKEN_MEANS), (ERASE, TRACED_ERASE)):
        found = [latents for name in names if (latents := made.get(name)) is not None]
        for first, other in pairwise(found):
            apart = float((first - other).abs().max() / first.abs().max())
            if apart > (1e-3 if first.dtype == torch.float32 else 0.05):
                raise SystemExit(f"{names} should make the same latents, but they differ by {apart:.3g}")
    if (erase := made.get(ERASE)) is not None and torch.equal(erase, made[PLAIN]):  # type: ignore[arg-type]
        raise SystemExit("the edit changed nothing")


def ratios(times: Sequence[float], plain: Sequence[float]) -> list[float]:
    """Each turn's time over the plain call's of the same turn."""
    return [one / other for one, other in zip(times, plain, strict=True)]


def _ratio(found: Sequence[float]) -> tuple[str, str]:
    return f"{statistics.median(found):.3f}", f"{min(found):.3f} to {max(found):.3f}"


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="32x32 latents and three turns")
    parser.add_argument("--latents", type=int, help="side of the latents (default: 64)")
    parser.add_argument("--steps", type=int, default=1, help="denoising steps of each call")
    parser.add_argument("--turns", type=int, help="how often the ways take turns (default: 5)")
    parser.add_argument(
        "--only", action="append", default=[], help="only ways whose names hold this, and the plain one"
    )
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--memory", action="store_true", help="peak memory of collecting instead")
    parser.add_argument("--collect", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.collect:
        collect(options.collect)
        return 0
    if options.memory:
        memory()
        return 0
    latents = options.latents or (32 if options.quick else 64)
    turns = options.turns or (3 if options.quick else 5)
    return 0 if compare(latents, options.steps, turns, torch.device(options.device), options.only) else 1


if __name__ == "__main__":
    sys.exit(main())
