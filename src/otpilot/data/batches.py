"""The stream of training batches: source, target and pair rows in one stack, with a map of what each row is for."""

import signal
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Dataset

from otpilot.config.schema import TrainConfig
from otpilot.data.domains import Domain, Domains
from otpilot.data.mixing import EpochOrder, Rotation, RowMap, rows_before, source_share
from otpilot.errors import ConfigError
from otpilot.pairing.sampler import PairSampler

Rows = NDArray[np.int64]
TARGET_STREAM = 0  # sources are streams 1, 2, ...
VIEW_DRAWS = 1_000_003
"""Tells the draws of rows for the target's view from all others of a seed."""


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Collated rows as LeRobot's policies take them, and what each row is for."""

    rows: dict[str, Any]
    map: RowMap


@dataclass(frozen=True, kw_only=True)
class _Part:
    """Rows of one domain; the first `partners` of a source's rows match target rows in order."""

    domain: Domain
    frames: Rows
    partners: int = 0


@dataclass(frozen=True, kw_only=True)
class _Step:
    """All rows of one optimisation step, over every process and accumulated batch: target first, then the sources.

    The target rows begin with the partners of the first source, then those of the second, and so on.
    """

    cloning: list[_Part]
    extra: list[_Part]  # pair rows that are encoded, but not cloned


