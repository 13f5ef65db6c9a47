"""Newton's method on the semi-dual of the unit-mass problem, along a path of falling entropic strength.

The potentials of the rows are eliminated in closed form, so one linear system in those of the columns is left.
Residuals are taken in logarithms (log of wanted over actual marginal), which keeps a full step useful far from the
solution. Where the strength is small against the cost, it is lowered in stages, each started from the last by a secant
prediction; a stage that does not converge is taken back and repeated with a smaller fall. See docs/transport.md.
"""

import math
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float
from torch import Tensor

FIRST_STAGE = 20.0
"""The first stage's strength is the range of the cost over this number."""
FALL = 0.3
"""Strength of a stage over that of the last, at the start."""
GROWTH = 1.2
"""Power to which the fall is raised after a stage that converged at once."""
STEP_CAP = 4.0
"""Largest change of a potential in one step, in units of the strength."""
NEAR = 0.5
"""A stage has converged when the Newton step is below this, in units of the strength."""
NEAR_SPREAD = 1e-6
"""Or, for hard columns, when the mean square of the log residual is below this: where rows hang together weakly,
potentials may still move a lot then, but hardly matter."""
STILL = 1e-11
"""A final step below this changes nothing any more; the gap then is at the floor that rounding sets."""
STAGE_STEPS = 5
"""Steps after which a stage that has not converged is taken back."""
TIGHT_RATIO = 1e-4
"""Below this reg / tau the plain gap is too pessimistic and the Newton gap is computed too."""


@dataclass(frozen=True, kw_only=True)
class Problem:
    """A prepared stack of problems; rows are the side that is eliminated.

    `spread` is the range of each problem's cost. `tau_rows` and `tau_cols` are infinite for a hard marginal; columns
    are hard only where rows are too.
    """

    cost: Float[Tensor, "b n m"]
    log_prior: Float[Tensor, "#b n m"]
    log_rows: Float[Tensor, "#b n"]
    log_cols: Float[Tensor, "#b m"]
    spread: Float[Tensor, "b 1"]
    reg: float
    tau_rows: float
    tau_cols: float

    def split(self, size: int) -> list["Problem"]:
        """Return the problems in stacks of at most `size`."""
        count = self.cost.shape[0]
        return [self.pick(slice(start, start + size)) for start in range(0, count, size)]

    def pick(self, which: slice | Tensor) -> "Problem":
        """Return the chosen problems of the stack."""

        def choose(x: Tensor) -> Tensor:
            return x[which] if x.shape[0] == self.cost.shape[0] else x

        return replace(
            self,
            cost=self.cost[which],
            spread=self.spread[which],
            log_prior=choose(self.log_prior),
            log_rows=choose(self.log_rows),
            log_cols=choose(self.log_cols),
        )


@dataclass(frozen=True, kw_only=True)
class Solution:
    """Where the iteration stopped; gap over reg is dimensionless, potentials are in units of the cost."""

    unit_plan: Float[Tensor, "b n m"]
    row_potential: Float[Tensor, "b n"]
    col_potential: Float[Tensor, "b m"]
    gap_over_reg: Float[Tensor, "b"]
    iterations: int

    @staticmethod
    def join(parts: list["Solution"]) -> "Solution":
        """Return the stacks one behind the other; iterations are the most of any."""
        return Solution(
            unit_plan=torch.cat([part.unit_plan for part in parts]),
            row_potential=torch.cat([part.row_potential for part in parts]),
            col_potential=torch.cat([part.col_potential for part in parts]),
            gap_over_reg=torch.cat([part.gap_over_reg for part in parts]),
            iterations=max(part.iterations for part in parts),
        )

    def replace(self, which: Bool[Tensor, "b"], other: "Solution") -> "Solution":
        """Return the stack with the problems `which` taken from `other`, whose iterations come on top."""
        for mine, theirs in (
            (self.unit_plan, other.unit_plan),
            (self.row_potential, other.row_potential),
            (self.col_potential, other.col_potential),
            (self.gap_over_reg, other.gap_over_reg),
        ):
            mine[which] = theirs
        return replace(self, iterations=self.iterations + other.iterations)


@dataclass(frozen=True, kw_only=True)
class Point:
    """The plan that belongs to column potentials g at strength `reg` (b, 1), rows being optimal for g."""

    half_plan: Float[Tensor, "b n m"]
    root_rows: Float[Tensor, "b n"]
    unit_plan: Float[Tensor, "b n m"]
    row_potential: Float[Tensor, "b n"]
    cols: Float[Tensor, "b m"]
    log_wanted: Float[Tensor, "b m"]
    residual: Float[Tensor, "b m"]


