"""The stages of the demo: record, pair, train, report."""

import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import Progress, TaskID

from otpilot.demo.probe import measure_step_s
from otpilot.demo.processes import train_side_by_side
from otpilot.demo.settings import (
    DEFAULT_METHODS,
    DEFAULT_STEPS,
    SOURCE_EPISODES,
    TARGET_EPISODES,
    DemoPaths,
    check_methods,
    check_policy,
    method_config,
    write_config,
)
from otpilot.demo.summary import summarise
from otpilot.errors import ConfigError
from otpilot.report.html import write_html
from otpilot.report.markdown import write_markdown
from otpilot.report.terminal import newest, stages, success_table

OVERHEAD_S = 75.0  # importing, recording, pairing, fitting the view, writing the report; measured on two cores
STEP_FACTOR = {"act": 1.0, "diffusion": 1.3}  # time of a step over that of ACT, roughly, on one core
EVALUATION_S = 0.05  # one closed-loop episode; measured on one core


def run_demo(
    out: Path,
    *,
    console: Console,
    steps: int | None = None,
    seed: int = 0,
    episodes: int = 100,
    methods: tuple[str, ...] = DEFAULT_METHODS,
    policy: str = "act",
) -> None:
    """Record both domains, pair them, train every method from the same seed, evaluate all, and write the report.

    Raises:
        ConfigError: If the folder exists, or a method is unknown.
        TrainingError: If a training process fails.
    """
    if out.exists():
        raise ConfigError(f"{out} exists already; give another --out, or remove it.")
    chosen = check_methods(methods)
    steps = steps or DEFAULT_STEPS[check_policy(policy)]
    began = time.monotonic()
    cores = os.cpu_count() or 1
    threads = max(1, cores // len(chosen))
    with console.status("Measuring this machine ..."):
        step_s = measure_step_s() * STEP_FACTOR[policy]
    console.print(_announcement(chosen, steps, episodes, cores, step_s), soft_wrap=True)
    paths = DemoPaths(out)
    paths.root.mkdir(parents=True)
    with stages(console) as bars:
        _record(paths, bars)
        _pair(paths, threads=cores, bars=bars)
        settings = {"steps": steps, "seed": seed, "episodes": episodes, "threads": threads, "policy": policy}
        _train(paths, chosen, settings, bars)
    report = summarise(paths, chosen, steps=steps, seed=seed, took=_minutes(time.monotonic() - began), policy=policy)
    write_markdown(report, paths.markdown)
    write_html(report, paths.html)
    title = f"Success over {episodes} episodes per cell, with exact 95 % intervals ({steps} steps, seed {seed})"
    console.print(success_table(title, report.methods))
    for finding in report.findings:
        console.print(f"- {_literal(finding)}", soft_wrap=True)
    took = _minutes(time.monotonic() - began)
    console.print(f"Done in {took}. Open {paths.html} (or read {paths.markdown}).", soft_wrap=True)


def _announcement(methods: tuple[str, ...], steps: int, episodes: int, cores: int, step_s: float) -> str:
    """Return what will happen, and how long it takes on this machine."""
    lanes = min(cores, len(methods))
    training = steps * step_s * len(methods) / lanes
    evaluation = 3 * episodes * EVALUATION_S * len(methods) / lanes
    total = _minutes(OVERHEAD_S + training + evaluation)
    return (
        f"Recording {SOURCE_EPISODES} source and {TARGET_EPISODES} target demonstrations, pairing them, and training "
        f"{len(methods)} policies of {steps} steps side by side ({', '.join(methods)}).\n"
        f"This will take about {total} on this machine ({cores} cores, {1000 * step_s:.0f} ms a step)."
    )


def _record(paths: DemoPaths, bars: Progress) -> None:
    from otpilot.sim.record import record

    for folder, domain, region, episodes, seed in (
        (paths.source, "source", "full", SOURCE_EPISODES, 0),
        (paths.target, "target", "left", TARGET_EPISODES, 1),
    ):
        task = bars.add_task(f"Recording {domain}", total=episodes, figures="")
        record(
            folder,
            domain=domain,
            region=region,
            episodes=episodes,
            seed=seed,
            progress=lambda done, _, task=task: bars.update(task, completed=done),  # type: ignore[misc]
        )


def _pair(paths: DemoPaths, *, threads: int, bars: Progress) -> None:
    from otpilot.data.pairs import make_table
    from otpilot.pairing.storage import save_table

    task = bars.add_task("Pairing", total=SOURCE_EPISODES * TARGET_EPISODES, figures="")
    table = make_table(
        paths.source, paths.target, workers=threads, progress=lambda done, _: bars.update(task, completed=done)
    )
    save_table(table, paths.pairs)


def _train(paths: DemoPaths, methods: tuple[str, ...], settings: Mapping[str, Any], bars: Progress) -> None:
    steps = settings["steps"]
    jobs = {}
    tasks: dict[str, TaskID] = {}
    for method in methods:
        config = method_config(method, paths, **settings)
        write_config(paths.config(method), config)
        jobs[method] = (paths.config(method), paths.run(method), paths.log(method))
        tasks[method] = bars.add_task(method, total=steps, figures="starting")

    def watch(method: str, step: int, values: Mapping[str, Any]) -> None:
        figures = newest(values) or "evaluating"
        bars.update(
            tasks[method], completed=step, figures="evaluating" if step >= steps and "loss" in values else figures
        )

    train_side_by_side(jobs, threads=settings["threads"], watch=watch)


def _minutes(seconds: float) -> str:
    return f"{seconds / 60:.1f} minutes"


def _literal(text: str) -> str:
    return text.replace("[", r"\[")
