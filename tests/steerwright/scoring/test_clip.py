"""CLIP scores: shapes, invariance to the batch, planted similarities, and what is said when weights are missing."""

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from seasons.label_set import CLIP_SEASON_PHRASES
from steerwright.errors import UserError
from steerwright.scoring.clip import ClipScorer, paired_similarity

CONFIG: dict[str, Any] = {
    "model_cfg": {
        "embed_dim": 16,
        "vision_cfg": {"image_size": 32, "layers": 1, "width": 32, "head_width": 16, "patch_size": 8},
        "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 1},
    },
    "preprocess_cfg": {"mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5], "size": 32},
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import open_clip
    from safetensors.torch import save_file

    path = tmp_path_factory.mktemp("clip")
    (path / "open_clip_config.json").write_text(json.dumps(CONFIG))
    torch.manual_seed(0)
    model = open_clip.CLIP(**CONFIG["model_cfg"])
    save_file(model.state_dict(), path / "open_clip_model.safetensors")
    return path


@pytest.fixture(scope="module")
def scorer(folder: Path) -> ClipScorer:
    return ClipScorer(folder, device="cpu", batch_size=3)


def pictures(count: int, size: int = 32) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, size, size, 3), dtype=np.uint8)


def test_embeddings_are_unit_and_do_not_depend_on_the_batch(scorer: ClipScorer) -> None:
    images, texts = scorer.images(pictures(7)), scorer.texts(["a house", "a boat", "a cat", "a car"])
    assert images.shape == (7, 16) and texts.shape == (4, 16)
    assert torch.allclose(images.norm(dim=1), torch.ones(7), atol=1e-5)
    assert torch.allclose(scorer.images(pictures(7)[4:5])[0], images[4], atol=1e-5)
    assert not torch.allclose(images[0], images[1], atol=1e-3)


def test_other_sizes_are_resized(scorer: ClipScorer) -> None:
    assert scorer.images(pictures(2, size=80)).shape == (2, 16)


def test_a_concept_is_the_normalised_mean_of_its_phrases(scorer: ClipScorer) -> None:
    texts = scorer.texts(["winter", "snow"])
    mean = (texts[0] + texts[1]) / 2
    assert torch.allclose(scorer.concept(["winter", "snow"]), mean / mean.norm(), atol=1e-6)


def test_margins_against_the_mean_and_the_largest_of_the_others(scorer: ClipScorer) -> None:
    concepts = {"a": ("winter",), "b": ("summer",), "c": ("autumn",)}
    images = scorer.images(pictures(5))
    cosines = images @ scorer.texts(["winter", "summer", "autumn"]).T
    by_max = scorer.concept_margin(images, "a", concepts, against="max")
    by_mean = scorer.concept_margin(images, "a", concepts, against="mean")
    assert torch.allclose(by_max, cosines[:, 0] - torch.maximum(cosines[:, 1], cosines[:, 2]), atol=1e-6)
    assert torch.allclose(by_mean, cosines[:, 0] - (cosines[:, 1] + cosines[:, 2]) / 2, atol=1e-6)


def test_zero_shot_finds_the_concept_an_embedding_was_made_of(scorer: ClipScorer) -> None:
    planted = torch.stack([scorer.concept(CLIP_SEASON_PHRASES[name]) for name in ("winter", "spring")])
    result = scorer.zero_shot(planted, CLIP_SEASON_PHRASES)
    assert result.names == ["winter", "spring"]
    assert torch.allclose(result.probabilities.sum(1), torch.ones(2))


def test_each_image_is_compared_with_its_own_text() -> None:
    images, texts = torch.eye(3), torch.tensor([[1.0, 0, 0], [0, 0.6, 0.8], [1, 0, 0]])
    assert paired_similarity(images, texts).tolist() == pytest.approx([1.0, 0.6, 0.0])


def test_a_folder_without_weights_says_what_is_missing(tmp_path: Path) -> None:
    (tmp_path / "open_clip_config.json").write_text("{}")
    with pytest.raises(UserError, match=r"open_clip_model\.safetensors missing.*models/seasons-clip"):
        ClipScorer(tmp_path)


