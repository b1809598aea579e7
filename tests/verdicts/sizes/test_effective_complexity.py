"""Effective complexity: by hand."""

import numpy as np
import pytest

from sddcli.verdicts.sizes.effective_complexity import judge

NAN = float("nan")


def test_by_hand() -> None:
    train = np.array([[1.0, 1.0, 0.8, 1.0, 0.9], [1.0, 0.95, 0.7, NAN, 0.8], [1.0, 0.85, 0.6, 0.8, 0.95]])
    found = judge([100, 200, 400], train)
    assert found["at_least"] == [True, False, False, False, True]
    assert found["effective_complexity"] == [400.0, pytest.approx(200 * 2**0.5), None, pytest.approx(100 * 2), 400.0]


def test_a_smaller_error_fits_no_more() -> None:
    train = np.sort(np.random.default_rng(0).random((5, 30)), axis=0)[::-1]
    sizes = [10, 20, 40, 80, 160]
    loose, strict = (judge(sizes, train, error=error)["effective_complexity"] for error in (0.5, 0.2))
    assert all(b is None or (a is not None and a >= b) for a, b in zip(loose, strict, strict=True))
    assert any(b is not None and a > b for a, b in zip(loose, strict, strict=True))
