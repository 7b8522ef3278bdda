# SPDX-License-Identifier: Apache-2.0
"""Covariances of many columns at once, (6, 6, n): symmetric, so only the upper half is computed.

Passes over memory are what these steps cost, so they work in place, row by row.
"""

from dbms_pack.model import FloatArray


def mirror(p: FloatArray) -> None:
    """Fill the lower half from the upper one."""
    for k in range(len(p) - 1):
        p[k + 1 :, k] = p[k, k + 1 :]


def propagate(p: FloatArray, decay: FloatArray, of_source: FloatArray, source: int) -> None:
    """Set p to F p F', of which only the upper half is computed; the lower one must be true.

    F has `decay` (6, n), of which the first row is one, on its diagonal, and `of_source`
    (k, n) in the first k rows, k <= source, of the column `source`.
    """
    count = len(of_source)
    shares = decay * p[source]
    shares[:count] += (0.5 * p[source, source]) * of_source
    p[0, 1:] *= decay[1:]
    for k in range(1, len(p)):
        p[k, k:] *= decay[k] * decay[k:]
    for k in range(count):
        p[k, k:] += of_source[k] * shares[k:]
        p[k, k:count] += shares[k] * of_source[k:]


def correct(p: FloatArray, gain: FloatArray, ph: FloatArray) -> None:
    """Take gain ph' away from p; `gain` (6, n) is `ph` (6, n) times a number for each column."""
    for k in range(len(p)):
        p[k, k:] -= gain[k] * ph[k:]
    mirror(p)
