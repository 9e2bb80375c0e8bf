"""The pictures of the report: small ones byte for byte, large ones reduced, each kept once whatever it is called."""

import hashlib
import io
import os
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from steerwright.report.attention.tables import slug
from steerwright.report.html.page import SHOWN, SMALL, Html, el

FOLDER = "pictures"


@dataclass(frozen=True, slots=True)
class Shown:
    """A picture of the report: its address relative to the pages, and its size in pixels."""

    source: str
    width: int
    height: int

    @property
    def small(self) -> bool:
        """Whether it is shown without smoothing."""
        return max(self.width, self.height) <= SMALL


class Pictures:
    """Copies pictures into FOLDER of `folder`; a name is the file's own and the digest of what it holds."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / FOLDER
        self.folder.mkdir(parents=True, exist_ok=True)
        self._known: dict[Path, Shown | None] = {}
        self._by_content: dict[str, Shown] = {}

    def shown(self, path: Path | None) -> Shown | None:
        """The picture at `path` in the report, None if it is not there. Larger ones are WebP of at most SHOWN."""
        if path is None:
            return None
        if path not in self._known:
            self._known[path] = self._take(path) if path.is_file() else None
        return self._known[path]

    def image(self, path: Path | None, alt: str, missing: str = "no picture", kind: str = "") -> Html:
        """An <img> of the class `kind`, loaded when it is scrolled to, or a box with the words `missing`."""
        found = self.shown(path)
        if found is None:
            return el("span", missing, class_="missing")
        return el(
            "img", src=found.source, width=found.width, height=found.height, alt=alt, loading="lazy",
            class_=" ".join(name for name in (kind, "small" if found.small else "") if name) or None,
        )  # fmt: skip

    def _take(self, path: Path) -> Shown:
        content = path.read_bytes()
        digest = hashlib.sha256(content).hexdigest()
        if digest not in self._by_content:
            with Image.open(io.BytesIO(content)) as opened:
                size, suffix = opened.size, path.suffix
                if max(size) > SMALL:
                    content, size = _reduced(opened)
                    suffix = ".webp"
            name = f"{slug(path.stem)}-{digest[:10]}{suffix}"
            partial = self.folder / f"{name}.partial"
            partial.write_bytes(content)
            os.replace(partial, self.folder / name)
            self._by_content[digest] = Shown(f"{FOLDER}/{name}", *size)
        return self._by_content[digest]


def _reduced(picture: Image.Image) -> tuple[bytes, tuple[int, int]]:
    small = picture.convert("RGB")
    small.thumbnail((SHOWN, SHOWN), Image.Resampling.LANCZOS)
    out = io.BytesIO()
    small.save(out, "WEBP", quality=82, method=4)
    return out.getvalue(), small.size