def test_an_unknown_model_offers_near_names() -> None:
    with pytest.raises(UserError, match=r"near: .*ViT-B-32/laion2b_s34b_b79k"):
        ClipScorer("ViT-B-32/laion2b_s34b")


class _Built(torch.nn.Module):
    """Stands for an open_clip model: keeps what it was built with, and has no weights."""

    def __init__(self, **given: Any) -> None:
        super().__init__()
        self.given, self.visual = given, torch.nn.Module()
        self.visual.image_size = given["vision_cfg"].get("image_size", 224)


@pytest.fixture
def built(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], _Built]:
    """built("ViT-B-32/openai"): the model as a scorer has it built, nothing downloaded."""
    import open_clip
    from open_clip import factory

    for name in ("CLIP", "CustomTextCLIP", "CoCa"):
        monkeypatch.setattr(factory, name, _Built)
    monkeypatch.setattr(factory, "download_pretrained", lambda *_, **__: "weights")
    monkeypatch.setattr(factory, "load_checkpoint", lambda *_, **__: None)
    monkeypatch.setattr(open_clip, "get_tokenizer", lambda *_, **__: None)

    def build(source: str) -> _Built:
        model = ClipScorer(source, device="cpu")._model
        assert isinstance(model, _Built)
        return model

    return build


def test_every_published_model_is_built_as_its_weights_were_trained(
    built: Callable[[str], _Built], recwarn: pytest.WarningsRecorder
) -> None:
    """All pairs that open_clip lists. OpenAI's weights are QuickGELU's, whichever architecture names them."""
    import open_clip
    from open_clip.pretrained import get_pretrained_cfg

    differs = []
    for architecture, tag in open_clip.list_pretrained():
        model, says = built(f"{architecture}/{tag}"), get_pretrained_cfg(architecture, tag)
        plain = bool(open_clip.get_model_config(architecture).get("quick_gelu", False))
        quick = bool(model.given.get("quick_gelu", False))
        # A tag that says nothing was trained as the architecture's file says.
        assert quick == bool(says.get("quick_gelu", plain)), f"{architecture}/{tag}"
        assert quick or tag != "openai", architecture
        for key in ("mean", "std", "interpolation", "resize_mode"):
            assert key not in says or model.visual.preprocess_cfg[key] == says[key], f"{architecture}/{tag}: {key}"
        if quick != plain:
            differs.append(f"{architecture}/{tag}")
    assert {"ViT-B-32/openai", "ViT-L-14/openai", "RN50/openai", "ViT-B-16/dfn2b"} <= set(differs)
    assert not [one for one in recwarn if "QuickGELU" in str(one.message)]


def test_a_folder_says_its_own_activation(folder: Path, scorer: ClipScorer, tmp_path: Path) -> None:
    """The same weights with GELU and with QuickGELU, x sigmoid(1.702 x), are other models."""
    from open_clip.transformer import QuickGELU

    (tmp_path / "open_clip_model.safetensors").write_bytes((folder / "open_clip_model.safetensors").read_bytes())
    config = CONFIG | {"model_cfg": CONFIG["model_cfg"] | {"quick_gelu": True}}
    (tmp_path / "open_clip_config.json").write_text(json.dumps(config))
    quick = ClipScorer(tmp_path, device="cpu")
    assert any(isinstance(part, QuickGELU) for part in quick._model.modules())
    assert not any(isinstance(part, QuickGELU) for part in scorer._model.modules())
    assert not torch.allclose(quick.images(pictures(1)), scorer.images(pictures(1)), atol=1e-4)


def test_published_weights_without_network_name_the_embedded_scorer(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    with caplog.at_level(logging.INFO), pytest.raises(UserError, match=r"neither in the cache.*models/seasons-clip"):
        ClipScorer("ViT-B-32/laion2b_s34b_b79k")
    assert not [record for record in caplog.records if "Failed" in record.message]
