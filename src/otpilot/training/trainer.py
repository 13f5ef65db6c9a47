"""The training loop, readable top to bottom."""

import contextlib
import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import torch
from accelerate import Accelerator
from lerobot.utils.random_utils import set_seed

from otpilot.config.schema import TrainConfig, encode
from otpilot.data.batches import Batch, BatchStream, make_loader
from otpilot.data.domains import Domains, open_domains
from otpilot.data.pairs import make_samplers
from otpilot.errors import ConfigError, TrainingError
from otpilot.runs.environment import describe_environment
from otpilot.runs.record import Kind, Outcome
from otpilot.runs.writer import RunWriter
from otpilot.sim.env_config import TabletopEnvConfig
from otpilot.training import checkpoint
from otpilot.training.artifacts import save_evaluation_films, save_plan
from otpilot.training.evaluate import OfflineEvaluation, success_rates
from otpilot.training.inputs import InputPipeline
from otpilot.training.metrics import Window
from otpilot.training.parts import Parts, build_parts, make_accelerator, make_source_preprocessor
from otpilot.training.process import fuse, keep_freed_memory, set_threads
from otpilot.training.step import CoTrainingLoss, StepLoss
from otpilot.training.tracker import Tracker
from otpilot.transport.health import HealthFigures, HealthMonitor

logger = logging.getLogger(__name__)


class Progress(Protocol):
    """Who wants to see how training goes."""

    def start(self, *, total: int, done: int) -> None:
        """Learn how many steps there are, and how many are done already."""

    def step(self, step: int, values: Mapping[str, float]) -> None:
        """Learn that a step is done, with the newest logged values."""

    def note(self, text: str) -> None:
        """Learn something worth a line."""


class Silence:
    """Shows nothing."""

    def start(self, *, total: int, done: int) -> None:
        """Ignore."""

    def step(self, step: int, values: Mapping[str, float]) -> None:
        """Ignore."""

    def note(self, text: str) -> None:
        """Ignore."""


@dataclass(kw_only=True)
class Trainer:
    """Everything one run needs between its first and last step; `train` makes one."""

    config: TrainConfig
    domains: Domains
    stream: BatchStream
    parts: Parts
    inputs: InputPipeline
    loss: CoTrainingLoss
    accelerator: Accelerator
    health: HealthMonitor
    writer: RunWriter
    tracker: Tracker
    progress: Progress
    done: int = 0

    def run(self) -> None:
        """Train from the step after `done` to the last."""
        window = Window()
        latest: dict[str, float] = {}
        self.progress.start(total=self.config.steps, done=self.done)
        self.parts.policy.train()
        clock = time.perf_counter()
        for batch in make_loader(self.config, self.stream, start=self.done):
            step = self.done + 1
            inputs = self.inputs(batch.rows, batch.map.is_source)
            loaded = time.perf_counter()
            values = self.update(batch, inputs, step)
            self.done = step
            now = time.perf_counter()
            window.add({**values, "dataloading_s": loaded - clock, "update_s": now - loaded})
            if _due(step, self.config.log_freq) or step == self.config.steps:
                latest |= self.log("train", window.means())
            self.evaluate_if_due(latest)
            if self.config.save_checkpoint and (_due(step, self.config.save_freq) or step == self.config.steps):
                self.save()
            self.progress.step(step, latest)
            clock = time.perf_counter()

    def update(self, batch: Batch, inputs: Mapping[str, Any], step: int) -> dict[str, Any]:
        """Do one optimisation step and return what to log."""
        optimizer, scheduler = self.parts.optimizer, self.parts.scheduler
        measure = self.loss.active and (
            _due(step, self.config.ot.health.check_every_n_steps) or self.loss.needs_measure
        )
        with self.accelerator.autocast():
            result = self.loss(inputs, batch.map, step=step, measure=measure)
        self.accelerator.backward(result.total)
        limit = self.config.optimizer.grad_clip_norm or float("inf")
        norm = self.accelerator.clip_grad_norm_(self.parts.policy.parameters(), limit)  # unscales fp16 gradients first
        if (
            not torch.isfinite(norm) and self.accelerator.scaler is None
        ):  # with a scaler such a step is skipped, as meant
            raise TrainingError(f"The gradient norm is {float(norm)} at step {step}; lower policy.optimizer_lr.")
        lr = optimizer.param_groups[0]["lr"]
        optimizer.step()
        optimizer.zero_grad()
        if scheduler is not None:
            scheduler.step()
        if "ot_grad_share" in result.values:
            self.check_health(result, step)
        return {**result.values, "loss": result.total.detach(), "grad_norm": norm.detach(), "lr": lr}

    def check_health(self, result: StepLoss, step: int) -> None:
        """Feed the health monitor; an alarm is written, and told once."""
        figures = HealthFigures.from_result(
            result.values,
            step=step,
            grad_share=float(result.values["ot_grad_share"]),
            reg=self.loss.reg(step),
            weight=self.loss.weight(step),
        )
        for event in self.health.check(figures):
            self.writer.log(step, "health", {"alarm": event.kind, "message": event.message, **event.evidence})
            self.progress.note(event.message)

    def evaluate_if_due(self, latest: dict[str, float]) -> None:
        """Evaluate on held-out episodes and in closed loop when it is time; the last step always counts."""
        step, config = self.done, self.config
        last = step == config.steps
        if config.eval_steps > 0 and (_due(step, config.eval_steps) or last):
            latest |= self.log("eval", self.offline())
        if isinstance(config.env, TabletopEnvConfig) and (_due(step, config.env_eval_freq) or last):
            latest |= self.log("sim", self.closed_loop())

    def offline(self) -> dict[str, float]:
        """Return the loss on held-out episodes, of the target and per domain."""
        values: dict[str, float] = {}
        for domain in (self.domains.target, *self.domains.sources):
            if not domain.eval_episodes:
                continue
            evaluation = OfflineEvaluation(
                domain, batch_size=self.config.batch_size, max_samples=self.config.max_eval_samples
            )
            with self.accelerator.autocast():
                found = evaluation(self.parts.policy, self.inputs)
            if domain is self.domains.target:
                values |= {f"offline_eval/{name}": value for name, value in found.items()}
            values |= {f"offline_eval/{domain.name}/{name}": value for name, value in found.items()}
        return values

    def closed_loop(self) -> dict[str, float]:
        """Return success_<cell>, its interval and the number of episodes, and keep films of the first episodes."""
        results = success_rates(
            self.parts.policy,
            self.parts.preprocessor,
            self.parts.postprocessor,
            self.config.env,
            episodes=self.config.eval.n_episodes,
            film=2,
        )
        save_evaluation_films(self.writer.paths, results)
        values: dict[str, float] = {"n_episodes": float(self.config.eval.n_episodes)}
        for result in results:
            name = f"success_{result.cell.name}"
            low, high = result.success.interval
            values |= {name: result.success.rate, f"{name}_low": low, f"{name}_high": high}
        return values

    def log(self, kind: Kind, values: Mapping[str, float]) -> Mapping[str, float]:
        """Write one line of the log, mirror it, and return the values."""
        self.writer.log(self.done, kind, values)
        self.tracker.log(values, step=self.done, kind=kind)
        return values

    def save(self) -> None:
        """Write a checkpoint of the step just done."""
        state = {"loss": self.loss.state_dict(), "health": self.health.state_dict()}
        checkpoint.save(self.config, self.parts, step=self.done, state=state)

    def keep_plan(self) -> None:
        """Keep the transport plan of the batch behind the last, for reports."""
        if not self.loss.active:
            return
        batch = self.stream[self.config.steps]
        self.parts.policy.eval()
        with torch.no_grad():
            inputs = self.inputs(batch.rows, batch.map.is_source)
            result = self.loss(inputs, batch.map, step=0, update=False)
        if result.transport is not None and result.transport.plan is not None:
            save_plan(self.writer.paths, result.transport.plan, batch)


