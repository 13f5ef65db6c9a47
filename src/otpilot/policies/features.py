"""Where a policy's own encodings are tapped: one entry per policy type, no second forward pass."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from types import TracebackType
from typing import Any

import torch
from jaxtyping import Float
from lerobot.policies.pretrained import PreTrainedPolicy
from lerobot.utils.constants import OBS_ENV_STATE, OBS_STATE
from torch import Tensor, nn

from otpilot.config.feature_keys import ALL_IMAGES, FUSED
from otpilot.errors import ConfigError, closest


class FeatureTap(ABC):
    """Catches the encodings that a forward pass makes on its way; use as a context manager around that pass.

    Keys are observation keys, `observation.images` (all cameras, concatenated) or `fused` (what the policy's encoder
    makes of everything). Embeddings are (rows, dims), pooled over space, with gradients.
    """

    def __init__(self, policy: PreTrainedPolicy) -> None:
        self.policy = policy
        self.cameras: list[str] = list(policy.config.image_features)
        self._caught: dict[str, list[Tensor]] = {}
        self._handles: list[Any] = []

    @abstractmethod
    def modules(self) -> dict[str, nn.Module]:
        """Return the modules to watch, by an internal name."""

    @abstractmethod
    def encoders(self) -> list[nn.Module]:
        """Return the modules whose parameters produce the embeddings."""

    @abstractmethod
    def embeddings(self) -> dict[str, Float[Tensor, "n d"]]:
        """Return the embedding of each key that the last pass made."""

    def encode(self, batch: Mapping[str, Any]) -> None:  # noqa: ARG002 - what subclasses take
        """Run the encoders alone on rows that the policy's loss must not see; use it inside the context manager.

        Raises:
            ConfigError: If this policy's encoders cannot run alone.
        """
        raise ConfigError(
            f"ot.rows = 'separate' adds rows that must not be cloned, and the policy {self.policy.name!r} would clone "
            "them; set ot.rows = 'shared', or add `encode` to its FeatureTap in otpilot/policies/features.py."
        )

    def keys(self) -> list[str]:
        """Return every key that `embedding` answers for this policy."""
        keys = [*self.cameras, FUSED]
        if self.cameras:
            keys.append(ALL_IMAGES)
        keys += [key for key in (OBS_STATE, OBS_ENV_STATE) if key in self.policy.config.input_features]
        return keys

    def check(self, key: str) -> None:
        """Raise ConfigError unless this policy has an embedding for the key."""
        if key not in self.keys():
            raise ConfigError(
                f"The policy {self.policy.name!r} has no learned embedding for {key!r}; "
                f"allowed: {', '.join(self.keys())}.{closest(key, self.keys())}"
            )

    def embedding(self, key: str) -> Float[Tensor, "n d"]:
        """Return the embedding of one key from the last pass."""
        made = self.embeddings()
        if key == ALL_IMAGES:
            return torch.cat([made[camera] for camera in self.cameras], dim=1)
        return made[key]

    def encoder_parameters(self) -> list[nn.Parameter]:
        """Return the trainable parameters behind the embeddings, each once."""
        unique: dict[int, nn.Parameter] = {
            id(p): p for module in self.encoders() for p in module.parameters() if p.requires_grad
        }
        return list(unique.values())

    def __enter__(self) -> "FeatureTap":
        """Start catching."""
        self._caught = {}
        for name, module in self.modules().items():
            self._handles.append(module.register_forward_hook(self._catcher(name)))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop catching; what was caught stays until the next pass."""
        while self._handles:
            self._handles.pop().remove()

    def _catcher(self, name: str) -> Any:
        def catch(_module: nn.Module, _inputs: Any, output: Tensor) -> None:
            self._caught.setdefault(name, []).append(output)

        return catch

    def _outputs(self, name: str) -> list[Tensor]:
        """Return what a watched module put out, one tensor per call."""
        return self._caught.get(name, [])


