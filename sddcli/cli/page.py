"""Page: one HTML file that needs nothing else: headings, tables and figures, every text escaped where it enters."""

from base64 import b64encode
from collections.abc import Iterable, Sequence
from html import escape
from importlib.resources import files
from typing import NamedTuple

POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
"""What a browser may do with a page: no script, no request."""


class Html(str):
    """Text that is HTML already. Any other text is escaped."""


class Section(NamedTuple):
    """A part of a page under a heading of its own: what it is called in addresses, its title, its blocks."""

    name: str
    title: str
    blocks: Sequence[Html]


def tag(name: str, /, *inner: str, **attributes: str) -> Html:
    """An element around what is in it; aria_label="x" and class_="x" are aria-label and class."""
    written = "".join(f' {key.strip("_").replace("_", "-")}="{escape(value)}"' for key, value in attributes.items())
    if name in ("img", "link", "meta"):
        return Html(f"<{name}{written}>")
    return Html(f"<{name}{written}>{joined(inner)}</{name}>")


def joined(parts: Iterable[str], between: str = "") -> Html:
    """Texts one after the other, those that are no HTML escaped."""
    return Html(between.join(part if isinstance(part, Html) else escape(part) for part in parts))


def bullets(items: Iterable[str]) -> Html:
    """A list of texts."""
    return tag("ul", *(tag("li", item) for item in items))


def table(name: str, caption: str, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> Html:
    """A table in a box that scrolls where it is too wide; its first column names the rows."""
    head = tag("tr", *(tag("th", column, scope="col") for column in columns))
    body = [tag("tr", tag("th", first, scope="row"), *(tag("td", cell) for cell in rest)) for first, *rest in rows]
    parts = tag("caption", tag("span", caption), id=name), tag("thead", head), tag("tbody", joined(body, "\n"))
    # Reached by the keyboard, which else could not scroll it.
    return tag("div", tag("table", *parts), class_="box", role="region", aria_labelledby=name, tabindex="0")


def figure(svg: bytes, shows: str, caption: str) -> Html:
    """A picture within the page; shows: what is to be seen on it, for those who cannot see it."""
    # As an image, not as elements: the names in one picture would meet those in the next.
    picture = tag("img", src=f"data:image/svg+xml;base64,{b64encode(svg).decode()}", alt=shows)
    return tag("figure", picture, tag("figcaption", caption))


def page(title: str, lead: str, sections: Sequence[Section], foot: str) -> str:
    """The whole file."""
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=POLICY),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("link", rel="icon", href="data:,"),  # else a browser asks the server for one
        tag("title", title),
        tag("style", Html(files("sddcli.cli").joinpath("page.css").read_text(encoding="utf-8"))),
    )
    links = tag("ul", *(tag("li", tag("a", part.title, href=f"#{part.name}")) for part in sections))
    body = tag(
        "body",
        tag("a", "Skip to the findings", class_="skip", href="#main"),
        tag("header", tag("h1", title), tag("p", lead)),
        tag("nav", links, aria_label="Contents"),
        tag("main", *(_section(part) for part in sections), id="main", tabindex="-1"),
        tag("footer", tag("p", foot)),
    )
    return f"<!doctype html>\n{tag('html', head, body, lang='en')}\n"


def _section(part: Section) -> Html:
    title = tag("h2", part.title, id=part.name)
    return tag("section", joined([title, *part.blocks], "\n"), aria_labelledby=part.name)
