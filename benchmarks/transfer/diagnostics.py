"""Why a run transfers or does not: its own encodings of twin states, and what its transport did.

python -m benchmarks.transfer diagnose RUN --suite tabletop prints one JSON line, appends it to
results/diagnostics/runs.jsonl and draws a picture beside it.
"""

import fcntl
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.transfer.diagnostics_measures import Match, Separation, match, separation
from benchmarks.transfer.diagnostics_picture import draw
from benchmarks.transfer.diagnostics_twins import REGIONS, Twins, make_twins
from otpilot.errors import ConfigError, RunError
from otpilot.runs.paths import RunPaths
from otpilot.runs.reader import read_metrics

FOLDER = Path(__file__).parent / "results" / "diagnostics"
FILE = "runs.jsonl"
CHUNK = 64  # rows encoded at once
IMAGES = "observation.images"
FUSED = "fused"
TRANSPORT = {"mass": "ot_pi_sum", "diag_share": "ot_diag_share", "grad_share": "ot_grad_share"}


@dataclass(frozen=True, kw_only=True)
class Encoding:
    """What was measured in one encoding: separation over all twins, and how twins match within each region."""

    separation: Separation
    match: Mapping[str, Match]


@dataclass(frozen=True, kw_only=True)
class Diagnosis:
    """One run.

    `twins` counts the states; `transport` holds the last mass, share of the plan on the drawn pairs, and gradient
    share, where the run had them, and the same of the kept plan (plan_mass, plan_diag_share).
    """

    run: str
    suite: str
    policy: str
    step: int | None
    date: str
    twins: int
    encodings: Mapping[str, Encoding]
    transport: Mapping[str, float] = field(default_factory=dict)
    picture: str = ""

    def to_line(self) -> str:
        """Return the JSON line, without newline."""
        return json.dumps(asdict(self), allow_nan=False)

    @classmethod
    def from_line(cls, line: str) -> "Diagnosis":
        """Return what a line says.

        Raises:
            ValueError: If it is torn, or lacks a field.
        """
        body = json.loads(line)
        try:
            body["encodings"] = {
                name: Encoding(
                    separation=Separation(**found["separation"]),
                    match={region: Match(**values) for region, values in found["match"].items()},
                )
                for name, found in body["encodings"].items()
            }
            return cls(**body)
        except (TypeError, KeyError, AttributeError) as error:
            raise ValueError(f"not a diagnosis: {error}") from error


def diagnose(run: Path, suite: str, *, folder: Path = FOLDER, twins: Twins | None = None) -> Diagnosis:
    """Return what a finished run's encodings say; appends the line to `folder` and draws the picture there.

    The policy's checkpoint is `checkpoints/last`. Source rows are normalised by the statistics that it carries.

    Raises:
        MissingFileError: If the run has no checkpoint.
        ConfigError: If the suite has no twins, or the policy's encoders cannot run alone.
    """
    from otpilot.training.command import find_model
    from otpilot.training.parts import load_policy

    model = find_model(run)
    policy, preprocessor, _ = load_policy(model, device="cpu")
    states = twins or make_twins(suite, **_views(policy))
    sides = [encode(policy, preprocessor, view) for view in (states.source, states.target)]
    step = model.resolve().parent.name
    found = Diagnosis(
        run=run.resolve().name.replace("__", "/"),
        suite=suite,
        policy=str(policy.config.type),
        step=int(step) if step.isdigit() else None,
        date=datetime.now(UTC).isoformat(timespec="seconds"),
        twins=len(states),
        encodings={name: _measure(sides[0][name], sides[1][name], states) for name in sides[0]},
        transport=_transport(RunPaths(run)),
        picture=f"{run.resolve().name}.svg",
    )
    folder.mkdir(parents=True, exist_ok=True)
    draw(folder / found.picture, sides[0][IMAGES], sides[1][IMAGES], states, title=found.run)
    with (folder / FILE).open("a", encoding="utf-8") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.write(found.to_line() + "\n")
    return found


