"""Writing HTML without ever forgetting to escape: text is escaped, only `Html` is taken as it is."""

import html


class Html(str):
    """Markup that is already safe."""

    __slots__ = ()


def el(tag: str, *children: str, **attributes: str | int | float | bool | None) -> Html:
    """An element; `class_` is class, `aria_label` is aria-label, True is a bare attribute, None and False are none."""
    parts = [tag]
    for name, value in attributes.items():
        name = name.rstrip("_").replace("_", "-")
        if value is True:
            parts.append(name)
        elif value is not None and value is not False:
            parts.append(f'{name}="{html.escape(str(value))}"')
    opened = f"<{' '.join(parts)}>"
    return Html(opened) if tag in ("img", "br", "meta", "col") else Html(f"{opened}{join(children)}</{tag}>")


def join(parts: tuple[str, ...] | list[str], separator: str = "") -> Html:
    """Parts one after the other, each escaped unless it is `Html`."""
    return Html(separator.join(part if isinstance(part, Html) else html.escape(part, quote=False) for part in parts))
