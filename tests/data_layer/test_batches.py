import numpy as np
import pytest
import torch

from otpilot.data.batches import BatchStream, _cut, _Part, make_loader
from otpilot.data.domains import open_domains
from otpilot.data.pairs import make_samplers
from otpilot.errors import ConfigError
from otpilot.pairing.sampler import PairSampler
from otpilot.pairing.storage import load_table
from otpilot.sim.record import record
from otpilot.training.session import train
from tests.training.test_evaluate import TINY_DIFFUSION


def stream_of(config):
    domains = open_domains(config)
    return BatchStream(config, domains, make_samplers(config, domains)), domains


def equal(one, two):
    assert one.rows["index"].tolist() == two.rows["index"].tolist()
    for key, value in one.rows.items():
        if isinstance(value, torch.Tensor):
            assert torch.equal(value, two.rows[key]), key


def test_shared_rows_pair_target_with_source(load):
    stream, domains = stream_of(load(**{"ot.bc_src_weight": 0.5}))
    batch = stream[3]
    rows = batch.map
    assert rows.cloning == len(batch.rows["index"]) == 4
    assert rows.is_source[rows.pair_src].all()
    assert not rows.is_source[rows.pair_tgt].any()
    drawn = make_samplers(load(name="again"), domains)["source"].draw(
        3, target_rows=batch.rows["index"][rows.pair_tgt].numpy()
    )
    assert batch.rows["index"][rows.pair_src].tolist() == drawn.source_rows.tolist()


def test_separate_rows_are_not_cloned(load):
    stream, _ = stream_of(load(**{"ot.rows": "separate", "ot.batch_ratio": 0.5, "ot.bc_src_weight": 0.0}))
    batch = stream[0]
    assert (batch.map.cloning, len(batch.rows["index"])) == (4, 4 + 2 + 2)
    assert batch.rows["action_is_pad"][4:].all()
    assert not batch.rows["action_is_pad"][:4].all()
    assert batch.map.is_source.tolist() == [False] * 6 + [True] * 2


def test_batches_do_not_depend_on_what_was_read_before_or_by_whom(load):
    config = load(num_workers=2, steps=5, dataloader_multiprocessing_context="fork")
    stream, _ = stream_of(config)
    alone = [stream[step] for step in (4, 0, 2)]
    loaded = list(make_loader(config, stream_of(config)[0], start=0))
    assert len(loaded) == 5
    for one, step in zip(alone, (4, 0, 2), strict=True):
        equal(one, loaded[step])


def test_augmentation_belongs_to_the_batch(load):
    config = load(**{"dataset.image_transforms": {"enable": True}})
    stream, _ = stream_of(config)
    state = torch.get_rng_state()
    equal(stream[1], stream[1])
    assert torch.equal(state, torch.get_rng_state())
    assert not torch.equal(
        stream[1].rows["observation.images.top"], stream_of(load(name="plain"))[0][1].rows["observation.images.top"]
    )


def test_the_observations_of_a_row_are_augmented_alike(load):
    """As LeRobot does; otherwise the camera would seem to jump between them."""
    policy = {"policy": {**TINY_DIFFUSION, "n_obs_steps": 2}}
    moved = {"enable": True, "tfs": {"affine": {"type": "RandomAffine", "kwargs": {"degrees": [-20.0, 20.0]}}}}

    def jumps(config):
        pictures = stream_of(config)[0][0].rows["observation.images.top"].float()
        pictures = pictures / 255.0 if float(pictures.max()) > 1.0 else pictures
        return float((pictures[:, 1] - pictures[:, 0]).abs().mean()), pictures

    plain, still = jumps(load(name="plain", **policy))
    turned, seen = jumps(load(name="turned", **policy, **{"dataset.image_transforms": moved}))
    assert not torch.equal(still, seen)
    assert turned < 1.3 * plain + 1e-3


