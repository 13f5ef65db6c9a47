"""Pair tables of two LeRobot datasets: making, loading, drawing from them."""

from collections.abc import Callable, Sequence
from pathlib import Path

from lerobot.datasets.dataset_metadata import LeRobotDatasetMetadata
from lerobot.datasets.lerobot_dataset import LeRobotDataset

from otpilot.config.schema import TrainConfig
from otpilot.data.domains import Domain, Domains, check_compatible, check_dataset_folder
from otpilot.data.vectors import episode_lengths, first_quaternions, read_episodes
from otpilot.errors import ConfigError
from otpilot.pairing.dtw import DTWOptions, align_all
from otpilot.pairing.features import joint_zscore
from otpilot.pairing.fingerprint import DatasetFingerprint
from otpilot.pairing.pair_info import import_pair_info
from otpilot.pairing.sampler import PairSampler, SamplerOptions
from otpilot.pairing.storage import load_table
from otpilot.pairing.table import PairTable


def make_table(
    source_root: Path,
    target_root: Path,
    *,
    keys: Sequence[str] = ("observation.state",),
    quaternions: Sequence[str] = (),
    options: DTWOptions | None = None,
    workers: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> PairTable:
    """Align every target episode with every source episode by dynamic time warping of some vector keys.

    Args:
        source_root: Folder of the source dataset.
        target_root: Folder of the target dataset.
        keys: Vector keys, each KEY or KEY[START:STOP], side by side, z-scored over both datasets together.
        quaternions: KEY[START:STOP] of four columns each that hold a quaternion; its sign is made consistent first.
        options: Window, stride and metric of the warping.
        workers: Threads; the result is the same for any number.
        progress: Called with (pairs done, pairs in all).

    Raises:
        DatasetError: If a folder is no dataset, the two do not fit, or a key is missing or no vector.
    """
    source_root = check_dataset_folder("the source", source_root, "")
    target_root = check_dataset_folder("the target", target_root, "")
    check_compatible(target_root, source_root)
    source = LeRobotDataset(source_root.name, root=source_root)
    target = LeRobotDataset(target_root.name, root=target_root)
    references = first_quaternions(source, quaternions)
    parts = [read_episodes(dataset, keys, quaternions, references) for dataset in (source, target)]
    source_parts, target_parts = joint_zscore(*parts)
    alignments = align_all(source_parts, target_parts, options or DTWOptions(), workers=workers, progress=progress)
    return PairTable.from_alignments(
        alignments,
        source=fingerprint(source.meta, tuple(keys)),
        target=fingerprint(target.meta, tuple(keys)),
        source_lengths=episode_lengths(source.meta),
        target_lengths=episode_lengths(target.meta),
    )


def load_pairs(
    path: Path,
    source: LeRobotDatasetMetadata,
    target: LeRobotDatasetMetadata,
    *,
    base_index_src: int = 0,
    base_index_tgt: int = 0,
) -> PairTable:
    """Return the table in a file: ours, or the reports' pair_info JSON (.json, .json.gz).

    Raises:
        MissingFileError: If the file is not there.
        PairingError: If it is damaged, or was made for other datasets.
    """
    if path.name.endswith((".json", ".json.gz")):
        return import_pair_info(
            path,
            source=fingerprint(source),
            target=fingerprint(target),
            source_lengths=episode_lengths(source),
            target_lengths=episode_lengths(target),
            base_index_src=base_index_src,
            base_index_tgt=base_index_tgt,
        )
    table = load_table(path)
    table.check_fits(fingerprint(source), fingerprint(target), where=str(path))
    return table


def make_samplers(config: TrainConfig, domains: Domains) -> dict[str, PairSampler]:
    """Return the pair sampler of each source that has a table, by the source's name; none where no pairs are needed.

    They are needed by the transport, and by rows = shared, which clones pairs. Held-out episodes of either domain are
    never drawn. Every process makes the same samplers: a step's pairs are drawn as one and then dealt out.

    Raises:
        ConfigError: If pairs are needed and no source has a table.
        MissingFileError: If a pair file is not there.
        PairingError: If one is damaged, or was made for other datasets.
    """
    ot = config.ot
    if not ot.enable or ot.method == "none" or (ot.rows == "separate" and not ot.transports):
        return {}
    samplers = all_samplers(config, domains)
    if not samplers:
        raise ConfigError("ot.pair_info_path is not set; make a pair table with `otpilot pair` and give its path.")
    return samplers


def all_samplers(config: TrainConfig, domains: Domains) -> dict[str, PairSampler]:
    """Return the pair sampler of each source that has a table, by the source's name, needed or not.

    Raises:
        MissingFileError: If a pair file is not there.
        PairingError: If one is damaged, or was made for other datasets.
    """
    paired = [source for source in domains.sources if source.pair_info_path]
    return {source.name: _sampler(config, source, domains.target, stream) for stream, source in enumerate(paired)}


def _sampler(config: TrainConfig, source: Domain, target: Domain, stream: int) -> PairSampler:
    ot = config.ot
    table = load_pairs(
        Path(str(source.pair_info_path)),
        source.reader.meta,
        target.reader.meta,
        base_index_src=ot.base_index_src,
        base_index_tgt=ot.base_index_tgt,
    )
    options = SamplerOptions(
        window_size=ot.window_size,
        no_window=ot.no_window,
        sharpness=ot.sharpness,
        weighting=ot.weighting,
        cutoff_quantile=ot.cutoff_quantile,
        topk_src_episodes=ot.topk_src_episodes,
        seed=config.seed or 0,
    )
    return PairSampler(
        table,
        options,
        source_starts=source.reader.episode_starts,
        target_starts=target.reader.episode_starts,
        allowed_src_episodes=source.train_episodes,
        allowed_tgt_episodes=target.train_episodes,
        stream=stream,
    )


def fingerprint(meta: LeRobotDatasetMetadata, keys: tuple[str, ...] = ()) -> DatasetFingerprint:
    """Return what a pair table remembers of a dataset."""
    return DatasetFingerprint.from_lengths(episode_lengths(meta), fps=meta.fps, keys=keys, name=meta.repo_id)