def evaluate(problem: Problem, g: Float[Tensor, "b m"], reg: Float[Tensor, "b 1"]) -> Point:
    """Return the unit-mass plan for column potentials `g`, with optimal rows and the log residual of the columns."""
    ratio_rows = reg / problem.tau_rows
    kernel = problem.log_prior + (g[:, None, :] - problem.cost) / reg[..., None]
    row_sum = torch.logsumexp(kernel, -1)
    f = (problem.log_rows - row_sum) / (1.0 + ratio_rows)
    log_rows = torch.log_softmax(problem.log_rows - ratio_rows * f, -1)
    log_wanted = torch.log_softmax(problem.log_cols - g / problem.tau_cols, -1)
    half_plan = torch.exp(kernel + (0.5 * log_rows - row_sum)[..., None])
    root_rows = torch.exp(0.5 * log_rows)
    unit_plan = half_plan * root_rows[..., None]
    cols = unit_plan.sum(-2).clamp_min(torch.finfo(unit_plan.dtype).tiny)
    return Point(
        half_plan=half_plan,
        root_rows=root_rows,
        unit_plan=unit_plan,
        row_potential=f * reg,
        cols=cols,
        log_wanted=log_wanted,
        residual=log_wanted - cols.log(),
    )


def plain_gap(problem: Problem, point: Point, reg: Float[Tensor, "b 1"]) -> Float[Tensor, "b 1"]:
    """Return tau_cols KL(q | q~) / reg, the gap of the pair (P; f, g); infinite for hard columns."""
    if math.isinf(problem.tau_cols):
        return torch.full_like(reg, math.inf)
    divergence = (point.cols * (torch.expm1(point.residual) - point.residual)).sum(-1, keepdim=True)
    return divergence * problem.tau_cols / reg


def newton_step(
    problem: Problem, point: Point, reg: Float[Tensor, "b 1"]
) -> tuple[Float[Tensor, "b m"], Float[Tensor, "b m"]]:
    """Return two steps of the column potentials in units of reg: for the log residual, and for the linear one.

    Both solve with the same matrix (1 + reg/tau_cols) I - T^T T / (1 + reg/tau_rows), T = diag(p)^-1/2 P diag(q)^-1/2.
    The linear one is only computed for hard columns, whose certificate needs it; else it repeats the first.
    """
    hard = math.isinf(problem.tau_cols)
    root_cols = point.cols.sqrt()
    scaled = point.half_plan / root_cols[:, None, :]
    matrix = scaled.mT @ (scaled / -(1.0 + reg / problem.tau_rows)[..., None])
    matrix.diagonal(dim1=-2, dim2=-1).add_(1.0 + reg / problem.tau_cols)
    if hard:
        matrix = matrix + root_cols[:, :, None] * root_cols[:, None, :]
    right = (root_cols * point.residual)[..., None]
    if hard:
        right = torch.cat([right, ((point.log_wanted.exp() - point.cols) / root_cols)[..., None]], -1)
    factor, info = torch.linalg.cholesky_ex(matrix)
    steps = torch.cholesky_solve(right, factor) / root_cols[..., None]
    sinkhorn = point.residual / (1.0 + reg / problem.tau_cols)
    failed = (info != 0)[:, None] | ~torch.isfinite(steps).all(-1).all(-1, keepdim=True)
    step = torch.where(failed, sinkhorn, steps[..., 0])
    step = step - (point.cols * step).sum(-1, keepdim=True)
    return step, (torch.where(failed, sinkhorn, steps[..., -1]) if hard else step)


def relative_entropy(change: Tensor) -> Tensor:
    """Return (1 + x) log(1 + x) - x for x >= -1 (smaller x count as -1), stable and never too small for small x."""
    x = change.clamp_min(-1.0)
    small = 0.5 * x**2 * (1.0 - x / 3.0 + x**2 / 6.0 * (1.0 + x.abs()))
    return torch.where(x.abs() < 1e-3, small, torch.special.xlog1py(1.0 + x, x) - x)


def newton_gap(
    problem: Problem, point: Point, step: Float[Tensor, "b m"], reg: Float[Tensor, "b 1"]
) -> Float[Tensor, "b 1"]:
    """Return twice the gap over reg between the dual value at `point` and the primal value at P (1 + x_i + y_j).

    Twice, because it only bounds KL(P*|P), where the plain gap bounds KL(P|P*) + KL(P*|P): so the root of either bounds
    |P - P*|_1. y is `step`, x the row change that goes with it. For hard columns the mass that misses them is moved at
    the largest possible price. Infinite where the candidate would be negative.
    """
    ratio_rows = reg / problem.tau_rows
    rows = point.root_rows**2
    row_mean = torch.einsum("bij,bj->bi", point.half_plan, step)
    x = -row_mean / point.root_rows.clamp_min(torch.finfo(rows.dtype).tiny) / (1.0 + ratio_rows)
    excess = (rows * x).sum(-1, keepdim=True) + (point.cols * step).sum(-1, keepdim=True)
    change = x[..., None] + (step - excess)[:, None, :]
    total = (point.unit_plan * relative_entropy(change)).sum((-1, -2))[:, None]
    if not math.isinf(problem.tau_rows):
        total = total + (rows * relative_entropy(-ratio_rows * x - excess)).sum(-1, keepdim=True) / ratio_rows
    new_cols = point.cols * (1.0 + step - excess) + torch.einsum("bij,bi->bj", point.unit_plan, x)
    total = torch.where(change.amin((-1, -2))[:, None] < -1.0, math.inf, total)
    wanted = point.log_wanted.exp()
    if math.isinf(problem.tau_cols):
        return 2.0 * (total + _rounding_price(problem, new_cols - wanted, reg))
    miss = (new_cols - wanted) / wanted.clamp_min(torch.finfo(wanted.dtype).tiny)
    return 2.0 * (total + (wanted * relative_entropy(miss)).sum(-1, keepdim=True) * problem.tau_cols / reg)


