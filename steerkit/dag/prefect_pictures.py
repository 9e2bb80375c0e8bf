"""Pictures of a stage as one markdown page: an image artifact needs an address, a page carries the pixels itself."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import TYPE_CHECKING

from steerkit.dag.outcome import OutputRecord

if TYPE_CHECKING:
    from PIL.Image import Image

PICTURE_SUFFIXES = (".png", ".jpg", ".jpeg")
# A folder of more is data (every generated image, say), not something made to be looked at.
MOST_PICTURES_PER_OUTPUT = 12
# The page is kept in the server's database once per change, so it stays small.
_WIDEST_PIXELS = 1400
_TALLEST_PIXELS = 6000
_MOST_BYTES = 1_500_000


def find_pictures(root: Path, outputs: list[OutputRecord]) -> list[Path]:
    """Files among `outputs` that are pictures: an output itself, or the few that lie directly in an output folder."""
    found: list[Path] = []
    for output in outputs:
        path = root / output.path
        inside = sorted(path.iterdir()) if path.is_dir() else [path]
        pictures = [file for file in inside if file.suffix.lower() in PICTURE_SUFFIXES and file.is_file()]
        if len(pictures) <= MOST_PICTURES_PER_OUTPUT:
            found.extend(pictures)
    # The contact sheet is what people come for.
    return sorted(found, key=lambda file: ("contact" not in file.name, found.index(file)))


def picture_page(pictures: list[Path], root: Path) -> str:
    """Markdown that shows each picture under its name, and where the file lies."""
    parts = []
    for picture in pictures:
        heading = title(picture)
        parts.append(f"## {heading}\n\n![{heading}]({data_uri(picture)})\n\n`{picture.relative_to(root)}`")
    return "\n\n".join(parts)


def title(picture: Path) -> str:
    """`Contact sheet` for contact_sheet.png."""
    return picture.stem.replace("_", " ").replace("-", " ").capitalize()


def data_uri(picture: Path) -> str:
    """The picture as a data: address, scaled down and as JPEG only where the file itself is too large for a page."""
    from PIL import Image as images

    content, kind = picture.read_bytes(), "jpeg" if picture.suffix.lower() != ".png" else "png"
    with images.open(picture) as image:
        fits = image.width <= _WIDEST_PIXELS and image.height <= _TALLEST_PIXELS and len(content) <= _MOST_BYTES
        if not fits:
            image.thumbnail((_WIDEST_PIXELS, _TALLEST_PIXELS))
            buffer, kind = io.BytesIO(), "jpeg"
            _on_white(image).save(buffer, "JPEG", quality=88)
            content = buffer.getvalue()
    return f"data:image/{kind};base64,{base64.b64encode(content).decode('ascii')}"


def _on_white(image: Image) -> Image:
    """RGB without transparency, which JPEG does not know."""
    from PIL import Image as images

    if image.mode in ("RGBA", "LA", "P"):
        image = image.convert("RGBA")
        ground = images.new("RGBA", image.size, "white")
        ground.alpha_composite(image)
        image = ground
    return image.convert("RGB")
