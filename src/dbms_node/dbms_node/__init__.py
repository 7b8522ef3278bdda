# SPDX-License-Identifier: Apache-2.0
"""What every DBMS node shares: QoS profiles, executor, lifecycle, parameters, clocks."""
