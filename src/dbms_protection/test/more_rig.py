# SPDX-License-Identifier: Apache-2.0
"""Triggers of all quantities that a pack may limit, for the tests."""

from dbms_pack import Level, Limit, Trigger

# MOL, RSL, MSL of every quantity, as a pack might have them.
AT = {
    'deep_discharge': (2.6, 2.5, 2.4),
    'voltage_jump': (0.3, 1.0, 3.0),
    'voltage_stuck': (0.05, 0.1, 0.2),
    'voltage_spread': (0.2, 0.3, 0.5),
    'temperature_rise': (10.0, 30.0, 60.0),
    'temperature_jump': (8.0, 40.0, 100.0),
    'temperature_stuck': (3.0, 5.0, 20.0),
    'temperature_spread': (8.0, 12.0, 20.0),
    'temperature_mismatch': (4.0, 8.0, 20.0),
    'clock_skew': (0.2, 0.5, 0.9),
    'string_overvoltage': (4.15, 4.18, 4.22),
    'string_undervoltage': (3.0, 2.9, 2.8),
    'link_overvoltage': (4.2, 4.3, 4.4),
    'link_mismatch': (0.5, 1.0, 2.0),
    'voltage_mismatch': (0.05, 0.1, 0.2),
    'overload': (40.0, 50.0, 60.0),
    'current_mismatch': (10.0, 30.0, 50.0),
    'open_current': (1.0, 3.0, 5.0),
    'open_link': (0.5, 0.7, 0.9),
    'precharge_current': (0.2, 3.0, 5.0),
    'insulation': (1000.0, 500.0, 100.0),
    'voltage_age': (0.4, 0.8, 1.2),
    'insulation_age': (3.0, 5.0, 20.0),
}

WINDOWS = {'temperature_rise': 10.0, 'overload': 10.0, 'open_link': 5.0}


def trigger(key, debounce=0.0, **options):
    """Return a trigger at all levels; the hysteresis is a hundredth of the first limit."""
    limits = {
        level: Limit(
            at, debounce, AT[key][0] / 100.0, level is Level.MSL,
            derate=0.4 if level is Level.RSL else None, **options,
        )
        for level, at in zip(Level, AT[key], strict=True)
    }  # fmt: skip
    return Trigger(limits, window=WINDOWS.get(key, 0.0))
