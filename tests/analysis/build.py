"""Curves and runs for the tests of the analysis, built to have known statistics."""

from collections.abc import Mapping, Sequence

import numpy as np

from otpilot.runs.history import Curve, RunHistory

CONFIG = {
    "policy": {"type": "act", "optimizer_lr": 1e-5, "optimizer_weight_decay": 1e-4},
    "optimizer": {"type": "adamw", "lr": 1e-5, "weight_decay": 1e-4, "grad_clip_norm": 10.0},
    "scheduler": None,
    "use_policy_training_preset": True,
    "batch_size": 8,
    "steps": 20000,
    "seed": 42,
    "ot": {
        "enable": True,
        "lambda_ot": 0.1,
        "window_size": 10,
        "loss_config": {
            "reg": 0.1,
            "tau_src": 0.5,
            "tau_tgt": 0.5,
            "heuristic": True,
            "features": [
                {"src_key": "images.ee", "use_learned_embed": True, "weight_embed": 0.3333, "term_name": "img"},
                {"src_key": "action", "weight_embed": 0.0, "weight_label": 0.02, "term_name": "action_lbl"},
            ],
        },
    },
}  # fmt: skip


def curve(name: str, values: Sequence[float], *, every: int = 50, steps: Sequence[int] | None = None) -> Curve:
    """Return a curve logged every `every` steps."""
    y = np.asarray(values, dtype=np.float64)
    x = every * np.arange(1, len(y) + 1) if steps is None else np.asarray(steps)
    return Curve(name=name, steps=x.astype(np.int64), values=y)


def history(curves: Mapping[str, Sequence[float]] | Sequence[Curve] = (), *, every: int = 50, **fields) -> RunHistory:
    """Return a run with these curves; a mapping is logged every `every` steps."""
    made = (
        [curve(name, values, every=every) for name, values in curves.items()] if isinstance(curves, Mapping) else curves
    )
    given = {"id": "run", "name": "run", "source": "test", "config": CONFIG, **fields}
    return RunHistory(curves={one.name: one for one in made}, **given)


def changed(**edits) -> dict:
    """Return CONFIG with dotted keys (written with __ for dots) replaced."""
    return edited(CONFIG, **edits)


def edited(config: Mapping, **edits) -> dict:
    """Return a config with dotted keys (written with __ for dots) replaced."""
    import copy

    body = copy.deepcopy(dict(config))
    for key, value in edits.items():
        place = body
        *sections, last = key.split("__")
        for section in sections:
            place = place.setdefault(section, {})
        place[last] = value
    return body


def with_endpoints(name: str, rows: int, figures: Mapping[str, float | int | None], *, every: int = 50) -> Curve:
    """Return a curve that has the given first, last, best (its minimum) and best_step."""
    first, last, best = (figures[key] for key in ("first", "last", "best"))
    steps = every * np.arange(1, rows + 1)
    high = max(first, last)
    values = np.full(rows, high if high > best else best)
    values[0], values[-1] = first, last
    values[steps == figures["best_step"]] = best
    # Between them nothing may reach the minimum earlier.
    middle = values[1:-1]
    middle[(middle == best) & (steps[1:-1] < figures["best_step"])] = best + abs(best)
    return Curve(name=name, steps=steps, values=values)


def with_tail(name: str, mean: float, std: float, slope: float, jitter: float, *, every: int = 100) -> Curve:
    """Return a curve of 1,000 rows whose last 100 have this mean, std, slope and jitter."""
    from scipy.optimize import brentq

    k = 100
    x = np.arange(k) - (k - 1) / 2
    basis = np.stack([np.ones(k), x, np.sin(np.arange(k) / 5.0), np.cos(np.arange(k) * 2.9)], axis=1)
    orthogonal = np.linalg.qr(basis)[0]
    slow, fast = orthogonal[:, 2], orthogonal[:, 3]
    rest = np.sqrt(k * std**2 - slope**2 * (x @ x))

    def tail(angle: float) -> np.ndarray:
        return mean + slope * x + rest * (np.cos(angle) * slow + np.sin(angle) * fast)

    def error(angle: float) -> float:
        y = tail(angle)
        return float(np.diff(y).std() / abs(np.median(y)) - jitter)

    values = np.concatenate([np.full(900, mean * 1.5), tail(brentq(error, 0.0, np.pi / 2, xtol=1e-14))])
    return Curve(name=name, steps=every * np.arange(1, 1001), values=values)
