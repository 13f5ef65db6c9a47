"""Makes a campaign's folder on the tabletop simulator: demonstrations, pairs, base config, campaign.toml.

Run `python examples/tabletop/prepare.py FOLDER`, then `otpilot loop start FOLDER`.
"""

import argparse
import json
import shutil
import sys
import time
from pathlib import Path
from typing import Any

from otpilot.commands.process import prepare_process
from otpilot.errors import OtpilotError

HERE = Path(__file__).parent
CELLS = ("target_id=target:left", "target_ood=target:right")
HORIZON = 800
EPISODES_PER_CELL = 10


def base_config() -> dict[str, Any]:
    """Return a small ACT on both domains whose transport is dead; its paths begin at the campaign's folder."""
    rate = 3e-4
    return {
        "dataset": {
            "repo_id": "otpilot/tabletop_target",
            "root": "data/target",
            "use_imagenet_stats": False,
            "eval_split": 0.1,
        },
        "policy": {
            "type": "act",
            "device": "cpu",
            "push_to_hub": False,
            "chunk_size": 16,
            "n_action_steps": 16,
            "pretrained_backbone_weights": None,
            "dim_model": 128,
            "n_heads": 4,
            "dim_feedforward": 512,
            "n_encoder_layers": 2,
            "use_vae": False,
            "dropout": 0.0,
        },
        "use_policy_training_preset": False,
        "optimizer": {"type": "adamw", "lr": rate, "weight_decay": 1e-4, "grad_clip_norm": 10.0},
        "scheduler": {
            "type": "cosine_decay_with_warmup",
            "num_warmup_steps": 50,
            "num_decay_steps": HORIZON,
            "peak_lr": rate,
            "decay_lr": rate / 50,
        },
        "env": {"type": "otpilot_tabletop", "cells": list(CELLS)},
        "env_eval_freq": 60,
        "eval": {"n_episodes": EPISODES_PER_CELL},
        "ot": {
            "enable": True,
            "src_repo_id": "otpilot/tabletop_source",
            "src_root": "data/source",
            "pair_info_path": "data/pairs.npz",
            "bc_src_weight": 0.625,
            "lambda_ot": 0.1,
            "window_size": 2,
            "sharpness": 1.0,
            "topk_src_episodes": 20,
            "view_share": 0.0,  # this example is about the transport of encodings
            "loss_config": {
                "objective": "plan_cost",
                "cost_normalization": "none",
                "embed_normalization": "none",
                "reg": 0.02,
                "tau_src": 0.01,
                "tau_tgt": 0.01,
                "features": [
                    {
                        "src_key": "observation.images.top",
                        "use_learned_embed": True,
                        "weight_embed": 1.0,
                        "term_name": "image",
                    },
                    {"src_key": "action", "weight_label": 1.0, "term_name": "action_lbl"},
                ],
            },
        },
        "batch_size": 16,
        "num_workers": 0,
        "steps": HORIZON,
        "seed": 1000,
        "threads": 1,
    }


def prepare(folder: Path, *, source: int, target: int) -> None:
    """Record, pair and write; what is there already stays.

    Raises:
        OtpilotError: If something cannot be made.
    """
    from otpilot.data.pairs import make_table
    from otpilot.pairing.storage import save_table
    from otpilot.sim.record import record

    data = folder / "data"
    for name, region, episodes, seed in (("source", "full", source, 0), ("target", "left", target, 1)):
        if not (data / name).exists():
            print(f"Recording {episodes} {name} demonstrations ...", flush=True)
            record(data / name, domain=name, region=region, episodes=episodes, seed=seed)
    if not (data / "pairs.npz").exists():
        print("Pairing ...", flush=True)
        save_table(make_table(data / "source", data / "target", workers=2), data / "pairs.npz")
    (folder / "base.json").write_text(json.dumps(base_config(), indent=2) + "\n", encoding="utf-8")
    if not (folder / "campaign.toml").exists():
        shutil.copyfile(HERE / "campaign.toml", folder / "campaign.toml")


def main() -> None:
    """Read the arguments and prepare the folder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--source-episodes", type=int, default=300)
    parser.add_argument("--target-episodes", type=int, default=20)
    given = parser.parse_args()
    prepare_process()
    began = time.monotonic()
    try:
        prepare(given.folder, source=given.source_episodes, target=given.target_episodes)
    except OtpilotError as error:
        sys.exit(f"Error: {error}")
    print(f"Done in {time.monotonic() - began:.0f} s. Start it with: otpilot loop start {given.folder}")


if __name__ == "__main__":
    main()
