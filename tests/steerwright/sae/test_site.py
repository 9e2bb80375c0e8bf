"""Where an autoencoder belongs: what it is refused for, and that the refusal names each difference."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from steerwright.errors import UserError
from steerwright.models.folder_digest import content_digest
from steerwright.sae.activations import TopK
from steerwright.sae.sae import Sae
from steerwright.sae.sae_file import Provenance, load_sae, require_fit, save_sae, site_differences
from steerwright.sae.site import Site
from steerwright.sae.site_statement import SiteStatement

BLOCK = "transformer.transformer_blocks.0:out:image"
KNOWN: dict[str, Any] = {
    "model": "d" * 64, "hookpoint": BLOCK, "steps": (9,), "grid": (8, 8), "resolution": (64, 64)
}  # fmt: skip


@pytest.mark.parametrize(
    ("name", "other", "line"),
    [
        ("model", "e" * 64, f"model: {'d' * 64} and {'e' * 64}"),
        ("hookpoint", "transformer.transformer_blocks.1:out:image", f"hookpoint: {BLOCK} and transformer"),
        ("hookpoint", "transformer.transformer_blocks.0:out:text", f"hookpoint: {BLOCK} and transformer"),
        ("steps", (12,), "steps: (9,) and (12,)"),
        ("resolution", (256, 256), "resolution: (64, 64) and (256, 256)"),
        ("grid", (4, 16), "grid: (8, 8) and (4, 16)"),
    ],
)
def test_each_difference_is_named_and_only_that(name: str, other: Any, line: str) -> None:
    own, met = Site(**KNOWN), Site(**{**KNOWN, name: other})
    with pytest.raises(UserError, match="'early' was trained on other rows") as refused:
        require_fit(own, met, "'early'")
    lines = [text for text in str(refused.value).splitlines() if text.startswith("  - ")]
    assert len(lines) == 1 and lines[0].startswith(f"  - {line}")
    assert require_fit(own, met, "'early'", allow_mismatch=True) == site_differences(own, met)
    assert require_fit(own, own, "'early'") == []


@pytest.mark.parametrize(
    ("trained", "met", "fits"),
    [
        ((9,), (9,), True),
        ((9,), (12,), False),
        ((9,), (9, 12), False),
        ((3, 9), (9,), True),
        (tuple(range(12)), (4, 5), True),
        (None, (12,), True),
        ((9,), None, True),
    ],
)
def test_rows_of_some_of_its_steps_fit_an_autoencoder_and_others_do_not(trained: Any, met: Any, fits: bool) -> None:
    assert (site_differences(Site(steps=trained), Site(steps=met)) == []) == fits


def test_the_digest_that_an_earlier_steerwright_gave_the_model_fits(sd21: Any) -> None:
    earlier = content_digest(Path(sd21.spec.source))
    own, met = Site(model=earlier), Site(model=sd21.fingerprint.digest)
    assert met.model == sd21.fingerprint.digest != earlier
    assert site_differences(own, met) == []
    assert site_differences(Site(model="e" * 64), met) == [f"model: {'e' * 64} and {met.model}"]


@pytest.mark.parametrize("part", ["model", "hookpoint", "steps", "branches", "resolution"])
def test_what_an_imported_checkpoint_does_not_say_fits_no_rows_until_it_is_stated(part: str) -> None:
    known = KNOWN | {"hookpoint": "unet.mid_block.attentions.0:out", "branches": ("cond",)}
    met = Site(**known)
    own = Site(**{**known, part: None}).imported()
    assert own.unknown == (part,)
    with pytest.raises(UserError, match=f"{part}: not known and ") as refused:
        require_fit(own, met, "'early'")
    assert f"--{part}, or {part}: beside its folder" in str(refused.value)
    stated = SiteStatement.model_validate({part: getattr(met, part)}).complete(own, "'early'")
    assert require_fit(stated, met, "'early'") == []
    # What rows do not have is not asked for: a text has no steps and no size.
    assert site_differences(own, met.model_copy(update={part: None, "grid": None})) == []
    # Trained here, an autoencoder without it is one of all steps.
    assert site_differences(Site(**{**known, part: None}), met) == []


def test_a_transformer_has_one_branch_which_needs_no_statement() -> None:
    own = Site(**KNOWN).imported()
    assert own.unknown == ("branches",) and site_differences(own, Site(**KNOWN, branches=("cond",))) == []


def test_all_may_be_stated_and_what_is_known_may_not_be_stated_otherwise() -> None:
    own = Site(steps=(14,)).imported()
    open_ = SiteStatement(model="m", hookpoint="unet.mid_block", branches="all", resolution="any")
    stated = open_.complete(own, "'early'")
    assert stated.unknown == () and (stated.branches, stated.resolution) == (None, None)
    assert site_differences(stated, Site(model="m", steps=(14,), branches=("uncond",), resolution=(8, 8))) == []
    with pytest.raises(UserError, match=r"'early' belongs to steps \(14,\), and not to steps \(13,\)"):
        SiteStatement(steps=(13,)).complete(own, "'early'")
    with pytest.raises(UserError, match=r"belongs to steps \(14,\), and not to steps all"):
        SiteStatement(steps="all").complete(own, "'early'")


def test_a_grid_tells_of_a_resolution_that_a_store_does_not_say() -> None:
    assert site_differences(Site().imported(), Site(grid=(4, 4))) == ["resolution: not known and a grid of (4, 4)"]


def test_a_folder_of_an_earlier_import_is_one_of_which_nothing_was_stated(tmp_path: Path) -> None:
    eye = torch.eye(4)
    source = Provenance(format="flux", library="lucas-zhao6/FLUX", version=None, files={})
    sae = Sae(eye, torch.zeros(4), eye, torch.zeros(4), TopK(1), site=Site(steps=(14,)))
    save_sae(sae, tmp_path / "old", provenance=source)
    assert "unknown" not in (tmp_path / "old" / "config.json").read_text()
    assert load_sae(tmp_path / "old").site.unknown == ("model", "hookpoint", "branches", "resolution")
    with pytest.raises(UserError, match="resolution: not known"):
        load_sae(tmp_path / "old", Site(**KNOWN))


def test_all_differences_come_together() -> None:
    found = site_differences(Site(**KNOWN), Site(model="a", hookpoint="b", steps=(1,), grid=(1,), resolution=(8, 8)))
    assert [line.split(":")[0] for line in found] == ["model", "hookpoint", "steps", "grid", "resolution"]


def test_a_file_says_the_resolution_where_it_is_known_and_is_as_before_where_not(tmp_path: Path) -> None:
    for name, site in (("old", Site(model="a")), ("new", Site(model="a", resolution=(64, 96)))):
        eye = torch.eye(4)
        save_sae(Sae(eye, torch.zeros(4), eye, torch.zeros(4), TopK(1), site=site), tmp_path / name)
        assert load_sae(tmp_path / name).site == site
        written = json.loads((tmp_path / name / "config.json").read_text())["site"]
        assert written.get("resolution") == ([64, 96] if name == "new" else None)
        assert ("resolution" in written) == (name == "new")
