# SPDX-License-Identifier: Apache-2.0
"""Whole-system tests: a domain of their own, and data where there is any."""

import math
import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

sys.path.insert(0, str(Path(__file__).parent))
os.environ.setdefault('ROS_DOMAIN_ID', str(20 + os.getpid() % 80))
os.environ.setdefault('ROS_AUTOMATIC_DISCOVERY_RANGE', 'LOCALHOST')

ROOT = Path(__file__).resolve().parents[2]
DISCHARGE = 'leaf_module/module123-irdischarge-65ah-1_0c.csv.gz'


@pytest.fixture
def patient(tmp_path: Path) -> Path:
    """Return a pack whose supervision is not set off by a machine that is busy with other tests.

    The lease stays shorter than any process takes to start.
    """
    from dbms_pack import load_pack

    content = yaml.safe_load(load_pack('robot_13s').path.read_text(encoding='utf-8'))
    content['limits']['string_lost']['timeout'] = 3.0
    content['limits']['module_lost'].update(timeout=3.0, open_after=1.5)
    content['strings'][0]['contactors'].update(lease=0.5, feedback_timeout=3.0)
    path = tmp_path / 'patient.yaml'
    path.write_text(yaml.safe_dump(content), encoding='utf-8')
    return path


@pytest.fixture
def measured(request: pytest.FixtureRequest) -> Callable[..., None]:
    """Return a function that notes s of something for the table at the end of the run."""

    def note(what: str, seconds: float, lease: float = math.nan) -> None:
        request.node.user_properties.append(('measured', (what, seconds, lease)))

    return note


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print what tests have measured: the worst of all runs."""
    found: dict[str, list[tuple[float, float]]] = {}
    for report in terminalreporter.getreports('passed'):
        for name, value in report.user_properties:
            if name == 'measured' and report.when == 'call':
                found.setdefault(value[0], []).append(value[1:])
    if not found:
        return
    terminalreporter.section('measured')
    terminalreporter.line('worst, s   lease, s   runs   what')
    for what, values in sorted(found.items()):
        worst, lease = max(value for value, _ in values), values[0][1]
        text = '' if math.isnan(lease) else f'{lease:.1f}'
        terminalreporter.line(f'{worst:8.3f}   {text:>8}   {len(values):4}   {what}')


@pytest.fixture
def discharge() -> Path:
    """Return the measured 1C discharge of six cells, or skip where the data is not."""
    path = Path(os.environ.get('DBMS_DATA') or ROOT.parent / 'shared' / 'data') / DISCHARGE
    if not path.is_file():
        pytest.skip(f'no measured data: set DBMS_DATA to a directory with {DISCHARGE}')
    return path
