# SPDX-License-Identifier: Apache-2.0
"""How numbers, levels and shares look. Every colour repeats what a word or a sign says too."""

from rich.style import Style
from rich.text import Text

NOTHING = '--'
DIM = 'bright_black'
STATES = {
    'CONNECTED': 'bold white on dark_green',
    'STANDBY': 'bold white on blue',
    'CONNECTING': 'bold black on yellow',
    'DISCONNECTING': 'bold black on yellow',
    'FAULT': 'bold white on red3',
}
OTHER_STATE = 'bold white on grey37'
STRINGS = {'CONNECTED': 'bold green', 'OPEN': 'bold bright_blue', 'FAULTED': 'bold red'}
OTHER_STRING = 'bold yellow'
LEVELS = {
    'MSL': 'bold white on red3',
    'RSL': 'bold black on yellow',
    'MOL': 'bold black on cyan',
    'ERROR': 'bold red',
    'WARN': 'yellow',
    'OK': 'green',
}
CONTACTS = {'closed': '■', 'open': '□', 'fault': '✗', 'unknown': '?'}
TRACK = 'grey19'  # what of a bar is empty


def value(number: float | None, form: str, unit: str = '') -> str:
    """Return a number as text; two dashes for what is not known."""
    return NOTHING if number is None else f'{number:{form}}{unit}'


def percent(share: float | None) -> str:
    """Return a share as percent."""
    return NOTHING if share is None else f'{share * 100:.1f}%'


def period(seconds: float) -> str:
    """Return how long something has lasted."""
    seconds = round(seconds)
    if seconds < 60:
        return f'{seconds} s'
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    return f'{hours}:{minutes:02}:{seconds:02}' if hours else f'{minutes}:{seconds:02}'


def gauge(text: str, share: float | None, width: int, colour: str, stale: bool = False) -> Text:
    """Return a bar that is filled to `share`, with the text in it."""
    bar = Text(f'{text:^{width}.{width}}', style=f'white on {TRACK}')
    if stale:
        bar.stylize(Style.parse(f'{DIM} on {TRACK}'))
    elif share is not None:
        filled = max(int(share > 0.0), round(max(0.0, min(share, 1.0)) * width))
        bar.stylize(Style.parse(f'bold white on {colour}'), 0, filled)
    return bar


def soc_colour(soc: float | None) -> str:
    """Return the colour of a state of charge: from red (empty) to green."""
    if soc is None or soc > 0.5:
        return 'dark_green'
    return 'green4' if soc > 0.3 else 'dark_goldenrod' if soc > 0.1 else 'red3'
