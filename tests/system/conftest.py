# SPDX-License-Identifier: Apache-2.0
"""Whole-system tests: a domain of their own, and data where there is any."""

import os
import sys
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
def discharge() -> Path:
    """Return the measured 1C discharge of six cells, or skip where the data is not."""
    path = Path(os.environ.get('DBMS_DATA') or ROOT.parent / 'shared' / 'data') / DISCHARGE
    if not path.is_file():
        pytest.skip(f'no measured data: set DBMS_DATA to a directory with {DISCHARGE}')
    return path
