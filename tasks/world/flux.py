"""The seasons world's FLUX pipeline."""

import copy
import logging
import shutil
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
from scipy.special import ndtri
from torch import Tensor, nn

from seasons.architectures import LATENT_CHANNELS, make_flux_transformer
from seasons.assemble_pipeline import assemble_flux
from seasons.captions import caption
from seasons.scene import sample_scenes
from seasons.train_denoiser import SCENES_SEED, encode_scenes
from seasons.training import Draws, Schedule, fit
from steerwright.dag import Dep, Out, Param


def train_flux(
    tokenizer: Annotated[Path, Dep()],
    vae: Annotated[Path, Dep()],
    text_encoder: Annotated[Path, Dep()],
    sequence_encoder: Annotated[Path, Dep()],
    scenes: Annotated[int, Param()],
    steps: Annotated[int, Param()],
    decay: Annotated[int, Param()],
    guidance_steps: Annotated[int, Param()],
    pipeline: Annotated[Path, Out("seasons-flux", cache=False, resume=True)],
) -> None:
    """Train the flow transformer and put the FluxPipeline folder together."""
    work = pipeline / ".work"
    fit_flux(
        vae, text_encoder, sequence_encoder, tokenizer, work / "transformer", work, scenes, steps, decay,
        guidance_steps,
    )  # fmt: skip
    assemble_flux(vae, text_encoder, sequence_encoder, tokenizer, work / "transformer", pipeline)
    shutil.rmtree(work)


# The flow transformer: a small FLUX on the frozen encoder's latents and two frozen text encoders.
#
# Flow matching with logit-normal times (arXiv 2403.03206). FLUX.1-dev has its guidance embedded: it is a number that
# the network takes, and one forward gives what classifier-free guidance needs two for. So there are two phases: a
# network that knows no guidance but 1, and then one that learns from it what guidance of every strength gives (arXiv
# 2210.03142).

log = logging.getLogger(__name__)

SEED, BATCH, SIDE = 41, 32, 8
UNCONDITIONAL_SHARE = 0.1
STRONGEST = 6.0


class Texts:
    """Captions to what FLUX takes of them: states of every token [n, 24, 96], and one pooled vector [n, 64]."""

    def __init__(self, tokenizer: Any, text: nn.Module, sequence: nn.Module) -> None:
        self._tokenizer, self._text, self._sequence = tokenizer, text, sequence

    @torch.no_grad()
    def __call__(self, said: list[str]) -> tuple[Tensor, Tensor]:
        ids = self._tokenizer(
            said, padding="max_length", truncation=True, max_length=self._tokenizer.model_max_length,
            return_tensors="pt",
        ).input_ids  # fmt: skip
        return self._sequence(ids).last_hidden_state, self._text(ids).pooler_output


def packed(latents: Tensor) -> Tensor:
    """Latents [n, 4, 16, 16] as image tokens [n, 64, 16]: two by two of them are one token, row by row."""
    count = len(latents)
    blocks = latents.view(count, LATENT_CHANNELS, SIDE, 2, SIDE, 2).permute(0, 2, 4, 1, 3, 5)
    return blocks.reshape(count, SIDE * SIDE, 4 * LATENT_CHANNELS)


def times(draws: Draws, count: int) -> Tensor:
    """Logit-normal times [count] in (0, 1), one from each equal share of their distribution."""
    share = (np.arange(count) + draws.numpy.random(count)) / count
    return torch.from_numpy(ndtri(share.clip(1e-4, 1 - 1e-4))).float().sigmoid()


def fit_flux(
    vae_folder: Path,
    text_folder: Path,
    sequence_folder: Path,
    tokenizer_folder: Path,
    folder: Path,
    work: Path,
    scenes: int,
    steps: int,
    decay: int,
    guidance_steps: int,
) -> None:
    """Write a FluxTransformer2DModel folder (fp16); resumes from `work`."""
    from transformers import CLIPTextModel, CLIPTokenizer, T5EncoderModel

    torch.manual_seed(SEED)
    mean, std = encode_scenes(vae_folder, scenes, work / f"latents-{scenes}.pt")
    listed = sample_scenes(scenes, SCENES_SEED)
    texts = Texts(
        CLIPTokenizer.from_pretrained(tokenizer_folder),
        CLIPTextModel.from_pretrained(text_folder).float().eval(),
        T5EncoderModel.from_pretrained(sequence_folder).float().eval(),
    )
    places = torch.zeros(SIDE, SIDE, 3)
    places[..., 1], places[..., 2] = torch.arange(SIDE)[:, None], torch.arange(SIDE)[None]
    nothing = texts([""])

    def velocity(model: nn.Module, noisy: Tensor, t: Tensor, guidance: Tensor, text: tuple[Tensor, Tensor]) -> Tensor:
        found: Tensor = model(
            hidden_states=noisy, timestep=t, guidance=guidance, encoder_hidden_states=text[0],
            pooled_projections=text[1], txt_ids=torch.zeros(text[0].shape[1], 3), img_ids=places.view(-1, 3),
            return_dict=False,
        )[0]  # fmt: skip
        return found

    def drawn(draws: Draws, unconditional: float) -> tuple[Tensor, Tensor, Tensor, tuple[Tensor, Tensor]]:
        rows = draws.numpy.integers(scenes, size=BATCH)
        said = ["" if draws.numpy.random() < unconditional else caption(listed[row], draws.numpy) for row in rows]
        clean = packed(mean[rows].float() + std[rows].float() * draws.normal(BATCH, LATENT_CHANNELS, 16, 16))
        noise, t = draws.normal(*clean.shape), times(draws, BATCH)
        noisy = (1 - t[:, None, None]) * clean + t[:, None, None] * noise
        return noisy, noise - clean, t, texts(said)

    teacher = make_flux_transformer()
    # The graph never changes shape, so compiling pays for itself within minutes; weights stay those of `teacher`.
    running: Any = torch.compile(teacher)

    def plain_loss(step: int) -> Tensor:
        noisy, wanted, t, text = drawn(Draws.at(SEED, step), UNCONDITIONAL_SHARE)
        return (velocity(running, noisy, t, torch.ones(BATCH), text) - wanted).pow(2).mean()

    plain = fit(
        teacher, plain_loss, Schedule(steps, 1.5e-3, 200, decay), work / "flux-plain.pt", betas=(0.9, 0.99), ema=0.9985,
        save_every=200,
    )  # fmt: skip
    plain.requires_grad_(False)
    student = copy.deepcopy(plain).train().requires_grad_(True)
    learning: Any = torch.compile(student)
    knowing: Any = torch.compile(plain)

    def guided_loss(step: int) -> Tensor:
        draws = Draws.at(SEED + 1, step)
        noisy, _, t, text = drawn(draws, 0.0)
        guidance = torch.from_numpy(draws.numpy.uniform(1, STRONGEST, BATCH)).float()
        with torch.no_grad():
            both = tuple(torch.cat([one, none.expand_as(one)]) for one, none in zip(text, nothing, strict=True))
            told, untold = velocity(
                knowing, noisy.repeat(2, 1, 1), t.repeat(2), torch.ones(2 * BATCH), (both[0], both[1])
            ).chunk(2)
            wanted = untold + guidance[:, None, None] * (told - untold)
        return (velocity(learning, noisy, t, guidance, text) - wanted).pow(2).mean()

    shipped = fit(
        student, guided_loss, Schedule(guidance_steps, 5e-4, 100, guidance_steps // 2), work / "flux-guided.pt",
        betas=(0.9, 0.99), ema=0.998, save_every=200,
    )  # fmt: skip
    shipped.half().save_pretrained(folder)
