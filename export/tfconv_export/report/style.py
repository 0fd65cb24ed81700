"""How the pages of a report look: light, dark and on paper."""

CSS = """
:root {
  color-scheme: light dark;
  --ink: #1d232a; --soft: #59636e; --line: #dde2e8; --page: #ffffff;
  --panel: #f6f8fa; --good: #0b6b4f; --bad: #b3401a; --badtint: #fdf1ec;
  --warn: #8a5a00; --warntint: #fdf6e3; --accent: #0072b2;
  --sans: "Inter", "Source Sans 3", "Segoe UI", system-ui, -apple-system,
    "Helvetica Neue", "Liberation Sans", Arial, sans-serif;
  --mono: ui-monospace, "SF Mono", "Cascadia Mono", "JetBrains Mono",
    "DejaVu Sans Mono", "Liberation Mono", Menlo, monospace;
}
@media screen and (prefers-color-scheme: dark) {
  :root {
    --ink: #e3e7eb; --soft: #98a3ae; --line: #303841; --page: #14181d;
    --panel: #1c2228; --good: #52c39a; --bad: #f0875c; --badtint: #2b1f1b;
    --warn: #e0b04d; --warntint: #29241a; --accent: #62b5e5;
  }
  img { filter: invert(1) hue-rotate(180deg); mix-blend-mode: screen; }
}
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; }
body {
  margin: 0 auto; padding: 44px 28px 72px; max-width: 1000px;
  font: 15px/1.5 var(--sans); color: var(--ink); background: var(--page);
}
header p, nav { color: var(--soft); }
h1 {
  margin: 2px 0 4px; font-size: 28px; line-height: 1.2; font-weight: 650;
  letter-spacing: -0.015em; overflow-wrap: anywhere;
}
h2 {
  margin: 44px 0 10px; padding-top: 14px; border-top: 1px solid var(--line);
  font-size: 19px; font-weight: 650; letter-spacing: -0.01em;
}
h3 { margin: 26px 0 8px; font-size: 15px; font-weight: 650; }
p { margin: 6px 0 12px; max-width: 76ch; overflow-wrap: anywhere; }
a { color: var(--accent); text-decoration: none; }
a:hover { text-decoration: underline; }
.eyebrow {
  margin: 0; font-size: 12px; letter-spacing: 0.08em;
  text-transform: uppercase; color: var(--soft);
}
.verdict {
  margin: 22px 0; padding: 14px 18px; border-left: 4px solid var(--good);
  background: var(--panel); border-radius: 0 6px 6px 0;
}
.verdict strong { font-size: 17px; color: var(--good); }
.verdict p { margin: 2px 0 0; max-width: none; }
.verdict.failed { border-color: var(--bad); background: var(--badtint); }
.verdict.failed strong { color: var(--bad); }
.verdict ul, .warnings { margin: 8px 0 0; padding-left: 20px; }
.verdict li, .warnings li { margin: 4px 0; overflow-wrap: anywhere; }
.warning {
  margin: 14px 0; padding: 12px 18px; border-left: 4px solid var(--warn);
  background: var(--warntint); border-radius: 0 6px 6px 0;
}
.warning strong { color: var(--warn); }
.figures {
  display: grid; grid-template-columns: repeat(auto-fill, minmax(172px, 1fr));
  gap: 1px; margin: 22px 0; padding: 0;
  border: 1px solid var(--line); border-radius: 8px; overflow: hidden;
}
.figures > div {
  padding: 13px 16px 12px; box-shadow: 0 0 0 1px var(--line);
}
.figures dt { font-size: 12px; color: var(--soft); }
.figures dd {
  margin: 1px 0 0; font-size: 20px; font-weight: 600; line-height: 1.25;
  letter-spacing: -0.01em; font-variant-numeric: tabular-nums;
  overflow-wrap: anywhere;
}
.figures small {
  display: block; font-size: 12px; font-weight: 400; letter-spacing: 0;
  color: var(--soft);
}
nav { font-size: 13px; display: flex; flex-wrap: wrap; gap: 4px 16px; }
.scroll { overflow-x: auto; margin: 10px 0 16px; }
table {
  width: 100%; border-collapse: collapse; font-size: 13px; line-height: 1.4;
  font-variant-numeric: tabular-nums;
}
th, td {
  padding: 6px 14px 6px 0; text-align: left; vertical-align: top;
  border-bottom: 1px solid var(--line);
}
th { font-weight: 500; color: var(--soft); white-space: nowrap; }
td { overflow-wrap: anywhere; min-width: 84px; }
th:last-child, td:last-child { padding-right: 0; }
td.n, th.n { text-align: right; white-space: nowrap; min-width: 0; }
td.k { width: 1%; min-width: 0; white-space: nowrap; overflow-wrap: normal; }
tr.worst td { color: var(--bad); font-weight: 600; }
.pass { color: var(--good); font-weight: 600; }
.fail { color: var(--bad); font-weight: 600; }
tr.failed td { background: var(--badtint); }
.dot {
  display: inline-block; width: 10px; height: 10px; margin-right: 7px;
  border-radius: 2px;
}
.legend { font-size: 12px; color: var(--soft); }
.legend span { margin-right: 14px; white-space: nowrap; }
.columns {
  display: grid; grid-template-columns: repeat(auto-fit, minmax(340px, 1fr));
  gap: 0 36px;
}
.bar { height: 14px; margin: 3px 0; border-radius: 2px; min-width: 2px; }
.bars { display: grid; grid-template-columns: 150px 1fr 130px; gap: 2px 14px;
  align-items: center; font-size: 13px; font-variant-numeric: tabular-nums; }
.bars .n { text-align: right; }
pre, code { font-family: var(--mono); font-size: 12.5px; }
pre {
  margin: 10px 0 16px; padding: 14px 16px; overflow-x: auto;
  background: var(--panel); border: 1px solid var(--line); border-radius: 6px;
  line-height: 1.55;
}
img { display: block; width: 100%; max-width: 900px; height: auto; }
figure { margin: 14px 0 20px; }
figcaption { font-size: 13px; color: var(--soft); max-width: 90ch; }
svg.graph { display: block; max-width: 100%; height: auto; }
.graph text { fill: var(--ink); font: 12.5px var(--sans); }
.graph .label { font-weight: 600; font-size: 12px; }
.graph .name, .graph .shape, .graph .place { fill: var(--soft); }
.graph .shape { font-size: 12px; font-variant-numeric: tabular-nums; }
.graph .place { font-size: 11.5px; }
.graph .ratio { font-weight: 600; font-variant-numeric: tabular-nums; }
.graph .end { text-anchor: end; }
.graph .node { fill: var(--panel); stroke: var(--line); }
.graph .node.end { fill: none; stroke: var(--soft); stroke-dasharray: 3 3; }
.graph .edge { fill: none; stroke: var(--soft); stroke-width: 1.3; }
.graph .tip { fill: var(--soft); }
.graph .badge { fill: none; stroke: var(--bad); }
.graph .badge-text {
  fill: var(--bad); font-size: 11px; font-weight: 600; text-anchor: middle;
}
footer { margin-top: 52px; font-size: 12px; color: var(--soft); }
@media print {
  body { padding: 0; max-width: none; font-size: 10pt; }
  nav { display: none; }
  h2, h3 { break-after: avoid; }
  tr, figure, .verdict, .warning, .figures { break-inside: avoid; }
  thead { display: table-header-group; }
  * { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
  pre { white-space: pre-wrap; }
  .scroll { overflow: visible; }
}
"""
