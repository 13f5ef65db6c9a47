"""Independent formulas that the tests compare with: the functional itself, and random problems."""

import math
import warnings

import torch
from hypothesis import strategies as st

with warnings.catch_warnings():  # a docstring of POT 0.9 has an invalid escape
    warnings.simplefilter("ignore")
    import ot

__all__ = ["functional", "ot", "problems", "random_cost", "reference_measure", "relative_l1", "strength_of"]


def kl(x, y):
    """Generalised relative entropy, 0 log 0 = 0."""
    return torch.xlogy(x, x / y.clamp_min(1e-320)).sum() - x.sum() + y.sum()


def reference_measure(n, m, kappa=0.0):
    product = torch.full((n, m), 1.0 / (n * m), dtype=torch.float64)
    return (1.0 - kappa) * product + (kappa / n * torch.eye(n, dtype=torch.float64) if kappa else 0.0)


def functional(pi, cost, prior, *, reg, tau_src, tau_tgt):
    """<pi,C> + reg KL(pi|R) + tau_src KL(pi 1|1/n) + tau_tgt KL(pi^T 1|1/m); hard marginals add nothing."""
    n, m = cost.shape
    value = (pi * cost).sum() + reg * kl(pi, prior)
    if tau_src is not None:
        value = value + tau_src * kl(pi.sum(1), torch.full((n,), 1.0 / n, dtype=torch.float64))
    if tau_tgt is not None:
        value = value + tau_tgt * kl(pi.sum(0), torch.full((m,), 1.0 / m, dtype=torch.float64))
    return value


def relative_l1(plan, other):
    return ((plan - other).abs().sum() / other.sum()).item()


def random_cost(seed, n, m, kind="uniform"):
    gen = torch.Generator().manual_seed(seed)
    if kind == "uniform":
        return 2.0 * torch.rand(n, m, generator=gen, dtype=torch.float64)
    x, y = (torch.randn(k, 3, generator=gen, dtype=torch.float64) for k in (n, m))
    cost = torch.cdist(x, y) ** 2
    return cost / cost.mean() if n * m > 1 else cost


@st.composite
def problems(draw, *, max_size=9, square=False, hard=True, low_reg=-3.0):
    """A random cost with mean near 1 and strengths over decades: (cost, dict of strengths)."""
    n = draw(st.integers(1, max_size))
    m = n if square else draw(st.integers(1, max_size))
    cost = random_cost(draw(st.integers(0, 2**31)), n, m, draw(st.sampled_from(["uniform", "points"])))
    tau = st.floats(-1.5, 3.0).map(lambda x: 10.0**x)
    tau = st.one_of(tau, st.none()) if hard else tau
    strengths = {"reg": 10.0 ** draw(st.floats(low_reg, 0.5)), "tau_src": draw(tau), "tau_tgt": draw(tau)}
    return cost, strengths


def strength_of(strengths):
    return sum(math.inf if tau is None else tau for tau in strengths.values())
