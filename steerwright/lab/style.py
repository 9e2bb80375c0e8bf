"""The look of the page: the reports' colours and type, in light and dark, on gradio's components."""

from __future__ import annotations

import html
import inspect
from collections.abc import Iterable, Sequence
from pathlib import Path

import gradio as gr

from steerwright.report.html.theme import DARK, LIGHT

SANS = ["system-ui", "-apple-system", "Segoe UI", "Helvetica Neue", "Arial", "DejaVu Sans", "sans-serif"]
MONO = ["ui-monospace", "SF Mono", "Menlo", "Consolas", "DejaVu Sans Mono", "monospace"]
# What steering made likelier and unlikelier, and the strongest tint of a token; beside the reports' colours.
MORE = {
    "light": {"up": "28, 104, 166", "down": "176, 112, 28", "field": "#ffffff", "soft": "#ece9e1"},
    "dark": {"up": "116, 184, 238", "down": "223, 164, 87", "field": "#1a1d20", "soft": "#282c31"},
}


def theme() -> gr.themes.Base:
    """Gradio's theme in our colours. Only fonts that a machine has: nothing is fetched from anywhere."""
    fonts = [gr.themes.Font(name) for name in SANS]
    both = {
        "body_background_fill": "paper", "body_text_color": "ink", "body_text_color_subdued": "muted",
        "background_fill_primary": "paper", "background_fill_secondary": "panel", "border_color_primary": "rule",
        "border_color_accent": "adaptive", "block_background_fill": "paper", "block_border_color": "rule",
        "block_label_text_color": "muted", "block_title_text_color": "ink", "block_info_text_color": "muted",
        "block_label_background_fill": "paper", "panel_background_fill": "panel", "panel_border_color": "rule",
        "color_accent": "adaptive", "color_accent_soft": "panel", "link_text_color": "adaptive",
        "link_text_color_hover": "adaptive", "link_text_color_active": "adaptive",
        "link_text_color_visited": "adaptive",
        "input_border_color": "rule", "input_border_color_focus": "adaptive", "input_placeholder_color": "muted",
        "button_primary_background_fill": "ink", "button_primary_background_fill_hover": "muted",
        "button_primary_text_color": "paper", "button_primary_text_color_hover": "paper",
        "button_primary_border_color": "ink", "button_secondary_background_fill": "panel",
        "button_secondary_background_fill_hover": "rule", "button_secondary_text_color": "ink",
        "button_secondary_border_color": "rule", "button_cancel_background_fill": "panel",
        "button_cancel_text_color": "ink", "button_cancel_border_color": "rule", "slider_color": "adaptive",
        "checkbox_background_color_selected": "adaptive", "checkbox_border_color_selected": "adaptive",
        "checkbox_border_color": "rule", "table_border_color": "rule", "table_even_background_fill": "paper",
        "table_odd_background_fill": "paper", "table_text_color": "ink", "stat_background_fill": "adaptive",
        "loader_color": "adaptive", "accordion_text_color": "ink", "checkbox_label_text_color": "ink",
        "checkbox_label_text_color_selected": "ink", "checkbox_label_background_fill": "paper",
        "checkbox_label_background_fill_hover": "panel", "checkbox_label_background_fill_selected": "panel",
        "checkbox_label_border_color": "rule", "checkbox_background_color": "paper",
    }  # fmt: skip
    dark = inspect.signature(gr.themes.Base.set).parameters
    colours = {name: LIGHT[value] for name, value in both.items()}
    # Some names have no dark twin: they follow another that has.
    colours |= {f"{name}_dark": DARK[value] for name, value in both.items() if f"{name}_dark" in dark}
    colours |= {"input_background_fill": MORE["light"]["field"], "input_background_fill_dark": MORE["dark"]["field"]}
    return gr.themes.Base(
        font=fonts,
        font_mono=[gr.themes.Font(name) for name in MONO],
        radius_size=gr.themes.sizes.radius_sm,
        text_size=gr.themes.sizes.text_md,
        spacing_size=gr.themes.sizes.spacing_md,
    ).set(block_shadow="none", block_shadow_dark="none", block_label_shadow="none", button_primary_shadow="none",
          button_secondary_shadow="none", button_large_text_size="*text_md", button_large_text_weight="500",
          button_small_text_weight="400", input_border_width="1px", input_shadow="none",
          input_shadow_focus="none", block_border_width="0px", block_padding="0px", layout_gap="18px",
          form_gap_width="14px",
          **colours)  # fmt: skip


def _variables(which: str, colours: dict[str, str]) -> str:
    return "".join(f"--{name}:{value};" for name, value in (colours | MORE[which]).items())


SHEET = f":root{{{_variables('light', LIGHT)}}}:root.dark,:root .dark{{{_variables('dark', DARK)}}}" + Path(
    __file__
).with_name("lab.css").read_text(encoding="utf-8")


# Small pieces of HTML that the tabs share; every word that comes from a visitor or a model is escaped here.

_LONG = 36  # characters from which on a cell is a text that wants some width, also on a phone


def lead(title: str, *paragraphs: str) -> str:
    """A tab's heading and what it is for; the words are ours, so they may hold markup."""
    return f'<div class="lead"><h2>{title}</h2>{"".join(f"<p>{text}</p>" for text in paragraphs)}</div>'


def progress(share: float | None, words: str = "", say: str | None = None) -> str:
    """A thin bar and a few words beside it; without a share nothing but the words.

    In a `status_line`, screen readers say the words, or `say` where it is given: an answer that stands elsewhere.
    """
    told = html.escape(words if say is None else " ".join(say.split()))
    if share is None:
        return f'<div class="lab-progress" data-say="{told}">{html.escape(words)}</div>'
    percent = round(100 * min(max(share, 0.0), 1.0))
    bar = (
        f'<i role="progressbar" aria-label="{html.escape(words) or "Progress"}" aria-valuemin="0" aria-valuemax="100" '
        f'aria-valuenow="{percent}"><b style="width:{percent}%"></b></i>'
    )
    return f'<div class="lab-progress" data-say="{told}">{bar}{html.escape(words)}</div>'


def table(
    header: Sequence[str], rows: Iterable[Sequence[str]], numbers: Iterable[int] = (), chosen: Iterable[int] = ()
) -> str:
    """A table; the columns of `numbers` are set to the right, the rows of `chosen` stand out."""
    right, bold = set(numbers), set(chosen)

    def cell(tag: str, column: int, text: str) -> str:
        looks = " class=n" if column in right else " class=t" if len(text) > _LONG else ""
        return f"<{tag}{looks}>{html.escape(text)}</{tag}>"

    head = "".join(cell("th", column, text) for column, text in enumerate(header))
    body = "".join(
        f"<tr{' class=chosen' if index in bold else ''}>"
        + "".join(cell("td", column, text) for column, text in enumerate(row))
        + "</tr>"
        for index, row in enumerate(rows)
    )
    return f'<div class="lab-table"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'
