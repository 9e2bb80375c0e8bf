"""What keeping the rows of two hookpoints costs while a FLUX of true widths runs, beside the plain call of diffusers.

    python -m benchmarks.flux_capture              one double and one single block, 128x128 pixels
    python -m benchmarks.flux_capture --quick      64x64 pixels, two turns

Widths are FLUX.1-dev's (3072 in 24 heads, T5's 4096); the weights are random, float32 on a CPU and bfloat16 on CUDA.
Rows are all image tokens of a double block's feed-forward (as seed 004 takes them) and of a single block, at every
step, written to an activation store. Real models have 57 blocks where these have two, for the same rows: there the
share is less. The ways take turns, as in benchmarks.hooks, and each turn's time is divided by the plain call's of the
same turn, on a CPU by processor time. Neighbours move that ratio by more than what is measured, so beside it stands
what was spent in the hooks and on the store alone, as a share of the plain call. Exit code 1 where keeping rows costs
more than 5 %: by that share on a CPU, by the ratio on CUDA, which works on while hooks run.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from benchmarks.hooks import Way, ratios
from steerwright.activations.denoiser import BATCH_BYTES, PictureRows, collect_rows
from steerwright.activations.record import capture
from steerwright.activations.shard_plan import CollectedPrompt, Collection
from steerwright.activations.store.rows import Rows, dtype_name
from steerwright.activations.store.writer import ShardWriter
from steerwright.models.fingerprint import Fingerprint
from steerwright.models.generate import Batch, image_size, run_pipeline
from steerwright.models.load import LoadedModel
from steerwright.models.spec import ModelSpec

ALLOWED = 1.05
HOOKPOINTS = ("transformer.transformer_blocks.0.ff", "transformer.single_transformer_blocks.0")
PROMPTS = [CollectedPrompt(id=f"p{i}", prompt="a house by a lake", split="train", seed=i) for i in range(2)]
PLAIN, ROWS, EARLY = "plain call of diffusers", "capture into rows", "the same, no further than the last row"


@dataclass(frozen=True, slots=True)
class Overhead:
    """Median ratio of a way over the plain call; `share`: spent in hooks and on the store, of the plain call."""

    ratio: float
    spread: tuple[float, float]
    share: float
    seconds: float
    cuda: bool

    @property
    def met(self) -> bool:
        return (self.ratio if self.cuda else 1 + self.share) <= ALLOWED


def random_flux(pixels: int, steps: int, blocks: int, device: torch.device) -> LoadedModel:
    """A FluxPipeline of true widths with `blocks` double and as many single blocks; the rest is as small as can be."""
    from diffusers import AutoencoderKL, FlowMatchEulerDiscreteScheduler, FluxPipeline, FluxTransformer2DModel
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer, T5Config, T5EncoderModel

    tokenizer = CLIPTokenizer.from_pretrained("models/seasons-tokenizer")
    dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
    torch.manual_seed(15)
    with torch.device(device):
        transformer = FluxTransformer2DModel(num_layers=blocks, num_single_layers=blocks, guidance_embeds=True)
        text_encoder = CLIPTextModel(
            CLIPTextConfig(
                vocab_size=len(tokenizer), hidden_size=768, intermediate_size=768, num_hidden_layers=1,
                num_attention_heads=12, max_position_embeddings=tokenizer.model_max_length,
                bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id,
            )
        )  # fmt: skip
        sequence_encoder = T5EncoderModel(
            T5Config(vocab_size=len(tokenizer), d_model=4096, d_kv=64, d_ff=64, num_layers=1, num_heads=1)
        )
        # Never run, as the latents are all that is asked for; its four levels say how many pixels a latent is.
        vae = AutoencoderKL(
            block_out_channels=(8,) * 4, down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4, norm_num_groups=4, latent_channels=16, sample_size=pixels,
        )  # fmt: skip
    pipeline = FluxPipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0, use_dynamic_shifting=True), vae=vae,
        text_encoder=text_encoder, tokenizer=tokenizer, text_encoder_2=sequence_encoder, tokenizer_2=tokenizer,
        transformer=transformer,
    ).to(device, dtype)  # fmt: skip
    pipeline.set_progress_bar_config(disable=True)
    for module in (transformer, text_encoder, sequence_encoder, vae):
        module.eval().requires_grad_(False)
    spec = ModelSpec(name="random", family="flux", source="memory", steps=steps, guidance=3.5)
    identity = Fingerprint(name="random", source="memory", revision=None, digest="0" * 64, libraries={})
    return LoadedModel(spec, pipeline, identity, device)


def ways(model: LoadedModel, folder: Path, on_store: dict[str, list[float]]) -> list[Way]:
    """The plain call, and two that write the rows of `HOOKPOINTS` to `folder`.

    `on_store` gets, by their names, the processor seconds of opening and committing the store.
    """
    batch = Batch(0, len(PROMPTS), tuple(one.prompt for one in PROMPTS), tuple(one.seed for one in PROMPTS))
    collection = Collection(hookpoints=HOOKPOINTS, batch_size=len(PROMPTS))
    size = image_size(model)

    @contextmanager
    def store(way: str) -> Iterator[Callable[[Rows], None]]:
        begun = time.process_time()
        with ShardWriter(
            folder, "rows", "0" * 16, [one.id for one in PROMPTS], dtype=dtype_name(model.dtype),
            hookpoints=[str(point) for point in collection.parsed()], batch_bytes=BATCH_BYTES,
        ) as writer:  # fmt: skip
            opened = time.process_time() - begun
            yield writer.add
            begun = time.process_time()
            writer.commit()
        on_store[way].append(opened + time.process_time() - begun)

    def plain() -> torch.Tensor:
        found: Any = model.pipeline
        with torch.inference_mode():
            latents: torch.Tensor = found(
                prompt=list(batch.prompts), num_inference_steps=model.spec.steps, guidance_scale=model.spec.guidance,
                height=size[0], width=size[1], max_sequence_length=int(found.tokenizer_2.model_max_length),
                generator=[torch.Generator("cpu").manual_seed(seed) for seed in batch.seeds], output_type="latent",
            ).images  # fmt: skip
        return latents

    def rows() -> torch.Tensor:
        with store(ROWS) as take:
            kept = PictureRows(model, collection, take, size)
            kept.begin([one.id for one in PROMPTS], batch.seeds)
            with capture(model.pipeline, collection.parsed(), kept.add, copy=False):
                latents: torch.Tensor = run_pipeline(model, batch, "latent")
        return latents

    def early() -> None:
        with store(EARLY) as take:
            collect_rows(model, PROMPTS, collection, take)

    return [Way(PLAIN, plain), Way(ROWS, rows, bar=True), Way(EARLY, early)]


def measure(*, pixels: int, steps: int, blocks: int, turns: int, device: torch.device) -> dict[str, Overhead]:
    """What each way costs, timed `turns` times in turn; raises SystemExit if keeping rows changed the latents."""
    model = random_flux(pixels, steps, blocks, device)
    with tempfile.TemporaryDirectory() as folder:
        on_store: dict[str, list[float]] = {PLAIN: [0.0] * (turns + 1), ROWS: [], EARLY: []}
        compared = ways(model, Path(folder), on_store)
        made = [way.time(device) for way in compared]  # warm up: the first call of each allocates what it needs
        if made[0] is None or made[1] is None or not torch.equal(made[0], made[1]):
            raise SystemExit("keeping rows changed the latents, so the times compare nothing")
        for way in compared:
            for times in (way.walls, way.processor, way.inside):
                times.clear()
        for turn in range(turns):
            for way in compared:
                way.time(device)
                print(f"  {turn + 1}/{turns} {way.name:40s} {way.walls[-1]:8.3f} s", file=sys.stderr, flush=True)
    cuda = device.type == "cuda"
    return {way.name: _overhead(way, compared[0], on_store[way.name][1:], cuda) for way in compared}


def _overhead(way: Way, plain: Way, on_store: list[float], cuda: bool) -> Overhead:
    found = ratios(way.walls, plain.walls) if cuda else ratios(way.processor, plain.processor)
    spent = [hooks + store for hooks, store in zip(way.inside, on_store, strict=True)]
    share = statistics.median(spent) / statistics.median(plain.processor)
    return Overhead(statistics.median(found), (min(found), max(found)), share, statistics.median(way.walls), cuda)


def table_of(found: dict[str, Overhead], title: str) -> Table:
    """What each way costs beside the plain one."""
    table = Table(title=title)
    for column in ("", "median s", "ratio", "spread", "hooks and store", "bar"):
        table.add_column(column, justify="right" if column else "left")
    for name, one in found.items():
        table.add_row(
            name, f"{one.seconds:.3f}", f"{one.ratio:.3f}", f"{one.spread[0]:.3f} to {one.spread[1]:.3f}",
            f"{one.share:.2%}" if name != PLAIN else "", ("met" if one.met else "missed") if name == ROWS else "",
        )  # fmt: skip
    return table


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="64x64 pixels and two turns")
    parser.add_argument("--pixels", type=int, help="side of the pictures (default: 128)")
    parser.add_argument("--steps", type=int, default=2, help="denoising steps of each call")
    parser.add_argument("--blocks", type=int, default=1, help="double blocks, and single blocks")
    parser.add_argument("--turns", type=int, help="how often the ways take turns (default: 5)")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    options = parser.parse_args()
    device = torch.device(options.device)
    pixels, turns = options.pixels or (64 if options.quick else 128), options.turns or (2 if options.quick else 5)
    found = measure(pixels=pixels, steps=options.steps, blocks=options.blocks, turns=turns, device=device)
    where = torch.cuda.get_device_name() if device.type == "cuda" else f"CPU, {torch.get_num_threads()} threads"
    title = (
        f"{options.blocks} double and {options.blocks} single blocks of FLUX.1's widths, {(pixels // 16) ** 2} image "
        f"tokens, {len(PROMPTS)} pictures x {options.steps} steps on {where}; {turns} turns"
    )
    Console(width=130).print(table_of(found, title))
    return 0 if found[ROWS].met else 1


if __name__ == "__main__":
    sys.exit(main())
