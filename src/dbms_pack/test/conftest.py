# SPDX-License-Identifier: Apache-2.0
"""The packs of the repository are tested, whatever the machine has installed."""

import os

import pytest


@pytest.fixture(autouse=True)
def _own_config(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ('DBMS_CONFIG', 'AMENT_PREFIX_PATH'):
        if name in os.environ:
            monkeypatch.delenv(name)
