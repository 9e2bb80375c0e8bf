"""What the tabs of one page share: the list of concepts that every picker follows, and how a mistake is told."""

from __future__ import annotations

import functools
import html
import inspect
import logging
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import gradio as gr

from steerwright.errors import UserError
from steerwright.lab.jobs import Cancelled, Stop, awaited
from steerwright.lab.style import progress
from steerwright.lab.workbench import Workbench

log = logging.getLogger(__name__)


class PageState:
    """Made inside the page's Blocks, before the tabs; `connect` is called after them.

    `here`: the gr.Tab that is being built. `revision` is a gr.State: a handler that changes the concepts gives
    `workbench.revision` as one of its outputs, and every picker of the session follows. Pickers of other sessions
    follow when their visitor opens a tab.
    """

    def __init__(self, workbench: Workbench) -> None:
        self.workbench = workbench
        self.here: gr.Tab
        self.revision = gr.State(workbench.revision)
        self._pickers: list[gr.Dropdown] = []

    def concept_picker(
        self, label: str = "Concept", value: str | Sequence[str] | None = None, optional: bool = False, **more: Any
    ) -> Any:
        """A gr.Dropdown of all concepts, kept up to date; `multiselect` and the rest as gr.Dropdown takes them.

        Without a `value` the first concept is chosen, or none where it is `optional`.
        """
        names = list(self.workbench.concepts())
        if value is None and names and not optional and not more.get("multiselect"):
            value = names[0]
        picker = gr.Dropdown(choices=self.choices(), value=value, label=label, filterable=True, **more)
        self._pickers.append(picker)
        return picker

    def choices(self) -> list[tuple[str, str]]:
        """What a picker shows for each concept, and its name; concepts of the visitors are marked."""
        return [
            (f"{name} · {entry.factor if entry.factor else 'yours'}", name)
            for name, entry in self.workbench.concepts().items()
        ]

    def connect(self, page: gr.Blocks, tabs: Sequence[gr.Tab]) -> None:
        """Let every picker follow the concepts: when they change, when the page loads and when a tab is opened."""
        if not self._pickers:
            return
        pickers = self._pickers

        def refreshed() -> Any:
            update = gr.update(choices=self.choices())
            return update if len(pickers) == 1 else [update] * len(pickers)

        gr.on(
            [page.load, self.revision.change, *(tab.select for tab in tabs)],
            refreshed,
            outputs=pickers,
            show_progress="hidden",
            api_visibility="private",
        )


def stop_state() -> gr.State:
    """A gr.State with the session's wish to stop: an input of the long handler (`follow`) and of its Stop button."""
    return gr.State(Stop())


# The bar changes a dozen times a second, which nobody can listen to: what it says is copied every few seconds into a
# region that stays in the page, since screen readers say only what changes in one that was there before.
_SPOKEN = """
const said = document.createElement('div');
said.className = 'lab-said';
said.setAttribute('role', 'status');
said.setAttribute('aria-live', 'polite');
(element.closest('.block') || element).before(said);
let words = '', last = 0, timer = 0;
const say = () => { timer = 0; last = Date.now(); said.textContent = words; };
watch('value', () => {
  const line = element.querySelector('[data-say]');
  if (!line || !line.dataset.say) return;
  words = line.dataset.say;
  if (said.textContent === words) said.textContent = '';
  const underway = line.querySelector('[role=progressbar]');
  if (timer && !underway) { clearTimeout(timer); timer = 0; }
  if (!timer) timer = setTimeout(say, underway ? Math.max(300, last + 4000 - Date.now()) : 300);
});
"""


def status_line(elem_id: str | None = None) -> gr.HTML:
    """The line in which a tab says how far it is (`progress`); screen readers say it, and what came of it."""
    return gr.HTML(progress(None), elem_id=elem_id, js_on_load=_SPOKEN)


def ask_to_stop(stop: Stop) -> None:
    """What a Stop button calls, with queue=False so that it does not wait behind what it stops."""
    stop.asked = True


def guarded(handler: Callable[..., Any], failed: Callable[[str], Any] | None = None) -> Callable[..., Any]:
    """`handler` of a page's event, so that a visitor's mistake is a message, a stop is one too, and the app goes on.

    Functions and generators; what a handler has not given out stays as it was on the page. `failed` gives the outputs
    then, from a word or two for a line of progress ("Stopped.").
    """

    def outputs(error: Exception) -> Any:
        _tell(error)
        return gr.skip() if failed is None else failed("Stopped." if isinstance(error, Cancelled) else "")

    if inspect.isgeneratorfunction(handler):

        @functools.wraps(handler)
        def several(*values: Any) -> Iterator[Any]:
            try:
                yield from handler(*values)
            except Exception as error:
                yield outputs(error)

        return several

    @functools.wraps(handler)
    def once(*values: Any) -> Any:
        try:
            return handler(*values)
        except Exception as error:
            return outputs(error)

    return once


def answering(endpoint: Callable[..., Any]) -> Callable[..., Any]:
    """`endpoint` of the API, done in a thread of the lab's own; a mistake reaches the client as its message.

    Where its first parameter is `job`, clients do not see that: it is the Job that is told to stop when the client has
    gone away. When the lab is busy, the client is told so at once.
    """
    signature = inspect.signature(endpoint)
    takes_job = next(iter(signature.parameters), None) == "job"

    @functools.wraps(endpoint)
    async def answer(*values: Any, **named: Any) -> Any:
        try:
            return await awaited(lambda job: endpoint(*(job,) * takes_job, *values, **named), _gone())
        except UserError as error:
            raise gr.Error(str(error), print_exception=False) from None
        except Cancelled:
            raise gr.Error("Stopped: nobody waited for the answer.", print_exception=False) from None

    if takes_job:
        seen = list(signature.parameters.values())[1:]
        answer.__signature__ = signature.replace(parameters=seen)  # type: ignore[attr-defined]
    return answer


def _gone() -> Callable[[], bool]:
    """Whether the client whose request is being answered has gone away, as gradio's queue knows it."""
    from gradio.context import LocalContext

    blocks, event_id = LocalContext.blocks.get(None), LocalContext.event_id.get(None)
    event = None if blocks is None else blocks._queue.event_ids_to_events.get(event_id)
    return lambda: event is not None and not event.alive


def _tell(error: Exception) -> None:
    match error:
        case UserError():
            gr.Warning(html.escape(str(error)).replace("\n", "<br>"), title="Not done", duration=12)
        case Cancelled():
            pass  # the caller stopped it; the line of progress says so too
        case _:
            log.error("A request failed", exc_info=error)
            gr.Warning(
                f"This did not work ({html.escape(type(error).__name__)}). The lab goes on; its terminal says more.",
                title="A fault of the lab",
            )
