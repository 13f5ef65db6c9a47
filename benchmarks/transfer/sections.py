"""What the configs of all suites share: co-training with the default transport, in the sizes of `otpilot demo`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.transfer.suite import Data
from otpilot.demo.settings import EMA_DECAY, POLICIES, RATE, SHARPNESS, SOURCE_SHARE, TOPK, WINDOW_SIZE


@dataclass(frozen=True, kw_only=True)
class Folders:
    """Where the parts of one suite's data lie; all target sets share the source."""

    root: Path
    data: Data

    @property
    def source(self) -> Path:
        """The source dataset."""
        return self.root / ("source_token" if self.data.token else "source")

    @property
    def target(self) -> Path:
        """The target dataset."""
        return self.root / self.data.slug / "target"

    @property
    def pairs(self) -> Path:
        """The pair table."""
        return self.root / self.data.slug / f"pairs_{self.data.pairs}.npz"


def common_sections(suite: str, at: Folders, *, policy: str, steps: int) -> dict[str, Any]:
    """Return a config but for its environment: data, policy, schedule, and pairs and cost of the transport."""
    rate = RATE[policy]
    some = {"episodes": list(at.data.demos)} if at.data.demos else {}
    return {
        "dataset": {"repo_id": f"otpilot/{suite}_target", "root": str(at.target), "use_imagenet_stats": False, **some},
        "policy": {"type": policy, "device": "cpu", "push_to_hub": False, **POLICIES[policy]},
        "use_policy_training_preset": False,
        "optimizer": {"type": "adamw", "lr": rate, "weight_decay": 1e-4, "grad_clip_norm": 10.0},
        "scheduler": {
            "type": "cosine_decay_with_warmup",
            "num_warmup_steps": 50,
            "num_decay_steps": steps,
            "peak_lr": rate,
            "decay_lr": rate / 50,
        },
        "batch_size": 16,
        "ema_decay": EMA_DECAY[policy],
        "ot": {
            "enable": True,
            "src_repo_id": f"otpilot/{suite}_{at.source.name}",
            "src_root": str(at.source),
            "pair_info_path": str(at.pairs),
            "bc_src_weight": SOURCE_SHARE,
            "window_size": WINDOW_SIZE,
            "sharpness": SHARPNESS,
            "topk_src_episodes": TOPK,
            "loss_config": {
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
    }
