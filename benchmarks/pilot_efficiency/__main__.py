"""Plays the benchmark, writes its page, records real trials, or confirms; see the package's first lines."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
import time
from pathlib import Path

from benchmarks.pilot_efficiency import results
from otpilot.pilot.proposers import PROPOSERS as PRODUCT


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.pilot_efficiency", description=__doc__)
    commands = parser.add_subparsers(dest="command")
    _play_options(parser)
    record = commands.add_parser("record", help="measure a campaign's real trials into recorded.json")
    record.add_argument("campaign", type=Path)
    record.add_argument("--later", action="store_true", help="keep it beside what the surface rests on; change nothing")
    record.add_argument("--origin", default="examples/tabletop: ACT on the simulator, short trials on 2 CPU cores")
    commands.add_parser("report", help="write docs/pilot-efficiency.md and its plot from the results")
    confirm = commands.add_parser("confirm", help="real trials from a dead transport, one campaign for each proposer")
    confirm.add_argument("folder", type=Path)
    confirm.add_argument("--proposer", nargs="+", choices=PRODUCT, default=["rules", "mixed"])
    confirm.add_argument("--trials", type=int, default=16)
    confirm.add_argument("--steps", type=int, default=400)
    confirm.add_argument("--seeds", type=int, default=2)
    confirm.add_argument("--dry-run", action="store_true", help="prepare the campaigns and print the commands only")
    given = parser.parse_args()
    if given.command == "record":
        from benchmarks.pilot_efficiency import recorded

        found = recorded.read_campaign(given.campaign, origin=given.origin)
        recorded.save(found, recorded.LATER if given.later else recorded.FILE)
    elif given.command == "report":
        from benchmarks.pilot_efficiency import page

        page.write()
    elif given.command == "confirm":
        from benchmarks.pilot_efficiency import confirmation

        confirmation.run(
            given.folder,
            proposers=given.proposer,
            trials=given.trials,
            steps=given.steps,
            seeds=given.seeds,
            dry_run=given.dry_run,
        )
    else:
        _play(given)


def _play_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--out", type=Path, default=results.FOLDER / f"{time.strftime('%Y-%m-%d')}.jsonl")
    parser.add_argument("--repetitions", type=int, default=results.REPETITIONS)
    parser.add_argument("--first", type=int, default=results.FIRST, help="first repetition")
    parser.add_argument("--budget", type=int, default=results.BUDGET)
    parser.add_argument("--noise", choices=results.NOISES, nargs="+", default=list(results.NOISES))
    parser.add_argument("--proposer", choices=results.PROPOSERS, nargs="+", default=list(results.PROPOSERS))
    parser.add_argument("--start", nargs="+", default=[])
    parser.add_argument("--jobs", type=int, default=1)


def _play(given: argparse.Namespace) -> None:
    wanted = results.cells(
        repetitions=given.repetitions,
        noises=given.noise,
        proposers=given.proposer,
        starts=given.start,
        first=given.first,
    )
    began = time.process_time()
    results.play_all(wanted, given.out, budget=given.budget, jobs=given.jobs)
    print(f"{given.out}: {len(wanted)} searches, {time.process_time() - began:.0f} s of this process's CPU time")


if __name__ == "__main__":
    main()
