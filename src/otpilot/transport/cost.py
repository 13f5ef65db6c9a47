"""The ground cost: terms over learned encodings and raw labels, embedding normalisation, running means per term."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from otpilot.config.ot import CostKind, EmbedNormalization, LossConfig, TermConfig
from otpilot.errors import NonFiniteError, TransportError, closest

DIRECT_LIMIT = 1 << 20
"""Up to this many differences (n m d) they are formed one by one, exactly; beyond, by inner products."""
VARIANCE_FLOOR = 1e-5
"""Part of the mean variance that is added to each dimension's, so that constant dimensions stay harmless."""


@dataclass(frozen=True, kw_only=True)
class Features:
    """What one key of one domain offers: the policy's encoding (gradients flow) and the raw feature (detached)."""

    embed: Float[Tensor, "n ..."] | None = None
    label: Float[Tensor, "n ..."] | None = None


@dataclass(frozen=True, kw_only=True)
class Cost:
    """The ground cost of a batch and what it is made of; figures are detached.

    Attributes:
        matrix: C, with gradient where the encodings have one.
        raw_mean: mean of each term before normalisation and term_weight (the weights inside the term count).
        share: share of each term in the mean of C, 0 to 1.
        feature_variance: mean variance over rows and dimensions of each term's encoding, before normalisation.
    """

    matrix: Float[Tensor, "n m"]
    raw_mean: dict[str, Tensor]
    share: dict[str, Tensor]
    feature_variance: dict[str, Tensor]


def squared_distances(x: Float[Tensor, "n d"], y: Float[Tensor, "m d"]) -> Float[Tensor, "n m"]:
    """Return |x_i - y_j|^2, never negative; large problems by inner products of jointly centred rows."""
    if x.shape[0] * y.shape[0] * x.shape[1] <= DIRECT_LIMIT:
        return (x[:, None, :] - y[None, :, :]).square().sum(-1)
    centre = torch.cat([x, y]).mean(0).detach()
    x, y = x - centre, y - centre
    return (x.square().sum(1)[:, None] + y.square().sum(1)[None, :] - 2.0 * x @ y.mT).clamp_min(0.0)


def distances(x: Float[Tensor, "n d"], y: Float[Tensor, "m d"], kind: CostKind) -> Float[Tensor, "n m"]:
    """Return the squared distances, or for `l2` their roots, with gradient 0 where rows coincide."""
    squared = squared_distances(x, y)
    if kind == "l2_squared":
        return squared
    positive = squared > 0.0
    return torch.where(positive, torch.where(positive, squared, 1.0).sqrt(), 0.0)


def normalize_embeddings(
    src: Float[Tensor, "n d"], tgt: Float[Tensor, "m d"], kind: EmbedNormalization
) -> tuple[Float[Tensor, "n d"], Float[Tensor, "m d"]]:
    """Return both encodings so normalised that shrinking them gains nothing; gradients flow through the statistics.

    `batch` standardises each dimension over the rows of both domains together, `layer` each row over its dimensions;
    both then divide by sqrt(d), so that the mean squared distance is of order 1 whatever d is. `cosine` divides each
    row by its length. `none` leaves everything as it is (as in the older reports).
    """
    if kind == "none":
        return src, tgt
    both = torch.cat([src, tgt])
    tiny = 1e-24
    if kind == "cosine":
        both = both * (both.square().sum(1, keepdim=True) + tiny).rsqrt()
    else:
        axis = 0 if kind == "batch" else 1
        centred = both - both.mean(axis, keepdim=True)
        variance = centred.square().mean(axis, keepdim=True)
        floor = VARIANCE_FLOOR * variance.mean() + tiny
        both = centred * (variance + floor).rsqrt() / both.shape[1] ** 0.5
    return both[: src.shape[0]], both[src.shape[0] :]


