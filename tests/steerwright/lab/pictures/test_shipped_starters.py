"""The shipped starters are small, complete, and of the models that are shipped with them."""

import json
from typing import Any

from steerwright.lab.pictures.features import LAYERS
from steerwright.lab.pictures.session import FLUX, SD, picture_session
from steerwright.models.fingerprint import same_digest
from steerwright.models.identify import fingerprint
from steerwright.models.select import select_model


def test_they_are_at_most_3_megabytes(picture_lab: Any) -> None:
    folder = picture_lab.root / "models" / "seasons-starters"
    assert sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) <= 3_000_000


def test_they_name_the_digests_of_the_shipped_models(picture_lab: Any) -> None:
    content = json.loads((picture_lab.root / "models" / "seasons-starters" / "config.json").read_text())
    for name in (SD, FLUX):
        assert same_digest(content["models"][name], fingerprint(select_model(name, picture_lab.models)).digest)


def test_every_edit_makes_edits_for_its_model(picture_lab: Any, sd: Any) -> None:
    for method in ("text", "attention", "latents"):
        for one in picture_session(picture_lab).choices(method).values():
            edits = one.edits(sd, one.choice.strength)
            assert edits and not any(edit.idle for edit in edits), one.choice.key


def test_every_feature_has_its_pictures_and_lies_within_its_autoencoder(picture_lab: Any) -> None:
    for name in LAYERS:
        layer = picture_session(picture_lab).layer(name)
        assert len(layer.features) >= 10
        for feature in layer.features:
            assert 0 <= feature.latent < layer.sae.size
            assert layer.strip(feature).shape == (132, 268, 3)
            assert len(feature.prompts) == 4 and feature.limit > 0
