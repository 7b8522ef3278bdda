# SPDX-License-Identifier: Apache-2.0
"""The pack that benchmarks run: strings, modules and cells by number, debounce zero."""

from pathlib import Path

_HEAD = """\
name: {name}
description: {strings} strings of {modules} modules of {cells} cells, made for a benchmark
cell: lg_hg2
parallel: 1
buses:
  main: {{interface: socketcand, channel: bench, bitrate: 1000000}}
modules_default: {{period: 0.1}}
strings:
"""
_STRING = """\
  - name: s{s}
    current_sensor: {{bus: main, address: {s}, period: 0.02, voltage_period: 0.1, range: 500}}
    contactors:
      bus: main
      address: {s}
      lease: 0.5
      feedback_timeout: 0.5
      break_current: 20
      grace: 1.0
      join_voltage: 5.0
      precharge:
        {{voltage: 5.0, current: 1.0, min_time: 0.05, timeout: 2.0, attempts: 3, pause: 0.1}}
    modules:
"""
_MODULE = '      - {{name: m{m}, bus: main, address: {m}, cells: {cells}, temperatures: 4}}\n'
# A cell that is bad opens without a debounce, which is a choice and no delay; an over-current with
# that of the shipped packs.
_LIMITS = """\
limits:
  set: nmc
  cell_overvoltage:
    mol: {at: 4.15, debounce: 0.0, hysteresis: 0.01, latch: false}
    rsl: {at: 4.18, debounce: 0.0, hysteresis: 0.01, latch: false}
    msl: {at: 4.22, debounce: 0.0, hysteresis: 0.01, latch: true}
  cell_undervoltage:
    mol: {at: 3.1, debounce: 1.0, hysteresis: 0.05, latch: false}
    rsl: {at: 3.0, debounce: 1.0, hysteresis: 0.05, latch: false}
    msl: {at: 2.8, debounce: 1.0, hysteresis: 0.05, latch: true}
  overtemperature_charge:
    mol: {at: 42, debounce: 5.0, hysteresis: 2, latch: false}
    rsl: {at: 45, debounce: 5.0, hysteresis: 2, latch: false}
    msl: {at: 50, debounce: 5.0, hysteresis: 2, latch: true}
  undertemperature_charge:
    mol: {at: 5, debounce: 5.0, hysteresis: 2, latch: false}
    rsl: {at: 2, debounce: 5.0, hysteresis: 2, latch: false}
    msl: {at: 0, debounce: 5.0, hysteresis: 2, latch: true}
  overtemperature_discharge:
    mol: {at: 50, debounce: 5.0, hysteresis: 2, latch: false}
    rsl: {at: 55, debounce: 5.0, hysteresis: 2, latch: false}
    msl: {at: 60, debounce: 5.0, hysteresis: 2, latch: true}
  undertemperature_discharge:
    mol: {at: -10, debounce: 5.0, hysteresis: 2, latch: false}
    rsl: {at: -15, debounce: 5.0, hysteresis: 2, latch: false}
    msl: {at: -20, debounce: 5.0, hysteresis: 2, latch: true}
  overcurrent_charge:
    mol: {at: 100, debounce: 0.5, hysteresis: 5, latch: false}
    rsl: {at: 120, debounce: 0.5, hysteresis: 5, latch: false}
    msl: {at: 150, debounce: 0.03, hysteresis: 5, latch: true}
  overcurrent_discharge:
    mol: {at: 100, debounce: 0.5, hysteresis: 5, latch: false}
    rsl: {at: 120, debounce: 0.5, hysteresis: 5, latch: false}
    msl: {at: 150, debounce: 0.03, hysteresis: 5, latch: true}
  short_circuit:
    msl: {at: 400, debounce: 0.0, hysteresis: 5, latch: true}
  module_lost: {timeout: 1.0, derate: 0.5, open_after: 60}
  string_lost: {timeout: 1.0, derate: 0.0, open_after: 0}
  rest_current: 0.5
"""


def write_pack(path: Path, strings: int, modules: int, cells: int) -> None:
    """Write a pack file with `modules` modules of `cells` cells in each of `strings` strings."""
    text = _HEAD.format(name=path.stem, strings=strings, modules=modules, cells=cells)
    for s in range(strings):
        text += _STRING.format(s=s)
        for m in range(s * modules, (s + 1) * modules):
            text += _MODULE.format(m=m, cells=cells)
    path.write_text(text + _LIMITS)
