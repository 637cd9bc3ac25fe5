"""How a report looks: dark header and frames, figures on white, one column on a telephone."""

STYLE = """
:root { --ink: #20222e; --soft: #5b6174; --line: #e1e4ec; --blue: #3d6fc8; --paper: #f6f7fb; --night: #14161f; }
* { box-sizing: border-box; }
body { margin: 0; background: #fff; color: var(--ink);
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Liberation Sans", "DejaVu Sans", sans-serif; }
header { background: var(--night); color: #fff; padding: 1.6rem 0 .4rem; }
header > div, main { max-width: 1180px; margin: 0 auto; padding: 0 clamp(1rem, 3vw, 2rem); }
header p { color: #b4bacb; margin: .2rem 0 1rem; font-size: .9rem; max-width: none; overflow-wrap: anywhere; }
nav { display: flex; flex-wrap: wrap; gap: 0 1.3rem; border-top: 1px solid #333747; padding-top: .3rem; }
nav a { color: #cdd6ee; text-decoration: none; font-size: .88rem; line-height: 2.1; }
nav a:hover { color: #fff; text-decoration: underline; }
h1 { font-size: 1.7rem; line-height: 1.25; margin: 0; overflow-wrap: anywhere; }
h2 { font-size: 1.25rem; margin: 2.4rem 0 .8rem; }
h3 { font-size: 1.02rem; margin: 0; }
p { max-width: 75ch; margin: .5rem 0; }
section { padding-bottom: .6rem; border-bottom: 1px solid var(--line); }
section:last-child { border: 0; padding-bottom: 3rem; }
code { overflow-wrap: anywhere;
  font: .86em/1.5 ui-monospace, "SF Mono", Consolas, "Liberation Mono", "DejaVu Sans Mono", monospace; }

.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(10rem, 1fr)); gap: .8rem; margin: 1rem 0; }
.tile { background: var(--paper); border: 1px solid var(--line); border-radius: 8px; padding: .7rem .9rem;
  line-height: 1.35; }
.tile > b { display: block; font-size: 1.7rem; line-height: 1.3; letter-spacing: -.01em; }
.tile > span { color: var(--soft); font-size: .82rem; }

.scroll { overflow-x: auto; margin: .4rem 0; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .9rem; }
caption, figcaption { text-align: left; color: var(--soft); font-size: .88rem; padding-bottom: .3rem; }
th, td { text-align: left; padding: .32rem 1.4rem .32rem 0; border-bottom: 1px solid var(--line); vertical-align: top; }
tr > :last-child { padding-right: 0; }
th { color: var(--soft); font-weight: 600; white-space: nowrap; }
td:first-child { color: var(--ink); }
.number { text-align: right; white-space: nowrap; }
.wrap { overflow-wrap: anywhere; }
tr:last-child td { border-bottom: 0; }
details summary { cursor: pointer; color: var(--blue); margin: .6rem 0; }

.meter { display: inline-block; position: relative; width: 8rem; height: .72rem; background: #eceff6;
  border-radius: 3px; }
.meter i { position: absolute; inset: 0 auto 0 0; background: #9dbdea; border-radius: 3px; }
.meter u { position: absolute; top: 50%; height: 0; border-top: 2px solid var(--ink); }
.tile .meter { width: 100%; margin-top: .4rem; }

.figures { display: grid; gap: 1.2rem 1.6rem;
  grid-template-columns: repeat(auto-fill, minmax(min(100%, 20.5rem), 1fr)); }
.figures.two { grid-template-columns: repeat(auto-fit, minmax(min(100%, 28rem), 1fr)); }
.figures > div { min-width: 0; }
figure { margin: 0 0 .6rem; }
figure > p { color: var(--soft); font-size: .84rem; line-height: 1.4; margin: .3rem 0; }
figcaption b { color: var(--ink); font-weight: 600; }
img { display: block; width: 100%; height: auto; }

.clip { background: var(--night); color: #e8ebf4; border-radius: 10px; padding: 1rem 1.1rem .7rem; margin: 0 0 1.2rem;
  display: grid; grid-template-columns: 17rem minmax(0, 1fr); gap: 0 1.5rem; }
.clip figure { margin: 0; }
.clip p, .clip figcaption { color: #a4abbf; font-size: .84rem; margin: .1rem 0; overflow-wrap: anywhere; }
.clip figcaption { position: sticky; left: 0; width: fit-content; padding: .5rem 0 .15rem; margin: 0; }
.clip figcaption:first-child { padding-top: 0; }
.clip figure img { min-width: 620px; }
.clip td, .clip td:first-child { color: #e8ebf4; border: 0; padding: .05rem 1rem .05rem 0; }
.clip .meter { background: #2a2e3d; }
.clip .meter i { background: #6f9be0; }

@media (max-width: 800px) { .clip { grid-template-columns: minmax(0, 1fr); gap: .8rem; } }
@media (max-width: 600px) {
  body { font-size: 15px; }
  th, td { padding-right: .7rem; }
  h1 { font-size: 1.45rem; }
  .tiles { grid-template-columns: repeat(auto-fit, minmax(8.5rem, 1fr)); gap: .6rem; }
  .tile > b { font-size: 1.4rem; }
  .meter { width: 4rem; }
}
@media print { header { background: none; color: var(--ink); } nav { display: none; } .clip { break-inside: avoid; } }
"""
