# SPDX-License-Identifier: Apache-2.0
"""Domains of their own, as in every package."""

import os

os.environ.setdefault('ROS_DOMAIN_ID', str(20 + os.getpid() % 80))
os.environ.setdefault('ROS_AUTOMATIC_DISCOVERY_RANGE', 'LOCALHOST')
