"""A W&B server on this machine: the part of the protocol that its client 0.31 uses to list runs and read histories.

Answers GraphQL over HTTP as the real server does, faults included: `scan` set to "empty" gives no rows to an unsampled
scan of all keys (wandb issue 12067), "short" half of them; several keys give only rows that hold all of them.
"""

import json
import threading
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

# What the client's light listing leaves out.
HEAVY = ("config", "systemMetrics", "summaryMetrics", "historyKeys")


@dataclass
class RemoteRun:
    id: str
    rows: list
    name: str = ""
    state: str = "finished"
    config: dict = field(default_factory=dict)
    group: str = ""
    tags: tuple = ()
    heartbeat: str = "2025-12-24T11:11:00"

    def counts(self):
        counts = Counter(key for row in self.rows for key in row if not key.startswith("_"))
        kinds = dict.fromkeys(counts, "number")
        for row in self.rows:
            for key, value in row.items():
                if isinstance(value, str) and value not in ("NaN", "Infinity", "-Infinity"):
                    kinds[key] = "string"
        keys = {key: {"typeCounts": [{"type": kinds[key], "count": count}]} for key, count in counts.items()}
        return {"lastStep": max((row["_step"] for row in self.rows), default=-1), "keys": keys}

    def node(self):
        return {
            "id": f"node-{self.id}", "name": self.id, "displayName": self.name or self.id, "state": self.state,
            "tags": list(self.tags), "group": self.group, "heartbeatAt": self.heartbeat,
            "createdAt": "2025-12-24T10:11:00", "historyLineCount": len(self.rows), "historyKeys": self.counts(),
            "config": json.dumps({key: {"value": value} for key, value in self.config.items()}),
            "user": {"name": "u", "username": "u"},
            "sweepName": None, "jobType": None, "commit": None, "readOnly": False, "description": "", "notes": "",
            "systemMetrics": "{}", "summaryMetrics": "{}", "projectId": "1",
        }  # fmt: skip


@dataclass
class Server:
    runs: list
    scan: str = "whole"
    sampled: str = "whole"
    fail_history: bool = False
    refuse_key: bool = False
    asked: Counter = field(default_factory=Counter)
    url: str = ""

    def answer(self, query, variables):
        name = query.replace("#graphql", " ").split("query", 1)[1].split("(")[0].split("{")[0].strip()
        self.asked[name] += 1
        return getattr(self, f"on_{name}")(variables or {})

    def on_Viewer(self, _):
        return {"viewer": None if self.refuse_key else {"id": "v", "username": "u", "entity": "e", "flags": "{}",
                "email": "", "teams": {"edges": []}}}  # fmt: skip

    on_GetDefaultEntity = on_Viewer

    def on_Runs(self, variables):
        chosen = [run for run in self.runs if matches(run, json.loads(variables["filters"] or "{}"))]
        start, size = int(variables["cursor"] or 0), variables["perPage"]
        nodes = [{key: value for key, value in run.node().items() if key not in HEAVY} for run in chosen]
        edges = [{"node": node, "cursor": str(i + 1)} for i, node in enumerate(nodes)][start:][:size]
        page = {"endCursor": str(start + size), "hasNextPage": start + size < len(chosen)}
        return {"project": {"internalId": "1", "runCount": len(chosen), "readOnly": False,
                "runs": {"edges": edges, "pageInfo": page}}}  # fmt: skip

    def on_run(self, variables, **fields):
        return {"project": {"internalId": "1", "run": fields}}

    def find(self, name):
        return next(run for run in self.runs if run.id == name)

    def on_Run(self, variables):
        return self.on_run(variables, **self.find(variables["name"]).node())

    def on_RunHistoryKeys(self, variables):
        return self.on_run(variables, historyKeys=self.find(variables["name"]).counts())

    def on_RunParquetHistory(self, variables):
        return self.on_run(variables, parquetHistory={"parquetUrls": [], "liveData": []})

    def on_HistoryPage(self, variables):
        if self.fail_history:
            raise ConnectionError
        rows = [
            row
            for row in self.find(variables["run"]).rows
            if variables["minStep"] <= row["_step"] < variables["maxStep"]
        ]
        rows = {"whole": rows, "empty": [], "short": rows[::2]}[self.scan]
        return self.on_run(variables, history=[json.dumps(row) for row in rows[: variables["pageSize"]]])

    def on_SampledHistoryPage(self, variables):
        spec = json.loads(variables["spec"])
        rows = [] if self.scan == "empty" else self.with_keys(variables["run"], spec)
        return self.on_run(variables, sampledHistory=[rows])

    def on_RunSampledHistory(self, variables):
        spec = json.loads(variables["specs"][0])
        rows = self.with_keys(variables["name"], spec)
        return self.on_run(variables, sampledHistory=[rows[::2] if self.sampled == "short" else rows])

    def with_keys(self, name, spec):
        low, high = spec.get("minStep", 0), spec.get("maxStep", float("inf"))
        rows = [row for row in self.find(name).rows if low <= row["_step"] <= high]
        found = [row for row in rows if all(key in row for key in spec["keys"])]
        return [{key: row[key] for key in spec["keys"]} for row in found][: spec["samples"]]


def matches(run, condition):
    if "$and" in condition:
        return all(matches(run, part) for part in condition["$and"])
    if "tags" in condition:
        return condition["tags"] in run.tags
    if "group" in condition:
        return run.group == condition["group"]
    if "name" in condition:
        return run.id in condition["name"]["$in"]
    return not condition


@contextmanager
def serving(*runs, **knobs):
    """Yield a server that holds these runs, reachable under `.url`."""
    server = Server(runs=list(runs), **knobs)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            raw = self.rfile.read(int(self.headers["content-length"]))
            if self.path != "/graphql":  # the client's own telemetry
                self.send_error(404)
                return
            body = json.loads(raw)
            try:
                code, answer = 200, {"data": server.answer(body["query"], body.get("variables"))}
            except ConnectionError:
                code, answer = 500, {"errors": [{"message": f"broken; you sent {self.headers['authorization']}"}]}
            data = json.dumps(answer).encode()
            self.send_response(code)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *words):
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    http.daemon_threads = True
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    server.url = f"http://127.0.0.1:{http.server_port}"
    try:
        yield server
    finally:
        http.shutdown()
        http.server_close()
        thread.join()
