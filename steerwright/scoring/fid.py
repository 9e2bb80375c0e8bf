"""FID: how far apart two sets of pictures are, as Gaussians in the feature space of a network (arXiv:1706.08500).

With the embedded features the score tells pictures of the seasons world apart where labels see nothing wrong (blur,
double contours, faded or glaring colours). With Inception it is the usual score up to the weights: torchvision's are
not those of the original TensorFlow network, so numbers from papers are not comparable. Two scores with different
features are two scores, and carry different names.
"""

import contextlib
import io
import warnings
from pathlib import Path

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn
from torch.nn.functional import interpolate

from steerwright.errors import UserError
from steerwright.models.building import building
from steerwright.scoring.perceptual import load_perceptual_backbone

EMBEDDED = "models/seasons-lpips"
INCEPTION = "inception"
INCEPTION_SIZE = 299


class FidFeatures:
    """Embeds pictures for `frechet_distance`; `name` is that of the score which these features give.

    `source` is a folder with the embedded perceptual backbone (the mean over positions of its last feature map), or
    `inception`: torchvision's Inception v3, 2048 pooled features, whose weights come from torch's cache or the network;
    UserError where they cannot be had.
    """

    def __init__(self, source: str | Path = EMBEDDED, *, device: str | None = None, batch_size: int = 32) -> None:
        self.device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        self.batch_size = batch_size
        self.name = fid_name(source)
        network = _inception() if str(source) == INCEPTION else _Pooled(_backbone(Path(source)))
        self._network = network.to(self.device).eval().requires_grad_(False)
        self._size = INCEPTION_SIZE if str(source) == INCEPTION else None

    def __call__(self, images: NDArray[np.uint8]) -> NDArray[np.float64]:
        """Features [n, d] of uint8 images [n, H, W, 3]; for Inception they are resized to 299x299 first."""
        if len(images) == 0:
            raise ValueError("There are no images to embed.")
        with torch.inference_mode():
            parts = [
                self._network(self._pixels(images[start : start + self.batch_size])).double().cpu()
                for start in range(0, len(images), self.batch_size)
            ]
        features: NDArray[np.float64] = torch.cat(parts).numpy()
        return features

    def _pixels(self, images: NDArray[np.uint8]) -> Tensor:
        """float32 [n, 3, h, w] in [-1, 1], which both networks take."""
        pixels = torch.from_numpy(np.ascontiguousarray(images)).to(self.device).permute(0, 3, 1, 2).float()
        if self._size is not None and pixels.shape[-2:] != (self._size, self._size):
            pixels = interpolate(pixels, (self._size, self._size), mode="bilinear", antialias=True, align_corners=False)
        return pixels / 127.5 - 1


def features(images: NDArray[np.uint8], source: str | Path = EMBEDDED) -> NDArray[np.float64]:
    """Features [n, d] of uint8 images [n, H, W, 3] for `frechet_distance`; `FidFeatures` loads its network once."""
    return FidFeatures(source)(images)


def fid_name(source: str | Path = EMBEDDED) -> str:
    """What the score of these features is called: `fid_inception`, or `fid_seasons` for the embedded ones."""
    return "fid_inception" if str(source) == INCEPTION else "fid_seasons"


def frechet_distance(first: ArrayLike, second: ArrayLike) -> float:
    """Squared Fréchet distance of the Gaussians fitted to rows of `first` [n, d] and `second` [m, d], in float64.

    ||mu1 - mu2||^2 + Tr(S1 + S2 - 2 (S1 S2)^(1/2)) with the unbiased covariances (arXiv:1706.08500, equation 6).
    Finite samples make it too large, the more the fewer rows: two samples of one distribution are not at zero, and with
    fewer rows than features (n or m < d) a covariance lacks directions that the other has. So compare scores of equal
    numbers of pictures only, and read them beside the score of two halves of one set. Raises ValueError for fewer than
    two rows, different numbers of features, or numbers that are not finite.
    """
    one, two = _rows(first, "first"), _rows(second, "second")
    if one.shape[1] != two.shape[1]:
        raise ValueError(f"The sets have {one.shape[1]} and {two.shape[1]} features; they need the same ones.")
    gap = one.mean(0) - two.mean(0)
    left, right = _root(one), _root(two)
    # With S1 = A'A and S2 = B'B, S1 S2 has the eigenvalues of (A B')(A B')' besides zeros, so Tr (S1 S2)^(1/2) is the
    # sum of the singular values of A B': no square root of a rounded zero anywhere.
    shared = np.linalg.svd(left @ right.T, compute_uv=False).sum()
    distance = gap @ gap + np.square(left).sum() + np.square(right).sum() - 2 * shared
    return max(float(distance), 0.0)


def _rows(values: ArrayLike, which: str) -> NDArray[np.float64]:
    rows = np.asarray(values, dtype=np.float64)
    if rows.ndim != 2 or rows.shape[0] < 2 or rows.shape[1] < 1:
        raise ValueError(f"The {which} set has shape {rows.shape}; a Gaussian needs [n, d] with n of at least 2.")
    if not np.isfinite(rows).all():
        raise ValueError(f"{(~np.isfinite(rows)).sum()} of {rows.size} numbers of the {which} set are not finite.")
    return rows


def _root(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """A matrix R [min(n, d), d] with R'R the covariance of `rows` [n, d]."""
    centred = (rows - rows.mean(0)) / np.sqrt(len(rows) - 1)
    root: NDArray[np.float64] = np.asarray(np.linalg.qr(centred, mode="r"))
    return root


class _Pooled(nn.Module):
    """The mean over positions of a backbone's last feature map: as good as all maps together, with fewer features."""

    def __init__(self, backbone: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone

    def forward(self, pixels: Tensor) -> Tensor:
        last: Tensor = self.backbone(pixels)[-1]
        return last.mean((2, 3))


def _backbone(folder: Path) -> nn.Module:
    missing = [name for name in ("config.json", "model.safetensors") if not (folder / name).is_file()]
    if missing:
        raise UserError(
            f"There are no features for FID at {str(folder)!r}: {' and '.join(missing)} missing. "
            f"Use a folder with a perceptual backbone (the embedded one is {EMBEDDED}) or {INCEPTION!r}."
        )
    # A module draws its first weights before it loads its own: the caller's random numbers must not notice.
    with building(), torch.random.fork_rng(devices=[]):
        return load_perceptual_backbone(folder)


def _inception() -> nn.Module:
    from torchvision.models import Inception_V3_Weights, inception_v3

    try:
        # torchvision announces and draws its download bar by print.
        sink = io.StringIO()
        with (
            building(),
            warnings.catch_warnings(),
            contextlib.redirect_stdout(sink),
            contextlib.redirect_stderr(sink),
            torch.random.fork_rng(devices=[]),
        ):
            warnings.simplefilter("ignore")
            # Pixels come in [-1, 1], as this network was trained; `transform_input` would expect ImageNet's scaling.
            network = inception_v3(weights=Inception_V3_Weights.IMAGENET1K_V1, transform_input=False, progress=False)
    except (OSError, RuntimeError) as error:
        raise UserError(
            "The weights of Inception v3 for FID are neither in torch's cache nor to be had from the network. "
            f"Connect once to fetch them, or use the embedded features {EMBEDDED}."
        ) from error
    network.fc = nn.Identity()
    return network
