# SPDX-License-Identifier: Apache-2.0
"""The view as an SVG file, for documents."""

import io
import re
from pathlib import Path

from rich.console import Console, RenderableType

FONTS = 'ui-monospace, SFMono-Regular, Menlo, Consolas, DejaVu Sans Mono, monospace'


def save(picture: RenderableType, width: int, path: Path, title: str) -> None:
    """Write `picture` as it looks in a terminal of `width` columns."""
    console = Console(
        record=True, width=width, file=io.StringIO(), force_terminal=True,
        color_system='truecolor', no_color=False,
    )  # fmt: skip
    console.print(picture)
    svg = console.export_svg(title=title, unique_id='status')
    # Whoever looks at it shall not have to fetch a font from elsewhere.
    svg = re.sub(r'@font-face \{.*?\}\s*', '', svg, flags=re.DOTALL)
    path.write_text(svg.replace('Fira Code, monospace', FONTS), encoding='utf-8')
