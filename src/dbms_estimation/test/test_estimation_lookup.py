# SPDX-License-Identifier: Apache-2.0
"""What makes a step cheap gives the same numbers as the plain formula."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dbms_estimation.columns import BIAS, STATES
from dbms_estimation.covariance import correct, mirror, propagate
from dbms_estimation.ecm import CellTables
from dbms_estimation.lookup import circuit, rest
from dbms_pack import load_cell

CELLS = ('lg_hg2', 'a123_m1a', 'ncr18650pf', 'lfp_280ah', 'leaf', 'tbsi_lfp')
PLACES = st.lists(
    st.lists(
        st.tuples(st.floats(-0.05, 1.05), st.floats(-50.0, 80.0) | st.sampled_from([5.0, 25.0])),
        min_size=3,
        max_size=3,
    ),
    min_size=1,
    max_size=6,
)


@pytest.fixture(scope='module', params=CELLS)
def lookups(request):
    tables = CellTables(load_cell(request.param))
    return tables, circuit(tables, 0.01), rest(tables)


@settings(deadline=None, max_examples=50)
@given(PLACES, st.booleans())
def test_what_is_looked_up_is_what_the_tables_say(lookups, steps, grown):
    tables, of_circuit, of_rest = lookups
    for step in steps:
        soc, celsius = np.array(step[:2] if grown else step).T
        z = tables.impedance(soc, celsius)
        error = tables.model_error(celsius, 0.01, soc)
        share = np.broadcast_to(tables.capacity(celsius), soc.shape)
        expected = np.stack([z.r0, z.r1, z.r2, z.tau1, z.tau2, error, share])
        assert of_circuit.at(soc, celsius) == pytest.approx(expected, rel=1e-9, abs=1e-12)
        expected = np.stack([*tables.ocv(soc, celsius), tables.hysteresis(soc)])
        assert of_rest.at(soc, celsius) == pytest.approx(expected, rel=1e-9, abs=1e-11)
        # Asked again, a cell that has not moved is not looked up anew; it says the same.
        assert (of_rest.at(soc, celsius) == of_rest.at(soc.copy(), celsius.copy())).all()


def test_half_of_a_symmetric_matrix_is_the_whole():
    random = np.random.default_rng(1)
    n = 7
    root = random.normal(size=(STATES, STATES, n))
    p = np.einsum('ikn,jkn->ijn', root, root)
    decay = random.uniform(0.2, 1.0, (STATES, n))
    decay[0] = 1.0
    of_bias = random.normal(size=(BIAS, n))
    transition = np.zeros((STATES, STATES, n))
    transition[range(STATES), range(STATES)] = decay
    transition[:BIAS, BIAS] = of_bias
    expected = np.einsum('ikn,kln,jln->ijn', transition, p, transition)
    propagate(p, decay, of_bias, BIAS)
    mirror(p)
    assert p == pytest.approx(expected, rel=1e-12, abs=1e-12)
    ph, weight = random.normal(size=(STATES, n)), random.uniform(0.0, 1.0, n)
    correct(p, weight * ph, ph)
    assert p == pytest.approx(expected - weight * ph[:, None] * ph[None], rel=1e-12, abs=1e-12)
    assert (p == p.transpose(1, 0, 2)).all()
