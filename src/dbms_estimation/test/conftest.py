# SPDX-License-Identifier: Apache-2.0
"""Gives the DDS traffic of these tests a domain of its own."""

import os

os.environ['ROS_DOMAIN_ID'] = str(20 + os.getpid() % 80)
os.environ.setdefault('ROS_AUTOMATIC_DISCOVERY_RANGE', 'LOCALHOST')
