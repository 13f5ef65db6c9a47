"""A step whose rows are spread over processes and accumulated batches, with the gradient of one large batch.

The transport problem couples all rows of a step. Its loss reaches the encoder only through the embeddings, so its
gradient is exact in two stages (the idea of GradCache, Gao et al. 2021): solve the problem on the gathered embeddings
and take the gradient with respect to each; then send every batch's own slice of it back through that batch's graph.
With accumulated batches the embeddings come from a first pass without graph, whose random state is played again.
"""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedType
from torch import Tensor, nn

from otpilot.data.mixing import RowMap
from otpilot.errors import NonFiniteError
from otpilot.policies.cloning import cloning_elements
from otpilot.training.step import CoTrainingLoss, Encoded, StepLoss
from otpilot.transport.cost import Features
from otpilot.transport.loss import TransportResult

type Inputs = tuple[Mapping[str, Any], RowMap]
type RandomState = tuple[Tensor, list[Tensor]]


@dataclass(kw_only=True)
class _Step:
    """What one step holds on this process: its batches, their weights, and what is known of its transport.

    `shares` weigh the batches' cloning losses, so that the mean over processes of their sums is the loss of all rows.
    `gradients` are those of the transport loss for each batch's own embeddings, on either side (scope global).
    """

    number: int
    batches: Sequence[Inputs]
    pairs: float
    shares: list[float]
    states: list[RandomState]
    passes: list[Encoded] | None = None
    result: TransportResult | None = None
    gradients: list[tuple[dict[str, Tensor], dict[str, Tensor]]]


