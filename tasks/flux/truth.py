"""How interpretable the selected latents are: against random ones, by coherence, and by where they point."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray

from seasons.captions import full_caption
from seasons.render import render_with_mask
from seasons.scene import Scene, sample_scenes
from steerwright.activations.record import Capture, capture
from steerwright.dag import Dep, Out, Param
from steerwright.errors import UserError
from steerwright.features.s_matrix import SMatrix
from steerwright.features.truth import area_by_score, interpretability, pointing_game, regions
from steerwright.models.families.flux import Flux, text_length
from steerwright.models.generate import image_size, model_timesteps
from steerwright.models.hookpoints import Hookpoint
from steerwright.models.load import LoadedModel, load_model
from steerwright.models.select import read_model
from steerwright.sae.sae import Sae
from steerwright.sae.sae_file import load_sae

# What a label's value is seen on: the object has a shape and a colour; season, place and time are all around it.
REGION = {"object": "object", "colour": "object", "season": "background", "place": "background", "time": "background"}
POINTING = {
    "latent": pl.Int64, "region": pl.String, "scenes": pl.Int64, "pointing": pl.Float64, "base_rate": pl.Float64,
    "energy": pl.Float64, "base_energy": pl.Float64,
}  # fmt: skip


def ground_truth(
    model: Annotated[Path, Dep()],
    matrix: Annotated[Path, Dep()],
    saes: Annotated[Path, Dep()],
    coherence: Annotated[Path, Dep()],
    labels: Annotated[Path, Dep()],
    selected: Annotated[Path, Dep()],
    bar: Annotated[float, Param()],
    scenes: Annotated[int, Param()],
    seed: Annotated[int, Param()],
    resamples: Annotated[int, Param()],
    pointing: Annotated[Path, Out("pointing.parquet")],
    groups: Annotated[Path, Out("groups.parquet")],
    truth: Annotated[Path, Out("truth.json", kind="metrics", cache=False)],
) -> None:
    """Shares and intervals over latents, and the pointing game of the selected ones on rendered scenes."""
    known, coherent, chosen = pl.read_parquet(labels), pl.read_parquet(coherence), pl.read_parquet(selected)
    latents = chosen["latent"].to_list()
    area_by_score(known, coherent, bar=bar).write_parquet(groups)
    found: dict[str, Any] = {}
    if known.height:
        found = asdict(interpretability(known, coherent, latents, bar=bar, resamples=resamples, seed=seed))
    truth.write_text(json.dumps(found, indent=1, sort_keys=True) + "\n")
    rows: list[dict[str, Any]] = []
    if scenes and known.height:
        spec, identity = read_model(model)
        source = SMatrix.open(matrix).source
        maps, masks = scene_maps(
            load_model(spec, identity.digest), load_sae(saes / source.sae), int(source.step or 0),
            sample_scenes(scenes, seed), latents, seed,
        )  # fmt: skip
        areas, labelled = regions(masks), dict(known.select("latent", "label").iter_rows())
        for place, latent in enumerate(latents):
            region = REGION.get(str(labelled.get(latent)))
            if region is not None:
                game = pointing_game(maps[:, place], areas[region])
                rows.append({
                    "latent": latent, "region": region, "scenes": game.images, "pointing": game.hits,
                    "base_rate": game.base_rate, "energy": game.energy, "base_energy": game.base_energy,
                })  # fmt: skip
    pl.DataFrame(rows, schema=POINTING).fill_nan(None).write_parquet(pointing)


# What latents do on pictures whose truth is known to the pixel: rendered scenes, brought to one denoising step.
#
# A picture that the model made has labels but no masks. So scenes of the seasons world are rendered with the masks of
# their objects, encoded, mixed with as much noise as the step has, and given to the model with a caption that says all
# of it.

_AT_ONCE = 16


def scene_maps(
    model: LoadedModel, sae: Sae, step: int, scenes: Sequence[Scene], latents: Sequence[int], seed: int
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Activations of `latents` on the scenes' tokens, float32 [scenes, latents, h, w], and the masks of their objects,
    bool [scenes, H, W].

    Scene i's noise comes from `seed` + i. UserError for a model that is no FLUX, or makes pictures of another size.
    """
    if not Flux().matches(model.pipeline):
        raise UserError("Rendered scenes are looked at through a FLUX model; set `scenes: 0` for others.")
    rendered = [render_with_mask(scene) for scene in scenes]
    pixels, masks = np.stack([image for image, _ in rendered]), np.stack([mask for _, mask in rendered])
    if image_size(model) != pixels.shape[1:3]:
        raise UserError(
            f"Scenes are {pixels.shape[1]} x {pixels.shape[2]} pixels, and {model.spec.name} makes pictures of "
            f"{image_size(model)}; set `scenes: 0`."
        )
    hookpoint = Hookpoint.parse(str(sae.site.hookpoint))
    sigma = model_timesteps(model)[step] / 1000
    grid = Flux().image_grid(model.pipeline, *image_size(model))
    wanted = torch.as_tensor(list(latents))
    out = np.zeros((len(scenes), len(latents), *grid), dtype=np.float32)
    for start in range(0, len(scenes), _AT_ONCE):
        some = range(start, min(start + _AT_ONCE, len(scenes)))
        seen: list[torch.Tensor] = []

        def keep(found: Capture, seen: list[torch.Tensor] = seen) -> None:
            if found.step is None or abs(found.step.sigma - sigma) > 1e-3:
                raise UserError(f"{model.spec.name} shifts its noise levels, which rendered scenes are not mixed for.")
            seen.append(found.tensor)

        noisy = _noisy(model, pixels[start : some.stop], sigma, [seed + number for number in some])
        with torch.inference_mode(), capture(model.pipeline, [hookpoint], keep):
            _run(model, noisy, sigma, [full_caption(scenes[number]) for number in some])
        found = sae.encode(seen[0].reshape(-1, sae.width)).dense()[:, wanted]
        maps = found.view(len(some), *grid, len(latents)).permute(0, 3, 1, 2)
        out[start : some.stop] = maps.float().cpu().numpy()
    return out, masks


def _noisy(model: LoadedModel, pixels: NDArray[np.uint8], sigma: float, seeds: Sequence[int]) -> torch.Tensor:
    """Packed latents of the pictures [n, tokens, channels] with the share `sigma` of noise: (1 - sigma) x + sigma e."""
    pipeline: Any = model.pipeline
    vae = pipeline.vae
    images = torch.from_numpy(pixels).permute(0, 3, 1, 2).to(model.device, vae.dtype).div(127.5).sub(1)
    with torch.inference_mode():
        clean = (vae.encode(images).latent_dist.mean - (vae.config.shift_factor or 0.0)) * vae.config.scaling_factor
    noise = torch.stack(
        [torch.randn(clean.shape[1:], generator=torch.Generator("cpu").manual_seed(seed)) for seed in seeds]
    ).to(clean)
    mixed = (1 - sigma) * clean + sigma * noise
    return pipeline._pack_latents(mixed, *mixed.shape)


def _run(model: LoadedModel, noisy: torch.Tensor, sigma: float, captions: list[str]) -> None:
    """One forward of the transformer at `sigma`, with everything around it as the pipeline has it."""
    height, width = image_size(model)
    model.pipeline(
        prompt=captions, height=height, width=width, latents=noisy, sigmas=[sigma], num_inference_steps=1,
        guidance_scale=model.spec.guidance, max_sequence_length=text_length(model.pipeline),
        output_type="latent",
    )  # fmt: skip
