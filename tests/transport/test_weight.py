"""The automatic weight brings the gradient share to its target and keeps it there."""

import json
import random

import pytest

from otpilot.errors import TransportError
from otpilot.transport.weight import AutoWeight


def test_the_share_is_kept_while_scales_drift():
    rng = random.Random(0)
    weight = AutoWeight(0.1)
    assert weight.value == 0.0
    bc, ot = 3.0, 400.0
    shares = []
    for step in range(300):
        bc, ot = bc * 0.99, ot * 1.01
        weight.observe(bc_norm=bc * rng.uniform(0.7, 1.4), ot_norm=ot * rng.uniform(0.7, 1.4))
        shares.append(weight.value * ot / bc)
        assert step < 5 or 0.07 < shares[-1] < 0.17
    assert weight.value < 0.1 * 3.0 / 400.0


def test_the_first_measurement_counts_fully_and_single_ones_little_later():
    weight = AutoWeight(0.2)
    assert weight.observe(bc_norm=1.0, ot_norm=4.0) == pytest.approx(0.05)
    for _ in range(50):
        weight.observe(bc_norm=1.0, ot_norm=4.0)
    assert weight.observe(bc_norm=1.0, ot_norm=4e-3) < 0.05 * 2.1


def test_measurements_without_a_part_are_skipped():
    weight = AutoWeight(0.2)
    weight.observe(bc_norm=1.0, ot_norm=4.0)
    before = weight.state_dict()
    weight.observe(bc_norm=1.0, ot_norm=0.0)
    weight.observe(bc_norm=0.0, ot_norm=1.0)
    assert weight.state_dict() == before


def test_the_state_survives_json_bit_for_bit():
    one = AutoWeight(0.1)
    for norm in (1.0, 0.3, 7.0):
        one.observe(bc_norm=norm, ot_norm=2.0)
    two = AutoWeight(0.1)
    two.load_state_dict(json.loads(json.dumps(one.state_dict())))
    assert one.observe(bc_norm=0.1, ot_norm=0.7) == two.observe(bc_norm=0.1, ot_norm=0.7)


def test_bad_values_are_refused():
    for share in (0.0, -1.0, 1.5):
        with pytest.raises(TransportError, match="target_grad_share"):
            AutoWeight(share)
    with pytest.raises(TransportError, match="decay"):
        AutoWeight(0.1, decay=1.0)
    with pytest.raises(TransportError, match="ot_norm is nan"):
        AutoWeight(0.1).observe(bc_norm=1.0, ot_norm=float("nan"))