def _rounding_price(problem: Problem, miss: Float[Tensor, "b m"], reg: Float[Tensor, "b 1"]) -> Float[Tensor, "b 1"]:
    """Return what moving the mass `miss` can raise the primal value by, over reg: cost plus entropy, at worst."""
    moved = miss.abs().sum(-1, keepdim=True)
    worst = problem.cost.amax((-1, -2))[:, None] / reg - problem.log_prior.amin((-1, -2))[:, None]
    return moved * (worst + 2.0) - 2.0 * torch.xlogy(moved, moved / miss.shape[-1])


def solve_newton(problem: Problem, *, gap_over_reg: float, max_iterations: int, check_every: int = 1) -> Solution:
    """Return the plan whose gap over reg is at most `gap_over_reg`, or the last one after `max_iterations`.

    The host waits for the device only every `check_every` iterations.
    """
    path = Path(problem)
    tight = problem.tau_cols * TIGHT_RATIO > problem.reg
    for iteration in range(1, max_iterations + 1):
        point = evaluate(problem, path.g, path.reg)
        gap = plain_gap(problem, point, path.reg)
        last = iteration == max_iterations
        if not tight and ((last or iteration % check_every == 0) and path.finished(gap, gap_over_reg, last)):
            break
        step, linear = newton_step(problem, point, path.reg)
        if tight:
            gap = torch.minimum(gap, newton_gap(problem, point, linear, path.reg))
            if (last or iteration % check_every == 0) and path.finished(gap, gap_over_reg, last):
                break
        path.advance(step, (point.cols * point.residual**2).sum(-1, keepdim=True))
    if bool((path.reg > path.target).any()):
        point = evaluate(problem, path.g, path.target)
        gap = plain_gap(problem, point, path.target)
    return Solution(
        unit_plan=point.unit_plan,
        row_potential=point.row_potential,
        col_potential=path.g,
        gap_over_reg=gap[:, 0],
        iterations=iteration,
    )


class Path:
    """The stages of falling strength, one per problem of the stack; only tensor arithmetic, no host round trip."""

    def __init__(self, problem: Problem) -> None:
        """Start at the first stage, with potentials 0."""
        spread, g = problem.spread, torch.zeros_like(problem.cost[:, 0, :])
        self.target = target = torch.full_like(spread, problem.reg)
        self._near_spread = NEAR_SPREAD if math.isinf(problem.tau_cols) else 0.0
        self.reg = torch.maximum(spread / FIRST_STAGE, target)
        self.g = g
        self._kept_reg = torch.maximum(spread, self.reg)
        self._kept_g = g
        self._older_reg = 2.0 * self._kept_reg
        self._older_g = g
        self._fall = torch.full_like(target, FALL)
        self._steps = torch.zeros_like(target)
        self._still = torch.zeros_like(target, dtype=torch.bool)

    def finished(self, gap: Float[Tensor, "b 1"], wanted: float, last: bool) -> bool:
        """Return whether every problem has the gap wanted at its target strength, or stands still (waits)."""
        return last or bool((((gap <= wanted) | self._still) & (self.reg <= self.target)).all())

    def advance(self, step: Float[Tensor, "b m"], spread: Float[Tensor, "b 1"]) -> None:
        """Take a capped Newton step, or go to the next stage, or back to the last one with a smaller fall."""
        size = step.abs().amax(-1, keepdim=True)
        near = (size < NEAR) | (spread < self._near_spread)
        self._still = (size < STILL) & (self.reg <= self.target)
        stepped = self.g + self.reg * step * (STEP_CAP / size.clamp_min(STEP_CAP))
        down = near & (self.reg > self.target)
        back = ~near & (self._steps >= STAGE_STEPS) & (self._kept_reg > self.reg)
        fall = torch.where(down & (self._steps <= 2.0), self._fall**GROWTH, self._fall)
        self._fall = torch.where(back, fall.sqrt(), fall)
        self._older_reg = torch.where(down, self._kept_reg, self._older_reg)
        self._older_g = torch.where(down, self._kept_g, self._older_g)
        self._kept_reg = torch.where(down, self.reg, self._kept_reg)
        self._kept_g = torch.where(down, stepped, self._kept_g)
        move = down | back
        reg = torch.where(move, torch.maximum(self._kept_reg * self._fall, self.target), self.reg)
        slope = (self._kept_g - self._older_g) / (self._kept_reg - self._older_reg)
        self.g = torch.where(move, self._kept_g + slope * (reg - self._kept_reg), stepped)
        self._steps = torch.where(move, torch.zeros_like(self._steps), self._steps + 1.0)
        self.reg = reg
