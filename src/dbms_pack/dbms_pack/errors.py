# SPDX-License-Identifier: Apache-2.0
"""The error a wrong description ends in."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong in a file, and what would be right."""

    path: Path
    line: int  # 1-based; 0: the whole file
    key: str  # dotted path of the key, e.g. limits.cell_overvoltage.msl.at
    found: str  # the value found, as a person would read it
    allowed: str  # what is allowed, or what to do

    def __str__(self) -> str:
        place = f'{self.path}:{self.line}' if self.line else f'{self.path}'
        key = f' {self.key}:' if self.key else ''
        return f'{place}:{key} {self.found}; {self.allowed}'


class PackError(ValueError):
    """A pack or cell file is refused; `problems` names everything that is wrong with it."""

    def __init__(self, problems: list[Problem]) -> None:
        self.problems = problems
        super().__init__('\n'.join(str(problem) for problem in problems))
