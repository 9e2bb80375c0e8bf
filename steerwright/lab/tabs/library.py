"""The library tab: every concept, its numbers, files in and out, and the visitors' own renamed or deleted."""

from __future__ import annotations

import html
from pathlib import Path
from typing import Any

import gradio as gr

from steerwright.lab.concepts import ConceptEntry
from steerwright.lab.operations.library import (
    FORMATS,
    ConceptDetails,
    concept_details,
    delete_concept,
    import_concept,
    rename_concept,
    temporary_export,
)
from steerwright.lab.page_state import PageState, guarded
from steerwright.lab.style import lead, table
from steerwright.lab.workbench import Workbench
from steerwright.report.html.theme import DASH, decimal, percent

_QUIET: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}


def tab(workbench: Workbench, shared: PageState) -> None:
    """Build the tab inside the current Blocks."""
    gr.HTML(
        "<style>#library-details details{margin:.8rem 0 0}#library-details summary{cursor:pointer}</style>"
        + lead(
            "Library",
            "Every concept that the language model can be steered by: the built-in ones, and your own, which are files "
            "in this project. Vectors go out and come in as safetensors, or as GGUF control vectors, which llama.cpp, "
            "repeng and EasySteer read.",
        )
    )
    with gr.Row(equal_height=False, elem_classes="ask"):
        with gr.Column(scale=3, min_width=280):
            concept = shared.concept_picker(elem_id="library-concept")
            with gr.Row(elem_classes="actions"):
                downloads = [
                    gr.Button(f"Export {name}", elem_id=f"library-export-{kind}", scale=0, min_width=190)
                    for kind, name in zip(FORMATS, ("safetensors", "GGUF"), strict=True)
                ]
            # Filled and clicked by the page when the file is written: there is none before it is asked for.
            file = gr.DownloadButton("Download", visible="hidden", elem_id="library-file")
            with gr.Row(visible=False, elem_classes="keep", elem_id="library-own") as own:
                new_name = gr.Textbox(label="New name", max_length=40, elem_id="library-new-name")
                rename = gr.Button("Rename", elem_id="library-rename", scale=0, min_width=110)
                delete = gr.Button("Delete", elem_id="library-delete", scale=0, min_width=110)
            with gr.Row(visible=False, elem_classes="actions", elem_id="library-sure") as sure:
                question = gr.HTML()
                confirm = gr.Button(
                    "Delete for good", variant="stop", elem_id="library-confirm", scale=0, min_width=150
                )
                keep = gr.Button("Keep it", elem_id="library-keep", scale=0, min_width=110)
        with gr.Column(scale=2, min_width=260):
            called = gr.Textbox(
                label="Name of an import", placeholder="as the file says", max_length=40, elem_id="library-import-name",
                info="Small letters, digits and hyphens.",
            )  # fmt: skip
            upload = gr.UploadButton(
                "Import a file",
                file_types=[".safetensors", ".gguf", ".pt", ".npy", ".npz"],
                type="filepath",
                elem_id="library-import",
            )
            gr.HTML(
                '<p class="hint">safetensors of this very model; GGUF or plain tensors (.pt, persona vectors) of one '
                "with the same layers. GGUF has no place for the first layer's vector. No file is run.</p>"
            )
    details = gr.HTML(lambda: _details(workbench, next(iter(workbench.concepts()))), elem_id="library-details")
    listed = gr.HTML(lambda: _listed(workbench), elem_id="library-list")

    shown = [details, own, sure, new_name]

    def show(name: Any) -> tuple[Any, ...]:
        yours = workbench.concept(name).origin == "yours"
        return _details(workbench, name), gr.update(visible=yours), gr.update(visible=False), ""

    def changed(name: Any) -> tuple[Any, ...]:
        """All that follows a change of the list, with `name` chosen."""
        return gr.update(choices=shared.choices(), value=name), workbench.revision, _listed(workbench), *show(name)

    after = [concept, shared.revision, listed, *shown]
    concept.input(guarded(show), concept, shown, **_QUIET)
    shared.revision.change(lambda: _listed(workbench), None, listed, **_QUIET)
    for button, kind in zip(downloads, FORMATS, strict=True):

        def export(name: Any, kind: str = kind) -> str:
            if kind == "gguf" and workbench.concept(name).vectors.for_removal:
                from steerwright.vectors.formats.gguf import REMOVAL

                gr.Warning(f"Note: {REMOVAL}.", title="GGUF of removal vectors", duration=None)
            return str(temporary_export(workbench, name, kind))

        button.click(guarded(export), concept, file, **_QUIET).success(None, None, None, js=_CLICK)

    def take(path: Any, name: Any) -> tuple[Any, ...]:
        uploaded = Path(str(path))
        try:
            entry = import_concept(workbench, uploaded, name)
        finally:
            uploaded.unlink(missing_ok=True)
        if entry.vectors.for_removal:
            gr.Warning(
                f"{entry.name} holds removal vectors, made to be projected out: choose to remove it; adding it is "
                "another thing.", title="Removal vectors", duration=None,
            )  # fmt: skip
        gr.Info(f"{entry.name} is in every list now, set to layer {entry.layer}.", title="Imported", duration=5)
        return "", *changed(entry.name)

    def call(name: Any, new: Any) -> tuple[Any, ...]:
        return changed(rename_concept(workbench, name, new).name)

    def ask(name: Any) -> tuple[Any, str]:
        words = f"Delete <b>{html.escape(str(name))}</b>? Its files go, and nothing brings them back."
        return gr.update(visible=True), f'<p class="hint">{words}</p>'

    def remove(name: Any) -> tuple[Any, ...]:
        delete_concept(workbench, name)
        return changed(next(iter(workbench.concepts())))

    upload.upload(guarded(take), [upload, called], [called, *after], **_QUIET)
    gr.on([rename.click, new_name.submit], guarded(call), [concept, new_name], after, **_QUIET)
    delete.click(ask, concept, [sure, question], **_QUIET)
    keep.click(lambda: gr.update(visible=False), None, sure, **_QUIET)
    confirm.click(guarded(remove), concept, after, trigger_mode="once", **_QUIET)


