# SPDX-License-Identifier: Apache-2.0
"""What a schema cannot say about a cell model."""

import pytest
from pack_rig import CELLS, cell_of, changed, problems_of, shipped


@pytest.mark.parametrize(
    ('changes', 'key', 'said'),
    [
        ({'voltage.max': 2.4}, 'voltage.max', 'above voltage.min'),
        ({'voltage.nominal': 4.5}, 'voltage.nominal', 'between'),
        ({'ocv.soc.3': 0.0}, 'ocv.soc[3]', 'the points rise'),
        ({'ocv.soc.0': 0.001}, 'ocv.soc', 'from 0 to 1'),
        ({'ocv.soc.-1': 0.9999}, 'ocv.soc', 'from 0 to 1'),
        ({'ocv.voltage.5': 2.0}, 'ocv.voltage[5]', 'the points rise'),
        ({'ocv.voltage.0': 1.0}, 'ocv.voltage', 'within 0.3 V'),
        ({'ocv.voltage': [3.0, 4.0]}, 'ocv.voltage', 'one per SOC point'),
        ({'ocv.entropic': [0.0, 0.0]}, 'ocv.entropic', 'one per SOC point'),
        ({'ocv.entropic': [0, float('nan')]}, 'ocv.entropic[1]', 'finite'),
        ({'impedance.r0_charge': [[0.1]]}, 'impedance.r0_charge', '5, one per temperature'),
        ({'thermal.neighbour_resistance': 0}, 'thermal.neighbour_resistance', 'above 0'),
        (
            {'model_error.by_soc': {'socs': [0.5, 0.4], 'voltage': [[0.01, 0.02]] * 6}},
            'model_error.by_soc.socs[1]',
            'the points rise',
        ),
        (
            {'model_error.by_soc': {'socs': [0.5], 'voltage': [[0.01]]}},
            'model_error.by_soc.voltage',
            'one per temperature',
        ),
        (
            {'model_error.by_soc': {'socs': [0, 1], 'voltage': [[0.01]] * 20}},
            'model_error.by_soc.voltage[0]',
            'one per SOC',
        ),
        ({'model_error.load': 0}, 'model_error.load', 'above 0'),
        ({'self_discharge': -0.1}, 'self_discharge', '0'),
        ({'ageing': {'cycle_fade': 2}}, 'ageing.cycle_fade', '0.1'),
        ({'impedance.temperatures.0': 90}, 'impedance.temperatures[1]', 'the points rise'),
        ({'impedance.temperatures': [25]}, 'impedance.r0', '1, one per temperature'),
        ({'impedance.r2.0': [0.001]}, 'impedance.r2[0]', 'one per SOC'),
        ({'impedance.saturation': 0}, 'impedance.saturation', '0.01'),
        ({'impedance.saturation': [0.1]}, 'impedance.saturation', 'number'),
        ({'impedance.tau1.1.0': 0}, 'impedance.tau1[1][0]', 'above 0'),
        ({'impedance.r0.0.0': '0,01'}, 'impedance.r0[0][0]', 'write 0.01 with a point'),
    ],
)
def test_what_does_not_fit_is_refused(changes, key, said):
    data = shipped('lg_hg2')
    last = len(data['ocv']['soc']) - 1
    text = changed('lg_hg2', *((k.replace('-1', str(last)), v) for k, v in changes.items()))
    problem = next(p for p in problems_of(text, cell_of) if p.key == key)
    assert said in problem.allowed
    assert problem.line > 0


@pytest.mark.parametrize('name', CELLS)
def test_a_shipped_cell_is_finely_tabulated(name):
    from dbms_pack import load_cell

    cell = load_cell(name)
    assert 21 <= cell.ocv_soc.size <= 61
    shape = (cell.temperatures.size, cell.socs.size)
    for table in (cell.r0, cell.r1, cell.tau1, cell.r2, cell.tau2):
        assert table.shape == shape
        assert not table.flags.writeable
    assert (cell.tau1 < cell.tau2).all()
    assert 'rovisional' not in cell.source


def test_what_may_be_left_out_is_loaded_where_it_is_there():
    plain = cell_of(changed('lg_hg2', ('thermal', {'heat_capacity': 45, 'resistance': 12})))
    assert plain.r0_charge is None
    assert plain.neighbour_resistance == float('inf')
    points = len(shipped('lg_hg2')['ocv']['soc'])
    cell = cell_of(
        changed(
            'lg_hg2',
            ('ocv.entropic', [-1e-4] * points),
            ('impedance.r0_charge', shipped('lg_hg2')['impedance']['r1']),
            ('impedance.saturation', 0.3),
            ('thermal.neighbour_resistance', 3),
            ('model_error.load', 0.07),
            ('self_discharge', 0.02),
            ('ageing', {'cycle_fade': 1e-4}),
        )
    )
    assert (cell.entropic == -1e-4).all()
    assert (cell.r0_charge == plain.r1).all()
    assert cell.saturation == 0.3
    assert cell_of(changed('lfp_280ah')).saturation == float('inf')
    assert cell.neighbour_resistance == 3.0
    assert (plain.load_error, cell.load_error) == (None, 0.07)
    assert (cell.self_discharge, cell.ageing.cycle_fade, cell.ageing.doubling) == (0.02, 1e-4, 10)
