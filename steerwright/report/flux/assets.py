"""What the gallery of features adds to the style of the page of latents."""

from steerwright.report.latents.page import LATENTS_STYLE

# Labels are told apart by colour and by name. Three are colours of the theme; two more are needed. The first of each
# pair is drawn in figures and swapped for the variable within the page, as `figures.to_svg` does with the theme's.
LABEL_COLOURS = {
    "season": "adaptive", "object": "fixed", "colour": "prompt", "place": "place", "time": "time",
}  # fmt: skip
MORE = {"place": ("#3d7d4a", "#84c491"), "time": ("#ab4160", "#ec93ac")}


def label_variable(label: str | None) -> str:
    """The style sheet's variable of a label's colour."""
    return LABEL_COLOURS.get(label or "", "unsteered")


def _more(theme: int) -> str:
    return "".join(f"--{name}:{colours[theme]};" for name, colours in MORE.items())


FLUX_STYLE = (
    LATENTS_STYLE
    + f":root{{{_more(0)}}}@media screen and (prefers-color-scheme:dark){{:root{{{_more(1)}}}}}"
    + """
[hidden]{display:none!important}
a.skip{position:absolute;left:-99rem}
a.skip:focus{left:1rem;top:.5rem;background:var(--paper);padding:.3rem .6rem;z-index:3}
nav.pages{margin-top:0;margin-bottom:2.2rem;padding-bottom:.7rem;border-bottom:1px solid var(--rule);font-size:.9375rem}
nav.pages a{text-decoration:none}
nav.pages a:hover{text-decoration:underline}
nav.pages a[aria-current]{color:var(--ink);font-weight:600}
.chip{display:inline-block;border-left:.3rem solid var(--chip,var(--unsteered));padding-left:.45rem;font-weight:600;
white-space:nowrap}
.missing{display:flex;align-items:center;justify-content:center;text-align:center;aspect-ratio:1;width:100%;
min-height:3.4rem;background:var(--panel);border:1px dashed var(--rule);color:var(--fixed);font-size:.75rem;
line-height:1.3;padding:.2rem}
.controls{display:none;flex-wrap:wrap;gap:.7rem 1.2rem;align-items:end;margin:1.2rem 0 0;padding:.9rem 1rem;
background:var(--panel);font-size:.8125rem}
.js .controls{display:flex}
.controls label{display:grid;gap:.2rem;color:var(--muted)}
.controls label.check{display:flex;align-items:center;gap:.4rem;padding-bottom:.35rem}
.controls input:not([type=checkbox]),.controls select,.controls button{font:inherit;color:var(--ink);
background:var(--paper);border:1px solid var(--muted);border-radius:3px;padding:.3rem .5rem;min-height:2.1rem;
max-width:100%}
.controls input[type=search]{width:13rem}
.controls input[type=number]{width:5.2rem}
.controls :focus-visible,th button:focus-visible{outline:2px solid var(--adaptive);outline-offset:2px}
#count{align-self:center;color:var(--muted)}
th button{font:inherit;color:inherit;background:none;border:0;padding:0;margin:0;cursor:pointer;text-align:inherit;
text-decoration:underline;text-decoration-style:dotted;text-underline-offset:.2em;text-decoration-thickness:1px}
th[aria-sort] button{text-decoration:none}
th[aria-sort=ascending] button::after{content:" \\2191"}
th[aria-sort=descending] button::after{content:" \\2193"}
table.sortable{max-width:none}
table.sortable td,table.sortable tbody th{white-space:nowrap}
table.sortable td.wrap{white-space:normal;min-width:12rem}
th.n small{margin-left:auto}
table.sortable thead th small{max-width:9rem}
table.sortable thead th{min-width:4.6rem}
td img.thumb,th img.thumb{display:inline-block;width:3rem;height:auto;vertical-align:middle;margin-right:.15rem;
background:var(--panel)}
img.small{image-rendering:pixelated}
.features{list-style:none;margin:1.8rem 0 0;padding:0;display:grid;gap:2.6rem}
.features>li{border-top:2px solid var(--ink);padding-top:.9rem;scroll-margin-top:1rem;min-width:0}
.features>li:target{border-top-color:var(--adaptive);border-top-width:4px}
.features h3{margin:0;font-size:1.15rem;display:flex;flex-wrap:wrap;gap:.2rem .9rem;align-items:baseline}
.features h3 small{font-weight:400;color:var(--muted);font-size:.875rem}
.told{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,14.5rem),1fr));gap:.9rem 1.8rem;
margin:1.2rem 0 0;font-size:.875rem;line-height:1.4}
.told dt{color:var(--muted);font-size:.8125rem}
.told dd{margin:0;font-weight:600}
.told dd small{display:block;color:var(--muted);font-size:.78rem;font-weight:400}
.near{margin:.5rem 0 0;padding:0;list-style:none;font-size:.8125rem;line-height:1.6}
.range{display:flex;flex-wrap:wrap;gap:.8rem 1.8rem}
.range p{margin:0}
.range p.note{font-size:.78rem}
.range .many{grid-auto-flow:column;grid-template-columns:none;grid-auto-columns:4.2rem;margin-top:.2rem}
.range>div{flex:0 1 auto;min-width:0}
.pairs-of{display:grid;grid-template-columns:repeat(auto-fill,minmax(15rem,1fr));gap:.9rem 1.2rem}
.pairs-of figure{margin:0;display:grid;grid-template-columns:1fr 1fr;gap:2px;align-content:start}
.pairs-of img,.strip-of img,.many img{display:block;width:100%;height:auto;background:var(--panel)}
.pairs-of figcaption{grid-column:1/-1;margin-top:.15rem;font-size:.75rem;line-height:1.35;overflow-wrap:anywhere}
figcaption b{color:var(--ink);font-weight:600}
.strip-of{display:grid;grid-auto-flow:column;grid-auto-columns:minmax(4.2rem,6.4rem);gap:.3rem;overflow-x:auto;
padding-bottom:.2rem}
.strip-of:focus-visible{outline:2px solid var(--adaptive);outline-offset:2px}
.strip-of figure{margin:0}
.strip-of figcaption{margin-top:.15rem;font-size:.75rem;line-height:1.3;text-align:center}
.strip-of .unsteered img{outline:2px solid var(--unsteered);outline-offset:-2px}
.shows{color:var(--adaptive);font-weight:600}
.changed{color:var(--fixed)}
.many{display:grid;grid-template-columns:repeat(auto-fill,minmax(4.6rem,1fr));gap:.5rem .4rem;margin-top:.6rem}
.many figure{margin:0}
.many figcaption{font-size:.6875rem;line-height:1.25;margin-top:.1rem}
.card-part{margin:1rem 0 0}
.card-part>p:first-child,.of-strip{margin:0 0 .3rem;font-size:.8125rem;color:var(--muted)}
.features details{margin-top:.9rem}
.features summary{font-size:.875rem}
svg.bars{display:block;width:100%;max-width:14.5rem;height:2.6rem;margin:.2rem 0}
svg.bars rect{fill:var(--adaptive)}
svg.figure a:focus-visible{outline:2px solid var(--adaptive)}
.two{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,26rem),1fr));gap:2.4rem 3.5rem;
margin-top:1.4rem}
.two>*{min-width:0}
.two figure{margin-top:0}
.two.strips{gap:1rem 2.4rem;margin-top:.6rem}
.share{display:inline-block;width:5rem;height:.55rem;background:var(--panel);margin-right:.5rem;vertical-align:baseline;
box-shadow:inset 0 0 0 1px var(--rule)}
.share span{display:block;height:100%;background:var(--adaptive)}
table.grid caption{font-size:.9375rem;color:var(--ink)}
.grid td.unsteered img{outline:2px solid var(--unsteered);outline-offset:1px}
.grid td .missing{width:6.2rem}
@media (max-width:40rem){
.headlines{grid-template-columns:minmax(0,1fr)}
.controls{gap:.6rem .8rem;padding:.8rem}
.controls label{flex:1 1 8.5rem}
.controls label.check{flex:1 1 100%}
.controls input[type=search],.controls select,.controls input[type=number]{width:100%}
.pairs-of{grid-template-columns:repeat(2,minmax(0,1fr))}
.scroll table.sortable tbody th{max-width:11rem}
table.sortable tbody th{white-space:normal}
}
@media print{.controls,nav.pages,a.skip{display:none!important}.features>li{break-inside:avoid}}
"""
)


