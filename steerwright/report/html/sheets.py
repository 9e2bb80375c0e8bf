"""The contact sheet: every prompt with its unsteered, fixed and adaptive picture side by side, as one PNG."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from steerwright.report.html.theme import CONDITION_NAMES, LIGHT

CELL = 192  # side of a picture: 64 pixels three times over
GAP, GUTTER, MARGIN = 6, 44, 40
LINE_HEIGHT, LABEL_HEIGHT, ROW_GAP, INDENT = 21, 22, 26, 34

TRIPTYCH = ("unsteered", "fixed", "adaptive")


@dataclass(frozen=True, slots=True)
class Triptych:
    """One prompt's pictures on one seed: condition -> file, what each shows, and whether that is the target."""

    prompt_id: int
    prompt: str
    resistance: str
    seed: int
    paths: dict[str, Path]
    seen: dict[str, str]
    reached: dict[str, bool] = field(default_factory=dict)


def contact_sheet(rows: Sequence[Triptych], columns: int = 3) -> Image.Image:
    """An RGB image; pictures of up to 96 pixels are enlarged by a whole factor, without smoothing."""
    if not rows:
        raise ValueError("There are no pictures for the contact sheet.")
    columns = min(columns, len(rows))
    lines = -(-len(rows) // columns)
    width = 2 * MARGIN + columns * _block_width() + (columns - 1) * GUTTER
    texts = [_wrap(row.prompt, font(15), _block_width() - INDENT) for row in rows]
    text_height = LINE_HEIGHT * max(map(len, texts)) + 6
    pitch = text_height + CELL + LABEL_HEIGHT + ROW_GAP
    sheet = Image.new("RGB", (width, 2 * MARGIN + lines * pitch - ROW_GAP), LIGHT["paper"])
    draw = ImageDraw.Draw(sheet)
    for index, (row, text) in enumerate(zip(rows, texts, strict=True)):
        # Down the columns, as a list is read.
        x = MARGIN + (index // lines) * (_block_width() + GUTTER)
        y = MARGIN + (index % lines) * pitch
        # One line of text stands right above its pictures, also where other prompts need two.
        _draw_text(draw, row.prompt_id, text, x, y + text_height - 6 - LINE_HEIGHT * len(text))
        _draw_pictures(sheet, draw, row, x, y + text_height)
    return sheet


def fit_picture(picture: Image.Image, side: int) -> Image.Image:
    """The picture within side x side: small ones by the largest whole factor and no smoothing, large ones reduced."""
    width, height = picture.size
    if max(width, height) <= side // 2:
        factor = side // max(width, height)
        return picture.resize((width * factor, height * factor), Image.Resampling.NEAREST)
    scale = side / max(width, height)
    return picture.resize((round(width * scale), round(height * scale)), Image.Resampling.LANCZOS)


def _block_width() -> int:
    return len(TRIPTYCH) * CELL + (len(TRIPTYCH) - 1) * GAP


def _draw_text(draw: ImageDraw.ImageDraw, number: int, lines: list[str], x: int, y: int) -> None:
    draw.text((x, y), str(number), font=font(15), fill=LIGHT["muted"])
    for place, text in enumerate(lines):
        draw.text((x + INDENT, y + LINE_HEIGHT * place), text, font=font(15), fill=LIGHT["ink"])


def _draw_pictures(sheet: Image.Image, draw: ImageDraw.ImageDraw, row: Triptych, x: int, y: int) -> None:
    for place, condition in enumerate(TRIPTYCH):
        left = x + place * (CELL + GAP)
        with Image.open(row.paths[condition]) as opened:
            picture = fit_picture(opened.convert("RGB"), CELL)
        sheet.paste(picture, (left + (CELL - picture.width) // 2, y + (CELL - picture.height) // 2))
        label = f"{CONDITION_NAMES[condition].lower()}  "
        draw.text((left, y + CELL + 5), label, font=font(12), fill=LIGHT["muted"])
        reached = row.reached.get(condition)
        draw.text(
            (left + font(12).getlength(label), y + CELL + 5), row.seen[condition], font=font(12, bold=reached),
            fill=LIGHT["adaptive"] if reached else LIGHT["muted"],
        )  # fmt: skip


def _wrap(text: str, letters: ImageFont.FreeTypeFont, width: int) -> list[str]:
    """One or two lines of at most `width` pixels; what does not fit is cut off with an ellipsis."""
    lines: list[str] = []
    for word in text.split():
        if lines and letters.getlength(f"{lines[-1]} {word}") <= width:
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    if len(lines) > 2:
        while letters.getlength(lines[1] + " …") > width:
            lines[1] = lines[1].rpartition(" ")[0] or lines[1][:-1]
        lines[1] += " …"
    return lines[:2]


# Letters in pictures: matplotlib's own DejaVu Sans, so that a sheet looks the same on every machine.


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
