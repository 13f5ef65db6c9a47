"""What the ledger costs with 1, 10, 100 and 1,000 GPUs: transactions measured here, the fleet simulated.

    python benchmarks/scheduler.py                                      # ledger in SQLite, a minute or two
    python benchmarks/scheduler.py postgresql://USER@HOST/DATABASE      # in a schema that is dropped afterwards

Measured, in this run, on this machine, by the real ledger code with 2,000 trials in it: claim, start, heartbeat of
eight leases, finish, reading a config, asking in vain, looking for lost leases in vain, reading all trials (what a
pilot does every 5 s).

Simulated: boxes of eight GPUs with a worker each (`otpilot loop worker`), as the loop in pilot/worker.py is written: a
look at its trials once a second (every 5 s where none runs), heartbeats and a look for lost trials every 15 s, claims
while there is room. The ledger serves one transaction at a time, each for as long as the median measured (PostgreSQL
would overlap them: the table is the worse case). A process takes START_S from its claim until it trains. Trials take
10 minutes, log-normal with a spread of 0.3. Not simulated: the network, scoring, loading of data, GPUs that are slow or
lost.

Two loads: a queue that never runs dry (several campaigns, or a search), and one campaign as `loop start` runs it by
default (3 variants on 3 seeds a round, a barrier after each), which cannot use more GPUs than it has trials at once.
"""

import heapq
import math
import random
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from sqlalchemy import create_engine

from otpilot.pilot.ledger import Ledger, NewTrial, Result
from otpilot.pilot.ledger.database import parse_where

FLEETS = (1, 10, 100, 1000)
BOX = 8
HOURS = 4.0
POLL_S, IDLE_S, BEAT_S, PILOT_S, START_S = 1.0, 5.0, 15.0, 5.0, 10.0
TRIAL_S, SPREAD = 600.0, 0.3
ROUND = 9
KNOWN = 2000
SCHEMA = "otpilot_scheduler"
CONFIG = {f"section_{n}": {f"key_{m}": m / 7 for m in range(15)} for n in range(12)}  # 5 kB, as a real one
METRICS = {f"eval/offline_eval/metric_{n}": n / 7 for n in range(12)}


def median_s(work: Callable[[], object], times: int = 60) -> float:
    taken = []
    for _ in range(times):
        began = time.perf_counter()
        work()
        taken.append(time.perf_counter() - began)
    return statistics.median(taken)


def new_trial(number: int) -> NewTrial:
    return NewTrial(name=f"v{number}", config_hash=f"{number // 10:x}", seed=number, budget=2000, config=CONFIG)


def measure(ledger: Ledger) -> dict[str, float]:
    """Return the median seconds of each transaction."""
    for first in range(0, KNOWN, 100):
        ledger.add_trials([new_trial(n) for n in range(first, first + 100)])
    held = [ledger.claim("bench") for _ in range(BOX)]
    beats = [lease for lease in held if lease is not None]
    taken: dict[str, list[float]] = {"claim": [], "start": [], "finish": []}
    for number in range(60):
        began = time.perf_counter()
        lease = ledger.claim("bench")
        claimed = time.perf_counter()
        assert lease is not None
        ledger.start(lease, process={"pid": number}, device="GPU-0")
        started = time.perf_counter()
        ledger.finish(lease, Result(state="finished", reason="all steps done", score=0.5, metrics=METRICS))
        taken["finish"].append(time.perf_counter() - started)
        taken["start"].append(started - claimed)
        taken["claim"].append(claimed - began)
    found = {name: statistics.median(values) for name, values in taken.items()}
    found["heartbeat"] = median_s(lambda: ledger.heartbeat(beats))
    found["config"] = median_s(lambda: ledger.config("0"))
    found["look"] = median_s(lambda: ledger.claim("bench", lost_only=True))
    found["empty claim"] = median_s(lambda: ledger.claim("bench", kinds=("none",)))
    found["pilot"] = median_s(ledger.trials, 5)
    return found


