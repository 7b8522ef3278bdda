# SPDX-License-Identifier: Apache-2.0
"""Makes the golden recordings anew: runs scenarios, records them, keeps what a replay needs.

    ./dbms python tests/replay/record_golden.py [NAME...]

Each becomes tests/replay/golden/NAME.mcap. Expectations (NAME.yaml beside it) are written by
`./dbms replay NAME.mcap --write-expect NAME.yaml`, and then read by a person before the commit.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from dbms_replay.trim import trim
from dbms_sim.scenario import load_scenario

GOLDEN = Path(__file__).parent / 'golden'
# One of each sort: a trip, a loss that derates, a string that leaves and one that sails on, a
# load that empties the pack, a welded contactor, heat, a short circuit, a board that starts anew,
# a precharge that fails, currents, cold.
SCENARIOS = (
    'cell_overvoltage', 'module_silent', 'marine_one_string_lost', 'deep_discharge',
    'contactor_welded', 'hot_discharge', 'short_circuit', 'board_reboot', 'robot_drive',
    'precharge_open', 'overcurrent_discharge', 'cell_undervoltage', 'cold_charge',
)  # fmt: skip
NAMESPACE = 'scenario'
DOMAIN = 39


def record(name: str) -> Path:
    """Run and record one scenario; return the trimmed recording."""
    environ = {
        **os.environ, 'ROS_DOMAIN_ID': str(DOMAIN), 'ROS_AUTOMATIC_DISCOVERY_RANGE': 'LOCALHOST',
    }  # fmt: skip
    scenario = load_scenario(name)
    with tempfile.TemporaryDirectory() as folder:
        bag = Path(folder) / 'bag'
        recorder = subprocess.Popen(
            [sys.executable, '-m', 'dbms_replay.record_cli', str(bag), '--namespace', NAMESPACE,
             '--pack', str(scenario.pack.path), '--time-scale', f'{scenario.time_scale:g}'],
            env=environ, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        try:
            recorder.stdout.readline()  # it listens
            # Not by ./dbms scenario: that looks for a domain in which nobody is, nor a recorder.
            subprocess.run(
                [sys.executable, '-m', 'dbms_bringup.scenario_run', str(scenario.path), folder],
                env=environ, check=True,
            )  # fmt: skip
        finally:
            recorder.terminate()
            recorder.wait()
        target = GOLDEN / f'{name}.mcap'
        target.unlink(missing_ok=True)
        trim(bag, target, f'/{NAMESPACE}')
    return target


def main() -> None:
    """Record those named, or all."""
    GOLDEN.mkdir(exist_ok=True)
    for name in sys.argv[1:] or SCENARIOS:
        target = record(name)
        print(f'{target}: {target.stat().st_size / 1000:.0f} kB')


if __name__ == '__main__':
    main()
