# SPDX-License-Identifier: Apache-2.0
"""Makes the environment DBMS runs in, and starts things in it. Standard library only."""
