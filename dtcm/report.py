"""A report as one HTML file that needs nothing else: no script, no font, no file beside it.

Pictures are within it, tables scroll sideways where the window is narrow, and all text from outside is escaped.
"""

import base64
from collections.abc import Mapping, Sequence
from html import escape

STYLE = """
:root { color-scheme: light; --ink: #2b2d42; --soft: #5c6378; --line: #d9dce5; --blue: #3d6fc8; --paper: #f7f8fb; }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 1180px; padding: 1.2rem; background: #fff; color: var(--ink);
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Liberation Sans", sans-serif; }
h1 { font-size: 1.6rem; line-height: 1.25; margin: .2rem 0; overflow-wrap: anywhere; }
h2 { font-size: 1.15rem; margin: 2.2rem 0 .6rem; padding-bottom: .25rem; border-bottom: 2px solid var(--blue); }
p, li { max-width: 75ch; } .soft, figcaption, caption { color: var(--soft); font-size: .88rem; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(9.5rem, 1fr)); gap: .7rem; margin: 1rem 0; }
.tile { background: var(--paper); border: 1px solid var(--line); border-radius: 8px; padding: .6rem .8rem; }
.tile b { display: block; font-size: 1.45rem; line-height: 1.3; } .tile span { color: var(--soft); font-size: .82rem; }
.scroll { overflow-x: auto; margin: .6rem 0; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .92rem; }
caption { text-align: left; padding-bottom: .3rem; }
th, td { text-align: left; padding: .3rem .9rem .3rem 0; border-bottom: 1px solid var(--line); vertical-align: top; }
th { color: var(--soft); font-weight: 600; white-space: nowrap; } td.number { text-align: right; white-space: nowrap; }
td.wrap { overflow-wrap: anywhere; }
.figures { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 19rem), 1fr)); gap: 1rem; }
figure { margin: 0 0 1rem; } img { display: block; max-width: 100%; height: auto; }
.wide img { max-width: none; width: 100%; min-width: 620px; }
"""


def page(title: str, subtitle: str, sections: Sequence[tuple[str, str]]) -> str:
    """The whole document: a heading, and sections of a heading and HTML each; a section without HTML is left out."""
    body = "".join(f"<section><h2>{escape(name)}</h2>{content}</section>\n" for name, content in sections if content)
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<link rel="icon" href="data:,"><title>{escape(title)}</title><style>{STYLE}</style></head>
<body><header><h1>{escape(title)}</h1><p class="soft">{escape(subtitle)}</p></header>
{body}</body></html>
"""


def tiles(values: Mapping[str, tuple[str, str]]) -> str:
    """Figures to see first: a name, and the value with what explains it."""
    return (
        '<div class="tiles">'
        + "".join(
            f'<div class="tile"><span>{escape(name)}</span><b>{escape(value)}</b><span>{escape(note)}</span></div>'
            for name, (value, note) in values.items()
        )
        + "</div>"
    )


def table(head: Sequence[str], rows: Sequence[Sequence[str]], caption: str = "", numbers: bool = True) -> str:
    """A table; all columns but the first hold numbers, or text that may wrap anywhere."""
    top = f"<tr>{''.join(f'<th>{escape(name)}</th>' for name in head)}</tr>" if any(head) else ""
    kind = "number" if numbers else "wrap"
    lines = "".join(
        f"<tr><td>{escape(row[0])}</td>{''.join(f'<td class={kind}>{escape(cell)}</td>' for cell in row[1:])}</tr>"
        for row in rows
    )
    said = f"<caption>{escape(caption)}</caption>" if caption else ""
    return f'<div class="scroll"><table>{said}{top}{lines}</table></div>'


def figure(png: bytes, caption: str, wide: bool = False) -> str:
    """A picture; a wide one scrolls sideways in a narrow window instead of becoming too small to read."""
    data = base64.b64encode(png).decode()
    image = f'<img src="data:image/png;base64,{data}" alt="{escape(caption)}">'
    inside = f'<div class="scroll wide">{image}</div>' if wide else image
    return f"<figure>{inside}<figcaption>{escape(caption)}</figcaption></figure>"


def figures(pictures: Sequence[str]) -> str:
    """Pictures of `figure`, side by side where there is room."""
    return f'<div class="figures">{"".join(pictures)}</div>' if pictures else ""


def text(sentence: str) -> str:
    """A paragraph."""
    return f"<p>{escape(sentence)}</p>"
