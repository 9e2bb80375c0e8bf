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


def paste_picture(sheet: Image.Image, path: Path, side: int, x: int, y: int) -> None:
    """The picture of a file in the middle of a square of `side` whose corner is at x, y."""
    with Image.open(path) as opened:
        picture = fit_picture(opened.convert("RGB"), side)
    sheet.paste(picture, (x + (side - picture.width) // 2, y + (side - picture.height) // 2))


def _block_width() -> int:
    return len(TRIPTYCH) * CELL + (len(TRIPTYCH) - 1) * GAP


def _draw_text(draw: ImageDraw.ImageDraw, number: int, lines: list[str], x: int, y: int) -> None:
    draw.text((x, y), str(number), font=font(15), fill=LIGHT["muted"])
    for place, text in enumerate(lines):
        draw.text((x + INDENT, y + LINE_HEIGHT * place), text, font=font(15), fill=LIGHT["ink"])


def _draw_pictures(sheet: Image.Image, draw: ImageDraw.ImageDraw, row: Triptych, x: int, y: int) -> None:
    for place, condition in enumerate(TRIPTYCH):
        left = x + place * (CELL + GAP)
        paste_picture(sheet, row.paths[condition], CELL, left, y)
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


# A grid of pictures, prompts down and conditions across, as PNG.

SIDE, TEXT, LABELS, BETWEEN = 128, 26, 34, 20


@dataclass(frozen=True, slots=True)
class SheetCell:
    """A picture, what the judge sees in it (bold where it `shows` the concept), and the labels that changed.

    `colour`: of the seen value, a name of the theme; `frame`: of a line around the picture, None for none.
    """

    path: Path
    seen: str
    shows: bool
    changed: tuple[str, ...]
    colour: str
    frame: str | None = None


@dataclass(frozen=True, slots=True)
class SheetColumn:
    """The name above a column in a colour of the theme; with a `note` below it, it is bold."""

    name: str
    colour: str = "muted"
    note: str = ""


def picture_sheet(
    title: str, columns: Sequence[SheetColumn], rows: Sequence[tuple[str, Sequence[SheetCell | None]]],
    *, gap: int, head: int, foot: int = 0,
) -> Image.Image:  # fmt: skip
    """An RGB image: a row for each text and its cells. Raises ValueError if there is none."""
    if not rows:
        raise ValueError("There are no pictures for the grid.")
    margin = 36
    across = len(columns) * (SIDE + gap) - gap
    pitch = TEXT + SIDE + LABELS + BETWEEN
    size = 2 * margin + across, 2 * margin + TEXT + foot + head + len(rows) * pitch - BETWEEN
    sheet = Image.new("RGB", size, LIGHT["paper"])
    draw = ImageDraw.Draw(sheet)
    draw.text((margin, margin - 8), shortened(title, font(20), across), font=font(20), fill=LIGHT["ink"])
    top = margin + TEXT + 8
    for place, column in enumerate(columns):
        x, letters = margin + place * (SIDE + gap), font(13, bold=bool(column.note))
        draw.text((x, top), shortened(column.name, letters, SIDE), font=letters, fill=LIGHT[column.colour])
        draw.text((x, top + 17), column.note, font=font(11), fill=LIGHT[column.colour])
    for number, (text, cells) in enumerate(rows):
        y = top + head + number * pitch
        draw.text((margin, y), shortened(text, font(14), across), font=font(14), fill=LIGHT["ink"])
        for place, cell in enumerate(cells):
            if cell is not None:
                _draw_cell(sheet, draw, cell, margin + place * (SIDE + gap), y + TEXT)
    return sheet


def _draw_cell(sheet: Image.Image, draw: ImageDraw.ImageDraw, cell: SheetCell, x: int, y: int) -> None:
    paste_picture(sheet, cell.path, SIDE, x, y)
    if cell.frame is not None:
        draw.rectangle((x - 3, y - 3, x + SIDE + 2, y + SIDE + 2), outline=LIGHT[cell.frame], width=2)
    letters = font(12, bold=cell.shows)
    draw.text((x, y + SIDE + 5), shortened(cell.seen, letters, SIDE), font=letters, fill=LIGHT[cell.colour])
    changed = shortened(", ".join(cell.changed), font(11), SIDE)
    draw.text((x, y + SIDE + 20), changed, font=font(11), fill=LIGHT["fixed"])
