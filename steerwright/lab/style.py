"""The look of the page: the reports' colours and type, in light and dark, on gradio's components."""

from __future__ import annotations

import html
import inspect
from collections.abc import Iterable, Sequence

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


SHEET = (
    f":root{{{_variables('light', LIGHT)}}}:root.dark,:root .dark{{{_variables('dark', DARK)}}}"
    """
:root{--serif:"Iowan Old Style","Palatino Linotype",Palatino,Charter,Georgia,"DejaVu Serif",serif}
:root.dark,:root .dark{--color-accent:var(--adaptive);--neutral-200:var(--rule)}
.gradio-container,.gradio-container main,.gradio-container .wrap{min-width:0}
.gradio-container{width:100%!important;max-width:min(76rem,100vw)!important;margin:0 auto!important;
padding:0 1.25rem 4rem!important;
font-variant-numeric:tabular-nums}
.lab-head{padding:2.2rem 0 .4rem}
.lab-head h1{font-family:var(--serif);font-weight:500;font-size:clamp(1.8rem,4vw,2.4rem);line-height:1.15;margin:0;
letter-spacing:-.01em;color:var(--ink)}
.lab-head p{margin:.35rem 0 0;color:var(--muted);max-width:46rem;line-height:1.5}
.lab-note{border-left:3px solid var(--fixed);padding:.4rem .8rem;margin:.8rem 0 0;background:var(--panel)}
.lead{max-width:46rem;line-height:1.55;color:var(--ink);margin:0}
.lead h2,.section h2{font-family:var(--serif);font-weight:500;font-size:1.45rem;line-height:1.25;margin:.4rem 0 .3rem;
color:var(--ink)}
.lead p{margin:.3rem 0;color:var(--muted)}
.section h3{font-size:1rem;font-weight:600;margin:1.2rem 0 .3rem;color:var(--ink)}
.section summary{cursor:pointer;font-weight:600;margin:1rem 0 .3rem;color:var(--ink)}
.muted{color:var(--muted)}
.lab-progress{display:flex;align-items:center;gap:.9rem;min-height:1.6rem;font-size:.875rem;color:var(--muted)}
.lab-progress i{display:block;flex:0 0 min(16rem,40%);height:4px;background:var(--rule);border-radius:2px;
overflow:hidden}
.lab-progress i b{display:block;height:100%;background:var(--adaptive);transition:width .15s}
.sr-only[role=status]{display:none}
.lab-said{position:absolute;width:1px;height:1px;margin:-1px;overflow:hidden;clip-path:inset(50%);white-space:nowrap}
.lab-table{overflow-x:auto;margin:.6rem 0}
.lab-table table{border:0!important;border-collapse:collapse;font-size:.875rem;line-height:1.45;width:100%;margin:0}
.lab-table table tr,.lab-table table thead,.lab-table table tbody{border:0!important;background:none!important}
.lab-table table td.t{min-width:15rem}
.lab-table table th,.lab-table table td{padding:.4rem .9rem .4rem 0;text-align:left;vertical-align:top;
border:0!important;border-bottom:1px solid var(--rule)!important;background:none}
.lab-table table thead th{font-weight:600;border-bottom-color:var(--ink)!important;vertical-align:bottom}
.lab-table table td.n,.lab-table table th.n{text-align:right;white-space:nowrap}
.lab-table tr.chosen td{font-weight:600}
.gradio-container .form{background:none!important;border:0!important}
.gradio-container .block,.gradio-container .form{overflow:visible!important}
.gradio-container>.main.fillable{padding:0!important;max-width:none!important}
.reset-button{display:none!important}
.ask{align-items:flex-start!important}
.chips{gap:.4rem!important;margin-top:-.2rem}
.chips button{flex:0 1 auto!important;font-weight:400!important;border:1px solid var(--rule)!important;
background:none!important;color:var(--muted)!important;border-radius:1rem!important}
.chips button:hover{color:var(--ink)!important}
.pair-of-charts{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,22rem),1fr));gap:1rem 2.5rem;
margin:1rem 0}
.keep{align-items:flex-end!important}
.hint{margin:0;font-size:.8125rem;color:var(--muted)}
.actions{align-items:center!important;flex-wrap:wrap}
.actions>.html-container,.actions>div:last-child{flex:1 1 14rem}
.answers{align-items:stretch!important}
.answer{border-top:2px solid var(--ink);padding-top:.7rem;min-height:9rem}
.answer h3{font-size:.875rem;font-weight:600;margin:0 0 .4rem;color:var(--ink)}
.answer .text{font-family:var(--serif);font-size:1.15rem;line-height:1.75;color:var(--ink);white-space:pre-wrap;
overflow-wrap:anywhere}
.answer .foot{margin:.6rem 0 0;font-size:.8125rem;color:var(--muted)}
.caret{display:inline-block;width:.5ch;height:1em;vertical-align:-.12em;background:var(--muted);opacity:.5}
.tok{border-radius:3px;padding:.12em 0;position:relative}
.tok:hover{outline:1px solid var(--muted)}
.tok:hover::after{content:attr(data-tip);position:absolute;left:0;top:100%;z-index:20;background:var(--ink);
color:var(--paper);font:400 .75rem/1.4 system-ui,sans-serif;padding:.25rem .5rem;border-radius:3px;white-space:nowrap;
pointer-events:none}
.legend{display:flex;flex-wrap:wrap;gap:.3rem .6rem;align-items:center;font-size:.8125rem;color:var(--muted)}
.legend i{display:inline-block;width:9rem;height:.7rem;border-radius:3px;
background:linear-gradient(90deg,rgba(var(--down),.5),rgba(var(--down),0) 50%,
rgba(var(--up),0) 50%,rgba(var(--up),.5))}
.facts{display:grid;grid-template-columns:repeat(auto-fit,minmax(13rem,1fr));gap:1.2rem 2rem;margin:.4rem 0 0}
.facts div{border-top:1px solid var(--rule);padding-top:.5rem}
.facts dt{font-size:.8125rem;color:var(--muted)}
.facts dd{margin:0;font-family:var(--serif);font-size:1.45rem;line-height:1.3;color:var(--ink)}
.facts small{display:block;font:400 .8125rem/1.4 system-ui,sans-serif;color:var(--muted)}
footer{display:none!important}
@media (max-width:52rem){
.lab-tabs>.tab-wrapper{height:auto;flex-wrap:wrap;padding-bottom:0}
.lab-tabs>.tab-wrapper>.tab-container:not(.visually-hidden),.lab-tabs>.tab-wrapper>.overflow-menu,
.lab-tabs>.tab-wrapper .overflow-dropdown{display:contents!important}
.lab-tabs>.tab-wrapper>.overflow-menu>button{display:none}
.lab-tabs>.tab-wrapper button{width:auto!important;padding:.45rem .7rem;font-size:.875rem;border:0;background:none;
color:var(--ink)}
.lab-tabs>.tab-wrapper button.selected{color:var(--adaptive);box-shadow:inset 0 -2px 0 var(--adaptive)}
}
@media (max-width:40rem){
.answers,.ask,.ask .form{flex-direction:column!important}.answers>*,.ask>*,.ask .form>*{width:100%}
.keep.ask{align-items:stretch!important}#library-sure>.block{flex:1 0 100%!important}
.lab-table table td.t{min-width:7.5rem}
.gradio-container{padding:0 .8rem 3rem!important}.lab-head{padding-top:1.2rem}
}
"""
)


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
