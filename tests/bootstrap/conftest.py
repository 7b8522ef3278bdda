# SPDX-License-Identifier: Apache-2.0
"""Makes tools/bootstrap importable, the way ./dbms does."""

import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / 'tools'))

from bootstrap.layout import Layout  # noqa: E402


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    """A small checkout with one interface package and one Python package."""
    files = {
        'src/msgs/package.xml': '<package/>',
        'src/msgs/CMakeLists.txt': 'project(msgs)',
        'src/msgs/msg/A.msg': 'int32 a\n',
        'src/logic/package.xml': '<package/>',
        'src/logic/setup.py': 'setup()',
        'src/logic/logic/__init__.py': '',
        'src/logic/logic/schema.json': '{}',
        'src/logic/test/test_logic.py': 'pass',
        'config/packs/small.yaml': 'cells: 4\n',
        'launch/pack.launch.py': 'pass\n',
    }
    for name in ('ros', 'build', 'build-tools', 'runtime', 'dev'):
        files[f'tools/requirements/{name}.txt'] = 'numpy==2.2.6  # min: 1.21\n'
    for name, text in files.items():
        path = tmp_path / 'repo' / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return Layout(tmp_path / 'repo', tmp_path / 'repo' / '.dbms')
