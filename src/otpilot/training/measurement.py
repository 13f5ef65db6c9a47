"""What a few batches say about a transport before any training: raw costs, gradient norms. Nothing is updated."""

import math
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from statistics import median

import torch
from lerobot.utils.random_utils import set_seed
from torch import Tensor

from otpilot.config.ot import EmbedNormalization, LossConfig, OTConfig
from otpilot.config.schema import TrainConfig
from otpilot.data.batches import BatchStream
from otpilot.data.domains import open_domains
from otpilot.data.pairs import make_samplers
from otpilot.errors import ConfigError
from otpilot.report.calibration import GradientShares
from otpilot.training.inputs import InputPipeline
from otpilot.training.parts import build_parts, make_source_preprocessor
from otpilot.training.step import CoTrainingLoss
from otpilot.training.views import make_source_views
from otpilot.transport.cost import CostModel, Features
from otpilot.transport.loss import TransportLoss, TransportResult
from otpilot.transport.schedule import value_at

type Costs = dict[str, list[Tensor]]
type Progress = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Norms:
    """Encoder gradient of one batch: cloning, transport as configured and as proposed, both at weight 1, and shares."""

    cloning: float
    transport: float
    share: float
    proposed: float
    proposed_share: float


class Listener(TransportLoss):
    """A transport loss that keeps features and result of the last call, and hands out a loss of 0."""

    def __init__(self, config: LossConfig) -> None:
        super().__init__(config)
        self.src: Mapping[str, Features] = {}
        self.tgt: Mapping[str, Features] = {}
        self.result: TransportResult | None = None

    def __call__(
        self,
        src: Mapping[str, Features],
        tgt: Mapping[str, Features],
        *,
        step: int,
        reg: float | None = None,
        update: bool = True,
    ) -> TransportResult:
        """Return the figures of a batch with a loss of 0, so that the step's total is behaviour cloning alone."""
        self.src, self.tgt = src, tgt
        self.result = super().__call__(src, tgt, step=step, reg=reg, update=update)
        return replace(self.result, loss=torch.zeros((), device=self.result.loss.device))


class Measurement:
    """What the batches of a config say: raw costs of the terms, gradient norms, feature variance; nothing is trained.

    Args:
        config: The validated config.
        target_mass: Mass that the proposal shall transport.
        batches: Number of batches, each through one forward pass.
        progress: Told what is being done.
    """

    def __init__(self, config: TrainConfig, *, target_mass: float, batches: int, progress: Progress) -> None:
        _check(config)
        if config.seed is not None:
            set_seed(config.seed)
        self.config = config
        progress("Opening the datasets ...")
        domains = open_domains(config)
        samplers = make_samplers(config, domains)
        progress("Building the policy ...")
        parts = build_parts(config, domains.target.reader.meta, domains.stats)
        source_preprocessor = make_source_preprocessor(config, domains.source_stats)
        device = torch.device(config.policy.device)
        inputs = InputPipeline(device, parts.preprocessor, source_preprocessor)
        inputs.views = make_source_views(config, domains, device, progress)
        stream = BatchStream(config, domains, samplers, viewed=inputs.views.shares if inputs.views else None)
        loss = CoTrainingLoss(parts.policy, _unscheduled(config), horizon=config.horizon)
        loss.check_labels(stream[0].rows)
        self.weight = _weight(config)
        self.present = replace(loss.ot.loss_config, features=loss.terms)
        self.proposed = replace(self.present, embed_normalization=_embed_normalization(self.present))
        self.raw: Costs = {}
        self.raw_proposed: Costs = {}
        self.norms: list[Norms] = []
        self.scales: list[float] = []
        self._listener = Listener(self.present)
        loss.transport = self._listener
        living = TransportLoss(_living(self.proposed, target_mass))
        parts.policy.train()
        for number in range(batches):
            progress(f"Batch {number + 1} of {batches} ...")
            batch = stream[number]
            if len(batch.map.pair_src) == 0:
                continue
            step = loss(inputs.for_training(batch.rows, batch.map), batch.map, step=number)
            self._collect(loss, step.total, living, number)
        if not self.norms:
            raise ConfigError(
                f"None of {batches} batches pairs a single row: batch_size is {config.batch_size}, the source's share "
                f"comes from ot.bc_src_weight = {config.ot.bc_src_weight}; raise batch_size or move the share."
            )

    def _collect(self, loss: CoTrainingLoss, cloning: Tensor, living: TransportLoss, step: int) -> None:
        """Keep the costs and gradient norms of the batch that just went through the policy."""
        src, tgt, result = self._listener.src, self._listener.tgt, self._listener.result
        assert result is not None
        for settings, store in ((self.present, self.raw), (self.proposed, self.raw_proposed)):
            with torch.no_grad():
                costs = CostModel(settings).raw(src, tgt, step=step)
            for name, cost in costs.items():
                store.setdefault(name, []).append(cost.cpu())
        wanted = living(src, tgt, step=step)
        # E*(sC) with strengths S is s times E*(C) with strengths S / s: the proposal scales strengths, not the cost.
        energy = wanted.loss / float(wanted.figures["ot_cost_scale"])
        weight = self.weight or 0.0
        bc, ours = loss.encoder_gradients(cloning, result.loss)
        _, theirs = loss.encoder_gradients(cloning, energy)
        self.norms.append(
            Norms(
                cloning=float(bc.norm()),
                transport=float(ours.norm()),
                share=_share(weight * float(ours.norm()), float((bc + weight * ours).norm())),
                proposed=float(theirs.norm()),
                proposed_share=_share(weight * float(theirs.norm()), float((bc + weight * theirs).norm())),
            )
        )
        if "ot_cost_scale" in result.figures:
            self.scales.append(float(result.figures["ot_cost_scale"]))

    def stacked(self, costs: Costs) -> dict[str, Tensor]:
        """Return the raw costs of the batches that have the most frequent number of pairs, (batches, n, n)."""
        shapes = Counter(cost.shape for cost in next(iter(costs.values())))
        usual = max(shapes, key=lambda shape: (shapes[shape], shape))
        return {name: torch.stack([cost for cost in found if cost.shape == usual]) for name, found in costs.items()}

    def effective(self) -> LossConfig:
        """Return the present loss config with `target_mass` turned into the strengths that it amounts to."""
        if not self.scales or self.present.tau_src is None or self.present.tau_tgt is None:
            return self.present
        scale = math.exp(sum(map(math.log, self.scales)) / len(self.scales))
        return replace(
            self.present,
            target_mass=None,
            reg=self.present.reg / scale,
            tau_src=self.present.tau_src / scale,
            tau_tgt=self.present.tau_tgt / scale,
        )

    def gradient(self) -> GradientShares:
        """Return medians over the batches; an automatic weight is what it would settle at."""
        cloning = median(norm.cloning for norm in self.norms)
        transport = median(norm.transport for norm in self.norms)
        weight, share = self.weight, median(norm.share for norm in self.norms)
        if weight is None:
            ratios = [norm.cloning / norm.transport for norm in self.norms if norm.transport > 0.0]
            weight = self.config.ot.target_grad_share * median(ratios) if ratios else 0.0
            share = _share(weight * transport, math.hypot(cloning, weight * transport))
        return GradientShares(
            cloning=cloning, transport=transport, weight=weight, automatic=self.weight is None, share=share
        )


