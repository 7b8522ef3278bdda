# SPDX-License-Identifier: Apache-2.0
"""Names of modules and strings, for people."""

import re


def natural(name: str) -> list[tuple[bool, int, str]]:
    """Return a key that sorts m2 before m10."""
    parts = re.findall(r'\d+|\D+', name)
    return [(part.isdecimal(), int(part) if part.isdecimal() else 0, part) for part in parts]


def plain(text: str) -> str:
    """Return `text` without what a terminal would obey: what others send is shown, not run."""
    return ''.join(sign if sign.isprintable() else '?' for sign in text)
