"""Draws text with terminal colours as an SVG image.

    CLICOLOR_FORCE=1 COLUMNS=88 mmprm solve figure.png "How long is AB?" | python docs/terminal-svg.py "mmprm solve …" > solve.svg

The first argument is the command line that is shown above the text, a second one a PNG file that is shown beside it. Needs
Python alone.
"""

import base64
import html
import re
import sys

COLUMN, LINE, MARGIN = 8.43, 18, 16
COLOURS = {"1": "font-weight:bold;fill:#fff", "2": "fill:#8b949e", "31": "fill:#ff7b72", "32": "fill:#3fb950", "33": "fill:#d29922"}


def spans(line):
    """Parts of a line with their style."""
    style = ""
    for part in re.split(r"(\x1b\[[0-9;]*m)", line):
        if part.startswith("\x1b"):
            code = part[2:-1]
            style = "" if code in ("", "0") else COLOURS.get(code, style)
        elif part:
            yield part, style


def main():
    lines = ["\x1b[2m$\x1b[0m " + sys.argv[1], ""] + sys.stdin.read().rstrip("\n").split("\n")
    plain = [re.sub(r"\x1b\[[0-9;]*m", "", line) for line in lines]
    width = max(map(len, plain)) * COLUMN + 2 * MARGIN
    height = len(lines) * LINE + 2 * MARGIN
    print(f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height}" viewBox="0 0 {width:.0f} {height}" role="img">')
    print(f"<title>{html.escape(sys.argv[1])}</title>")
    print('<rect width="100%" height="100%" rx="8" fill="#0d1117"/>')
    print('<g font-family="ui-monospace,SFMono-Regular,Menlo,Consolas,DejaVu Sans Mono,monospace" font-size="14" fill="#c9d1d9">')
    for row, line in enumerate(lines):
        column, y = 0, MARGIN + (row + 0.75) * LINE
        for text, style in spans(line):
            if text.strip():
                # Each part is placed by its column, so that bars align whatever font is used.
                x, length = MARGIN + column * COLUMN, len(text) * COLUMN
                attributes = f' style="{style}"' if style else ""
                print(
                    f'<text x="{x:.1f}" y="{y:.1f}" textLength="{length:.1f}" xml:space="preserve"{attributes}>'
                    f"{html.escape(text)}</text>"
                )
            column += len(text)
    print("</g>")
    if len(sys.argv) > 2:
        data = base64.b64encode(open(sys.argv[2], "rb").read()).decode()
        size = 9 * LINE
        x, y = width - size - MARGIN, MARGIN + 4 * LINE
        print(f'<image x="{x:.0f}" y="{y}" width="{size}" height="{size}" href="data:image/png;base64,{data}"/>')
    print("</svg>")


if __name__ == "__main__":
    main()