# What the pages do when scripts run: tables that sort, and the gallery's controls. Without scripts all is readable.
#
# It is text in a module, not a file beside it, so that a changed script is changed code of the stage. It asks for
# nothing outside the page; the state of the controls is kept in the address, after `#?`, so that a view can be passed
# on.

SCRIPT = """
"use strict";
document.documentElement.classList.add("js");

function compare(first, second, ascending) {
  const empty = (value) => value === undefined || value === "";
  if (empty(first) || empty(second)) return empty(first) - empty(second);
  const [a, b] = [Number(first), Number(second)];
  const order = Number.isNaN(a) || Number.isNaN(b) ? String(first).localeCompare(String(second)) : a - b;
  return ascending ? order : -order;
}

for (const table of document.querySelectorAll("table.sortable")) {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, place) => {
    const button = document.createElement("button");
    button.type = "button";
    head.firstChild.replaceWith(button);
    button.textContent = head.dataset.name;
    button.addEventListener("click", () => {
      const before = head.getAttribute("aria-sort");
      const ascending = before ? before === "descending" : !head.classList.contains("n");
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", ascending ? "ascending" : "descending");
      const value = (row) => row.cells[place].dataset.v;
      const rows = [...table.tBodies[0].rows];
      table.tBodies[0].append(...rows.sort((a, b) => compare(value(a), value(b), ascending)));
    });
  });
}

const form = document.getElementById("controls");
if (form) {
  const list = document.getElementById("features");
  const cards = [...list.children];
  const rows = new Map([...document.querySelectorAll("tr[data-key]")].map((row) => [row.dataset.key, row]));
  const count = document.getElementById("count");

  const fits = (card, wanted) =>
    (!wanted.layer || card.dataset.layer === wanted.layer) &&
    (!wanted.label || card.dataset.label === wanted.label || card.dataset.value === wanted.label) &&
    (!wanted.kind || card.dataset.kind === wanted.kind) &&
    (!wanted.density || card.dataset.bin === wanted.density) &&
    (!wanted.auroc || Number(card.dataset.auroc) >= Number(wanted.auroc)) &&
    wanted.find.toLowerCase().split(" ").every((word) => card.dataset.text.includes(word));

  const show = () => {
    const wanted = Object.fromEntries(new FormData(form));
    const by = form.elements.sort.selectedOptions[0].dataset;
    const ascending = (by.order === "ascending") !== form.elements.reverse.checked;
    const value = (card) => card.dataset[wanted.sort];
    list.append(...cards.toSorted((a, b) => compare(value(a), value(b), ascending)));
    let shown = 0;
    for (const card of cards) {
      card.hidden = !fits(card, wanted);
      shown += !card.hidden;
      const row = rows.get(card.id);
      if (row) row.hidden = card.hidden;
    }
    count.textContent = `${shown} of ${cards.length} features`;
    document.getElementById("none").hidden = shown > 0;
  };

  const remember = () => {
    const said = new URLSearchParams();
    for (const [name, value] of new FormData(form)) {
      if (value && !(name === "sort" && value === "place")) said.set(name, value);
    }
    // What leads to a card stays in the address.
    if ([...said].length) history.replaceState(null, "", `#?${said}`);
    else if (location.hash.startsWith("#?")) history.replaceState(null, "", "#");
  };

  const recall = () => {
    if (!location.hash.startsWith("#?")) return;
    for (const [name, value] of new URLSearchParams(location.hash.slice(2))) {
      const field = form.elements[name];
      if (!field) continue;
      if (field.type === "checkbox") field.checked = value === "on";
      else field.value = value;
    }
  };

  // A link may lead to a card that a filter hides.
  const reveal = () => {
    const card = document.getElementById(decodeURIComponent(location.hash.slice(1)));
    if (card && card.hidden) {
      form.reset();
      show();
      card.scrollIntoView();
    }
  };

  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("input", () => { show(); remember(); });
  form.addEventListener("reset", () => setTimeout(() => { show(); remember(); }));
  window.addEventListener("hashchange", () => { recall(); show(); reveal(); });
  recall();
  show();
  reveal();
}
"""