def test_rows_for_the_targets_view_are_drawn_by_seed_and_step_and_read_plain(load):
    config = load(batch_size=8, **{"dataset.image_transforms": {"enable": True}})
    domains = open_domains(config)
    samplers = make_samplers(config, domains)
    stream, plain = (BatchStream(config, domains, samplers, viewed=share) for share in ({"source": 0.5}, None))
    equal(stream[3], stream[3])
    shares = []
    for number in range(40):
        batch = stream[number]
        viewed, source = batch.map.viewed, batch.map.is_source
        assert not viewed[~source].any()
        shares.append(viewed[source].mean())
        pictures = batch.rows["observation.images.top"][torch.as_tensor(viewed)]
        torch.testing.assert_close(pictures * 255.0, (pictures * 255.0).round(), atol=1e-3, rtol=0.0)
        assert not plain[number].map.viewed.any()
    assert 0.4 < np.mean(shares) < 0.6
    everything = BatchStream(config, domains, samplers, viewed={"source": 1.0})[0]
    assert (everything.map.viewed == everything.map.is_source).all()


@pytest.mark.parametrize("share", [0.5, 0.75])
def test_every_paired_source_gets_pairs_whatever_the_sources_share(load, world, share):
    more = [{"repo_id": "test/source", "root": str(world.source), "pair_info_path": str(world.pairs)}]
    stream, _ = stream_of(load(batch_size=16, **{"ot.more_sources": more, "ot.bc_src_weight": share}))
    pairs = np.zeros(3)
    for number in range(10):
        where = stream[number].map
        pairs += np.bincount(where.domain[where.pair_src], minlength=3)
        assert len(np.unique(where.pair_tgt)) == len(where.pair_tgt) == 16 * (1 - share)
        assert (where.domain[where.pair_tgt] == 0).all()
    assert abs(pairs[1] - pairs[2]) <= 10


def test_held_out_episodes_never_train(load):
    stream, domains = stream_of(load(steps=80, **{"dataset.eval_split": 0.3, "ot.rows": "separate"}))
    assert domains.target.eval_episodes == (2,)
    assert domains.sources[0].eval_episodes == (4, 5)
    for step in range(80):
        batch = stream[step]
        episodes, source = batch.rows["episode_index"].numpy(), batch.map.is_source
        assert not np.isin(episodes[source], domains.sources[0].eval_episodes).any()
        assert not np.isin(episodes[~source], domains.target.eval_episodes).any()


@pytest.mark.filterwarnings(
    "ignore:This DataLoader will create 4 worker processes"
)  # more than a small machine's cores
def test_two_ranks_with_four_workers_each_draw_different_rows(load):
    config = load(num_workers=4, steps=6, dataloader_multiprocessing_context="fork")
    domains = open_domains(config)
    seen = []
    for rank in (0, 1):
        samplers = make_samplers(config, domains)
        stream = BatchStream(config, domains, samplers, rank=rank, world_size=2)
        batches = list(make_loader(config, stream, start=0))
        for step, batch in enumerate(batches):
            equal(batch, stream[step])  # whoever loads it
        seen.append([int(i) for batch in batches for i in batch.rows["index"][~batch.map.is_source]])
    drawn = seen[0] + seen[1]
    assert len(drawn) == 2 * 6 * 2
    assert len(set(drawn)) == len(drawn)  # target rows of one epoch are dealt out, not repeated


