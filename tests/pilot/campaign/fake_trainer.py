# ruff: noqa: PTH105, PTH103, PTH108, PTH110, PTH119, PTH120, PTH123
"""A trainer in miniature whose curves follow from config and seed, as an experiment with planted effects.

The transport is dead (no share in the gradient, no mass) unless the cost is normalised or the energy is trained on.
The held-out error falls with the steps towards a level that the config sets: 0.1, times (1 - `effect`) for each planted
effect that is there, times exp(noise) by seed. `behaviour` in the config's `policy.repo_id` breaks it in one of the
ways in which trials break.

Run as `python -S -E fake_trainer.py --config_path=... --output_dir=... --steps=N [--seed=S] [--resume=true]`.
"""

import json
import math
import os
import random
import sys
import time


def write(path, body):
    draft = f"{path}.{os.getpid()}.tmp"
    with open(draft, "w") as file:
        json.dump(body, file)
    os.replace(draft, path)


def level(config, seed, noise):
    """Return the error that this config reaches, whatever the order of the keys."""
    ot = config.get("ot", {})
    loss = ot.get("loss_config", {})
    value = 0.1
    if loss.get("cost_normalization") == "ema":
        value *= 1 - config["eval"].get("cure_gain", 0.0)
    if config["policy"].get("optimizer_lr", 1e-5) > 1.5e-5:
        value *= 1 - config["eval"].get("rate_gain", 0.0)
    named = json.dumps([loss, ot.get("lambda_ot"), config["policy"].get("optimizer_lr"), seed], sort_keys=True)
    return value * math.exp(random.Random(named).gauss(0.0, noise))


def rows(config, seed, step):
    """Yield the log lines of a step: training every log_freq, evaluation every eval_steps."""
    plan = config["eval"]
    loss = config["ot"]["loss_config"]
    alive = loss.get("cost_normalization") == "ema" or loss.get("objective") == "energy"
    fall = 1.0 + 9.0 * math.exp(-step / 400)
    if step % config["log_freq"] == 0:
        values = {
            "loss": 0.2 * fall, "l1_loss": 0.1 * fall, "grad_norm": 1.0, "lr": 1e-5 * (1 - step / 200_000),
            "ot_loss": 0.05 * fall, "ot_weight": 0.1, "ot_grad_share": 0.1 if alive else 1e-5,
            "ot_pi_sum": 0.2 if alive else 1e-9, "ot_pi_diag": 0.15 if alive else 1e-9,
            "ot_cost/observation.state": 3.0 * fall, "update_s": 0.1, "dataloading_s": 0.001,
        }  # fmt: skip
        yield {"step": step, "time": time.time(), "kind": "train", "values": values}
    if step % config["eval_steps"] == 0:
        error = level(config, seed, plan.get("noise", 0.005)) * (1.0 + math.exp(-step / 300))
        if alive and step > 1000:
            error *= 1 + plan.get("late_loss", 0.0)
        yield {"step": step, "time": time.time(), "kind": "eval", "values": {"offline_eval/avg_l1": error}}


def misbehave(behaviour, run, log, step, config):
    """Break at half of the run in the way asked for; returns lines to write instead."""
    if step < config["steps"] // 2:
        return None
    if behaviour == "nan":
        return [{"step": step, "time": 0.0, "kind": "train", "values": {"loss": "NaN", "grad_norm": 1.0}}]
    if behaviour == "hang":
        time.sleep(600)
    if behaviour == "garbage":
        log.write('{"step": 1, "time\x00\n' * 60)
        log.flush()
        time.sleep(600)
    if behaviour == "fill the disk":
        with open("/dev/full", "w") as full:
            full.write("x" * 10)
    if behaviour == "diverge":
        write(f"{run}/outcome.json", {"status": "diverged", "reason": "the loss is NaN", "last_step": step})
        sys.exit(2)
    return None


def run_trial(run, config, *, first=1, ended=lambda: False):
    """Fill a run folder from step `first` on; returns False if it was asked to end."""
    plan, steps = config["eval"], config["steps"]
    behaviour = plan.get("behaviour", {}).get(str(config["ot"]["loss_config"].get("objective")), "finish")
    if behaviour == "crash at import":
        import torch_of_another_world  # noqa: F401
    kept = []
    if first > 1 and os.path.exists(f"{run}/metrics.jsonl"):
        with open(f"{run}/metrics.jsonl") as file:
            kept = [line for line in file if json.loads(line)["step"] < first]
    os.makedirs(run, exist_ok=first > 1)
    with open(f"{run}/metrics.tmp", "w") as file:
        file.writelines(kept)
    os.replace(f"{run}/metrics.tmp", f"{run}/metrics.jsonl")
    if os.path.exists(f"{run}/outcome.json"):
        os.unlink(f"{run}/outcome.json")
    write(f"{run}/config.json", config)
    with open(f"{run}/metrics.jsonl", "a") as log:
        for step in range(first, steps + 1):
            lines = misbehave(behaviour, run, log, step, config) or rows(config, config["seed"], step)
            for line in lines:
                log.write(json.dumps(line) + "\n")
                log.flush()
            if step % config["log_freq"] == 0:
                time.sleep(plan.get("pause", 0.0))
                if ended():
                    return False
            if step == steps or (config["save_freq"] and step % config["save_freq"] == 0):
                save(run, config, step)
    write(f"{run}/outcome.json", {"status": "finished", "reason": "all steps done", "last_step": steps})
    return True


def save(run, config, step):
    """Write a checkpoint that is complete or absent."""
    model = f"{run}/checkpoints/.{step:06d}.partial/pretrained_model"
    os.makedirs(model, exist_ok=True)
    write(f"{model}/train_config.json", config)
    if not os.path.exists(f"{run}/checkpoints/{step:06d}"):
        os.replace(f"{run}/checkpoints/.{step:06d}.partial", f"{run}/checkpoints/{step:06d}")


def main():
    given = dict(word[2:].split("=", 1) for word in sys.argv[1:])
    run, steps = given["output_dir"], int(given["steps"])
    with open(given["config_path"]) as file:
        config = json.load(file)
    seed = int(given["seed"]) if "seed" in given else config["seed"]
    config = {**config, "steps": steps, "seed": seed, "output_dir": run}
    first = 1
    if given.get("resume") == "true":
        first = int(os.path.basename(os.path.dirname(os.path.dirname(given["config_path"])))) + 1
    elif os.path.exists(run):
        print("Error: output folder exists already")
        sys.exit(2)
    run_trial(run, config, first=first)


if __name__ == "__main__":
    main()
