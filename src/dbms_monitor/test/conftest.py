# SPDX-License-Identifier: Apache-2.0
"""A ROS domain of its own for every test process."""

import os

# Ids up to 101 keep clear of the ephemeral ports of Linux.
os.environ['ROS_DOMAIN_ID'] = str(20 + os.getpid() % 80)
os.environ.setdefault('ROS_AUTOMATIC_DISCOVERY_RANGE', 'LOCALHOST')
os.environ['ROS_PYTHON_CHECK_FIELDS'] = '1'
