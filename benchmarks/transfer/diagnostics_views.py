"""How near the fitted view brings the two domains: on the pairs that it was fitted on, and on twin states."""

import json
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.transfer.blocks import Block, Grid, Heading, Text
from benchmarks.transfer.cells import Cell, cell_config
from benchmarks.transfer.diagnostics_twins import REGIONS, Twins, make_twins
from benchmarks.transfer.suite import Data
from benchmarks.transfer.suites import get_suite
from benchmarks.transfer.training import Workplace, prepare

FILE = "views.jsonl"
CAMERA = "observation.images.top"
HOW_TO_READ = (
    "Mean difference of two pictures' pixels, 0 to 1, as they are and with the source's in the target's view: of the "
    "pairs that the view was fitted on (different tasks, so some difference stays), and of twin states, the same state "
    "in both domains, left where the target was demonstrated and right where it was not. The view knows nothing of the "
    "right. Pictures: `view_SUITE.png` beside the JSON lines."
)


@dataclass(frozen=True, kw_only=True)
class ViewDiagnosis:
    """Differences before and after, of the pairs and by region of the twins."""

    suite: str
    date: str
    pose: str
    apart: dict[str, float]
    left: dict[str, float]


def diagnose_view(suite: str, workplace: Workplace, folder: Path) -> ViewDiagnosis:
    """Return how near the view of a suite's default data comes; appends a line to `folder` and draws it there."""
    import torch

    from otpilot.config.schema import load_config
    from otpilot.data.domains import open_domains
    from otpilot.training.artifacts import draw_views
    from otpilot.training.views import make_source_views

    home = get_suite(suite)
    prepare(workplace, suite, Data(targets=home.targets))
    cell = Cell.parse(f"{suite}/act/ot/{home.steps['act']}/0")
    with tempfile.TemporaryDirectory() as made:
        path = Path(made, "config.json")
        body = cell_config(cell, workplace.data(suite), run=Path(made, "run"), episodes=1, device="cpu")
        path.write_text(json.dumps({**body, "env": None}), encoding="utf-8")
        config = load_config([f"--config_path={path}"]).config
        views = make_source_views(config, open_domains(config), torch.device("cpu"), print)
        assert views is not None
        picture = draw_views(Path(made), views)["ot_view_top"].read_bytes()
    view, sample = views.views[1][CAMERA], views.samples[1][CAMERA]
    twins = make_twins(suite, image_size=sample.source.shape[-1], token=False)
    before, after = {"pairs": sample.apart}, {"pairs": sample.left}
    for region in REGIONS:
        source, target = (_pictures(side, twins, region) for side in (twins.source, twins.target))
        before[region] = float((source - target).abs().mean())
        after[region] = float((view(source) - target).abs().mean())
    date = datetime.now(UTC).isoformat(timespec="seconds")
    found = ViewDiagnosis(suite=suite, date=date, pose=view.describe(), apart=before, left=after)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"view_{suite}.png").write_bytes(picture)
    with (folder / FILE).open("a", encoding="utf-8") as file:
        file.write(json.dumps(asdict(found)) + "\n")
    return found


def read_views(folder: Path) -> list[ViewDiagnosis]:
    """Return the newest diagnosis of each suite."""
    path = folder / FILE
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    newest = {one.suite: one for one in (ViewDiagnosis(**json.loads(line)) for line in lines if line.strip())}
    return list(newest.values())


def views_blocks(found: Iterable[ViewDiagnosis]) -> Iterator[Block]:
    """Yield heading, explanation and table."""
    rows = tuple(
        (one.suite, *(f"{one.apart[name]:.3f} to {one.left[name]:.3f}" for name in ("pairs", *REGIONS)), one.pose)
        for one in found
    )
    if rows:
        yield Heading(text="Diagnostics: the target's view of source pictures", level=3)
        yield Text(text=HOW_TO_READ)
        yield Grid(head=("suite", "pairs", *(f"twins, {region}" for region in REGIONS), "pose"), rows=rows)


def _pictures(side: Any, twins: Twins, region: str) -> Any:
    import torch

    return torch.from_numpy(side[CAMERA][twins.region == region]).permute(0, 3, 1, 2).float() / 255.0
