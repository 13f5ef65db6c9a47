"""The training loop, readable top to bottom."""

import itertools
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import gather_object

from otpilot.config.schema import TrainConfig
from otpilot.data.batches import BatchStream, make_loader
from otpilot.data.domains import Domains
from otpilot.data.mixing import RowMap
from otpilot.errors import NonFiniteError, TrainingError
from otpilot.runs.record import Kind
from otpilot.runs.writer import RunWriter
from otpilot.training import checkpoint
from otpilot.training.artifacts import draw_plan, draw_views, save_evaluation_films, save_plan
from otpilot.training.best import BestSoFar
from otpilot.training.draws import fixed_draws
from otpilot.training.envs import closed_loop
from otpilot.training.evaluate import HeldOut
from otpilot.training.gathered import SpreadStep
from otpilot.training.guard import Guard, Verdict
from otpilot.training.inputs import InputPipeline
from otpilot.training.interrupts import Interrupted, Interrupts
from otpilot.training.metrics import Window
from otpilot.training.parts import Parts
from otpilot.training.processes import Processes
from otpilot.training.progress import Progress
from otpilot.training.step import CoTrainingLoss, StepLoss
from otpilot.training.tracker import Tracker
from otpilot.transport.health import HealthFigures, HealthMonitor


@dataclass(kw_only=True)
class Trainer:
    """Everything one run needs between its first and last step; session.py makes one."""

    config: TrainConfig
    domains: Domains
    stream: BatchStream
    held_out: HeldOut
    parts: Parts
    weights: checkpoint.Weights
    inputs: InputPipeline
    loss: CoTrainingLoss
    spread: SpreadStep | None
    accelerator: Accelerator
    health: HealthMonitor
    guard: Guard
    best: BestSoFar
    interrupts: Interrupts
    writer: RunWriter | None
    tracker: Tracker
    progress: Progress
    processes: Processes
    done: int = 0
    saved: int = -1
    told: set[str] = field(default_factory=set)
    window: Window = field(default_factory=Window)

    @property
    def main(self) -> bool:
        """Whether this process evaluates, writes and tells; on one process always."""
        return self.writer is not None

    def run(self) -> str | None:
        """Train from the step after `done` to the last; returns why it stopped early, or None."""
        latest: dict[str, float] = {}
        self.progress.start(total=self.config.steps, done=self.done)
        self.parts.policy.train()
        clock = time.perf_counter()
        loader = make_loader(self.config, self.stream, start=self.done)
        for batches in itertools.batched(loader, self.stream.batches_per_step):
            step = self.done + 1
            rows = [(self.inputs.for_training(batch.rows, batch.map), batch.map) for batch in batches]
            loaded = time.perf_counter()
            with self.interrupts.deferred():
                values = self.update(rows, step)
                self.done = step
                now = time.perf_counter()
                self.window.add({**values, "dataloading_s": loaded - clock, "update_s": now - loaded})
                if _due(step, self.config.log_freq) or step == self.config.steps:
                    latest |= self.log("train", self.processes.mean(self.window.means()))
            better = self.evaluate_if_due(latest)
            if self.config.save_checkpoint and (_due(step, self.config.save_freq) or step == self.config.steps):
                self.save()
            if better and self.config.keep_best:
                self.save(best=True)
            self.progress.step(step, latest)
            if self.processes.any(self.interrupts.caught is not None):
                raise Interrupted(self.interrupts.caught or "another process was interrupted")
            if step < self.config.steps and self.processes.any(self.best.exhausted):
                if self.config.save_checkpoint:
                    self.save()
                return self.best.describe()
            clock = time.perf_counter()
        return None

    def update(self, batches: list[tuple[dict[str, Any], RowMap]], step: int) -> dict[str, Any]:
        """Do one optimisation step and return what to log.

        Raises:
            TrainingError: If the guard says that the run must end.
        """
        optimizer, scheduler = self.parts.optimizer, self.parts.scheduler
        lr = optimizer.param_groups[0]["lr"]
        try:
            result = self.backward(batches, step)
        except NonFiniteError as error:
            self.tell(self.guard.nonfinite(str(error)), step)
            optimizer.zero_grad()
            return {"skipped_steps": 1.0, "lr": lr}
        limit = self.config.optimizer.grad_clip_norm or float("inf")
        norm = self.accelerator.clip_grad_norm_(self.parts.policy.parameters(), limit)  # unscales fp16 gradients first
        scaler = self.accelerator.scaler
        go = True
        if not self.overflows(result, norm):
            verdict = self.guard.check(loss=self.judged(result), norm=float(norm), step=step)
            self.tell(verdict, step)
            go = verdict.action == "go"
        if go:
            optimizer.step()
            if self.weights.average is not None:
                self.weights.average.update(self.parts.policy)
        elif scaler is not None:
            scaler.update()  # the gradients were unscaled already, which it does once for each step only
        optimizer.zero_grad()
        if scheduler is not None:
            scheduler.step()
        if "ot_grad_share" in result.values:
            self.check_health(result, step)
        values = {**result.values, "loss": result.total.detach(), "grad_norm": norm.detach(), "lr": lr}
        return values if go else {**values, "skipped_steps": 1.0}

    def judged(self, result: StepLoss) -> float:
        """Return the loss by which the guard judges a step: NaN if it is not finite on any process, so all agree."""
        loss = result.total.item()
        broken = self.processes.any(not math.isfinite(loss))
        return math.nan if broken and math.isfinite(loss) else loss

    def overflows(self, result: StepLoss, norm: torch.Tensor) -> bool:
        """Whether gradients are not finite because fp16 was scaled too far, which the scaler mends by itself.

        Then the loss is finite all the same; one that is not is the guard's matter.
        """
        if self.accelerator.scaler is None or bool(torch.isfinite(norm)):
            return False
        return not self.processes.any(not bool(torch.isfinite(result.total)))

    def backward(self, batches: list[tuple[dict[str, Any], RowMap]], step: int) -> StepLoss:
        """Compute the loss of a step and send it back."""
        measure = self.loss.active and (
            _due(step, self.config.ot.health.check_every_n_steps) or self.loss.needs_measure
        )
        if self.spread is not None:
            return self.spread(batches, step=step, measure=measure)
        with self.accelerator.autocast():
            result = self.loss(*batches[0], step=step, measure=measure)
        self.accelerator.backward(result.total)
        return result

    def check_health(self, result: StepLoss, step: int) -> None:
        """Feed the health monitor; an alarm is written, and told once.

        Raises:
            TrainingError: If the config says that the run must end (guard.transport).
        """
        figures = HealthFigures.from_result(
            result.values,
            step=step,
            grad_share=float(result.values["ot_grad_share"]),
            reg=self.loss.reg(step),
            weight=self.loss.weight(step),
        )
        for event in self.health.check(figures):
            self.record("health", {"alarm": event.kind, "message": event.message, **event.evidence}, step)
            self.progress.note(event.message)
            if self.config.guard.transport == "stop":
                raise TrainingError(f"{event.message} (guard.transport = 'stop')")

    def tell(self, verdict: Verdict, step: int) -> None:
        """Write what the guard saw; the user hears of each kind once."""
        if verdict.alarm is None:
            return
        self.record("health", {"alarm": verdict.alarm, "message": verdict.message}, step)
        if verdict.alarm not in self.told:
            self.progress.note(verdict.message)
        self.told.add(verdict.alarm)

    def evaluate_if_due(self, latest: dict[str, float]) -> bool:
        """Evaluate on held-out episodes and in closed loop when it is time; the last step always counts.

        Returns:
            Whether the monitored metric is the best so far.
        """
        step, config = self.done, self.config
        last = step == config.steps
        better = False
        if config.eval_steps > 0 and (_due(step, config.eval_steps) or last):
            values = self.log("eval", self.offline() if self.main else {})
            better = self.main and self.best.observe("eval", values, step)
            latest |= values
        if config.env is not None and (_due(step, config.env_eval_freq) or last):
            values = self.log("sim", self.closed_loop() if self.main else {})
            better = (self.main and self.best.observe("sim", values, step)) or better
            latest |= values
        if _due(step, (config.eval_steps or config.env_eval_freq) * config.plan_images_every):
            self.keep_plan(pictures=True)
        return self.processes.any(better)

    def offline(self) -> dict[str, float]:
        """Return loss and action error on held-out episodes, of the target and per domain."""
        with self.accelerator.autocast():
            return self.held_out(self.weights.saved, self.inputs)

    def closed_loop(self) -> dict[str, float]:
        """Return the success in the config's environment, and keep films of the first episodes on the tabletop."""
        assert self.writer is not None
        parts = self.parts
        found = closed_loop(self.weights.saved, parts.preprocessor, parts.postprocessor, self.config, film=2)
        if found.cells:
            save_evaluation_films(self.writer.paths, found.cells)
        return found.figures()

    def log(self, kind: Kind, values: Mapping[str, float]) -> Mapping[str, float]:
        """Write one line of the log, and return the values."""
        if self.main:
            self.record(kind, values, self.done)
        return values

    def record(self, kind: Kind, values: Mapping[str, Any], step: int) -> None:
        """Write one line of the log and mirror it, on the process that has one."""
        if self.writer is not None:
            self.writer.log(step, kind, values)
            self.tracker.log(values, step=step, kind=kind)

    def save(self, *, best: bool = False) -> None:
        """Write the checkpoint of the step just done, unless it is there already; mark it as the best if it is."""
        with self.interrupts.deferred():
            own = gather_object([self.own_state()])
            if self.main:
                if self.saved != self.done:
                    processes = self.accelerator.num_processes
                    state = {**self.state_dict(), "processes": own}
                    checkpoint.save(
                        self.config, self.parts, self.weights, step=self.done, state=state, processes=processes
                    )
                if best:
                    checkpoint.mark_best(self.config, checkpoint.folder_of(self.config, self.done))
            self.saved = self.done
            self.accelerator.wait_for_everyone()

    def own_state(self) -> dict[str, Any]:
        """Return what differs between processes: the random state (dropout) and, with scope local, running means."""
        cuda = torch.cuda.get_rng_state() if torch.cuda.is_available() else None
        return {"cpu": torch.get_rng_state(), "cuda": cuda, "loss": self.loss.state_dict()}

    def state_dict(self) -> dict[str, Any]:
        """Return what resuming needs besides LeRobot's own training state."""
        scaler, average = self.accelerator.scaler, self.weights.average
        return {
            "loss": self.loss.state_dict(),
            "health": self.health.state_dict(),
            "guard": self.guard.state_dict(),
            "best": self.best.state_dict(),
            "window": self.window.state_dict(),
            "average_updates": average.updates if average is not None else 0,
            "scaler": scaler.state_dict() if scaler is not None else None,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a checkpoint's state; what an older checkpoint lacks begins anew."""
        self.loss.load_state_dict(state["loss"])
        self.health.load_state_dict(state["health"])
        if "guard" in state:
            self.guard.load_state_dict(state["guard"])
            self.best.load_state_dict(state["best"])
            self.window.load_state_dict(state["window"])
        if self.weights.average is not None:
            self.weights.average.updates = int(state.get("average_updates", 0))
        if self.accelerator.scaler is not None and state.get("scaler"):
            self.accelerator.scaler.load_state_dict(state["scaler"])
        processes = state.get("processes", state.get("random", []))  # older checkpoints: the random states alone
        if self.accelerator.process_index < len(processes):
            own = processes[self.accelerator.process_index]
            torch.set_rng_state(own["cpu"])
            if own["cuda"] is not None:
                torch.cuda.set_rng_state(own["cuda"])
            self.loss.load_state_dict(own.get("loss", {}))

    def show_views(self) -> None:
        """Draw the pictures of how the target sees the source, for the run folder and the tracker."""
        if self.writer is not None and self.inputs.views is not None:
            self.tracker.images(draw_views(self.writer.paths.artifacts, self.inputs.views), step=self.done)

    def keep_plan(self, *, pictures: bool = False) -> None:
        """Keep the transport plan of one fixed batch, behind the last, for reports; its pictures for the tracker, too.

        Training goes on as if nothing had happened: mode and random state are left as they were.
        """
        if not self.loss.active or self.writer is None:
            return
        batch = self.stream[self.config.steps * self.stream.batches_per_step]
        if not len(batch.map.pair_src):
            return
        policy, model = self.parts.policy, self.loss.model
        was_training = policy.training
        policy.eval()
        self.loss.model = policy.forward  # this process alone; the wrapped one would wait for the others
        try:
            with torch.no_grad(), fixed_draws(0, self.accelerator.device):
                encoded = self.loss.encode(self.inputs(batch.rows, batch.map.is_source), batch.map)
                plan = self.loss.solve(encoded.src, encoded.tgt, step=self.done, update=False).plan
        finally:
            self.loss.model = model
            policy.train(was_training)
        if plan is None:
            return
        save_plan(self.writer.paths, plan, batch, step=self.done if pictures else None)
        if pictures:
            drawn = draw_plan(self.writer.paths, plan, batch, step=self.done)
            self.tracker.images(drawn.by_name(), step=self.done)


def _due(step: int, every: int) -> bool:
    return every > 0 and step % every == 0
