"""Fast iterations on a fixed kernel, for problems whose strength is not small against the cost.

The kernel exp(-C/reg) is formed once, rows shifted by their largest entry. The unknowns are the logarithms d of the
column scalings; rows are eliminated, and both potentials are defined up to a constant only, which is what Sejourne,
Vialard and Peyre (2022) call translation-invariant updates. Small problems take Newton steps, others Anderson's
acceleration (Walker and Ni 2011) of the Sinkhorn step, where an accelerated step that raises the gap is taken back.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from otpilot.transport.newton import TIGHT_RATIO, Problem, Solution

KERNEL_RANGE = 500.0
"""Largest range of the cost over reg at which exp stays clear of underflow in float64."""
EASY_RANGE = 50.0
"""Range of the cost over reg up to which problems of any size converge in a few steps."""
NEWTON_WORK = 400_000
"""Problems times columns cubed up to which a Newton step is cheaper than the Anderson steps it saves."""
NEWTON_STEPS = 12
ANDERSON_STEPS = 96
PATIENCE = 8
"""After so many Anderson steps the gap must have fallen tenfold, else the path of falling strength takes over."""
FIRST_ACCELERATED = 3
"""Anderson steps start here: large problems are often done before they would pay."""
MEMORY = 4
STEP_CAP = 8.0
"""Largest change of d in one step."""


@dataclass(frozen=True, kw_only=True)
class Scaling:
    """The plan diag(row_scale) K diag(col_scale) at column log scalings d, with rows optimal for it."""

    row_sum: Float[Tensor, "b n"]
    rows: Float[Tensor, "b n"]
    row_scale: Float[Tensor, "b n"]
    col_scale: Float[Tensor, "b m"]
    cols: Float[Tensor, "b m"]
    residual: Float[Tensor, "b m"]
    gap: Float[Tensor, "b 1"]


class Kernel:
    """The kernel of a stack of problems and the map from column log scalings to plans."""

    def __init__(self, problem: Problem) -> None:
        """Form the kernel, (b, n, m) in float64."""
        self.problem = problem
        self.ratio_rows = problem.reg / problem.tau_rows
        self.ratio_cols = problem.reg / problem.tau_cols
        exponent = torch.sub(problem.log_prior, problem.cost, alpha=1.0 / problem.reg)
        self._high = exponent.amax(-1)
        self.matrix = exponent.sub_(self._high[..., None]).exp_()
        self._power = self.ratio_rows / (1.0 + self.ratio_rows)
        self._row_base = problem.log_rows / (1.0 + self.ratio_rows) + self._power * self._high

    def scale(self, d: Float[Tensor, "b m"]) -> Scaling:
        """Return the plan at `d`, the log residual of its columns and its gap over reg."""
        col_scale = d.exp()
        row_sum = torch.bmm(self.matrix, col_scale[..., None])[..., 0]
        rows = torch.softmax(torch.add(self._row_base, row_sum.log(), alpha=self._power), -1)
        row_scale = rows / row_sum
        cols = torch.bmm(row_scale[:, None, :], self.matrix)[:, 0] * col_scale
        wanted = torch.log_softmax(torch.sub(self.problem.log_cols, d, alpha=self.ratio_cols), -1)
        residual = wanted - cols.log()
        gap = ((torch.expm1(residual) - residual) * cols).sum(-1, keepdim=True) / self.ratio_cols
        return Scaling(
            row_sum=row_sum,
            rows=rows,
            row_scale=row_scale,
            col_scale=col_scale,
            cols=cols,
            residual=residual,
            gap=gap,
        )

    def solution(self, d: Float[Tensor, "b m"], at: Scaling, iterations: int) -> Solution:
        """Return the plan and potentials at `d`; the kernel becomes the plan, in place."""
        log_sum = at.row_sum.log() + self._high
        return Solution(
            unit_plan=self.matrix.mul_(at.row_scale[..., None]).mul_(at.col_scale[:, None, :]),
            row_potential=(self.problem.log_rows - log_sum) * (self.problem.reg / (1.0 + self.ratio_rows)),
            col_potential=d * self.problem.reg,
            gap_over_reg=at.gap[:, 0],
            iterations=iterations,
        )


def suits_kernel(problem: Problem) -> bool:
    """Return whether the kernel iterations can be expected to converge (one host round trip).

    Small problems with few entries per row within reach of reg need many steps; there falling strength is faster.
    """
    spread = float(problem.spread.amax()) / problem.reg
    if problem.reg < problem.tau_cols * TIGHT_RATIO or spread > KERNEL_RANGE:
        return False
    return spread <= EASY_RANGE or spread <= problem.cost.shape[2]


def solve_kernel(
    problem: Problem, *, gap_over_reg: float, max_iterations: int, check_every: int
) -> tuple[Solution, Bool[Tensor, "b"]]:
    """Return the solution and which problems reached the gap; those that did not should go to `solve_newton`.

    Needs soft columns and a range of the cost over reg of at most KERNEL_RANGE.
    """
    kernel = Kernel(problem)
    batch, _, width = problem.cost.shape
    if batch * width**3 <= NEWTON_WORK:
        d, at, iterations = _newton(kernel, gap_over_reg, min(NEWTON_STEPS, max_iterations), check_every)
    else:
        d, at, iterations = _anderson(kernel, gap_over_reg, min(ANDERSON_STEPS, max_iterations), check_every)
    return kernel.solution(d, at, iterations), at.gap[:, 0] <= gap_over_reg


def _newton(kernel: Kernel, wanted: float, limit: int, check_every: int) -> tuple[Tensor, Scaling, int]:
    """Return the last scalings of capped Newton steps on the log residual."""
    d = torch.zeros_like(kernel.matrix[:, 0])
    at = kernel.scale(d)
    share = 1.0 / (1.0 + kernel.ratio_rows)
    for iteration in range(1, limit):
        if iteration % check_every == 0 and float(at.gap.amax()) <= wanted:
            return d, at, iteration
        inner = kernel.matrix * (at.row_scale / at.row_sum)[..., None]
        weight = at.cols / at.col_scale
        diagonal = torch.diag_embed(weight / at.col_scale).mul_(1.0 + kernel.ratio_cols)
        factor, _ = torch.linalg.cholesky_ex(torch.baddbmm(diagonal, kernel.matrix.mT, inner, alpha=-share))
        step = torch.cholesky_solve((weight * at.residual)[..., None], factor)[..., 0] / at.col_scale
        step = step - step.mean(-1, keepdim=True)
        d = d + step.clamp_(-STEP_CAP, STEP_CAP)
        at = kernel.scale(d)
    return d, at, limit


def _anderson(kernel: Kernel, wanted: float, limit: int, check_every: int) -> tuple[Tensor, Scaling, int]:
    """Return the last scalings of Anderson-accelerated Sinkhorn steps; gives up where the gap stops falling."""
    d = torch.zeros_like(kernel.matrix[:, 0])
    history = History(d)
    at = kernel.scale(d)
    worst = float("inf")
    for iteration in range(1, limit):
        if iteration % check_every == 0 and float(at.gap.amax()) <= wanted:
            return d, at, iteration
        if iteration % PATIENCE == 0:
            now = float(at.gap.amax())
            if not now < 0.1 * worst:
                return d, at, iteration
            worst = now
        plain = at.residual / (1.0 + kernel.ratio_cols)
        d = d + plain if iteration < FIRST_ACCELERATED else history.next(d, plain, at)
        at = kernel.scale(d)
    return d, at, limit


class History:
    """The last MEMORY differences of iterates and of their Sinkhorn steps, per problem."""

    def __init__(self, d: Float[Tensor, "b m"]) -> None:
        """Start empty; empty slots are zero and get no weight."""
        self._steps = d.new_zeros(d.shape[0], MEMORY, d.shape[1])
        self._moves = torch.zeros_like(self._steps)
        self._ridge = torch.eye(MEMORY, dtype=d.dtype, device=d.device)
        self._last: tuple[Tensor, Tensor, Tensor] | None = None
        self._count = 0

    def next(self, d: Float[Tensor, "b m"], plain: Float[Tensor, "b m"], at: Scaling) -> Float[Tensor, "b m"]:
        """Return the next iterate: accelerated, or the plain step from the one before where the gap has risen."""
        if self._last is None:
            self._last = (d, plain, at.gap)
            return d + plain
        old_d, old_plain, old_gap = self._last
        slot = self._count % MEMORY
        self._count += 1
        torch.sub(plain, old_plain, out=self._steps[:, slot])
        torch.add(self._steps[:, slot], d - old_d, out=self._moves[:, slot])
        weighted = self._steps * at.cols[:, None, :]
        gram = torch.bmm(weighted, self._steps.mT)
        size = gram.diagonal(dim1=-2, dim2=-1).sum(-1)[:, None, None]
        share, _ = torch.linalg.solve_ex(
            gram + (1e-12 * size + 1e-200) * self._ridge, torch.bmm(weighted, plain[..., None])
        )
        step = plain - torch.bmm(share.mT, self._moves)[:, 0]
        risen = (at.gap > old_gap) | ~torch.isfinite(step).all(-1, keepdim=True)
        step = step.clamp_(-STEP_CAP, STEP_CAP)
        self._last = (
            torch.where(risen, old_d, d),
            torch.where(risen, old_plain, plain),
            torch.minimum(at.gap, old_gap),
        )
        return torch.where(risen, old_d + old_plain, d + step)