# The link inside the hidden button gets its address a moment after its file has come.
_CLICK = """() => { setTimeout(() => {
  const link = document.querySelector('#library-file a, a#library-file, #library-file');
  if (link) link.click();
}, 120) }"""


def _listed(workbench: Workbench) -> str:
    rows = [
        (
            entry.name, entry.factor or "yours", str(entry.layer), decimal(entry.strength, 2),
            DASH if entry.safe is None else f"{decimal(entry.safe[0], 2)} to {decimal(entry.safe[1], 2)}",
            str(len(entry.pairs)) if entry.pairs else DASH, f"{len(entry.vectors.hookpoints)} layers",
        )
        for entry in workbench.concepts().values()
    ]  # fmt: skip
    header = ("Concept", "Factor", "Layer", "Strength", "Safe strengths", "Pairs", "Vectors")
    return f'<div class="section"><h3>All {len(rows)} concepts</h3></div>' + table(header, rows, numbers=(2, 3, 4, 5))


def _details(workbench: Workbench, name: str) -> str:
    found = concept_details(workbench, name)
    entry = found.entry
    facts = [
        ("Where it is set to", f"layer {entry.layer}", f"strength {decimal(entry.strength, 2)}"),
        ("Fitted by", entry.vectors.estimator.replace("_", " "), f"tokens: {entry.vectors.token_policy}"),
        ("Made from", *_origin(entry, found)),
    ]
    cells = "".join(
        f"<div><dt>{html.escape(term)}</dt><dd>{html.escape(value)}<small>{html.escape(more)}</small></dd></div>"
        for term, value, more in facts
    )
    rows = [
        (
            str(one.layer), decimal(one.norm, 3), decimal(one.mean, 4), decimal(one.std, 4), decimal(one.low, 3),
            decimal(one.high, 3), percent(one.small_share), ", ".join(str(place) for place, _ in one.largest),
        )
        for one in found.statistics
    ]  # fmt: skip
    header = ("Layer", "Length", "Mean", "Deviation", "Least", "Most", "Below 0.01", "Largest dimensions")
    chosen = [place for place, one in enumerate(found.statistics) if one.layer == entry.layer]
    numbers = table(header, rows, numbers=range(7), chosen=chosen)
    pairs = table(
        ("Request", "With it", "Without it"), [(pair.prompt, pair.positive, pair.negative) for pair in entry.pairs]
    )
    folded = f"<details><summary>Its {len(entry.pairs)} contrast pairs</summary>{pairs}</details>"
    return (
        f'<div class="section"><h3>{html.escape(entry.name)}</h3></div><dl class="facts">{cells}</dl>'
        f"<details><summary>Its vector, layer by layer</summary>{numbers}</details>{folded if entry.pairs else ''}"
    )


def _origin(entry: ConceptEntry, found: ConceptDetails) -> tuple[str, str]:
    imported = found.about.get("imported")
    if isinstance(imported, dict):
        return "a file", f"{imported.get('file', '')}, {imported.get('format', '')}"
    if entry.pairs:
        return f"{len(entry.pairs)} contrast pairs", "built in" if entry.origin == "built-in" else "your own"
    return "a mix" if "," in entry.vectors.concept else "other concepts", "your own"
