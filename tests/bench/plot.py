# SPDX-License-Identifier: MIT OR 0BSD
"""Charts of horizontal bars, as SVG that is readable on light and on dark."""

from html import escape

WIDTH = 860
LEFT = 370  # where bars begin
RIGHT = 90  # kept for the numbers behind them
ROW = 24
TOP = 64
STYLE = """
    text { font: 13px sans-serif; fill: #1f2328; }
    .title { font-size: 16px; font-weight: bold; }
    .note { fill: #59636e; }
    .page { fill: #ffffff; }
    .ours { fill: #0969da; }
    .peer { fill: #9aa4af; }
    .line { stroke: #d1242f; stroke-width: 2; }
    @media (prefers-color-scheme: dark) {
        text { fill: #e6edf3; }
        .note { fill: #9198a1; }
        .page { fill: #0d1117; }
        .ours { fill: #4493f8; }
        .peer { fill: #656c76; }
        .line { stroke: #f85149; }
    }
"""


def chart(title, note, bars):
    """*bars*: (label, value, text behind it, is it ours?, target or None);
    a target is a line across the bar."""
    height = TOP + ROW * len(bars) + 12
    most = max(max(value, aim or 0) for (_, value, _, _, aim) in bars)
    scale = (WIDTH - LEFT - RIGHT) / most
    parts = [
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {0} {1}" '
        'width="{0}" height="{1}">'.format(WIDTH, height),
        '<title>{}</title>'.format(escape(title)),
        '<style>{}</style>'.format(STYLE),
        '<rect class="page" width="{}" height="{}"/>'.format(WIDTH, height),
        words('title', 16, 26, title), words('note', 16, 46, note)]
    for (index, bar) in enumerate(bars):
        parts += one(bar, TOP + ROW * index, scale)
    return '\n'.join([*parts, '</svg>', ''])


def words(kind, x, y, text, anchor='start'):
    return ('<text class="{}" x="{:.1f}" y="{}" text-anchor="{}">{}'
            '</text>'.format(kind, x, y, anchor, escape(text)))


def one(bar, y, scale):
    (label, value, text, is_ours, aim) = bar
    right = LEFT + max(value, aim or 0) * scale
    yield words('label', LEFT - 8, y + 13, label, 'end')
    yield '<rect class="{}" x="{}" y="{}" width="{:.1f}" height="16"/>'.format(
        'ours' if is_ours else 'peer', LEFT, y, max(value * scale, 1))
    if aim:
        yield ('<line class="line" x1="{0:.1f}" x2="{0:.1f}" y1="{1}" '
               'y2="{2}"/>'.format(LEFT + aim * scale, y - 3, y + 19))
    yield words('label', right + 6, y + 13, text)