def _check(config: TrainConfig) -> None:
    """Raise ConfigError unless the config trains a transport afresh."""
    ot = config.ot
    if not ot.enable or ot.method != "ot":
        raise ConfigError(
            f"There is no transport to calibrate: ot.enable is {ot.enable}, ot.method {ot.method!r}; "
            "needed: true and 'ot'."
        )
    if config.resume:
        raise ConfigError("calibrate does not resume; give the run's config and --policy.path=CHECKPOINT instead.")
    if not ot.pair_info_path and not any(source.pair_info_path for source in ot.more_sources):
        raise ConfigError("ot.pair_info_path is not set; make a pair table with `otpilot pair` and give its path.")


def _unscheduled(config: TrainConfig) -> OTConfig:
    """Return the `ot` section at the start of training, its weight switched on in every step."""
    ot = config.ot
    reg = value_at(ot.loss_config.reg_schedule, ot.loss_config.reg, 0, config.horizon)
    return replace(
        ot,
        lambda_ot=1.0,
        lambda_ot_schedule=None,
        weight_warmup_ratio=None,
        compute_every_n_steps=1,
        loss_config=replace(ot.loss_config, reg=reg, reg_schedule=None),
    )


def _weight(config: TrainConfig) -> float | None:
    """Return the largest weight that the config's schedule reaches, or None for an automatic one."""
    ot = config.ot
    if ot.lambda_ot == "auto":
        return None
    ends = (value_at(ot.lambda_ot_schedule, float(ot.lambda_ot), step, config.horizon) for step in (0, config.horizon))
    return max(ends)


def _embed_normalization(config: LossConfig) -> EmbedNormalization:
    """Return the normalisation to propose: `batch` where encodings are compared as they are."""
    if config.embed_normalization == "none" and any(term.weight_embed > 0.0 for term in config.features):
        return "batch"
    return config.embed_normalization


def _living(config: LossConfig, target_mass: float) -> LossConfig:
    """Return the kind of transport that is proposed, its cost scaled to the wanted mass batch by batch."""
    new = LossConfig()
    return replace(
        config,
        cost_normalization="ema",
        objective="energy",
        prior="mixed",
        reg=new.reg,
        tau_src=new.tau_src,
        tau_tgt=new.tau_tgt,
        target_mass=target_mass,
    )


def _share(part: float, whole: float) -> float:
    return part / whole if whole > 0.0 else 0.0
