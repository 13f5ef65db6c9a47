"""One run from its config to its outcome: everything is checked and built, trained, and its end written down."""

import contextlib
from dataclasses import replace
from pathlib import Path

import torch
from accelerate import Accelerator
from lerobot.utils.random_utils import set_seed

from otpilot.config.schema import TrainConfig, encode
from otpilot.data.batches import BatchStream
from otpilot.data.domains import open_domains
from otpilot.data.pairs import make_samplers
from otpilot.errors import TrainingError
from otpilot.runs.environment import describe_environment
from otpilot.runs.record import Outcome, Status
from otpilot.runs.writer import RunWriter
from otpilot.training import checkpoint
from otpilot.training.best import BestSoFar
from otpilot.training.discrete import make_discrete
from otpilot.training.ema import WeightAverage
from otpilot.training.envs import check_environment
from otpilot.training.evaluate import HeldOut
from otpilot.training.gathered import SpreadStep
from otpilot.training.guard import Guard
from otpilot.training.inputs import InputPipeline
from otpilot.training.interrupts import Interrupted, Interrupts
from otpilot.training.noise import RowNoise
from otpilot.training.parts import build_parts, make_accelerator, make_source_preprocessor
from otpilot.training.process import fuse, keep_freed_memory, set_threads
from otpilot.training.processes import Processes
from otpilot.training.progress import Progress, Silence
from otpilot.training.step import CoTrainingLoss
from otpilot.training.tracker import Tracker
from otpilot.training.trainer import Trainer
from otpilot.training.views import make_source_views
from otpilot.transport.health import HealthMonitor


def train(config: TrainConfig, *, progress: Progress | None = None) -> Outcome:
    """Train as the config says, into its output_dir, and return how it ended.

    Everything that can be wrong with the input is checked before the output folder is made. On SIGTERM and Ctrl-C a
    checkpoint is saved between two steps, and the outcome says `killed`.

    Raises:
        OtpilotError: If the input is wrong, or training breaks; outcome.json then says `crashed` or `diverged`.
    """
    set_threads(config.threads)
    keep_freed_memory()
    accelerator = make_accelerator(config)
    watched = progress if progress is not None and accelerator.is_main_process else Silence()
    trainer = assemble(config, accelerator, watched)
    accelerator.wait_for_everyone()
    if accelerator.is_main_process:
        trainer.writer = _open_folder(config, accelerator, trainer.done)
        if trainer.writer.cut:
            trainer.progress.note(f"{trainer.writer.cut} lines of the log lay behind step {trainer.done} and are cut.")
        trainer.tracker = Tracker(config, tell=trainer.progress.note)
    with trainer.writer or contextlib.nullcontext(), trainer.interrupts.installed():
        return _finish(trainer)


def assemble(config: TrainConfig, accelerator: Accelerator, progress: Progress) -> Trainer:
    """Return the trainer, ready for its first step or the one behind the resumed checkpoint; nothing is written yet.

    Raises:
        OtpilotError: If the input is wrong.
    """
    if config.resume:
        checkpoint.check_unfinished(config)
    if config.seed is not None:
        set_seed(config.seed)
    domains = open_domains(config)
    rank, processes = accelerator.process_index, accelerator.num_processes
    parts = build_parts(config, domains.target.reader.meta, domains.stats)
    source_preprocessor = make_source_preprocessor(config, domains.source_stats)
    fuse(parts.optimizer)
    average = WeightAverage(parts.policy, config.ema_decay) if config.ema_decay is not None else None
    loss = CoTrainingLoss(parts.policy, config.ot, horizon=config.horizon)
    loss.noise = RowNoise.of(config)
    inputs = InputPipeline(accelerator.device, parts.preprocessor, source_preprocessor)
    inputs.views = make_source_views(config, domains, accelerator.device, progress.note)
    samplers, viewed = make_samplers(config, domains), inputs.views.shares if inputs.views is not None else None
    stream = BatchStream(config, domains, samplers, viewed=viewed, rank=rank, world_size=processes)
    loss.discrete = make_discrete(parts.policy, config.discrete_actions, domains, inputs)
    loss.check_labels(stream[0].rows)  # and every kind of row can be read
    if accelerator.is_main_process:
        check_environment(config)
    trainer = Trainer(
        config=config,
        domains=domains,
        stream=stream,
        held_out=HeldOut(domains, batch_size=config.batch_size, max_samples=config.max_eval_samples),
        parts=parts,
        weights=checkpoint.Weights(trained=parts.policy, average=average, use_average=config.eval_use_ema),
        inputs=inputs,
        loss=loss,
        spread=None,
        accelerator=accelerator,
        health=HealthMonitor(config.ot.health, config.ot.loss_config),
        guard=Guard(config.guard),
        best=BestSoFar(config),
        interrupts=Interrupts(flag_only=processes > 1),
        writer=None,
        tracker=Tracker(None),
        progress=progress,
        processes=Processes(accelerator),
    )
    if rank > 0 and config.seed is not None:
        torch.manual_seed(config.seed + rank)  # each process draws its own dropout and noise
    if config.resume:
        trainer.done, state = checkpoint.restore(config, parts, trainer.weights)
        trainer.saved = trainer.done
        trainer.load_state_dict(state)
    if processes > 1 or config.grad_accum_steps > 1:
        wrapped = accelerator.prepare(parts.policy) if processes > 1 else parts.policy
        loss.model = wrapped if processes > 1 else loss.model
        trainer.spread = SpreadStep(loss, accelerator, wrapped)
    trainer.parts = replace(parts, optimizer=accelerator.prepare(parts.optimizer))
    return trainer


def _open_folder(config: TrainConfig, accelerator: Accelerator, done: int) -> RunWriter:
    """Make the run folder, or open that of the run being resumed behind the step done."""
    environment = describe_environment(device=str(accelerator.device))
    root = Path(config.output_dir)
    if config.resume:
        return RunWriter.reopen(root, step=done, config=encode(config), environment=environment)
    return RunWriter.create(root, config=encode(config), environment=environment)


def _finish(trainer: Trainer) -> Outcome:
    """Run the trainer to its end, whatever that is, and write the outcome."""

    def end(status: Status, reason: str) -> Outcome:
        trainer.interrupts.flag_only = True  # what comes now must not tear the outcome
        outcome = Outcome(status=status, reason=reason, last_step=trainer.done)
        if trainer.writer is not None:
            trainer.writer.finish(outcome)
        trainer.tracker.finish()
        return outcome

    try:
        trainer.show_views()
        early = trainer.run()
        if early is None:
            trainer.keep_plan()
    except TrainingError as error:
        end("diverged", str(error))
        raise
    except (Interrupted, KeyboardInterrupt) as interruption:
        trainer.interrupts.flag_only = True  # one signal is enough
        reason = f"{interruption or 'SIGINT'} at step {trainer.done}"
        if trainer.config.save_checkpoint and trainer.saved != trainer.done > 0:
            with contextlib.suppress(OSError):  # on a full disk the outcome still counts
                trainer.save()
                reason += "; a checkpoint of it is saved"
        trainer.progress.note(f"Stopped: {reason}.")
        return end("killed", reason)
    except Exception as error:
        with contextlib.suppress(OSError):  # a full disk must not hide the first error
            end("crashed", f"{type(error).__name__}: {error}")
        raise
    return end("finished", "all steps done") if early is None else end("stopped_early", early)
