# ruff: noqa: PTH105, PTH103, PTH108, PTH110, PTH119, PTH120, PTH123
"""A trainer in miniature: same arguments, same files, no libraries (pathlib takes longer than a trial).

Its config says how it behaves.

Run as `python -S -E fake_trainer.py --config_path=... --output_dir=... --steps=N [--seed=S] [--resume=true]`.
"""

import json
import os
import signal
import subprocess
import sys
import time

STUBBORN = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)"


def write(path, body):
    folder, name = os.path.split(path)
    draft = f"{folder}/.{name}.{os.getpid()}.tmp"
    with open(draft, "w") as file:
        json.dump(body, file)
    os.replace(draft, path)


def main():
    given = dict(word[2:].split("=", 1) for word in sys.argv[1:])
    run, steps = given["output_dir"], int(given["steps"])
    with open(given["config_path"]) as file:
        config = json.load(file)
    behaviour, pause = config.get("behaviour", "finish"), config.get("pause", 0.0)
    print(f"trainer of {run}: {behaviour}", flush=True)
    if behaviour == "crash at import":
        import torch_of_another_world  # noqa: F401
    if os.environ.get("CUDA_VISIBLE_DEVICES") == config.get("broken", "none"):
        raise RuntimeError("CUDA error: uncorrectable ECC error encountered")
    if behaviour == "wrong config":
        print("Error: steps is -1; allowed: 1 or more.")
        sys.exit(2)
    first = 1
    if given.get("resume") == "true":
        first = int(os.path.basename(os.path.dirname(os.path.dirname(given["config_path"])))) + 1
        os.makedirs(run, exist_ok=True)
        try:
            with open(f"{run}/metrics.jsonl") as file:
                kept = [line for line in file if json.loads(line)["step"] < first]
        except FileNotFoundError:
            kept = []
        with open(f"{run}/metrics.tmp", "w") as file:
            file.writelines(kept)
        os.replace(f"{run}/metrics.tmp", f"{run}/metrics.jsonl")
        if os.path.exists(f"{run}/outcome.json"):
            os.unlink(f"{run}/outcome.json")
    elif os.path.exists(run):
        print("Error: output folder exists already")
        sys.exit(2)
    else:
        os.makedirs(run)
    write(f"{run}/config.json", {**config, "steps": steps, "seed": given.get("seed")})
    if behaviour == "crash once" and not os.path.exists(config["mark"]):
        open(config["mark"], "w").close()
        raise RuntimeError("the first try fails")
    if behaviour == "children":  # one in our group, one in a session of its own; both ignore SIGTERM
        for own in (False, True):
            subprocess.Popen([sys.executable, "-S", "-E", "-c", STUBBORN], start_new_session=own)
    if behaviour == "stubborn":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    with open(f"{run}/metrics.jsonl", "a") as log:
        for step in range(first, steps + 1):
            if behaviour == "hang" and step == 2:
                time.sleep(600)
            time.sleep(pause)
            if behaviour == "garbage":
                log.write('{"step": 1, "time\x00\n' * 30)
            elif behaviour == "half garbage" and step == 1:
                log.write("not json\n")
            loss = "NaN" if behaviour == "nan" and step >= 2 else 1.0 / step
            norm = 1e9 if behaviour == "explode" and step >= 2 else 1.0
            if behaviour != "garbage":
                values = {"loss": loss, "grad_norm": norm}
                log.write(json.dumps({"step": step, "time": time.time(), "kind": "train", "values": values}) + "\n")
            if behaviour == "fill the disk":
                log.write(" " * 100_000 + "\n")
            if behaviour == "disk full":
                with open("/dev/full", "w") as full:
                    full.write("x" * 10)
            log.flush()
            if config.get("save_every") and step % config["save_every"] == 0:
                model = f"{run}/checkpoints/.{step:06d}.partial/pretrained_model"
                os.makedirs(model, exist_ok=True)
                write(f"{model}/train_config.json", config)
                os.replace(f"{run}/checkpoints/.{step:06d}.partial", f"{run}/checkpoints/{step:06d}")
            if behaviour == "kill itself" and step == 2:
                os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(config.get("linger", 0.0))
    if behaviour == "no outcome":
        return
    if behaviour in ("nan to the end", "diverge"):
        write(f"{run}/outcome.json", {"status": "diverged", "reason": "the loss is NaN", "last_step": steps})
        sys.exit(2)
    last = steps // 2 if behaviour == "lie" else steps
    write(
        f"{run}/outcome.json", {"status": "finished", "reason": "all steps done", "last_step": last, "pid": os.getpid()}
    )
    if behaviour == "late crash":
        sys.exit(134)


main()
