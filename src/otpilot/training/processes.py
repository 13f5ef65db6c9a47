"""What several training processes must agree on."""

import torch
from accelerate import Accelerator


class Processes:
    """The processes of one run; alone, everything is what it was."""

    def __init__(self, accelerator: Accelerator) -> None:
        self.accelerator = accelerator

    def any(self, flag: bool) -> bool:
        """Return whether any process says yes."""
        if self.accelerator.num_processes == 1:
            return flag
        mine = torch.tensor(float(flag), device=self.accelerator.device)
        return bool(self.accelerator.reduce(mine, reduction="sum") > 0)

    def mean(self, values: dict[str, float]) -> dict[str, float]:
        """Return the mean of each value over processes, which all have the same names."""
        if self.accelerator.num_processes == 1:
            return values
        mine = torch.tensor([values[name] for name in sorted(values)], device=self.accelerator.device)
        means = self.accelerator.reduce(mine, reduction="mean").tolist()
        return dict(zip(sorted(values), means, strict=True))
