"""Reads what the demo's runs left on disk and says what it means."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from lerobot.datasets.lerobot_dataset import LeRobotDataset
from numpy.typing import NDArray

from otpilot.demo.settings import (
    CELLS,
    METHODS,
    SHARPNESS,
    SOURCE_EPISODES,
    TARGET_EPISODES,
    TOPK,
    WINDOW_SIZE,
    DemoPaths,
)
from otpilot.pairing.sampler import PairSampler, SamplerOptions
from otpilot.pairing.storage import load_table
from otpilot.report.figures import filmstrip, frames_grid, pairs_figure, plan_figure
from otpilot.report.result import Chart, Curve, MethodResult, Picture, Report, SuccessRate, compare
from otpilot.runs.paths import RunPaths
from otpilot.runs.reader import MetricsLog, read_metrics

CAMERA = "observation.images.top"
NAMES = [cell.partition("=")[0] for cell in CELLS]
CHARTS = (
    ("loss", "Training loss (behaviour cloning plus weighted transport).", True),
    ("bc_loss", "Behaviour-cloning loss, on normalised actions.", True),
    (
        "ot_pi_sum",
        "Transported mass: 1 means that everything found a partner; under 1e-3 the transport is dead.",
        False,
    ),
    ("ot_grad_share", "Share of the encoder's gradient that comes from the transport loss.", False),
    ("ot_plan_cost", "Mean normalised cost of the matched pairs.", False),
    ("ot_cost/image", "Mean raw distance between the two domains' image encodings.", False),
)


NAMES_OF_POLICIES = {"act": "ACT", "diffusion": "Diffusion"}


def summarise(
    paths: DemoPaths, methods: Sequence[str], *, steps: int, seed: int, took: str, policy: str = "act"
) -> Report:
    """Return the report of a finished demo."""
    logs = {method: read_metrics(RunPaths(paths.run(method)).metrics) for method in methods}
    results = tuple(
        MethodResult(name=method, about=METHODS[method], success=_success(logs[method])) for method in methods
    )
    facts = (
        ("Task", f"put the block on the goal; one 64 px camera; {NAMES_OF_POLICIES[policy]} from scratch"),
        ("Source", f"{SOURCE_EPISODES} demonstrations over the whole table"),
        ("Target", f"{TARGET_EPISODES} demonstrations on the left half (ID); the right half (OOD) is never shown"),
        ("Training", f"{steps} steps of 16 rows, seed {seed}, the same schedule for every method"),
        ("Evaluation", f"{results[0].success[NAMES[0]].episodes} closed-loop episodes per cell, the same for all"),
        ("Time", took),
    )
    return Report(
        title="otpilot demo: one policy, two domains",
        facts=facts,
        methods=results,
        findings=tuple(_findings(results, logs)),
        charts=tuple(_charts(logs)),
        pictures=tuple(_pictures(paths, methods)),
    )


def _success(log: MetricsLog) -> dict[str, SuccessRate]:
    values = log.last("sim")
    episodes = int(values["n_episodes"])
    return {
        name: SuccessRate(successes=round(values[f"success_{name}"] * episodes), episodes=episodes) for name in NAMES
    }


def _findings(results: Sequence[MethodResult], logs: dict[str, MetricsLog]) -> Iterator[str]:
    by_name = {result.name: result for result in results}
    baseline, ours = by_name.get("co-training"), by_name.get("co-training + OT")
    if baseline and ours:
        for cell in NAMES:
            found = compare(ours.success[cell], baseline.success[cell])
            yield (
                f"co-training + OT against co-training on {cell.replace('_', ' ')}: {found.difference:+.2f} "
                f"[{found.low:+.2f}, {found.high:+.2f}]: {found.verdict}."
            )
        yield (
            "This is one seed. Intervals cover the episodes, not another training run; "
            "differences between methods need several seeds."
        )
    for method, log in logs.items():
        alarms = [record.values["message"] for record in log.records if record.kind == "health"]
        yield from (f"{method}: {message}" for message in alarms)
        last = log.last("train")
        if "ot_pi_sum" in last and not alarms:
            yield f"{method}: the transport lived; its mass was {last['ot_pi_sum']:.2f} at the end."


def _charts(logs: dict[str, MetricsLog]) -> Iterator[Chart]:
    for metric, about, log_scale in CHARTS:
        curves = []
        for method, log in logs.items():
            steps, values = log.curve(metric)
            if steps:
                curves.append(Curve(run=method, steps=tuple(steps), values=tuple(values)))
        if curves:
            yield Chart(metric=metric, about=about, curves=tuple(curves), log_scale=log_scale)


def _pictures(paths: DemoPaths, methods: Sequence[str]) -> Iterator[Picture]:
    source = LeRobotDataset("otpilot/demo_source", root=paths.source)
    target = LeRobotDataset("otpilot/demo_target", root=paths.target)
    rows = [(name, _frames(data, _spread(data, 8))) for name, data in (("source", source), ("target", target))]
    yield Picture(
        title="Both domains",
        caption="The first episode of each: other colours, another camera pose, stripes, noise.",
        png=frames_grid(rows, scale=2),
    )
    options = SamplerOptions(window_size=WINDOW_SIZE, sharpness=SHARPNESS, topk_src_episodes=TOPK)
    drawn = PairSampler(load_table(paths.pairs), options).draw(0, 6)
    yield Picture(
        title="Matched pairs",
        caption="Pairs as training draws them, matched by dynamic time warping of the robot's state.",
        png=pairs_figure(
            _frames(source, drawn.source_rows), _frames(target, drawn.target_rows), [f"pair {i + 1}" for i in range(6)]
        ),
    )
    artifacts = RunPaths(paths.run("co-training + OT")).artifacts
    view, plan = artifacts / "view_top.png", artifacts / "plan.npz"
    if "co-training + OT" in methods and view.exists():
        yield Picture(
            title="The source in the target's view",
            caption=(
                "Camera pose and colours were fitted on pairs, all from the left half of the table. Half "
                "of the source pictures are shown this way, those from the right half as well."
            ),
            png=view.read_bytes(),
        )
    if "co-training + OT" in methods and plan.exists():
        with np.load(plan) as file:
            yield Picture(
                title="A transport plan",
                caption=(
                    "Which source row (left) the plan sends to which target row (top), after training. Yellow: more "
                    "mass than a uniform plan gives, dark blue: less, grey: the same."
                ),
                png=plan_figure(file["unit_plan"], file["source"], file["target"], mass=float(file["mass"])),
            )
    yield from _films(paths, methods[-1])


def _films(paths: DemoPaths, method: str) -> Iterator[Picture]:
    films = RunPaths(paths.run(method)).artifacts / "films.npz"
    if not films.exists():
        return
    with np.load(films) as file:
        for name in file.files:
            cell, number, success = name.split("/")
            if number == "0":
                yield Picture(
                    title=f"{method} on {cell.replace('_', ' ')}",
                    caption=f"The first evaluation episode: {'success' if success == '1' else 'failure'}.",
                    png=filmstrip(file[name], k=8),
                )


def _frames(dataset: Any, places: NDArray[np.int64]) -> NDArray[np.uint8]:
    images = np.stack([dataset[int(place)][CAMERA].numpy() for place in places])
    frames: NDArray[np.uint8] = (images.transpose(0, 2, 3, 1) * 255.0).round().astype(np.uint8)
    return frames


def _spread(dataset: Any, count: int) -> NDArray[np.int64]:
    stop = int(dataset.meta.episodes["dataset_to_index"][0])
    return np.linspace(0, stop - 1, count).astype(np.int64)
