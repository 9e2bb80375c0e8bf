from typing import Any

import pytest

from steerwright.sae.training.config import sae_config


def test_the_learning_rate_falls_with_the_root_of_the_latents() -> None:
    """2e-4 at 2^14 latents, half of it at four times as many (arXiv:2406.04093)."""
    assert sae_config(architecture="topk", latents=2**14, k=1).rate == 2e-4
    assert sae_config(architecture="topk", latents=2**16, k=1).rate == 1e-4
    assert sae_config(architecture="topk", latents=2**16, k=1, learning_rate=3e-4).rate == 3e-4


def test_groups_end_where_their_shares_say() -> None:
    matryoshka = sae_config(architecture="matryoshka", latents=1000, k=8, groups=[0.1, 0.2, 0.7])
    assert matryoshka.group_ends == [100, 300, 1000]
    assert sae_config(architecture="matryoshka", latents=64, k=8).group_ends == [4, 8, 16, 32, 64]
    assert sae_config(architecture="topk", latents=64, k=8).group_ends == [64]


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"architecture": "topk"}, r"k\n  Field required"),
        (
            {"architecture": "relu", "k": 3, "l1": 1},
            "k belongs to topk, batchtopk, matryoshka, not to relu; take it out",
        ),
        ({"architecture": "relu"}, r"l1\n  Field required"),
        ({"architecture": "jumprelu", "l1": 1}, "l1 belongs to relu, not to jumprelu"),
        ({"architecture": "topk", "k": 99}, "k = 99 exceeds the 64 latents; lower k or raise latents"),
        ({"architecture": "batchtopk", "k": 3, "multi_topk": True}, "multi_topk belongs to topk"),
        ({"architecture": "topk", "k": 3, "bandwidth": 0.1}, "bandwidth belongs to jumprelu, not to topk"),
        ({"architecture": "topk", "k": 3, "auxk": 0, "auxk_latents": 4}, "auxk_latents says how AuxK is computed"),
        ({"architecture": "topk", "k": 17, "multi_topk": True}, "4 k = 68 of 64 latents"),
        ({"architecture": "topk", "k": 3, "groups": [1]}, "groups belongs to matryoshka"),
        ({"architecture": "matryoshka", "k": 3, "groups": [0.5, 0.4]}, "that sum to 1"),
        ({"architecture": "matryoshka", "k": 3, "groups": [0.001, 0.999]}, "would be empty"),
        ({"architecture": "topk", "k": 3, "kk": 3}, "Extra inputs"),
    ],
)
def test_what_does_not_belong_together_is_told(given: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        sae_config(latents=64, **given)
