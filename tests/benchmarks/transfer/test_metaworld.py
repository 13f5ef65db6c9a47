"""The simulator itself; skipped where Meta-World (dependency group `metaworld`) or a GL library is missing."""

import warnings

import numpy as np
import pytest

from benchmarks.transfer.metaworld_config import MetaworldTransferConfig
from benchmarks.transfer.metaworld_look import draw_without_screen
from benchmarks.transfer.metaworld_place import Place
from benchmarks.transfer.metaworld_record import demonstrations, expert_action, record

pytest.importorskip("metaworld")
draw_without_screen()


def place(domain, region="full", token=False):
    return Place(name="x", domain=domain, region=region, token=token)


@pytest.fixture(scope="module", autouse=True)
def _drawable():
    import mujoco

    try:
        mujoco.Renderer(mujoco.MjModel.from_xml_string("<mujoco/>"), 8, 8).close()
    except Exception as error:
        pytest.skip(f"no GL library draws here: {error}")


@pytest.fixture(scope="module")
def envs():
    from benchmarks.transfer.metaworld_env import DomainMetaworldEnv

    made = {domain: DomainMetaworldEnv(place(domain, "left"), image_size=32) for domain in ("source", "target")}
    yield made
    for env in made.values():
        env.close()


def test_equal_seeds_differ_between_domains_in_looks_alone(envs):
    seen = {domain: env.reset(seed=5)[0] for domain, env in envs.items()}
    np.testing.assert_array_equal(envs["source"].raw, envs["target"].raw)
    np.testing.assert_array_equal(seen["source"]["agent_pos"], seen["target"]["agent_pos"])
    pictures = [seen[domain]["pixels"]["top"].astype(float) for domain in envs]
    assert pictures[0].shape == (32, 32, 3)
    assert np.abs(pictures[0] - pictures[1]).mean() > 10
    assert pictures[0].std() > 20  # something is drawn


def test_equal_seeds_give_equal_episodes_and_the_button_stays_in_its_region(envs):
    env = envs["target"]
    first, second, again = env.reset(seed=5)[0], env.reset(seed=6)[0], env.reset(seed=5)[0]
    np.testing.assert_array_equal(first["pixels"]["top"], again["pixels"]["top"])
    assert (first["pixels"]["top"] != second["pixels"]["top"]).any()
    for seed in range(8):
        env.reset(seed=seed)
        assert -0.1 <= env.raw[4] <= -0.01


def test_stale_pictures_are_those_of_the_last_look():
    from benchmarks.transfer.metaworld_env import DomainMetaworldEnv

    always = DomainMetaworldEnv(place("source"), image_size=24)
    seldom = DomainMetaworldEnv(place("source"), image_size=24, picture_every=3)
    try:
        views = {}
        for name, env in (("always", always), ("seldom", seldom)):
            shots = [env.reset(seed=1)[0]["pixels"]["top"]]
            shots += [env.step(expert_action(env))[0]["pixels"]["top"] for _ in range(7)]
            views[name] = shots
        for step in range(8):
            np.testing.assert_array_equal(views["seldom"][step], views["always"][step - step % 3])
    finally:
        always.close()
        seldom.close()


def test_demonstrations_become_a_dataset(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # third-party imports of lerobot
        from lerobot.datasets import LeRobotDataset
    where = place("target", "left", token=True)
    root = record(tmp_path / "demos", where, episodes=1, seed=3, repo_id="test/x", image_size=24)
    (made,) = demonstrations(where, episodes=1, seed=3, image_size=24)
    dataset = LeRobotDataset("test/x", root=root)
    assert [path.name for path in tmp_path.iterdir()] == ["demos"]
    assert dataset.num_episodes == 1
    assert len(dataset) == len(made.action)
    assert dataset.meta.fps == 80
    item = dataset[4]
    np.testing.assert_array_equal(item["action"], made.action[4])
    np.testing.assert_array_equal(item["observation.state"], made.state[4])
    assert item["observation.state"][4] == 1.0
    stored = np.rint(item["observation.images.top"].numpy().transpose(1, 2, 0) * 255).astype(np.uint8)
    np.testing.assert_array_equal(stored, made.pictures[4])


def test_lerobot_plays_the_cells():
    """The expert's own actions, handed to LeRobot's vector environment, succeed in both cells."""
    config = MetaworldTransferConfig(cells=["a=source:full", "b=target:right"], image_size=24, picture_every=50)
    envs = config.create_envs(n_envs=2)
    assert list(envs) == ["a", "b"]
    for tasks in envs.values():
        batch = tasks[0]
        try:
            batch.reset(seed=[1, 2])
            done = np.zeros(2, bool)
            for _ in range(120):
                actions = np.stack([expert_action(env.unwrapped) for env in batch.envs])
                _, _, terminated, _, info = batch.step(actions)
                done |= terminated
                if done.all():
                    break
            assert done.all()
            assert info["final_info"]["is_success"].all()
        finally:
            batch.close()


@pytest.mark.slow
@pytest.mark.parametrize("domain", ["source", "target"])
def test_the_expert_always_succeeds(domain):
    """`demonstrations` raises at the first failure."""
    made = list(demonstrations(place(domain), episodes=20, seed=11, image_size=16))
    assert len(made) == 20
    assert max(len(episode.action) for episode in made) < 120
