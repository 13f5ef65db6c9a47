"""The stream of training batches: source, target and pair rows in one stack, with a map of what each row is for."""

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
from otpilot.pairing.sampler import PairSampler

Rows = NDArray[np.int64]
TARGET_STREAM = 0  # sources are streams 1, 2, ...


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Collated rows as LeRobot's policies take them, and what each row is for."""

    rows: dict[str, Any]
    map: RowMap


@dataclass(frozen=True, kw_only=True)
class _Part:
    """Rows of one domain in a batch; the first `partners` of a source's rows match target rows in order."""

    domain: Domain
    frames: Rows
    partners: int = 0


class BatchStream(Dataset[Batch]):
    """Batch number k of training, for any k >= 0, as a pure function of (config seed, rank, k).

    A DataLoader with `batch_size=None` and `sampler=range(start, stop)` reads it, with any number of workers.

    Args:
        config: The validated config.
        domains: The opened datasets.
        samplers: The pair sampler of each source that has one, by the source's name.
        rank: Number of this process.
        world_size: Number of processes.
    """

    def __init__(
        self,
        config: TrainConfig,
        domains: Domains,
        samplers: Mapping[str, PairSampler],
        *,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        ot = config.ot
        self._domains = domains
        self._samplers = samplers
        self._rank, self._world_size = rank, world_size
        self._batch_size = config.batch_size
        self._extra_pairs = (
            max(1, round(ot.batch_ratio * config.batch_size)) if samplers and ot.rows == "separate" else 0
        )
        self._seed = config.seed or 0
        self._augments = config.dataset.image_transforms.enable
        drop = getattr(config.policy, "drop_n_last_frames", 0)
        frames = [domain.frames(domain.train_episodes, drop) for domain in (domains.target, *domains.sources)]
        orders = [EpochOrder(places, (self._seed, stream)) for stream, places in enumerate(frames)]
        self._target, self._sources = orders[TARGET_STREAM], orders[TARGET_STREAM + 1 :]
        self._share = 0.0
        if domains.sources:
            self._share = source_share(
                ot.bc_src_weight,
                source_frames=sum(len(places) for places in frames[1:]),
                target_frames=len(frames[TARGET_STREAM]),
                by_size=ot.normalize_bc_weights_by_ds_size,
            )
            self._rotation = Rotation([source.weight for source in domains.sources])
            paired = [source.weight for source in domains.sources if source.name in samplers]
            self._pair_rotation = Rotation(paired) if paired else None

    def __getitem__(self, step: int) -> Batch:
        """Return batch number `step`."""
        parts = self._cloning_parts(step)
        cloning = sum(len(part.frames) for part in parts)
        if self._extra_pairs:
            parts += self._pair_parts(step)
        rows = self._read(step, [part for part in parts if len(part.frames)])
        if self._extra_pairs and "action_is_pad" in rows:
            rows["action_is_pad"][cloning:] = True  # pair rows are encoded, but not cloned
        return Batch(rows=rows, map=self._map(parts, cloning))

    def _cloning_parts(self, step: int) -> list[_Part]:
        """Return target rows, then the rows of each source; shared pairs are the first rows of both."""
        turn = step * self._world_size + self._rank
        before = rows_before(turn, batch_size=self._batch_size, share=self._share)
        behind = rows_before(turn + 1, batch_size=self._batch_size, share=self._share)
        target = self._target.rows(turn * self._batch_size - before, self._batch_size - (behind - before))
        parts = [_Part(domain=self._domains.target, frames=target)]
        paired = 0
        for number, source in enumerate(self._domains.sources):
            first = int(self._rotation.before(before)[number])
            frames = self._sources[number].rows(first, int(self._rotation.before(behind)[number]) - first)
            sampler = self._samplers.get(source.name) if not self._extra_pairs else None
            partners = min(len(frames), len(target) - paired) if sampler is not None else 0
            if sampler is not None and partners:
                drawn = sampler.draw(step, target_rows=target[paired : paired + partners])
                frames = np.concatenate([drawn.source_rows, frames[partners:]])
            parts.append(_Part(domain=source, frames=frames, partners=partners))
            paired += partners
        return parts

    def _pair_parts(self, step: int) -> list[_Part]:
        """Return extra pairs: the target rows of all, then the source rows of each source, in the same order."""
        assert self._pair_rotation is not None
        turn = step * self._world_size + self._rank
        counts = self._pair_rotation.before((turn + 1) * self._extra_pairs) - self._pair_rotation.before(
            turn * self._extra_pairs
        )
        targets, sources = [], []
        paired = [source for source in self._domains.sources if source.name in self._samplers]
        for source, count in zip(paired, counts.tolist(), strict=True):
            drawn = self._samplers[source.name].draw(step, count)
            targets.append(drawn.target_rows)
            sources.append(_Part(domain=source, frames=drawn.source_rows, partners=count))
        return [_Part(domain=self._domains.target, frames=np.concatenate(targets)), *sources]

    def _map(self, parts: list[_Part], cloning: int) -> RowMap:
        """Return where the matched rows are: target rows are matched from the front of their (last) block."""
        starts = np.cumsum([0, *(len(part.frames) for part in parts)])[:-1]
        matched = [start + np.arange(part.partners) for start, part in zip(starts, parts, strict=True) if part.partners]
        pair_src = np.concatenate(matched) if matched else np.empty(0, dtype=np.int64)
        first = cloning if self._extra_pairs else 0
        is_source = [np.full(len(part.frames), part.domain is not self._domains.target) for part in parts]
        return RowMap(
            cloning=cloning,
            pair_src=pair_src,
            pair_tgt=first + np.arange(len(pair_src)),
            is_source=np.concatenate(is_source),
        )

    def _read(self, step: int, parts: list[_Part]) -> dict[str, Any]:
        if not self._augments:
            return _stack([part.domain.reader.rows(part.frames) for part in parts])
        with torch.random.fork_rng(devices=[]):  # augmentation draws belong to the batch, not to the process
            torch.manual_seed(np.random.SeedSequence([self._seed, self._rank, step]).generate_state(1)[0])
            return _stack([part.domain.reader.rows(part.frames) for part in parts])


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