class BatchStream(Dataset[Batch]):
    """Batch number k of this process, for any k >= 0, as a pure function of (config seed, rank, k).

    `grad_accum_steps` batches in a row belong to one step. The rows of a step are drawn as one, and dealt out to its
    batches and processes; so 2 processes, or 2 accumulated batches, of 8 rows see what one batch of 16 would hold.
    A DataLoader with `batch_size=None` and `sampler=range(start, stop)` reads it, with any number of workers.

    Args:
        config: The validated config.
        domains: The opened datasets.
        samplers: The pair sampler of each source that has one, by the source's name.
        viewed: The part of their rows that is for the target's view, by the names of the sources that have one.
        rank: Number of this process.
        world_size: Number of processes.

    Raises:
        ConfigError: If no pair fits into a batch, or with rows = shared a target episode has no partner.
    """

    def __init__(
        self,
        config: TrainConfig,
        domains: Domains,
        samplers: Mapping[str, PairSampler],
        *,
        viewed: Mapping[str, float] | None = None,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        ot = config.ot
        self._domains = domains
        self._samplers = samplers
        self._viewed = viewed or {}
        self.batches_per_step = config.grad_accum_steps
        self._rank, self._world_size = rank, world_size
        self._chunks = world_size * self.batches_per_step
        self._step_size = config.batch_size * self._chunks
        pairs = max(1, round(ot.batch_ratio * config.batch_size)) * self._chunks
        self._extra_pairs = pairs if samplers and ot.rows == "separate" else 0
        self._seed = config.seed or 0
        self._augments = config.dataset.image_transforms.enable
        if not self._extra_pairs:
            self._check_pairs(config.batch_size)
        drop = getattr(config.policy, "drop_n_last_frames", 0)
        frames = [domain.frames(domain.train_episodes, drop) for domain in (domains.target, *domains.sources)]
        orders = [EpochOrder(places, (self._seed, stream)) for stream, places in enumerate(frames)]
        self._target, self._sources = orders[TARGET_STREAM], orders[TARGET_STREAM + 1 :]
        self._share = 0.0
        if domains.sources:
            self._share = source_share(
                ot.source_weight(viewed=bool(viewed)),
                source_frames=sum(len(places) for places in frames[1:]),
                target_frames=len(frames[TARGET_STREAM]),
                by_size=ot.normalize_bc_weights_by_ds_size,
            )
            self._check_problems(config)
            self._rotation = Rotation([source.weight for source in domains.sources])
            paired = [source.weight for source in domains.sources if source.name in samplers]
            self._pair_rotation = Rotation(paired) if paired else None

    def _check_pairs(self, batch_size: int) -> None:
        """Raise ConfigError unless every target row can be cloned next to its partner."""
        if self._samplers and batch_size == 1 and self._chunks > 1:
            raise ConfigError(
                "batch_size is 1, but a pair is two rows of one batch; set batch_size to 2 or more (and "
                "grad_accum_steps to less), or ot.rows = separate."
            )
        for name, sampler in self._samplers.items():
            alone = sorted(set(self._domains.target.train_episodes) - set(sampler.target_episodes.tolist()))
            if alone:
                shown = ", ".join(map(str, alone[:5])) + (", ..." if len(alone) > 5 else "")
                raise ConfigError(
                    f"ot.rows is shared, which pairs every target row, but {len(alone)} of "
                    f"{len(self._domains.target.train_episodes)} target episodes that are trained on have no partner "
                    f"in {name} ({shown}); make a new pair table (`otpilot pair`), leave them out "
                    "(dataset.episodes), or set ot.rows = separate."
                )

    def _check_problems(self, config: TrainConfig) -> None:
        """Raise ConfigError unless every process has a problem of its own to solve where each solves its own."""
        if config.ot.scope == "global" or self._world_size == 1 or self._extra_pairs or not self._samplers:
            return
        pairs = int(self._step_size * min(self._share, 1.0 - self._share))
        if pairs < self._chunks:
            raise ConfigError(
                f"ot.scope is local, but a step has {pairs} pairs for {self._chunks} batches (of all processes); set "
                "ot.scope = global, which solves one problem over all of them, or raise batch_size."
            )

    def __getitem__(self, number: int) -> Batch:
        """Return batch `number` of this process."""
        step, place = divmod(number, self.batches_per_step)
        chunk = place * self._world_size + self._rank
        rows = _chunk_of(self._step(step), chunk, self._chunks)
        parts = rows.cloning + rows.extra
        cloning = sum(len(part.frames) for part in rows.cloning)
        viewed = self._draw_viewed((chunk, step), parts)
        read = self._read((chunk, step), parts, viewed)
        if rows.extra and "action_is_pad" in read:
            read["action_is_pad"][cloning:] = True  # pair rows are encoded, but not cloned
        return Batch(rows=read, map=self._map(rows, cloning, np.concatenate(viewed)))

    def _step(self, step: int) -> _Step:
        """Return the rows of a step; shared pairs are the first rows of both sides."""
        before = rows_before(step, batch_size=self._step_size, share=self._share)
        behind = rows_before(step + 1, batch_size=self._step_size, share=self._share)
        target = self._target.rows(step * self._step_size - before, self._step_size - (behind - before))
        parts = [_Part(domain=self._domains.target, frames=target)]
        counts = (self._rotation.before(behind) - self._rotation.before(before)).tolist() if self._sources else []
        shares = self._deal(step * self._step_size - before, len(target), counts)
        paired = 0
        for number, source in enumerate(self._domains.sources):
            frames = self._sources[number].rows(int(self._rotation.before(before)[number]), counts[number])
            sampler, partners = self._samplers.get(source.name), shares[number]
            if sampler is not None and partners:
                drawn = sampler.draw(step, target_rows=target[paired : paired + partners])
                frames = np.concatenate([drawn.source_rows, frames[partners:]])
            parts.append(_Part(domain=source, frames=frames, partners=partners))
            paired += partners
        return _Step(cloning=parts, extra=self._pair_parts(step) if self._extra_pairs else [])

    def _deal(self, before: int, count: int, frames: list[int]) -> list[int]:
        """Return how many of `count` target rows are paired with each source: by weight, as far as its rows reach.

        `before` target rows were dealt in earlier steps; `frames` are the rows of each source in this one. What one
        source cannot take, the others do.
        """
        shares = [0] * len(frames)
        if self._extra_pairs or not self._samplers:
            return shares
        assert self._pair_rotation is not None
        paired = [n for n, source in enumerate(self._domains.sources) if source.name in self._samplers]
        wanted = self._pair_rotation.before(before + count) - self._pair_rotation.before(before)
        for number, want in zip(paired, wanted.tolist(), strict=True):
            shares[number] = min(frames[number], want)
        for number in paired:
            shares[number] += min(frames[number] - shares[number], count - sum(shares))
        return shares

    def _pair_parts(self, step: int) -> list[_Part]:
        """Return extra pairs: the target rows of all, then the source rows of each source, in the same order."""
        assert self._pair_rotation is not None
        counts = self._pair_rotation.before((step + 1) * self._extra_pairs) - self._pair_rotation.before(
            step * self._extra_pairs
        )
        targets, sources = [], []
        paired = [source for source in self._domains.sources if source.name in self._samplers]
        for source, count in zip(paired, counts.tolist(), strict=True):
            drawn = self._samplers[source.name].draw(step, count)
            targets.append(drawn.target_rows)
            sources.append(_Part(domain=source, frames=drawn.source_rows, partners=count))
        return [_Part(domain=self._domains.target, frames=np.concatenate(targets)), *sources]

    def _map(self, rows: _Step, cloning: int, viewed: NDArray[np.bool_]) -> RowMap:
        """Return where the matched rows are: target rows are matched from the front of their (last) block."""
        parts = rows.cloning + rows.extra
        starts = np.cumsum([0, *(len(part.frames) for part in parts)])[:-1]
        matched = [start + np.arange(part.partners) for start, part in zip(starts, parts, strict=True) if part.partners]
        pair_src = np.concatenate(matched) if matched else np.empty(0, dtype=np.int64)
        first = cloning if rows.extra else 0
        numbers = {domain.name: n for n, domain in enumerate((self._domains.target, *self._domains.sources))}
        domain = [np.full(len(part.frames), numbers[part.domain.name]) for part in parts]
        return RowMap(
            cloning=cloning,
            pair_src=pair_src,
            pair_tgt=first + np.arange(len(pair_src)),
            domain=np.concatenate(domain),
            viewed=viewed,
        )

    def _draw_viewed(self, place: tuple[int, int], parts: list[_Part]) -> list[NDArray[np.bool_]]:
        """Return which rows of each part are for the target's view."""
        numbers = np.random.default_rng([self._seed, VIEW_DRAWS, *place])
        return [numbers.random(len(part.frames)) < self._viewed.get(part.domain.name, 0.0) for part in parts]

    def _read(self, place: tuple[int, int], parts: list[_Part], viewed: list[NDArray[np.bool_]]) -> dict[str, Any]:
        read = [(part, mask) for part, mask in zip(parts, viewed, strict=True) if len(part.frames)]
        if not self._augments:
            return _stack([part.domain.reader.rows(part.frames) for part, _ in read])
        with torch.random.fork_rng(devices=[]):  # augmentation draws belong to the batch, not to the process
            torch.manual_seed(np.random.SeedSequence([self._seed, *place]).generate_state(1)[0])
            return _stack([part.domain.reader.rows(part.frames, augment=~mask) for part, mask in read])


def make_loader(config: TrainConfig, stream: BatchStream, *, start: int) -> DataLoader[Batch]:
    """Return a loader of the batches of steps `start` to `steps` - 1, `grad_accum_steps` for each."""
    workers = config.num_workers
    return DataLoader(
        stream,
        batch_size=None,
        sampler=range(start * stream.batches_per_step, config.steps * stream.batches_per_step),
        generator=torch.Generator(),  # else the loader would take a number from torch's own, and resuming another
        num_workers=workers,
        prefetch_factor=config.prefetch_factor if workers else None,
        multiprocessing_context=config.dataloader_multiprocessing_context if workers else None,
        worker_init_fn=_ignore_interrupts if workers else None,
    )


def _ignore_interrupts(_worker: int) -> None:
    """Leave Ctrl-C to the training process, which still wants its batches while it saves a checkpoint."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _chunk_of(step: _Step, chunk: int, chunks: int) -> _Step:
    """Return one of so many equal pieces of a step; matched rows stay together."""
    if chunks == 1:
        return step
    return _Step(cloning=_cut(step.cloning, chunk, chunks), extra=_cut(step.extra, chunk, chunks))


def _cut(parts: list[_Part], chunk: int, chunks: int) -> list[_Part]:
    """Return a piece of a target part and the source parts behind it, whose partners lead the target rows in turn.

    Pairs are dealt out first, in their order, as evenly as they come. Then each piece is filled to its size, or one row
    less or more where pairs leave no room for a single one, by the other rows of all domains alike.
    """
    if not parts:
        return []
    target, *sources = parts
    paired = sum(source.partners for source in sources)
    first, last = (paired * number // chunks for number in (chunk, chunk + 1))
    loose = [target.frames[paired:], *(source.frames[source.partners :] for source in sources)]
    rows = sum(len(part.frames) for part in parts)
    places = _in_turn([len(frames) for frames in loose])
    mine = places[_filled(rows, paired, chunk, chunks) : _filled(rows, paired, chunk + 1, chunks)]
    rest = [frames[mine[mine[:, 0] == number, 1]] for number, frames in enumerate(loose)]
    pieces = [_Part(domain=target.domain, frames=np.concatenate([target.frames[first:last], rest[0]]))]
    behind = 0
    for source, others in zip(sources, rest[1:], strict=True):
        begin, end = (min(max(place - behind, 0), source.partners) for place in (first, last))
        frames = np.concatenate([source.frames[begin:end], others])
        pieces.append(_Part(domain=source.domain, frames=frames, partners=end - begin))
        behind += source.partners
    return pieces


def _filled(rows: int, paired: int, chunk: int, chunks: int) -> int:
    """Return how many unpaired rows the pieces before `chunk` hold, if each holds its part of the rows."""
    return max(rows * number // chunks - 2 * (paired * number // chunks) for number in range(chunk + 1))


def _in_turn(counts: list[int]) -> Rows:
    """Return (list, place) of every row of several lists, (rows, 2), so that any stretch holds each in proportion."""
    lists = np.repeat(np.arange(len(counts)), counts)
    places = np.concatenate([np.arange(count) for count in counts])
    when = np.concatenate([(np.arange(count) + 0.5) / max(count, 1) for count in counts])
    return np.stack([lists, places], axis=1)[np.argsort(when, kind="stable")]


def _stack(parts: list[dict[str, Any]]) -> dict[str, Any]:
    """Concatenate the collated rows of several domains, in order."""
    return {
        key: [item for part in parts for item in part[key]]
        if isinstance(value, list)
        else torch.cat([part[key] for part in parts])
        for key, value in parts[0].items()
    }
