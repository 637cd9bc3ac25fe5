"""A report as one HTML file that needs nothing else: no script, no font, no file beside it.

Pictures are within it, what is wide scrolls sideways by itself where the window is narrow, and all text from outside
is escaped.
"""

import base64
import re
from collections.abc import Mapping, Sequence
from html import escape

from dtcm.report_style import STYLE


class Html(str):
    """Text that is HTML already and is not escaped again."""


def page(title: str, subtitle: str, sections: Sequence[tuple[str, str]]) -> str:
    """The whole document: a heading, and sections of a heading and HTML each; a section without HTML is left out."""
    shown = [
        (re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-"), name, content) for name, content in sections if content
    ]
    links = "".join(f'<a href="#{mark}">{escape(name)}</a>' for mark, name, _ in shown)
    body = "".join(
        f'<section id="{mark}"><h2>{escape(name)}</h2>{content}</section>\n' for mark, name, content in shown
    )
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<link rel="icon" href="data:,"><title>{escape(title)}</title><style>{STYLE}</style></head>
<body><header><div><h1>{escape(title)}</h1><p>{escape(subtitle)}</p><nav>{links}</nav></div></header>
<main>
{body}</main></body></html>
"""


def tiles(values: Mapping[str, tuple[str, str]]) -> str:
    """Figures to see first: a name, and the value with what explains it."""
    return (
        '<div class="tiles">'
        + "".join(
            f'<div class="tile"><span>{escape(name)}</span><b>{escape(value)}</b><span>{_cell(note)}</span></div>'
            for name, (value, note) in values.items()
        )
        + "</div>"
    )


def table(head: Sequence[str], rows: Sequence[Sequence[str]], caption: str = "", numbers: bool = True) -> str:
    """A table; all columns but the first hold numbers, or text that may wrap anywhere."""
    kind = "number" if numbers else "wrap"
    top = "".join(f"<th{f' class={kind}' if place else ''}>{escape(name)}</th>" for place, name in enumerate(head))
    lines = "".join(
        f"<tr><td>{_cell(row[0])}</td>{''.join(f'<td class={kind}>{_cell(cell)}</td>' for cell in row[1:])}</tr>"
        for row in rows
    )
    said = f"<caption>{escape(caption)}</caption>" if caption else ""
    return f'<div class="scroll"><table>{said}{f"<tr>{top}</tr>" if any(head) else ""}{lines}</table></div>'


def meter(share: float, low: float | None = None, high: float | None = None) -> Html:
    """A share in [0, 1] as a bar, and its interval as a line across the end of it."""
    line = "" if low is None or high is None else f'<u style="left:{low:.1%};width:{high - low:.1%}"></u>'
    return Html(f'<span class="meter"><i style="width:{share:.1%}"></i>{line}</span>')


def code(text: str) -> Html:
    """What a machine reads, such as a hash or a command."""
    return Html(f"<code>{escape(text)}</code>")


def figure(image: bytes, title: str, note: str = "", wide_px: int = 0) -> str:
    """A picture, SVG or PNG, below its title and above what explains it.

    Args:
        image: the file.
        title: what is seen.
        note: how it is read.
        wide_px: in a narrower window it scrolls sideways, instead of becoming too small to read.
    """
    shown = _image(image, f"{title}. {note}".strip(), f' style="min-width:{wide_px}px"' if wide_px else "")
    shown = f'<div class="scroll">{shown}</div>' if wide_px else shown
    below = f"<p>{escape(note)}</p>" if note else ""
    return f"<figure><figcaption><b>{escape(title)}</b></figcaption>{shown}{below}</figure>"


def figures(pictures: Sequence[str], wide: bool = False) -> str:
    """Pictures of `figure`, or tables, side by side where there is room: three beside each other, or two wide ones."""
    kind = "figures two" if wide else "figures"
    return f'<div class="{kind}">{"".join(f"<div>{each}</div>" for each in pictures)}</div>' if pictures else ""


def strips(title: str, note: str, beside: str, rows: Sequence[tuple[str, bytes]]) -> str:
    """Frames of a clip on a dark ground, which lets dark ones be seen: a strip for each row, below what it shows.

    Args:
        title: of the clip.
        note: where it comes from.
        beside: HTML, such as what was predicted.
        rows: what a strip shows, and the picture.
    """
    shown = "".join(
        f"<figcaption>{escape(name)}</figcaption>{_image(image, f'{title}: {name}')}" for name, image in rows
    )
    about = f"<div><h3>{escape(title)}</h3><p>{escape(note)}</p>{beside}</div>"
    return f'<article class="clip">{about}<figure class="scroll">{shown}</figure></article>'


def text(sentence: str) -> str:
    """A paragraph."""
    return f"<p>{escape(sentence)}</p>"


def folded(summary: str, content: str) -> str:
    """HTML that is opened by a click on its summary."""
    return f"<details><summary>{escape(summary)}</summary>{content}</details>"


def _cell(value: str) -> str:
    return value if isinstance(value, Html) else escape(value)


def _image(image: bytes, said: str, style: str = "") -> str:
    kind = "png" if image.startswith(b"\x89PNG") else "svg+xml"
    return f'<img src="data:image/{kind};base64,{base64.b64encode(image).decode()}" alt="{escape(said)}"{style}>'