@pytest.mark.parametrize("rows", ["shared", "separate"])
def test_processes_and_accumulated_batches_deal_out_the_rows_of_one_large_batch(load, rows):
    whole = load(name="whole", batch_size=8, **{"ot.rows": rows})
    dealt = load(name="dealt", batch_size=2, grad_accum_steps=2, **{"ot.rows": rows})
    one = stream_of(whole)[0]
    domains = open_domains(dealt)
    ranks = [BatchStream(dealt, domains, make_samplers(dealt, domains), rank=r, world_size=2) for r in (0, 1)]
    for step in (0, 5):
        pieces = [ranks[rank][2 * step + place] for place in (0, 1) for rank in (0, 1)]
        large = one[step]
        cloned = [row for piece in pieces for row in cloned_rows(piece)]
        assert sorted(cloned) == sorted(cloned_rows(large))
        pairs = [pair for piece in pieces for pair in pairs_of(piece)]
        assert pairs == pairs_of(large)  # in the same order, so that the problem is the same matrix
        assert {len(piece.rows["index"]) for piece in pieces} == {2 if rows == "shared" else 4}


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 8])
@pytest.mark.parametrize("chunks", [1, 2, 3, 4, 8])
def test_a_step_is_dealt_out_evenly_whatever_its_sizes(size, chunks):
    draw = np.random.default_rng([size, chunks])
    for _ in range(60):
        rows = size * chunks
        target = int(draw.integers(0, rows + 1))
        first = int(draw.integers(0, rows - target + 1))
        sources = [first, rows - target - first]
        if size == 1 and chunks > 1:
            partners = [0, 0]  # BatchStream refuses the rest
        else:
            one = int(draw.integers(0, min(target, sources[0]) + 1))
            partners = [one, int(draw.integers(0, min(target - one, sources[1]) + 1))]
        parts = [_Part(domain=0, frames=np.arange(target))]
        parts += [
            _Part(domain=1 + n, frames=100 * (n + 1) + np.arange(count), partners=pairs)
            for n, (count, pairs) in enumerate(zip(sources, partners, strict=True))
        ]
        pieces = [_cut(parts, chunk, chunks) for chunk in range(chunks)]
        dealt = [sum(len(part.frames) for part in piece) for piece in pieces]
        assert min(dealt) >= max(1, size - 1)
        assert max(dealt) <= size + (size % 2)
        for number, part in enumerate(parts):
            found = np.concatenate([piece[number].frames for piece in pieces])
            assert sorted(found.tolist()) == sorted(part.frames.tolist())
        matched = [row for piece in pieces for part in piece[1:] for row in part.frames[: part.partners].tolist()]
        assert matched == [row for part in parts[1:] for row in part.frames[: part.partners].tolist()]
        with_whom = [
            row for piece in pieces for row in piece[0].frames[: sum(part.partners for part in piece[1:])].tolist()
        ]
        assert with_whom == list(range(sum(partners)))


@pytest.mark.parametrize(("size", "batches", "share"), [(2, 4, 0.75), (8, 4, 0.95), (3, 2, 0.5), (1, 4, 0.5)])
@pytest.mark.parametrize("scope", ["global", "local"])
def test_small_accumulated_batches_train(load, size, batches, share, scope):
    """Also where there are more batches than pairs."""
    rows = {"ot.rows": "separate"} if size == 1 else {}
    sizes = {"batch_size": size, "grad_accum_steps": batches, "ot.bc_src_weight": share, "ot.scope": scope}
    assert train(load(steps=2, **sizes, **rows)).status == "finished"


def test_a_pair_needs_two_rows_of_a_batch(load):
    with pytest.raises(ConfigError, match=r"batch_size is 1, but a pair is two rows.*rows = separate"):
        stream_of(load(batch_size=1, grad_accum_steps=4, **{"ot.bc_src_weight": 0.5}))


def test_each_process_needs_a_pair_where_each_solves_a_problem_of_its_own(load):
    config = load(batch_size=2, **{"ot.bc_src_weight": 0.9, "ot.scope": "local"})
    domains = open_domains(config)
    with pytest.raises(ConfigError, match=r"a step has 0 pairs for 2 batches.*scope = global"):
        BatchStream(config, domains, make_samplers(config, domains), world_size=2)


def test_a_target_episode_without_a_partner_is_told_before_training(load, world):
    some = {"source": PairSampler(load_table(world.pairs), allowed_tgt_episodes=[0, 1])}

    def stream(name, **settings):
        config = load(name, **settings)
        return BatchStream(config, open_domains(config), some)

    with pytest.raises(ConfigError, match=r"1 of 3 target episodes .* no partner in source \(2\).*rows = separate"):
        stream("shared")
    stream("separate", **{"ot.rows": "separate"})
    stream("fewer", **{"dataset.episodes": [0, 1]})


def cloned_rows(batch):
    kept = slice(batch.map.cloning)
    return list(zip(batch.map.is_source[kept].tolist(), batch.rows["index"][kept].tolist(), strict=True))


def pairs_of(batch):
    sides = (batch.rows["index"][places].tolist() for places in (batch.map.pair_src, batch.map.pair_tgt))
    return list(zip(*sides, strict=True))


@pytest.mark.parametrize("stats", ["shared", "target", "source"])
def test_statistics_are_those_asked_for(load, stats):
    domains = open_domains(load(**{"ot.stats": stats}))
    mean = {
        name: domain.reader.column("action").mean(0).numpy()
        for name, domain in (("target", domains.target), ("source", domains.sources[0]))
    }
    mean["shared"] = (
        torch.cat([d.reader.column("action") for d in (domains.target, domains.sources[0])]).mean(0).numpy()
    )
    np.testing.assert_allclose(domains.stats["action"]["mean"], mean[stats], rtol=1e-4)


