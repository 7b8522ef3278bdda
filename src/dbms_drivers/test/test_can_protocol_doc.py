# SPDX-License-Identifier: Apache-2.0
"""The frames that docs/can-protocol.md gives to firmware engineers are right."""

import re
from pathlib import Path

from boards import reference_crc

from dbms_drivers import e2e

DOCUMENT = Path(__file__).parents[3] / 'docs' / 'can-protocol.md'
ROW = re.compile(r'^\| .* \| `0x([0-9A-F]{3})` \| `((?:[0-9a-f]{2} ){7}[0-9a-f]{2})` \|$', re.M)


def test_vectors_of_the_document_pass_both_implementations():
    rows = ROW.findall(DOCUMENT.read_text())
    assert len(rows) >= 10
    for can_id, text in rows:
        data = bytes.fromhex(text)
        assert e2e.crc(data, int(can_id, 16)) == reference_crc(data, int(can_id, 16)) == data[0]


def test_command_of_the_document_prints_a_frame_that_is_right():
    call = re.search(
        r'protect\((0x\w+), (\d+), (\d+), bytes.fromhex\(.(\w+).\)', DOCUMENT.read_text()
    )
    can_id, counter, high, payload = call.groups()
    data = e2e.protect(int(can_id, 16), int(counter), int(high), bytes.fromhex(payload))
    assert reference_crc(data, int(can_id, 16)) == data[0]
