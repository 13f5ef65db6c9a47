"""The stream of training batches: source, target and pair rows in one stack, with a map of what each row is for."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Dataset

from otpilot.config.schema import TrainConfig
from otpilot.data.domains import Domain, Domains
from otpilot.data.mixing import EpochOrder, RowMap, rows_before, source_share
from otpilot.errors import ConfigError
from otpilot.pairing.sampler import PairSampler

SOURCE, TARGET = 1, 0


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Collated rows as LeRobot's policies take them, and what each row is for."""

    rows: dict[str, Any]
    map: RowMap


class BatchStream(Dataset[Batch]):
    """Batch number k of training, for any k >= 0, as a pure function of (config seed, rank, k).

    A DataLoader with `batch_size=None` and `sampler=range(start, stop)` reads it, with any number of workers.
    """

    def __init__(
        self, config: TrainConfig, domains: Domains, pairs: PairSampler | None, *, rank: int = 0, world_size: int = 1
    ) -> None:
        ot = config.ot
        self._domains = domains
        self._pairs = pairs
        self._rank, self._world_size = rank, world_size
        self._batch_size = config.batch_size
        self._shared = ot.rows == "shared"
        self._extra_pairs = 0 if pairs is None or self._shared else max(1, round(ot.batch_ratio * config.batch_size))
        drop = getattr(config.policy, "drop_n_last_frames", 0)
        seed = config.seed or 0
        self._seed = seed
        target_frames = domains.target.frames(domains.target.train_episodes, drop)
        self._target = EpochOrder(target_frames, (seed, TARGET))
        self._source: EpochOrder | None = None
        self._share = 0.0
        if domains.source is not None:
            source_frames = domains.source.frames(domains.source.train_episodes, drop)
            self._source = EpochOrder(source_frames, (seed, SOURCE))
            self._share = source_share(
                ot.bc_src_weight,
                source_frames=len(source_frames),
                target_frames=len(target_frames),
                by_size=ot.normalize_bc_weights_by_ds_size,
            )
        self._augments = config.dataset.image_transforms.enable

    def __getitem__(self, step: int) -> Batch:
        """Return batch number `step`."""
        source, target, pairs = self._indices(step)
        parts = [(self._domains.target, target)]
        if self._domains.source is not None:
            parts.append((self._domains.source, source))
        cloning = len(target) + len(source)
        pair_tgt, pair_src = np.arange(len(pairs[0])), len(target) + np.arange(len(pairs[0]))
        if self._extra_pairs:
            parts += [(self._domains.target, pairs[0]), (self._required_source(), pairs[1])]
            pair_tgt, pair_src = cloning + pair_tgt, cloning + self._extra_pairs + np.arange(self._extra_pairs)
        rows = self._read(step, [(domain, places) for domain, places in parts if len(places)])
        if self._extra_pairs and "action_is_pad" in rows:
            rows["action_is_pad"][cloning:] = True  # pair rows are encoded, but not cloned
        is_source = np.concatenate([np.full(len(places), domain.name == "source") for domain, places in parts])
        return Batch(rows=rows, map=RowMap(cloning=cloning, pair_src=pair_src, pair_tgt=pair_tgt, is_source=is_source))

    def _indices(
        self, step: int
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], tuple[NDArray[np.int64], NDArray[np.int64]]]:
        """Return the frames of a batch: source cloning rows, target cloning rows, (target, source) of the pairs."""
        turn = step * self._world_size + self._rank
        before = rows_before(turn, batch_size=self._batch_size, share=self._share)
        count = rows_before(turn + 1, batch_size=self._batch_size, share=self._share) - before
        target = self._target.rows(turn * self._batch_size - before, self._batch_size - count)
        source = self._source.rows(before, count) if self._source is not None else np.empty(0, dtype=np.int64)
        none = np.empty(0, dtype=np.int64)
        if self._pairs is None:
            return source, target, (none, none)
        if self._extra_pairs:
            drawn = self._pairs.draw(step, self._extra_pairs)
            return source, target, (drawn.target_rows, drawn.source_rows)
        paired = target[: min(len(source), len(target))]
        drawn = self._pairs.draw(step, target_rows=paired)
        # The first source rows are the partners of the first target rows; the rest are drawn as for plain cloning.
        return np.concatenate([drawn.source_rows, source[len(paired) :]]), target, (paired, drawn.source_rows)

    def _read(self, step: int, parts: list[tuple[Domain, NDArray[np.int64]]]) -> dict[str, Any]:
        if not self._augments:
            return _stack([domain.reader.rows(places) for domain, places in parts])
        with torch.random.fork_rng(devices=[]):  # augmentation draws belong to the batch, not to the process
            torch.manual_seed(np.random.SeedSequence([self._seed, self._rank, step]).generate_state(1)[0])
            return _stack([domain.reader.rows(places) for domain, places in parts])

    def _required_source(self) -> Domain:
        if self._domains.source is None:
            raise ConfigError("Pair rows need a source dataset; set ot.src_root.")
        return self._domains.source


def make_loader(config: TrainConfig, stream: BatchStream, *, start: int) -> DataLoader[Batch]:
    """Return a loader of batches number `start` to `steps` - 1."""
    workers = config.num_workers
    return DataLoader(
        stream,
        batch_size=None,
        sampler=range(start, config.steps),
        generator=torch.Generator(),  # else the loader would take a number from torch's own, and resuming another
        num_workers=workers,
        prefetch_factor=config.prefetch_factor if workers else None,
        multiprocessing_context=config.dataloader_multiprocessing_context if workers else None,
    )


def _stack(parts: list[dict[str, Any]]) -> dict[str, Any]:
    """Concatenate the collated rows of several domains, in order."""
    return {
        key: [item for part in parts for item in part[key]]
        if isinstance(value, list)
        else torch.cat([part[key] for part in parts])
        for key, value in parts[0].items()
    }
