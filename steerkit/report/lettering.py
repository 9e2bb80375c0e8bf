"""Letters in pictures: matplotlib's own DejaVu Sans, so that a sheet looks the same on every machine."""

from functools import cache
from pathlib import Path

from PIL import ImageFont


@cache
def font(size: int, bold: bool = False) -> ImageFont.FreeTypeFont:
    """DejaVu Sans of `size` pixels."""
    from matplotlib import get_data_path

    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    return ImageFont.truetype(str(Path(get_data_path()) / "fonts" / "ttf" / name), size)


def shortened(text: str, letters: ImageFont.FreeTypeFont, width: int) -> str:
    """`text` on one line of at most `width` pixels, cut off with an ellipsis where it is longer."""
    if letters.getlength(text) <= width:
        return text
    while text and letters.getlength(f"{text}…") > width:
        text = text[:-1].rstrip()
    return f"{text}…"
