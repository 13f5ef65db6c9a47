import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from otpilot.errors import ConfigError, OtpilotError
from otpilot.sim.env import ENV_ID, TabletopBatch, TabletopEnv, register
from otpilot.sim.expert import expert_action
from otpilot.sim.rollout import rollout


@pytest.mark.parametrize("options", [{}, {"domain": "target_far", "cameras": ("top", "wrist"), "image_size": 96}])
def test_gymnasium_accepts_the_environment(options):
    env = gymnasium.make(ENV_ID, **options, render_mode="rgb_array").unwrapped
    check_env(env)
    env.close()


def test_registering_twice_changes_nothing():
    register()
    assert gymnasium.spec(ENV_ID).entry_point == "otpilot.sim.env:TabletopEnv"


def test_expert_solves_the_single_environment():
    env = TabletopEnv(domain="target", image_size=32)
    env.reset(seed=1)
    for _ in range(80):
        observation, reward, terminated, truncated, info = env.step(expert_action(env._world)[0].astype(np.float32))
        if terminated or truncated:
            break
    assert terminated
    assert info["is_success"]
    assert reward == 1.0
    assert observation["pixels"]["top"].shape == (32, 32, 3)
    assert observation["agent_pos"].dtype == np.float32


def test_idle_episode_is_truncated():
    env = TabletopEnv(max_steps=3, image_size=32)
    env.reset(seed=0)
    ends = [env.step(np.array([0.5, 0.5, 0.0], dtype=np.float32))[2:4] for _ in range(3)]
    assert ends == [(False, False), (False, False), (False, True)]


def test_step_before_reset_is_refused():
    with pytest.raises(OtpilotError, match="reset"):
        TabletopEnv().step(np.zeros(3, dtype=np.float32))


def batch(**changes):
    options = {"domain": "target", "region": "left", "episodes": range(5), "seed": 2, "image_size": 32}
    return TabletopBatch(**{**options, **changes})


def run_expert(env):
    now = env.reset()
    history = [now]
    while not now.done.all():
        now = env.step(expert_action(env.world))
        history.append(now)
    return history


def test_batch_keeps_finished_rows_as_they_were():
    env = batch()
    history = run_expert(env)
    assert history[-1].success.all()
    first = int(np.argmin(env.world.step))
    end = int(env.world.step[first])
    assert end < len(history) - 1
    for key, value in history[-1].observation.items():
        np.testing.assert_array_equal(value[first], history[end].observation[key][first])
        # earlier observations are not written over
        assert not np.array_equal(history[0].observation[key], value)


def test_batch_repeats_itself_and_does_not_mix_rows():
    whole, again = run_expert(batch()), run_expert(batch())
    alone = run_expert(batch(episodes=[3]))
    for now, repeated, single in zip(whole, again, alone, strict=False):
        for key, value in now.observation.items():
            np.testing.assert_array_equal(value, repeated.observation[key])
            np.testing.assert_array_equal(value[3], single.observation[key][0])


def test_batch_ends_at_max_steps():
    now = batch(max_steps=2).reset()
    env = batch(max_steps=2)
    for _ in range(2):
        assert not now.done.any()
        now = env.step(np.zeros((5, 3)))
    assert now.done.all()
    assert not now.success.any()


@pytest.mark.parametrize(
    "options",
    [{"episodes": []}, {"max_steps": 0}, {"cameras": ()}, {"cameras": ("top", "top")}, {"domain": "sorce"}],
    ids=str,
)
def test_bad_settings_are_refused(options):
    with pytest.raises(ConfigError):
        batch(**options)


def test_bad_actions_are_refused():
    env = batch()
    for shape in ((5, 2), (4, 3), (5,)):
        with pytest.raises(OtpilotError, match="shape"):
            env.step(np.zeros(shape))
    action = np.zeros((5, 3))
    action[3, 1] = np.nan
    with pytest.raises(OtpilotError, match="row 3 at step 0"):
        env.step(action)


def test_rollout_of_a_policy_that_knows_and_one_that_does_not():
    # The policy sees observations only; the expert is replayed from a twin batch.
    twin = batch(episodes=range(6))

    def expert(observation):
        np.testing.assert_array_equal(observation["observation.state"], twin.world.agent_pos)
        action = expert_action(twin.world)
        twin.step(action)
        return action

    known = rollout(expert, domain="target", region="left", episodes=6, seed=2, image_size=32, film=2)
    assert known.success.all()
    np.testing.assert_array_equal(known.steps, twin.world.step)
    assert [len(frames) for frames in known.frames] == (known.steps[:2] + 1).tolist()
    assert known.frames[0].shape[1:] == (32, 32, 3)

    idle = rollout(lambda _: np.full((6, 3), 0.5), domain="target", region="left", episodes=6, seed=2, image_size=32)
    assert not idle.success.any()
    assert (idle.steps == 80).all()
    assert idle.frames == ()
