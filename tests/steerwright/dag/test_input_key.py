"""What a stage is about to read, and links among it."""

import hashlib
from pathlib import Path

from steerwright.dag import stage_folder as resume_key
from steerwright.dag import up_to_date


def test_links_are_followed_and_circles_of_them_end(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (tmp_path / "unet_a").mkdir()
    (tmp_path / "unet_a" / "weights").write_text("a")
    (folder / "unet").symlink_to("../unet_a")
    found = []
    for link in ("one", "two", "three"):
        # Each link back to the folder would double the ways through it.
        (folder / link).symlink_to(".")
    for content in ("a", "bb"):
        (tmp_path / "unet_a" / "weights").write_text(content)
        keys = hashlib.sha256(), hashlib.sha256()
        resume_key._add(keys[0], folder)
        up_to_date._add(keys[1], str(folder))
        found.append([key.hexdigest() for key in keys])
    assert found[0][0] != found[1][0] and found[0][1] != found[1][1]
