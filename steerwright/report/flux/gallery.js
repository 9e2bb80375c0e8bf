
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