@pytest.mark.parametrize(
    ("settings", "share"), [({}, 0.5), ({"ot.view_share": "auto"}, 0.75), ({"ot.bc_src_weight": 1.0}, 1.0)]
)
def test_by_rows_a_dataset_counts_as_much_as_it_has_rows_in_a_batch(load, settings, share):
    """However few frames the target has."""
    domains = open_domains(load(**{"ot.stats": "rows", **settings}))
    parts = [domain.reader.column("action").double() for domain in (domains.target, domains.sources[0])]
    shares = zip(parts, (1 - share, share), strict=True)
    weights = torch.cat([torch.full((len(part),), weight / len(part)) for part, weight in shares])
    rows = torch.cat(parts)
    mean = (weights[:, None] * rows).sum(0)
    std = (weights[:, None] * (rows - mean) ** 2).sum(0).sqrt()
    np.testing.assert_allclose(domains.stats["action"]["mean"], mean.numpy(), rtol=1e-4)
    np.testing.assert_allclose(domains.stats["action"]["std"], std.numpy(), rtol=1e-4)


def test_further_sources_share_the_source_rows_by_weight(load, world, tmp_path):
    further = record(tmp_path / "more", domain="target_far", region="full", episodes=4, seed=5, image_size=32)
    more = [{"repo_id": "test/more", "root": str(further), "weight": 3.0}]
    config = load(batch_size=8, **{"ot.more_sources": more, "ot.bc_src_weight": 0.75, "ot.src_weight": 1.0})
    stream, domains = stream_of(config)
    assert [source.name for source in domains.sources] == ["source", "source_2"]
    counts = {"target": 0, "source": 0, "source_2": 0}
    for step in range(40):
        parts = stream._step(step).cloning
        assert sum(len(part.frames) for part in parts) == 8
        for part in parts:
            counts[part.domain.name] += len(part.frames)
        assert parts[2].partners == 0  # it has no pair table: behaviour cloning only
        batch = stream[step]
        assert len(batch.map.pair_src) == min(len(parts[0].frames), len(parts[1].frames))
        assert batch.map.is_source.sum() == 6
    assert counts == {"target": 80, "source": 60, "source_2": 180}


def test_two_paired_sources_share_the_pairs(load, world, tmp_path):
    more = [{"repo_id": "test/source", "root": str(world.source), "pair_info_path": str(world.pairs)}]
    for rows in ("shared", "separate"):
        stream, domains = stream_of(load(name=rows, batch_size=8, **{"ot.more_sources": more, "ot.rows": rows}))
        batch = stream[1]
        assert len(batch.map.pair_src) == len(batch.map.pair_tgt) == 4
        assert batch.map.is_source[batch.map.pair_src].all()
        assert not batch.map.is_source[batch.map.pair_tgt].any()
        # two samplers, two streams
        draws = [
            sampler.draw(0, 6).source_rows.tolist()
            for sampler in make_samplers(load(name=rows + "2", **{"ot.more_sources": more}), domains).values()
        ]
        assert draws[0] != draws[1]


def test_every_domain_by_its_own_statistics(load):
    domains = open_domains(load(**{"ot.stats": "per_domain"}))
    np.testing.assert_allclose(
        domains.stats["action"]["mean"], domains.target.reader.column("action").mean(0), rtol=1e-4
    )
    np.testing.assert_allclose(
        domains.source_stats["action"]["mean"], domains.sources[0].reader.column("action").mean(0), rtol=1e-4
    )


def test_the_last_frames_are_dropped_where_the_policy_asks(load):
    config = load(steps=60, **{"ot.bc_src_weight": 0.5})
    object.__setattr__(config.policy, "drop_n_last_frames", 7)
    stream, domains = stream_of(config)
    dropped = {place for stop in domains.target.reader.episode_stops for place in range(int(stop) - 7, int(stop))}
    drawn = set()
    for step in range(60):
        batch = stream[step]
        drawn |= set(batch.rows["index"][~batch.map.is_source].tolist())
    assert len(drawn) == len(domains.target.reader) - 3 * 7  # three epochs and more: every other frame came
    assert not drawn & dropped
