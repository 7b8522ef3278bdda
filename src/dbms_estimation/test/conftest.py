# SPDX-License-Identifier: Apache-2.0
"""Gives the DDS traffic of these tests a domain of its own, and the state a folder."""

import os
import tempfile

os.environ['ROS_DOMAIN_ID'] = str(20 + os.getpid() % 80)
os.environ.setdefault('ROS_AUTOMATIC_DISCOVERY_RANGE', 'LOCALHOST')
os.environ['XDG_STATE_HOME'] = tempfile.mkdtemp(prefix='dbms-state-')
