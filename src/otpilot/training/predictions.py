"""What a policy predicts during its own forward pass, caught by a hook: no second pass."""

from abc import ABC, abstractmethod
from types import TracebackType
from typing import Any, Self

from lerobot.policies.pretrained import PreTrainedPolicy
from torch import Tensor, nn

from otpilot.errors import TrainingError


class PredictionTrace(ABC):
    """Catches one module's output in a forward pass; use as a context manager around it."""

    def __init__(self, policy: PreTrainedPolicy) -> None:
        self.policy = policy
        self._caught: tuple[tuple[Any, ...], Any] | None = None
        self._handle: Any = None

    @abstractmethod
    def module(self) -> nn.Module:
        """Return the module to watch."""

    @property
    @abstractmethod
    def predicted(self) -> Tensor:
        """What the policy compares with its target, (rows, steps, dims), with its graph."""

    def caught(self) -> tuple[tuple[Any, ...], Any]:
        """Return inputs and output of the watched module in the last pass.

        Raises:
            TrainingError: If there was none.
        """
        if self._caught is None:
            raise TrainingError(f"The policy {self.policy.name!r} made no forward pass, so it predicted nothing.")
        return self._caught

    def __enter__(self) -> Self:
        """Start catching."""
        self._caught = None
        self._handle = self.module().register_forward_hook(self._catch)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop catching; what was caught stays until the next pass."""
        self._handle.remove()

    def _catch(self, _module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        self._caught = (inputs, output)


class ActTrace(PredictionTrace):
    """ACT: its model puts out the action chunk."""

    def module(self) -> nn.Module:
        """Return the model."""
        model: nn.Module = self.policy.model
        return model

    @property
    def predicted(self) -> Tensor:
        """The action chunk, normalised."""
        actions: Tensor = self.caught()[1][0]
        return actions


class DiffusionTrace(PredictionTrace):
    """Diffusion: its denoiser sees a noisy chunk at a timestep, and puts out the noise or the clean chunk."""

    def module(self) -> nn.Module:
        """Return the denoiser."""
        unet: nn.Module = self.policy.diffusion.unet
        return unet

    @property
    def predicted(self) -> Tensor:
        """The noise, or the clean chunk (prediction_type)."""
        output: Tensor = self.caught()[1]
        return output

    def wanted(self, clean: Tensor) -> Tensor:
        """Return what the denoiser should have put out for the clean chunk (rows, steps, dims)."""
        if self.policy.config.prediction_type == "sample":
            return clean
        noisy, timesteps = self.caught()[0][:2]
        kept = self.policy.diffusion.noise_scheduler.alphas_cumprod.to(clean.device)[timesteps].double()[:, None, None]
        # what add_noise did, solved for the noise; in double, because 1 - kept is small at the first timesteps
        noise: Tensor = (noisy.double() - kept.sqrt() * clean.double()) / (1.0 - kept).sqrt()
        return noise.to(clean.dtype)