def encode(policy: Any, preprocessor: Any, observation: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[np.float64]]:
    """Return the policy's own encodings of raw rows: of all images together, and of everything (fused).

    Raises:
        ConfigError: If nothing is known of the policy's encoders.
    """
    import torch

    from otpilot.policies.features import make_tap

    parts: dict[str, list[NDArray[np.float64]]] = {IMAGES: [], FUSED: []}
    rows = len(next(iter(observation.values())))
    steps = policy.config.n_obs_steps
    policy.eval()
    for start in range(0, rows, CHUNK):
        batch: dict[str, Any] = {}
        for key, value in observation.items():
            tensor = torch.from_numpy(value[start : start + CHUNK])
            batch[key] = tensor.permute(0, 3, 1, 2).float() / 255.0 if tensor.dtype == torch.uint8 else tensor
        batch["task"] = [""] * len(tensor)
        tap = make_tap(policy)
        with torch.no_grad(), tap:
            ready = preprocessor(batch)
            if policy.config.type == "act":
                policy.predict_action_chunk(ready)
            else:
                tap.encode(_standing_still(ready, steps))
        for key, made in parts.items():
            made.append(tap.embedding(key).double().cpu().numpy())
    return {key: np.concatenate(made) for key, made in parts.items()}


def _standing_still(batch: Mapping[str, Any], steps: int) -> dict[str, Any]:
    """Return rows (n, ...) of one observation as rows (n, steps, ...) of a robot that has not moved."""
    return {
        key: value.unsqueeze(1).expand(-1, steps, *value.shape[1:]) if key.startswith("observation.") else value
        for key, value in batch.items()
    }


def read_diagnoses(folder: Path = FOLDER) -> list[Diagnosis]:
    """Return all diagnoses of a folder, the newest of each run, in order of their lines.

    Raises:
        RunError: If a line cannot be read.
    """
    path = folder / FILE
    found: dict[str, Diagnosis] = {}
    if not path.is_file():
        return []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        try:
            one = Diagnosis.from_line(line)
        except ValueError as error:
            raise RunError(f"{path}, line {number}: {error}.") from error
        found[one.run] = one
    return list(found.values())


def _measure(source: NDArray[np.float64], target: NDArray[np.float64], twins: Twins) -> Encoding:
    return Encoding(
        separation=separation(source, target, twins.episode),
        match={
            region: match(source[here], target[here]) for region in REGIONS if (here := twins.region == region).any()
        },
    )


def _transport(paths: RunPaths) -> dict[str, float]:
    """Return what the log and the kept plan say of the transport; nothing for a run without one."""
    found: dict[str, float] = {}
    log = read_metrics(paths.metrics)
    for name, metric in TRANSPORT.items():
        values = np.asarray(log.curve(metric)[1], dtype=float)
        if np.isfinite(values).any():
            found[name] = float(values[np.isfinite(values)][-1])
    plan = paths.artifacts / "plan.npz"
    if plan.is_file():
        with np.load(plan, allow_pickle=False) as kept:
            matrix = np.asarray(kept["unit_plan"], dtype=float)
            found["plan_mass"] = float(kept["mass"])
        if matrix.shape[0] == matrix.shape[1] and matrix.sum() > 0:
            found["plan_diag_share"] = float(np.trace(matrix) / matrix.sum())
    return {name: float(f"{value:.5g}") for name, value in found.items()}


def _views(policy: Any) -> dict[str, Any]:
    """Return how the twins must be drawn for a policy: the size of its picture, and whether its state has a token."""
    images = policy.config.image_features
    if list(images) != ["observation.images.top"]:
        raise ConfigError(f"the policy sees {', '.join(images) or 'no camera'}; twins can be drawn for the top camera.")
    (shape,) = (feature.shape for feature in images.values())
    dims = policy.config.input_features["observation.state"].shape[0]
    return {"image_size": int(shape[-1]), "token": dims == policy.config.action_feature.shape[0] + 1}