def train(config: TrainConfig, *, progress: Progress | None = None) -> Outcome:
    """Train as the config says, into its output_dir, and return how it ended.

    Everything that can be wrong with the input is checked before the output folder is made.

    Raises:
        OtpilotError: If the input is wrong, or training breaks; outcome.json then says `crashed` or `diverged`.
    """
    progress = progress or Silence()
    set_threads(config.threads)
    keep_freed_memory()
    accelerator = make_accelerator(config)
    if config.seed is not None:
        set_seed(config.seed)
    domains = open_domains(config)
    _check_rows(config)
    stream = BatchStream(config, domains, make_samplers(config, domains))
    parts = build_parts(config, domains.target.reader.meta, domains.stats)
    source_preprocessor = make_source_preprocessor(config, domains.source_stats)
    fuse(parts.optimizer)
    loss = CoTrainingLoss(parts.policy, config.ot, horizon=config.horizon)
    health = HealthMonitor(config.ot.health, config.ot.loss_config)
    loss.check_labels(stream[0].rows)  # and every kind of row can be read
    done = 0
    if config.resume:
        done, state = checkpoint.restore(config, parts)
        loss.load_state_dict(state["loss"])
        health.load_state_dict(state["health"])
    parts = replace(parts, optimizer=accelerator.prepare(parts.optimizer))
    environment = describe_environment(device=str(accelerator.device))
    writer = (
        RunWriter.reopen(Path(config.output_dir), step=done, config=encode(config), environment=environment)
        if config.resume
        else RunWriter.create(Path(config.output_dir), config=encode(config), environment=environment)
    )
    trainer = Trainer(
        config=config,
        domains=domains,
        stream=stream,
        parts=parts,
        inputs=InputPipeline(accelerator.device, parts.preprocessor, source_preprocessor),
        loss=loss,
        accelerator=accelerator,
        health=health,
        writer=writer,
        tracker=Tracker(config),
        progress=progress,
        done=done,
    )
    with writer:
        return _finish(trainer)


def _finish(trainer: Trainer) -> Outcome:
    """Run the trainer to its end, whatever that is, and write the outcome."""
    try:
        trainer.run()
        trainer.keep_plan()
    except TrainingError as error:
        trainer.writer.finish(Outcome(status="diverged", reason=str(error), last_step=trainer.done))
        raise
    except KeyboardInterrupt:
        trainer.writer.finish(Outcome(status="killed", reason="interrupted from the keyboard", last_step=trainer.done))
        raise
    except Exception as error:
        with contextlib.suppress(OSError):  # a full disk must not hide the first error
            reason = f"{type(error).__name__}: {error}"
            trainer.writer.finish(Outcome(status="crashed", reason=reason, last_step=trainer.done))
        raise
    outcome = Outcome(status="finished", reason="all steps done", last_step=trainer.done)
    trainer.writer.finish(outcome)
    return outcome


def _check_rows(config: TrainConfig) -> None:
    """Raise ConfigError where extra pair rows would be cloned."""
    if (
        config.ot.enable
        and config.ot.rows == "separate"
        and not getattr(config.policy, "do_mask_loss_for_padding", True)
    ):
        raise ConfigError(
            "ot.rows = 'separate' adds rows that must not be cloned; set policy.do_mask_loss_for_padding = true, "
            "or ot.rows = 'shared'."
        )


def _due(step: int, every: int) -> bool:
    return every > 0 and step % every == 0
