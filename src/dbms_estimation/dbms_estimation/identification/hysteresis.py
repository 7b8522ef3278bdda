# SPDX-License-Identifier: Apache-2.0
"""The hysteresis of the OCV: where between its two branches a history of charge leaves a cell.

The state is a play: it goes with the SOC, and stands still at -1 or 1. A small charge within a
long discharge moves it a little and is taken back again, as measured on LFP: there a state that
decays towards the sign of the current ends half way between the branches while a load brakes and
pulls, and misses the rest voltages by 10 mV where the play misses them by 2 mV.
"""

import numpy as np

from dbms_pack.model import FloatArray


def play(soc: FloatArray, span: float, begin: float) -> FloatArray:
    """Return the state -1..1 along a history of SOC.

    `span` is the change of SOC that takes the state from the middle to an edge; `begin` is the
    state before the first row.
    """
    steps = np.diff(soc, prepend=soc[0]) / span
    state, result = begin, np.empty(len(soc))
    for k, step in enumerate(steps.tolist()):
        state = min(max(state + step, -1.0), 1.0)
        result[k] = state
    return result
