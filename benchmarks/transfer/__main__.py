"""The command line: python -m benchmarks.transfer --help, from the repository's root."""

import argparse
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks.transfer.cells import Cell
from benchmarks.transfer.grids import GRIDS, get_grid
from benchmarks.transfer.lanes import describe, open_cells, run_cells
from benchmarks.transfer.methods import AXES, METHODS
from benchmarks.transfer.report import write_report
from benchmarks.transfer.results import FINISHED, RESULTS, ROOT, check_found, find_result, read_results
from benchmarks.transfer.suite import Data
from benchmarks.transfer.suites import SUITES, get_suite
from benchmarks.transfer.training import Workplace
from benchmarks.transfer.verify import compare_records, told
from otpilot.errors import OtpilotError

WORK = ROOT / "outputs" / "transfer"


def main(args: Sequence[str] | None = None) -> int:
    """Run one command and return the exit status."""
    given = _parser().parse_args(args)
    try:
        return int(given.command(given))
    except OtpilotError as error:
        print(f"Error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("Interrupted; the same command goes on from here.", file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.transfer", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    made = commands.add_parser("list", help="suites, methods, axes of ablations, grids")
    made.set_defaults(command=_list)
    made = commands.add_parser("prepare", help="record and pair the data of a suite")
    made.add_argument("suite")
    made.add_argument("--targets", type=int)
    made.add_argument("--pairs", default="dtw", choices=("dtw", "oracle"))
    made.add_argument("--token", action="store_true")
    made.add_argument("--work", type=Path, default=WORK)
    made.set_defaults(command=_prepare)
    made = commands.add_parser("run", help="train cells: SUITE/POLICY/METHOD[+AXIS=VALUE...]/STEPS/SEED")
    made.add_argument("cells", nargs="+", metavar="CELL")
    _add_places(made)
    made.set_defaults(command=_run)
    made = commands.add_parser("grid", help="train a named list of cells, seed by seed")
    made.add_argument("name", metavar="NAME", help=", ".join(GRIDS))
    made.add_argument("--suite", action="append", help="one or more; default: tabletop")
    made.add_argument("--policy", default="act")
    made.add_argument("--seeds", help="e.g. 100,101; default: the grid's own")
    made.add_argument("--steps", type=int, help="instead of the suite's own")
    made.add_argument("--dry", action="store_true", help="print the cells that are left, and stop")
    _add_places(made)
    made.set_defaults(command=_grid)
    made = commands.add_parser("report", help="write docs/results.md, .html and .svg from the JSON lines")
    made.add_argument("--results", type=Path, default=RESULTS)
    made.add_argument("--out", type=Path, default=ROOT / "docs")
    made.set_defaults(command=_report)
    made = commands.add_parser("verify", help="train a cell again, with fresh data, and compare with the stored result")
    made.add_argument("cell", metavar="CELL")
    made.add_argument("--work", type=Path, default=ROOT / "outputs" / "verify")
    made.add_argument("--results", type=Path, default=RESULTS)
    made.add_argument("--device", default="cpu")
    made.set_defaults(command=_verify)
    made = commands.add_parser("diagnose", help="what a finished run's encodings of twin states say")
    made.add_argument("run", type=Path, metavar="RUN")
    made.add_argument("--suite", required=True)
    made.add_argument("--results", type=Path, default=RESULTS)
    made.set_defaults(command=_diagnose)
    made = commands.add_parser("views", help="how near the fitted view brings the domains of a suite")
    made.add_argument("suite")
    made.add_argument("--work", type=Path, default=WORK)
    made.add_argument("--results", type=Path, default=RESULTS)
    made.set_defaults(command=_views)
    return parser


def _add_places(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--jobs", type=int, default=1, help="trainings at a time, one thread each")
    parser.add_argument("--episodes", type=int, default=100, help="closed-loop episodes of each question")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--work", type=Path, default=WORK, help="where data and runs lie")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of the JSON lines")
    parser.add_argument("--discard", action="store_true", help="remove the run folder of a finished cell")


def _workplace(given: argparse.Namespace) -> Workplace:
    return Workplace(root=given.work.resolve(), episodes=given.episodes, device=given.device, keep=not given.discard)


def _list(given: argparse.Namespace) -> int:  # noqa: ARG001 - what every command takes
    print("suites:")
    for suite in SUITES.values():
        print(f"  {suite.name:16} {suite.about} (steps: {dict(suite.steps)})")
    print("methods:")
    for method in METHODS.values():
        print(f"  {method.name:16} {method.about}")
    print("axes:")
    for name, (_, about) in AXES.items():
        print(f"  {name:16} {about}")
    print("grids:")
    for grid in GRIDS.values():
        print(f"  {grid.name:16} {grid.about}: {len(grid.rows)} rows, seeds {', '.join(map(str, grid.seeds))}")
    return 0


def _prepare(given: argparse.Namespace) -> int:
    from otpilot.commands.process import prepare_process

    prepare_process()
    suite = get_suite(given.suite)
    data = Data(targets=given.targets or suite.targets, pairs=given.pairs, token=given.token)
    suite.prepare(given.work.resolve() / "data" / suite.name, data)
    return 0


def _run(given: argparse.Namespace) -> int:
    return _train([Cell.parse(name) for name in given.cells], given)


def _grid(given: argparse.Namespace) -> int:
    seeds = tuple(int(word) for word in given.seeds.split(",")) if given.seeds else ()
    grid = get_grid(given.name)
    lists = [grid.cells(suite, given.policy, seeds=seeds, steps=given.steps) for suite in given.suite or ["tabletop"]]
    order = {seed: place for place, seed in enumerate(seeds or grid.seeds)}
    cells = sorted((cell for cells in lists for cell in cells), key=lambda cell: order[cell.seed])
    if given.dry:
        for cell in open_cells(cells, _workplace(given), results=given.results):
            print(cell.name)
        return 0
    return _train(cells, given)


def _diagnose(given: argparse.Namespace) -> int:
    from benchmarks.transfer.diagnostics import diagnose
    from otpilot.commands.process import prepare_process

    prepare_process()
    print(diagnose(given.run, given.suite, folder=given.results / "diagnostics").to_line())
    return 0


def _views(given: argparse.Namespace) -> int:
    from benchmarks.transfer.diagnostics_views import diagnose_view
    from otpilot.commands.process import prepare_process

    prepare_process()
    workplace = Workplace(root=given.work.resolve())
    print(diagnose_view(given.suite, workplace, given.results / "diagnostics"))
    return 0


def _report(given: argparse.Namespace) -> int:
    from benchmarks.transfer.diagnostics import read_diagnoses
    from benchmarks.transfer.diagnostics_views import read_views

    folder = given.results / "diagnostics"
    for path in write_report(read_results(given.results), given.out, read_diagnoses(folder), read_views(folder)):
        print(path)
    return 0


def _verify(given: argparse.Namespace) -> int:
    cell = Cell.parse(given.cell)
    stored = check_found(find_result(cell, read_results(given.results)), cell)
    root = given.work.resolve()
    workplace = Workplace(root=root, episodes=stored.episodes, device=given.device)
    shutil.rmtree(workplace.run(cell), ignore_errors=True)
    fresh = Path(tempfile.mkdtemp(prefix="results-", dir=_made(root)))
    (rerun,) = run_cells([cell], workplace, jobs=1, say=lambda line: print(line, flush=True), results=fresh)
    for line in told(stored, rerun):
        print(line)
    return 0 if all(one.agrees for one in compare_records(stored, rerun)) else 1


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _train(cells: list[Cell], given: argparse.Namespace) -> int:
    records = run_cells(
        cells, _workplace(given), jobs=given.jobs, say=lambda line: print(line, flush=True), results=given.results
    )
    failed = [record for record in records if record.state != FINISHED]
    for record in failed:
        print(f"failed: {describe(record)}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