class ActTap(FeatureTap):
    """ACT: backbone and input projection per camera (mean over the feature map), linear projections of the states."""

    def modules(self) -> dict[str, nn.Module]:
        """Return the projections into the encoder, and the encoder itself."""
        model = self.policy.model
        watched = {"encoder": model.encoder}
        if self.cameras:
            watched["image"] = model.encoder_img_feat_input_proj
        if self.policy.config.robot_state_feature:
            watched[OBS_STATE] = model.encoder_robot_state_input_proj
        if self.policy.config.env_state_feature:
            watched[OBS_ENV_STATE] = model.encoder_env_state_input_proj
        return watched

    def encoders(self) -> list[nn.Module]:
        """Return the backbone, and the projections behind it."""
        model = self.policy.model
        return ([model.backbone] if self.cameras else []) + [m for n, m in self.modules().items() if n != "encoder"]

    def embeddings(self) -> dict[str, Float[Tensor, "n d"]]:
        """Return (rows, dim_model) for each key."""
        made = {
            camera: output.mean(dim=(-2, -1))
            for camera, output in zip(self.cameras, self._outputs("image"), strict=True)
        }
        for key in (OBS_STATE, OBS_ENV_STATE):
            for output in self._outputs(key):
                made[key] = output
        for output in self._outputs("encoder"):  # (tokens, rows, dim)
            made[FUSED] = output.mean(dim=0)
        return made


class DiffusionTap(FeatureTap):
    """Diffusion: its rgb encoder per camera; fused is all cameras side by side, since states have no encoder."""

    def modules(self) -> dict[str, nn.Module]:
        """Return the image encoder, or one per camera."""
        if not self.cameras:
            return {}
        encoder = self.policy.diffusion.rgb_encoder
        if isinstance(encoder, nn.ModuleList):
            return dict(zip(self.cameras, encoder, strict=True))
        return {"image": encoder}

    def encoders(self) -> list[nn.Module]:
        """Return the image encoders."""
        return [self.policy.diffusion.rgb_encoder] if self.cameras else []

    def keys(self) -> list[str]:
        """Return cameras, their concatenation, and `fused`; the states have no learned encoding."""
        return [*self.cameras, *([ALL_IMAGES, FUSED] if self.cameras else [])]

    def encode(self, batch: Mapping[str, Any]) -> None:
        """Run the image encoders on all rows of a batch."""
        if not self.cameras:
            return
        encoder = self.policy.diffusion.rgb_encoder
        images = [_with_steps(batch[camera]) for camera in self.cameras]  # (rows, step, C, H, W)
        if isinstance(encoder, nn.ModuleList):
            for one, image in zip(encoder, images, strict=True):
                one(image.flatten(0, 1))
        else:
            encoder(torch.stack(images, dim=2).flatten(0, 2))

    def embeddings(self) -> dict[str, Float[Tensor, "n d"]]:
        """Return (rows, n_obs_steps * feature_dim) for each camera; of several passes, the rows of all in order."""
        steps = self.policy.config.n_obs_steps
        made: dict[str, Tensor] = {}
        if self._outputs("image"):  # rows ordered (batch, step, camera)
            output = torch.cat(self._outputs("image"))
            split = output.reshape(-1, steps, len(self.cameras), output.shape[-1])
            made |= {camera: split[:, :, i].flatten(1) for i, camera in enumerate(self.cameras)}
        for camera in self.cameras:
            if self._outputs(camera):  # rows ordered (batch, step)
                output = torch.cat(self._outputs(camera))
                made[camera] = output.reshape(-1, steps * output.shape[-1])
        if made:
            made[FUSED] = torch.cat([made[camera] for camera in self.cameras], dim=1)
        return made


def _with_steps(images: Tensor) -> Tensor:
    """Return images as (rows, observation steps, C, H, W); a policy with one step may get none."""
    return images if images.ndim == 5 else images.unsqueeze(1)


TAPS: dict[str, type[FeatureTap]] = {"act": ActTap, "diffusion": DiffusionTap}


def make_tap(policy: PreTrainedPolicy) -> FeatureTap:
    """Return the tap of a policy's type.

    Raises:
        ConfigError: If the type has no entry yet, with what to add.
    """
    kind = policy.config.type
    if kind not in TAPS:
        raise ConfigError(
            f"No feature tap for policy type {kind!r}; allowed: {', '.join(TAPS)}. To support it, add a FeatureTap "
            "subclass with its encoder modules to TAPS in otpilot/policies/features.py, or set ot.method to 'none'."
        )
    return TAPS[kind](policy)
