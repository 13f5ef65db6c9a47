"""The methods that are compared, each as edits of one base config, and the axes of the ablations."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from benchmarks.transfer.suite import Data
from otpilot.config.edits import Edit
from otpilot.demo.settings import VIEWED_SOURCE_SHARE
from otpilot.errors import ConfigError, closest

Uses = Literal["both", "source", "target"]


@dataclass(frozen=True, kw_only=True)
class Method:
    """One way of training: which data it sees, and how its config differs from co-training with the default transport.

    `token` asks for data whose state says which domain it is.
    """

    name: str
    about: str
    uses: Uses = "both"
    edits: tuple[Edit, ...] = ()
    token: bool = False


def sets(**values: Any) -> tuple[Edit, ...]:
    """Return edits that set keys of the ot section; two underscores stand for a dot."""
    return tuple(Edit(path=f"ot.{key.replace('__', '.')}", op="set", value=value) for key, value in values.items())


def _loss(**values: Any) -> tuple[Edit, ...]:
    return sets(**{f"loss_config__{key}": value for key, value in values.items()})


# Iteration 4a of seed report 001: raw costs, each pair only with itself.
SEEDS = (
    *sets(lambda_ot=0.1, view_share=0.0),
    *_loss(
        objective="plan_cost",
        prior="diagonal",
        cost_normalization="none",
        embed_normalization="none",
        reg=0.02,
        tau_src=0.01,
        tau_tgt=0.01,
    ),
    Edit(path="ot.loss_config.features[action_lbl].weight_label", op="set", value=0.02),
)
VIEWED = sets(bc_src_weight=VIEWED_SOURCE_SHARE)
"""Each method has the source share that did better on a validation seed: docs/log.md."""
_TABLE = (
    Method(name="source-only", about="the source demonstrations alone", uses="source"),
    Method(name="target-only", about="the target demonstrations alone", uses="target"),
    Method(
        name="co-training", about="both, no transport; 10 of 16 source rows", edits=sets(lambda_ot=0.0, view_share=0.0)
    ),
    Method(
        name="paired",
        about="both, a robust loss on each drawn pair (Welsch)",
        edits=sets(method="paired", view_share=0.0),
    ),
    Method(
        name="ot",
        about="both, otpilot's defaults: views and encodings transported; 12 of 16 source rows",
        edits=VIEWED,
    ),
    Method(
        name="ot-views",
        about="both, views alone (source pictures as the target sees them); 12 of 16 source rows",
        edits=(*VIEWED, *sets(lambda_ot=0.0)),
    ),
    Method(
        name="ot-encodings", about="both, encodings transported alone; 10 of 16 source rows", edits=sets(view_share=0.0)
    ),
    Method(name="ot-seeds", about="transport as in the seeds: diagonal prior, raw cost, lambda 0.1", edits=SEEDS),
    Method(name="ot-mass", about="transport, cost scaled to a mass of 0.7", edits=(*VIEWED, *_loss(target_mass=0.7))),
    Method(
        name="ot-semi",
        about="transport, every target row matched (tau_tgt null)",
        edits=(*VIEWED, *_loss(tau_tgt=None)),
    ),
    Method(name="ot-product", about="transport without pairs in its prior", edits=(*VIEWED, *_loss(prior="product"))),
    Method(
        name="ot-mixed-0.9",
        about="transport, nine tenths of its prior on the pairs",
        edits=(*VIEWED, *_loss(prior_kappa=0.9)),
    ),
    Method(
        name="energy-distance",
        about="both, energy distance of the encodings",
        edits=sets(method="energy_distance", view_share=0.0),
    ),
    Method(
        name="mmd", about="both, maximum mean discrepancy of the encodings", edits=sets(method="mmd", view_share=0.0)
    ),
    Method(
        name="coral",
        about="both, CORAL: equal covariances of the encodings",
        edits=sets(method="coral", view_share=0.0),
    ),
    Method(
        name="co-training-token",
        about="both, no transport, and the state says which domain it is",
        edits=sets(lambda_ot=0.0, view_share=0.0),
        token=True,
    ),
)
METHODS: Mapping[str, Method] = {method.name: method for method in _TABLE}


def get_method(name: str) -> Method:
    """Return the method of a name.

    Raises:
        ConfigError: If it is unknown.
    """
    if name not in METHODS:
        raise ConfigError(f"Unknown method {name!r}; allowed: {', '.join(METHODS)}.{closest(name, METHODS)}")
    return METHODS[name]


@dataclass(frozen=True, kw_only=True)
class Ablation:
    """What one word such as "window=5" changes: the data, keys of the config, and which encodings are compared."""

    data: Callable[[Data], Data] = lambda data: data
    edits: tuple[Edit, ...] = ()
    embed: tuple[str, ...] = ()


def _number(text: str) -> float | int:
    value = float(text)
    return int(value) if value.is_integer() and "." not in text else value


def _key(path: str, parse: Callable[[str], Any] = _number) -> Callable[[str], Ablation]:
    return lambda text: Ablation(edits=(Edit(path=path, op="set", value=parse(text)),))


def _window(text: str) -> Ablation:
    if text == "none":
        return Ablation(edits=sets(no_window=True))
    return Ablation(edits=sets(window_size=int(text)))


def _tau(text: str) -> Ablation:
    value = None if text == "null" else float(text)
    return Ablation(edits=_loss(tau_src=value, tau_tgt=value))


def _rate(text: str) -> Ablation:
    paths = ("optimizer.lr", "scheduler.peak_lr")
    final = Edit(path="scheduler.decay_lr", op="set", value=float(text) / 50)
    return Ablation(edits=(*(Edit(path=path, op="set", value=float(text)) for path in paths), final))


def _pairs(text: str) -> Ablation:
    if text not in ("dtw", "oracle"):
        raise ValueError(text)
    return Ablation(data=lambda data: replace(data, pairs=text))


def _targets(text: str) -> Ablation:
    count = int(text)
    if count < 1:
        raise ValueError(text)
    return Ablation(data=lambda data: replace(data, targets=count))


def _demonstrations(text: str) -> Ablation:
    first, last = (int(part) for part in text.split("-"))
    if not 0 <= first <= last:
        raise ValueError(text)
    return Ablation(data=lambda data: replace(data, demos=tuple(range(first, last + 1))))


def _images(text: str) -> Ablation:
    if text not in ("imagenet", "data"):
        raise ValueError(text)
    return Ablation(edits=(Edit(path="dataset.use_imagenet_stats", op="set", value=text == "imagenet"),))


def _word(text: str) -> str:
    return text


def _flag(text: str) -> bool:
    if text not in ("on", "off"):
        raise ValueError(text)
    return text == "on"


EMBED: Mapping[str, tuple[str, ...]] = {
    "image": (),
    "fused": ("fused",),
    "state": ("observation.state",),
    "image+fused": ("*", "fused"),
    "image+state": ("*", "observation.state"),
}
"""Which of the policy's encodings the cost compares; * stands for the terms of the base config."""