@dataclass
class Fleet:
    """Workers on boxes, one ledger, and a queue."""

    gpus: int
    costs: dict[str, float]
    campaign: bool
    luck: random.Random = field(default_factory=lambda: random.Random(7))
    free_at: float = 0.0
    served: float = 0.0
    waited: float = 0.0
    counts: Counter[str] = field(default_factory=Counter)
    busy: float = 0.0
    ended: int = 0

    def __post_init__(self) -> None:
        self.horizon = HOURS * 3600
        self.queue = ROUND if self.campaign else math.inf
        self.open = ROUND

    def ask(self, kind: str, now: float) -> float:
        """Return when the ledger has answered."""
        begun = max(now, self.free_at)
        self.free_at = begun + self.costs[kind]
        self.waited += begun - now
        self.served += self.costs[kind]
        self.counts[kind] += 1
        return self.free_at

    def run(self) -> None:
        """Let the time pass."""
        boxes = [min(BOX, self.gpus - first) for first in range(0, self.gpus, BOX)]
        running: list[list[float]] = [[] for _ in boxes]
        beat_at = [self.luck.uniform(0, BEAT_S) for _ in boxes]
        events = [(self.luck.uniform(0, POLL_S), number) for number in range(len(boxes))]
        events.append((PILOT_S, -1))
        heapq.heapify(events)
        while events and events[0][0] < self.horizon:
            now, box = heapq.heappop(events)
            if box < 0:
                self.decide()
                heapq.heappush(events, (self.ask("pilot", now) + PILOT_S, box))
                continue
            if now >= beat_at[box]:
                if running[box]:
                    now = self.ask("heartbeat", now)
                now = self.ask("look", now)
                beat_at[box] = now + BEAT_S
            now, changed = self.step(running[box], boxes[box], now)
            pause = 0.0 if changed else POLL_S if running[box] else IDLE_S
            heapq.heappush(events, (now + pause, box))

    def step(self, running: list[float], slots: int, now: float) -> tuple[float, bool]:
        """Write down what ended and start what fits; returns when, and whether anything changed."""
        over = [end for end in running if end <= now]
        for end in over:
            running.remove(end)
            now = self.ask("finish", now)
            self.ended += 1
            self.open -= 1
        started = False
        while len(running) < slots:
            if not self.queue:
                now = self.ask("empty claim", now)
                break
            now = self.ask("claim", now)
            self.queue -= 1
            now = self.ask("start", self.ask("config", now))
            length = TRIAL_S * math.exp(self.luck.gauss(0.0, SPREAD))
            begins = now + START_S
            running.append(begins + length)
            self.busy += max(0.0, min(begins + length, self.horizon) - begins)
            started = True
        return now, started or bool(over)

    def decide(self) -> None:
        """Plan the next round when the last one is over."""
        if self.campaign and self.open == 0:
            self.queue = self.open = ROUND

    @property
    def idle(self) -> float:
        """Return the share of GPU time in which nothing trained."""
        return 1 - self.busy / (self.gpus * self.horizon)


def table(costs: dict[str, float], name: str) -> None:
    print(f"measured ({name}, {KNOWN:,} trials, median milliseconds a transaction):")
    print("  " + "   ".join(f"{kind} {cost * 1e3:.2f}" for kind, cost in costs.items()))
    print(f"simulated: {HOURS:g} hours, trials of {TRIAL_S / 60:g} min, {BOX} GPUs a worker, {START_S:g} s to start")
    print("| load | GPUs | trials ended | transactions / s | ledger busy | mean wait, ms | idle GPUs |")
    print("|---|---|---|---|---|---|---|")
    for campaign in (False, True):
        for gpus in FLEETS:
            fleet = Fleet(gpus, costs, campaign)
            fleet.run()
            total = fleet.counts.total()
            load = "one campaign" if campaign else "full queue"
            print(
                f"| {load} | {gpus:,} | {fleet.ended:,} | {total / fleet.horizon:.2f} "
                f"| {min(1.0, fleet.served / fleet.horizon):.2%} | {fleet.waited / max(1, total) * 1e3:.2f} "
                f"| {fleet.idle:.1%} |"
            )
    floor = (START_S + POLL_S / 2) / (START_S + POLL_S / 2 + TRIAL_S)
    print(f"with a ledger that costs nothing, starting alone would leave {floor:.1%} idle")


def main() -> None:
    if len(sys.argv) > 1:
        with Ledger.open(sys.argv[1], schema=SCHEMA) as ledger:
            costs = measure(ledger)
        engine = create_engine(parse_where(sys.argv[1]))
        with engine.begin() as connection:
            connection.exec_driver_sql(f"DROP SCHEMA {SCHEMA} CASCADE")
        engine.dispose()
        table(costs, "PostgreSQL")
        return
    with tempfile.TemporaryDirectory() as temporary, Ledger.open(Path(temporary) / "ledger.db") as ledger:
        table(measure(ledger), "SQLite")


if __name__ == "__main__":
    main()
