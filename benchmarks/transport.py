"""Time of otpilot's transport solver over POT's and OTT-JAX's, on the batches that training solves, at equal accuracy.

Every cell solves the same random problems (unit-mean costs, uniform in [0, 2]) with each solver, one after the other
and several times over, and compares medians. POT runs as the seed-era code calls it (float64, 1000 iterations, 1e-6)
and with the loosest power of ten as its threshold whose true relative L1 error is within our tolerance.
OTT-JAX (compiled, whole stack at once, float64) takes part where it can be imported, at the loosest threshold that is
within our tolerance of its own solution at 1e-10 (its reference measure differs, hence its plan).

Run: python benchmarks/transport.py [--sizes 8 32] [--threads 1] [--tolerance 1e-3] [--out table.md]
"""

import argparse
import os
import time
import warnings
from collections.abc import Callable
from pathlib import Path

THREADS = os.environ.get("OMP_NUM_THREADS", "1")
os.environ["OMP_NUM_THREADS"] = THREADS

import numpy as np  # noqa: E402
import torch  # noqa: E402

from otpilot.transport.solver import solve  # noqa: E402

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import ot

SIZES = (8, 16, 32, 64, 128, 256, 512)
STACKS = (1, 16)
REGIMES = ((0.1, 0.5), (0.1, 5.0), (0.01, 5.0))
THRESHOLDS = (1e-2, 1e-3, 1e-4, 1e-5, 1e-6, 1e-7, 1e-8)
BUDGET_S = 0.4
MAX_ITERATIONS = 100_000


def solve_pot(costs: np.ndarray, reg: float, tau: float, threshold: float, limit: int) -> tuple[np.ndarray, int]:
    n = costs.shape[1]
    a = np.full(n, 1.0 / n)
    c = np.outer(a, a)
    plans, most = [], 0
    for cost in costs:
        plan, log = ot.unbalanced.sinkhorn_knopp_unbalanced(
            a, a, cost, reg, tau, reg_type="kl", c=c, numItermax=limit, stopThr=threshold, log=True
        )
        plans.append(plan)
        most = max(most, len(log["err"]))
    return np.stack(plans), most


def ott_solver(reg: float, tau: float, threshold: float) -> Callable[[np.ndarray], np.ndarray] | None:
    try:
        import jax
        from ott.geometry import geometry
        from ott.problems.linear import linear_problem
        from ott.solvers.linear import sinkhorn
    except ImportError:
        return None
    jax.config.update("jax_enable_x64", True)
    ratio = tau / (tau + reg)

    def one(cost):  # type: ignore[no-untyped-def]
        problem = linear_problem.LinearProblem(geometry.Geometry(cost, epsilon=reg), tau_a=ratio, tau_b=ratio)
        return sinkhorn.Sinkhorn(threshold=threshold, max_iterations=10_000, lse_mode=True)(problem).matrix

    stacked = jax.jit(jax.vmap(one))
    return lambda costs: np.asarray(stacked(costs))


def error(plans: np.ndarray, exact: np.ndarray) -> float:
    return float((np.abs(plans - exact).sum((1, 2)) / exact.sum((1, 2))).max())


def interleaved(solvers: dict[str, Callable[[], object]]) -> dict[str, float]:
    """Median seconds of each solver; they take turns, so that a busy machine slows all of them alike."""
    times: dict[str, list[float]] = {name: [] for name in solvers}
    for run in solvers.values():
        run()
    begin = time.perf_counter()
    while time.perf_counter() - begin < BUDGET_S * len(solvers) or len(next(iter(times.values()))) < 5:
        for name, run in solvers.items():
            start = time.perf_counter()
            run()
            times[name].append(time.perf_counter() - start)
    return {name: float(np.median(found)) for name, found in times.items()}


def loosest(run: Callable[[float], np.ndarray], exact: np.ndarray, tolerance: float) -> float | None:
    for threshold in THRESHOLDS:
        if error(run(threshold), exact) <= tolerance:
            return threshold
    return None


def cell(n: int, stack: int, reg: float, tau: float, tolerance: float) -> dict[str, str]:
    costs = 2.0 * np.random.default_rng(n * 31 + stack).random((stack, n, n))
    tensor = torch.from_numpy(costs)
    exact = solve(tensor, reg=reg, tau_src=tau, tau_tgt=tau, tolerance=1e-7)
    reference = exact.plan.numpy()
    ours = solve(tensor, reg=reg, tau_src=tau, tau_tgt=tau, tolerance=tolerance)
    seed_plan, seed_iterations = solve_pot(costs, reg, tau, 1e-6, 1000)
    equal = loosest(
        lambda threshold: solve_pot(costs[:1], reg, tau, threshold, MAX_ITERATIONS)[0], reference[:1], tolerance
    )
    equal = 1e-8 if equal is None else equal
    equal_plan, equal_iterations = solve_pot(costs, reg, tau, equal, MAX_ITERATIONS)
    solvers: dict[str, Callable[[], object]] = {
        "ours": lambda: solve(tensor, reg=reg, tau_src=tau, tau_tgt=tau, tolerance=tolerance).plan,
        "seed": lambda: solve_pot(costs, reg, tau, 1e-6, 1000),
        "equal": lambda: solve_pot(costs, reg, tau, equal, MAX_ITERATIONS),
    }
    ott = None
    if ott_solver(reg, tau, 1e-3) is not None:
        own = ott_solver(reg, tau, 1e-10)(costs)  # type: ignore[misc]
        ott = loosest(lambda t: ott_solver(reg, tau, t)(costs), own, tolerance)  # type: ignore[misc]
        if ott is not None:
            compiled = ott_solver(reg, tau, ott)
            solvers["ott"] = lambda: compiled(costs)  # type: ignore[misc]
    times = interleaved(solvers)
    return {
        "n": str(n),
        "problems": str(stack),
        "reg, tau": f"{reg:g}, {tau:g}",
        "ours ms": f"{1e3 * times['ours']:.2f}",
        "steps": str(ours.iterations),
        "error": f"{error(ours.plan.numpy(), reference):.0e}",
        "certified": f"{ours.error_bound.max().item():.0e}",
        "POT as called": f"{times['seed'] / times['ours']:.2f}",
        "its (error)": f"{seed_iterations} ({error(seed_plan, reference):.0e})",
        "POT at equal accuracy": f"{times['equal'] / times['ours']:.2f}",
        "its (error) ": f"{equal_iterations} ({error(equal_plan, reference):.0e})",
        "OTT-JAX": f"{times['ott'] / times['ours']:.2f}" if "ott" in times else "-",
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES)
    parser.add_argument("--stacks", type=int, nargs="+", default=STACKS)
    parser.add_argument("--tolerance", type=float, default=1e-3)
    parser.add_argument("--out", type=Path, help="also write the table to this Markdown file")
    arguments = parser.parse_args()
    torch.set_num_threads(int(THREADS))
    lines: list[str] = []
    print(f"Ratios are the other solver's time over ours; {THREADS} thread(s); tolerance {arguments.tolerance:g}.\n")
    for stack in arguments.stacks:
        for n in arguments.sizes:
            for reg, tau in REGIMES:
                row = cell(n, stack, reg, tau, arguments.tolerance)
                if not lines:
                    lines = ["| " + " | ".join(row) + " |", "|" + "---|" * len(row)]
                    print("\n".join(lines))
                lines.append("| " + " | ".join(row.values()) + " |")
                print(lines[-1], flush=True)
    if arguments.out:
        arguments.out.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
