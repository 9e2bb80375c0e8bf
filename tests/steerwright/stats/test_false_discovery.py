"""q-values against scipy's."""

import numpy as np
from scipy.stats import false_discovery_control

from steerwright.stats.significance import q_values


def test_q_values_are_scipys() -> None:
    p_values = np.random.default_rng(0).random((5, 40)) ** 3
    p_values[2, :4] = p_values[0, 0]  # ties
    expected = false_discovery_control(p_values, axis=None).reshape(p_values.shape)
    np.testing.assert_allclose(q_values(p_values), expected, rtol=1e-12)


def test_by_hand() -> None:
    # 0.01 * 3 / 1 = 0.03; 0.02 * 3 / 2 = 0.03; 0.9 * 3 / 3 = 0.9
    np.testing.assert_allclose(q_values(np.array([0.9, 0.01, 0.02])), [0.9, 0.03, 0.03])
    assert q_values(np.zeros((0,))).shape == (0,)