def _embedding(text: str) -> Ablation:
    if text not in EMBED:
        raise ValueError(text)
    return Ablation(embed=EMBED[text])


AXES: Mapping[str, tuple[Callable[[str], Ablation], str]] = {
    "window": (_window, "frames around a match, or none for the whole episode"),
    "sharpness": (_key("ot.sharpness"), "how strongly near episodes are preferred"),
    "topk": (_key("ot.topk_src_episodes", int), "source episodes per target episode"),
    "pairs": (_pairs, "dtw, or oracle: aligned by the simulator's true state"),
    "targets": (_targets, "target demonstrations"),
    "demos": (_demonstrations, "which of the usual target demonstrations, FIRST-LAST, from 0"),
    "share": (_key("ot.target_grad_share"), "share of the encoder's gradient, with lambda_ot auto"),
    "lambda": (_key("ot.lambda_ot"), "fixed weight of the transport"),
    "warmup": (_key("ot.weight_warmup_ratio"), "share of the steps over which the weight fades in"),
    "mass": (_key("ot.loss_config.target_mass"), "mass that the cost is scaled to"),
    "reg": (_key("ot.loss_config.reg"), "entropic strength"),
    "tau": (_tau, "marginal strength of both sides, or null"),
    "kappa": (_key("ot.loss_config.prior_kappa"), "share of the mixed prior on the drawn pairs"),
    "label": (_key("ot.loss_config.features[action_lbl].weight_label"), "weight of the action in the cost"),
    "norm": (_key("ot.loss_config.embed_normalization", _word), "none, batch, layer or cosine"),
    "rows": (_key("ot.rows", _word), "shared with cloning, or separate"),
    "embed": (_embedding, f"{', '.join(EMBED)}: encodings that are compared"),
    "src_share": (_key("ot.bc_src_weight"), "share of source rows"),
    "stats": (_key("ot.stats", _word), "whose statistics normalise: shared, rows, target, source, per_domain"),
    "images": (_images, "whose statistics normalise pictures: imagenet, or the data"),
    "view": (_key("ot.view_share"), "share of source rows that are shown in the target's view"),
    "jitter": (_key("ot.view_jitter"), "how far the camera of those rows may seem moved"),
    "background": (_key("ot.view_background", _flag), "on, or off: whether they have the target's background"),
    "rate": (_rate, "learning rate"),
    "batch": (_key("batch_size", int), "rows of a step"),
}
"""Axes of the ablations: "window=5" is a word of a cell."""


def parse_ablation(word: str) -> Ablation:
    """Return what a word AXIS=VALUE changes.

    Raises:
        ConfigError: If the axis is unknown, or the value is none of it.
    """
    axis, equals, value = word.partition("=")
    if not equals or axis not in AXES:
        raise ConfigError(
            f"{word!r} is no ablation; write AXIS=VALUE with one of {', '.join(AXES)}.{closest(axis, AXES)}"
        )
    parse, about = AXES[axis]
    try:
        return parse(value)
    except ValueError as error:
        raise ConfigError(f"{axis} is {value!r}; allowed: {about}.") from error