class CostModel:
    """The ground cost of a loss config, with the running mean of each term.

    The running mean is an exponential one with bias correction, brought up to date before it divides, so the first
    batch is divided by its own mean. It is one number for all pairs, so distances keep their proportions.
    """

    def __init__(self, config: LossConfig) -> None:
        """Start with no history."""
        if not config.features:
            raise TransportError("loss_config.features is empty: the cost has no term; give at least one.")
        self.config = config
        self._mean: dict[str, Tensor] = {}
        self._steps: dict[str, int] = {}

    def __call__(
        self, src: Mapping[str, Features], tgt: Mapping[str, Features], *, step: int, update: bool = True
    ) -> Cost:
        """Return the cost between source and target rows; `update` moves the running means.

        Raises:
            TransportError: a key, encoding or label is missing, widths differ, or a term is not finite (names both
                the term and the step).
        """
        raw = self.raw(src, tgt, step=step)
        scaled = {
            term.name: term.term_weight * self._normalize(term.name, raw[term.name], update)
            for term in self.config.features
            if term.name in raw
        }
        matrix = torch.stack(list(scaled.values())).sum(0)
        total = matrix.detach().mean()
        means = {name: part.detach().mean() for name, part in scaled.items()}
        return Cost(
            matrix=matrix,
            raw_mean={name: part.detach().mean() for name, part in raw.items()},
            share={name: torch.where(total > 0.0, mean / total, 0.0) for name, mean in means.items()},
            feature_variance=self.feature_variance(src, tgt),
        )

    def raw(
        self, src: Mapping[str, Features], tgt: Mapping[str, Features], *, step: int
    ) -> dict[str, Float[Tensor, "n m"]]:
        """Return the cost of each term that counts, before normalisation and term_weight; nothing is remembered.

        Raises:
            TransportError: as for a call.
        """
        raw = {term.name: self._term(term, src, tgt, step) for term in self.config.features if _counts(term)}
        check_finite(raw, step)
        return raw

    def embeddings(
        self, src: Mapping[str, Features], tgt: Mapping[str, Features], *, step: int
    ) -> tuple[Float[Tensor, "n d"], Float[Tensor, "m d"]]:
        """Return the weighted encodings of all terms side by side, for baselines that compare distributions.

        Those of terms with `detach_cost_grad` are compared without gradient.
        """
        parts = [
            tuple(
                (term.term_weight * term.weight_embed) ** 0.5 * (side.detach() if term.detach_cost_grad else side)
                for side in self._embeds(term, src, tgt, step)
            )
            for term in self.config.features
            if term.weight_embed > 0.0 and _counts(term)
        ]
        if not parts:
            raise TransportError("No term has a weight_embed above 0, so this method has nothing to align; set one.")
        check_finite({"embeddings": torch.cat([part.flatten() for pair in parts for part in pair])}, step)
        return torch.cat([pair[0] for pair in parts], 1), torch.cat([pair[1] for pair in parts], 1)

    def state_dict(self) -> dict[str, Any]:
        """Return the running means as plain numbers (exact)."""
        return {name: {"mean": mean.item(), "steps": self._steps[name]} for name, mean in self._mean.items()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from `state`; training goes on bit for bit."""
        known = [term.name for term in self.config.features]
        for name in state:
            if name not in known:
                raise TransportError(
                    f"The saved state has a term {name!r} that the config lacks.{closest(name, known)}"
                )
        self._mean = {name: torch.tensor(entry["mean"], dtype=torch.float64) for name, entry in state.items()}
        self._steps = {name: int(entry["steps"]) for name, entry in state.items()}

    def _term(
        self, term: TermConfig, src: Mapping[str, Features], tgt: Mapping[str, Features], step: int
    ) -> Float[Tensor, "n m"]:
        """Return weight_embed d(z) + weight_label d(x) of one term."""
        parts: list[Tensor] = []
        if term.weight_embed > 0.0:
            parts.append(term.weight_embed * distances(*self._embeds(term, src, tgt, step), self.config.cost))
        if term.weight_label > 0.0:
            labels = (
                slice_and_flatten(_pick(src, term.src_key, "label", term, step), term),
                slice_and_flatten(_pick(tgt, term.target_key, "label", term, step), term),
            )
            _check_widths(term, *labels)
            parts.append(term.weight_label * distances(labels[0].detach(), labels[1].detach(), self.config.cost))
        cost = parts[0] if len(parts) == 1 else parts[0] + parts[1]
        return cost.detach() if term.detach_cost_grad else cost

    def _embeds(
        self, term: TermConfig, src: Mapping[str, Features], tgt: Mapping[str, Features], step: int
    ) -> tuple[Tensor, Tensor]:
        """Return the normalised encodings of one term."""
        sides = (
            _flatten(_pick(src, term.src_key, "embed", term, step)),
            _flatten(_pick(tgt, term.target_key, "embed", term, step)),
        )
        _check_widths(term, *sides)
        return normalize_embeddings(*sides, self.config.embed_normalization)

    def _normalize(self, name: str, cost: Float[Tensor, "n m"], update: bool) -> Float[Tensor, "n m"]:
        """Return the term over its running mean; as it is when normalisation is off or the mean is 0."""
        if self.config.cost_normalization == "none":
            return cost
        decay = self.config.cost_ema_decay
        current = cost.detach().mean().to(torch.float64)
        mean = self._mean.get(name)
        steps = self._steps.get(name, 0) + 1
        mean = (1.0 - decay) * current if mean is None else decay * mean.to(cost.device) + (1.0 - decay) * current
        if update:
            self._mean[name], self._steps[name] = mean, steps
        corrected = mean / (1.0 - decay**steps) if decay < 1.0 else current
        return cost * torch.where(corrected > 0.0, 1.0 / corrected, 1.0).to(cost.dtype)

    def feature_variance(self, src: Mapping[str, Features], tgt: Mapping[str, Features]) -> dict[str, Tensor]:
        """Return the mean variance of each used encoding over the rows of both domains."""
        found = {}
        for term in self.config.features:
            if term.weight_embed > 0.0 and _counts(term):
                sides = [src[term.src_key].embed, tgt[term.target_key].embed]
                both = torch.cat([_flatten(side.detach()) for side in sides if side is not None])
                found[term.name] = both.var(0, correction=0).mean()
        return found


def check_finite(parts: Mapping[str, Tensor], step: int) -> None:
    """Raise TransportError naming the first part that is not finite (one host round trip)."""
    worst = torch.stack([part.detach().abs().amax() for part in parts.values()])
    if bool(torch.isfinite(worst).all()):
        return
    for (name, part), value in zip(parts.items(), worst.tolist(), strict=True):
        bad = int((~torch.isfinite(part.detach())).sum())
        if bad:
            raise NonFiniteError(
                f"The cost of term {name!r} is not finite at step {step}: {bad} of {part.numel()} entries, "
                f"worst {value}; its features are NaN, infinite or too large to square."
            )


def slice_and_flatten(x: Float[Tensor, "n ..."], term: TermConfig) -> Float[Tensor, "n d"]:
    """Return the rows flattened behind the batch axis, the last axis cut to the term's dim_slice first."""
    if term.dim_slice is not None:
        start, stop = term.dim_slice
        width = x.shape[-1] if x.ndim > 1 else 0
        if stop > width:
            raise TransportError(
                f"Term {term.name!r}: dim_slice is {[start, stop]} but the last axis has {width} entries; "
                f"allowed: 0 <= start < stop <= {width}."
            )
        x = x[..., start:stop]
    return _flatten(x)


def _flatten(x: Tensor) -> Tensor:
    """Return the rows flattened behind the batch axis, in float32 or float64."""
    flat = x.reshape(x.shape[0], -1) if x.shape[0] else x.reshape(0, 1)
    return flat if flat.dtype in (torch.float32, torch.float64) else flat.float()


def _counts(term: TermConfig) -> bool:
    """Return whether a term has any weight."""
    return term.term_weight * (term.weight_embed + term.weight_label) > 0.0


def _pick(side: Mapping[str, Features], key: str, part: str, term: TermConfig, step: int) -> Tensor:
    """Return the encoding or label of a key, or raise TransportError with what is there."""
    if key not in side:
        raise TransportError(
            f"Term {term.name!r} needs {key!r}, which the batch of step {step} lacks; it has {', '.join(sorted(side))}."
            f"{closest(key, side)}"
        )
    value: Tensor | None = getattr(side[key], part)
    if value is None:
        raise TransportError(f"Term {term.name!r} needs the {part} of {key!r}, which the batch of step {step} lacks.")
    if value.shape[0] == 0:
        raise TransportError(f"Term {term.name!r}: {key!r} has no rows at step {step}; a batch needs at least one.")
    return value


def _check_widths(term: TermConfig, src: Tensor, tgt: Tensor) -> None:
    """Raise TransportError unless both sides have the same width."""
    if src.shape[1] != tgt.shape[1]:
        raise TransportError(
            f"Term {term.name!r}: {term.src_key!r} has width {src.shape[1]}, {term.target_key!r} {tgt.shape[1]}; "
            "they must agree (dim_slice can cut them)."
        )
