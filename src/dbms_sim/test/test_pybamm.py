# SPDX-License-Identifier: Apache-2.0
"""The same cell in PyBaMM's Thevenin model: another code, another solver, the same voltage.

PyBaMM is large and used here only: `./dbms python -m pip install -r tools/requirements/trust.txt`.
"""

from dataclasses import replace

import numpy as np
import pytest

from dbms_pack import load_cell
from dbms_sim.cell_physics import Cells

STEP = 0.1  # s
START, AMBIENT = 0.85, 15.0


def drive_cycle(capacity, seconds):
    """Return a current in A at each second: pulling away, braking, standing; discharge mostly."""
    random = np.random.default_rng(7)
    rates = []
    while len(rates) < seconds + 1:
        kind, length = random.integers(4), int(random.integers(3, 40))
        top = [0.0, -random.uniform(0.3, 1.0), -random.uniform(1.0, 3.0), 0.8 * random.random()]
        rates += [top[kind] * (0.7 + 0.3 * random.random()) for _ in range(length)]
    return np.array(rates[: seconds + 1]) * capacity


def parameters(pybamm, model, times, current):
    """Return the cell in PyBaMM's words: discharge is positive there, and a jig is the ambient."""

    def over(table):
        def lookup(temperature, _current, soc):
            axes = (model.temperatures, model.socs)
            return pybamm.Interpolant(axes, table, [temperature, soc], 'map')

        return lookup

    def capacitance(tau, resistance):
        return lambda *at: over(tau)(*at) / over(resistance)(*at)

    values = pybamm.ParameterValues('ECM_Example')
    values.update(
        {
            'Initial SoC': START,
            'Initial temperature [K]': AMBIENT + 273.15,
            'Ambient temperature [K]': AMBIENT + 273.15,
            'Cell capacity [A.h]': model.capacity,
            'Nominal cell capacity [A.h]': model.capacity,
            'Current function [A]': lambda t: pybamm.Interpolant(times, -current, t, 'cycle'),
            'Upper voltage cut-off [V]': 5.0,
            'Lower voltage cut-off [V]': 1.0,
            'Cell thermal mass [J/K]': model.heat_capacity,
            'Cell-jig heat transfer coefficient [W/K]': 1 / model.thermal_resistance,
            'Jig thermal mass [J/K]': 1e6,
            'Jig-air heat transfer coefficient [W/K]': 1e4,
            'Open-circuit voltage [V]': lambda soc: pybamm.Interpolant(
                model.ocv_soc, model.ocv_voltage, soc, 'ocv'
            ),
            'R0 [Ohm]': over(model.r0),
            'R1 [Ohm]': over(model.r1),
            'C1 [F]': capacitance(model.tau1, model.r1),
            'R2 [Ohm]': over(model.r2),
            'C2 [F]': capacitance(model.tau2, model.r2),
            'Element-1 initial overpotential [V]': 0,
            'Element-2 initial overpotential [V]': 0,
            'Entropic change [V/K]': lambda ocv, temperature: 0 * temperature,
        },
        check_already_exists=False,
    )
    return values


def theirs(pybamm, model, times, current, at):
    """Return voltage in V and temperature in degC at the times `at`."""
    circuit = pybamm.equivalent_circuit.Thevenin(options={'number of rc elements': 2})
    simulation = pybamm.Simulation(
        circuit,
        parameter_values=parameters(pybamm, model, times, current),
        solver=pybamm.IDAKLUSolver(rtol=1e-8, atol=1e-8),
    )
    solution = simulation.solve([times[0], times[-1]], t_interp=at)
    return solution['Voltage [V]'](at), solution['Cell temperature [degC]'](at)


def ours(model, times, current, at):
    cells = Cells(model, np.array([START]), [1], ambient=AMBIENT)
    voltage, temperature = [], []
    for now in np.interp(at, times, current):
        cells.carry(cells.prepare(STEP), np.array([now]))
        voltage.append(cells.voltages[0])
        temperature.append(cells.temperature[0])
    return np.array(voltage), np.array(temperature)


@pytest.mark.slow
@pytest.mark.parametrize('name', ['lg_hg2', 'lfp_280ah'])
def test_pybamm_gives_the_same_voltage_over_a_drive_cycle(name):
    reason = 'PyBaMM is not here, see tools/requirements/trust.txt'
    pybamm = pytest.importorskip('pybamm', reason=reason)
    model = load_cell(name)
    # PyBaMM's Thevenin model knows no hysteresis, and its R0 is linear.
    model = replace(model, hysteresis_voltage=np.zeros(1), entropic=np.zeros(1), saturation=np.inf)
    times = np.arange(1801.0)
    current = drive_cycle(model.capacity, 1800)
    at = np.arange(0.0, 1800.0, STEP) + STEP / 2  # a step's current is that of its middle
    voltage, temperature = ours(model, times, current, at)
    their_voltage, their_temperature = theirs(pybamm, model, times, current, at)
    assert np.ptp(voltage) > 0.2  # V: it was a drive
    error = np.sqrt(np.mean((voltage - their_voltage) ** 2))
    print(
        f'{name}: {error * 1e3:.3f} mV RMS, {np.abs(voltage - their_voltage).max() * 1e3:.2f} max'
    )
    assert error < 2e-3
    assert np.abs(temperature - their_temperature).max() < 0.05