class SpreadStep:
    """Does forward and backward of a step over several batches or processes; gradients end in the parameters.

    Args:
        loss: The loss; its `model` is called for the pass that is differentiated.
        accelerator: Of this process.
        wrapped: What accelerate made of the policy (DistributedDataParallel on several processes).
    """

    def __init__(self, loss: CoTrainingLoss, accelerator: Accelerator, wrapped: nn.Module) -> None:
        self.loss = loss
        self.accelerator = accelerator
        self.wrapped = wrapped
        self._alone = accelerator.distributed_type == DistributedType.NO

    def __call__(self, batches: Sequence[Inputs], *, step: int, measure: bool) -> StepLoss:
        """Return the step's loss and figures, after `backward` of all its batches.

        Raises:
            NonFiniteError: If a cost is not finite.
        """
        now = self._begin(batches, step)
        due = now.pairs > 0 and self.loss.due(step)
        if due and len(batches) == 1:
            now.passes = [self._encode(batches[0])]
        if due and self.loss.ot.scope == "global":
            self._solve_all(now)
        figures = self._measure(now) if due and measure else {}
        weight = self.loss.weight(step) if due else 0.0
        cloned = []
        for place in range(len(batches)):
            with self._synchronise(last=place == len(batches) - 1):
                cloning, info = self._backward(now, place, due=due, weight=weight)
            cloned.append(now.shares[place] * cloning.detach())
            for name, value in (info or {}).items():
                figures[name] = figures.get(name, 0.0) + now.shares[place] * value
        total = torch.stack(cloned).sum()
        values: dict[str, float | Tensor] = {**figures, "bc_loss": total}
        if now.result is None:
            return StepLoss(total=total, values=values, transport=None)
        values |= {**now.result.figures, "ot_weight": weight, "ot_reg": self.loss.reg(step)}
        return StepLoss(total=total + weight * now.result.loss.detach(), values=values, transport=now.result)

    def _begin(self, batches: Sequence[Inputs], step: int) -> _Step:
        elements = [cloning_elements(self.loss.policy, inputs, rows.cloning) for inputs, rows in batches]
        everywhere, pairs = self._sum([sum(elements), float(sum(len(rows.pair_src) for _, rows in batches))])
        return _Step(
            number=step,
            batches=batches,
            pairs=pairs,  # of all processes, because all must agree whether there is a problem to solve
            # backward averages over processes, so each contributes its share times their number
            shares=[count / everywhere * self.accelerator.num_processes for count in elements],
            states=[_random_state() for _ in batches],
            gradients=[({}, {}) for _ in batches],
        )

    def _backward(
        self, now: _Step, place: int, *, due: bool, weight: float
    ) -> tuple[Tensor, Mapping[str, float] | None]:
        """Send one batch's loss back; returns its cloning loss and what the policy tells of it."""
        if not due:
            with self.accelerator.autocast():
                cloning, info = self.loss.clone(*now.batches[place])
            self.accelerator.backward(now.shares[place] * cloning)
            return cloning, info
        encoded = self._again(now, place)
        part = self._transport_part(now, encoded, place, update=True)
        self.accelerator.backward(now.shares[place] * encoded.cloning + weight * part)
        return encoded.cloning, encoded.info

    def _encode(self, one: Inputs) -> Encoded:
        with self.accelerator.autocast():
            return self.loss.encode(*one)

    def _again(self, now: _Step, place: int) -> Encoded:
        """Return a batch's pass with graph; where there was a first pass without, the same draws are played again."""
        if now.passes is not None:
            return now.passes[place]
        if self.loss.ot.scope == "global":
            _replay(now.states[place])
        return self._encode(now.batches[place])

    def _solve_all(self, now: _Step) -> None:
        """Solve one problem over all processes and batches; gradients come back for this process's own rows."""
        passes = now.passes
        if passes is None:
            passes = []
            with torch.no_grad():
                for place, one in enumerate(now.batches):
                    now.states[place] = _random_state()
                    passes.append(self._encode(one))
        sides: tuple[dict[str, Features], dict[str, Features]] = ({}, {})
        leaves: list[tuple[int, str, Tensor, list[slice]]] = []
        for side, parts in enumerate(([one.src for one in passes], [one.tgt for one in passes])):
            for key, first in parts[0].items():
                embed, label = None, None
                if first.embed is not None:
                    embed, own = self._gather([_present(part[key].embed) for part in parts])
                    leaves.append((side, key, embed.requires_grad_(True), own))
                if first.label is not None:
                    label, _ = self._gather([_present(part[key].label) for part in parts])
                sides[side][key] = Features(embed=embed, label=label)
        with torch.enable_grad():
            now.result = self.loss.solve(*sides, step=now.number)
        if not leaves or not now.result.loss.requires_grad:
            return
        found = torch.autograd.grad(now.result.loss, [leaf for _, _, leaf, _ in leaves], allow_unused=True)
        for (side, key, _, own), gradient in zip(leaves, found, strict=True):
            for place, rows in enumerate(own):
                if gradient is not None:
                    now.gradients[place][side][key] = gradient[rows]

    def _transport_part(self, now: _Step, encoded: Encoded, place: int, *, update: bool) -> Tensor:
        """Return a scalar whose gradient is this batch's part of that of the transport loss, times the processes."""
        if self.loss.ot.scope == "local":
            result = self._solve_own(now, encoded, place, update=update)
            if result is None:  # more batches than pairs
                return encoded.cloning.new_zeros(())
            now.result = result
            part: Tensor = result.loss / sum(len(rows.pair_src) > 0 for _, rows in now.batches)
            return part
        parts = [
            (_full_precision(features.embed) * gradient[key]).sum()
            for side, gradient in zip((encoded.src, encoded.tgt), now.gradients[place], strict=True)
            for key, features in side.items()
            if features.embed is not None and key in gradient
        ]
        total = torch.stack(parts).sum() if parts else encoded.cloning.new_zeros(())
        everywhere: Tensor = total * self.accelerator.num_processes
        return everywhere

    def _solve_own(self, now: _Step, encoded: Encoded, place: int, *, update: bool) -> TransportResult | None:
        """Solve this process's problem of one batch, or return None if the batch has no pairs.

        Raises:
            NonFiniteError: If a cost is not finite on any process; all raise it, or the others would wait for this one.
        """
        result, failed = None, None
        if len(now.batches[place][1].pair_src):
            try:
                result = self.loss.solve(encoded.src, encoded.tgt, step=now.number, update=update)
            except NonFiniteError as error:
                failed = error
        (failures,) = self._sum([float(failed is not None)])
        if failed is not None:
            raise failed
        if failures:
            raise NonFiniteError(f"A cost is not finite on another process at step {now.number}.")
        return result

    def _measure(self, now: _Step) -> dict[str, float]:
        """Return the shares of the encoder gradient of the whole step; the automatic weight follows them."""
        sums: list[Tensor] = []
        for place, share in enumerate(now.shares):
            encoded = self._again(now, place)
            part = self._transport_part(now, encoded, place, update=False)
            gradients = self.loss.encoder_gradients(share * encoded.cloning, part)
            sums = [a + b for a, b in zip(sums, gradients, strict=True)] if sums else list(gradients)
        cloning, transport = (self._mean(gradient) for gradient in sums)
        return self.loss.observe(cloning, transport, step=now.number)

    def _gather(self, parts: list[Tensor]) -> tuple[Tensor, list[slice]]:
        """Return the rows of all batches and processes, as a step's chunks are ordered, and where ours lie."""
        blocks: list[Tensor] = []
        own: list[slice] = []
        start = 0
        for part in parts:
            for rank, block in enumerate(self._from_all(_full_precision(part.detach()))):
                if rank == self.accelerator.process_index:
                    own.append(slice(start, start + len(block)))
                blocks.append(block)
                start += len(block)
        return torch.cat(blocks), own

    def _from_all(self, rows: Tensor) -> list[Tensor]:
        """Return the rows of every process, by rank; they may differ in number."""
        if self._alone:
            return [rows]
        rows = rows.contiguous()
        counts = self.accelerator.gather(torch.tensor([len(rows)], device=self.accelerator.device)).tolist()
        padded = self.accelerator.pad_across_processes(rows, dim=0)
        stacked: Tensor = self.accelerator.gather(padded)
        return [block[:count] for block, count in zip(torch.split(stacked, len(padded)), counts, strict=True)]

    def _sum(self, values: list[float]) -> list[float]:
        """Return the sums over processes."""
        if self._alone:
            return values
        mine = torch.tensor(values, dtype=torch.float64, device=self.accelerator.device)
        sums: list[float] = self.accelerator.reduce(mine, reduction="sum").tolist()
        return sums

    def _mean(self, value: Tensor) -> Tensor:
        """Return the mean over processes."""
        if self._alone:
            return value
        mean: Tensor = self.accelerator.reduce(value, reduction="mean")
        return mean

    def _synchronise(self, *, last: bool) -> AbstractContextManager[Any]:
        """Return a context in which gradients are exchanged between processes at the end of the last batch only."""
        if last or self._alone:
            return nullcontext()
        context: AbstractContextManager[Any] = self.accelerator.no_sync(self.wrapped)
        return context


def _present(rows: Tensor | None) -> Tensor:
    assert rows is not None  # every batch of a step has the same features
    return rows


def _full_precision(rows: Tensor) -> Tensor:
    return rows.float() if rows.dtype in (torch.float16, torch.bfloat16) else rows


def _random_state() -> RandomState:
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    return torch.get_rng_state(), cuda


def _replay(state: RandomState) -> None:
    """Set the random state that was kept, so that dropout and noise are drawn again as they were."""
    torch.set_rng_state(state[0])
    if state[1]:
        torch.cuda.set_rng_state_all(state[1])
