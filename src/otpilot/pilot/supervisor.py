"""A small process between the pilot and one trial: starts it, ends it when the pilot dies, writes down how it ended.

Run as `python -S -E -s -P supervisor.py FOLDER TOKEN LIFELINE`, with the standard library alone, so that it starts in
milliseconds and cannot break with the environment. FOLDER holds job.json; LIFELINE is the reading end of a pipe whose
writing end only the pilot holds: end of file means that the pilot is gone (or -1: live on without it).

The trial gets a session of its own. It dies with the supervisor (PR_SET_PDEATHSIG on Linux), and whatever it started
is found by its process group, by descent (the supervisor adopts orphans, PR_SET_CHILD_SUBREAPER), and by the token in
its environment, which a process that leaves group and session still carries.

Linux does all of this; on other systems process groups and `ps` have to do.
"""

import contextlib
import ctypes
import errno
import fcntl
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

TOKEN_NAME = "OTPILOT_TRIAL_TOKEN"
BUSY = 75  # EX_TEMPFAIL: another supervisor holds this run folder, or the job was replaced
CANNOT_START = 127
# How long it waits for the one before it in the same folder, which is about to end.
LOCK_WAIT_S = 5.0
PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36
LINUX = sys.platform.startswith("linux")


def birth(pid: int) -> str | None:
    """Return what tells this process from every other that has or will have its pid; None if it does not live."""
    if not LINUX:
        command = ["ps", "-o", "stat=,lstart=", "-p", str(pid)]
        answer = subprocess.run(command, capture_output=True, text=True, check=False)
        words = answer.stdout.split()
        return None if not words or words[0].startswith("Z") else " ".join(words[1:])
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    if fields[0] in ("Z", "X"):
        return None
    return f"{_boot()}:{fields[19]}"


def is_alive(pid: int, born: str) -> bool:
    """Return whether the very process with this pid and birth lives."""
    return birth(pid) == born


def carriers(token: str) -> list[int]:
    """Return the processes that carry the token in their environment, those of others left out."""
    if not LINUX:
        return []
    wanted = f"{TOKEN_NAME}={token}".encode()
    found = []
    for entry in os.listdir("/proc"):  # noqa: PTH208 - thousands of entries, many times
        if entry.isdigit() and int(entry) != os.getpid():
            try:
                with open(f"/proc/{entry}/environ", "rb") as file:  # noqa: PTH123
                    environment = file.read().split(b"\0")
            except OSError:  # gone, or somebody else's
                continue
            if wanted in environment and birth(int(entry)) is not None:
                found.append(int(entry))
    return found


def sweep(token: str, *, patience_s: float = 5.0) -> int:
    """Kill every process that carries the token and wait until none lives; returns how many were killed."""
    deadline = time.monotonic() + patience_s
    killed: set[int] = set()
    while living := carriers(token):
        for pid in living:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
                killed.add(pid)
        if time.monotonic() > deadline:
            break
        time.sleep(0.005)
    return len(killed)


def write_json(path: Path, body: Any) -> None:
    """Write JSON to a sibling file, then move it over `path`."""
    draft = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with draft.open("w", encoding="utf-8") as file:
            json.dump(body, file)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


class Supervisor:
    """Runs one job from start to end."""

    def __init__(self, folder: Path, job: dict[str, Any], lifeline: int) -> None:
        self.folder = folder
        self.job = job
        self.lifeline = lifeline
        self.ended_by = "itself"
        self.code: int | None = None
        self.bell, self.ring = os.pipe()
        os.set_blocking(self.bell, False)
        os.set_blocking(self.ring, False)

    def run(self) -> int:
        """Return the exit code that tells the pilot how it went, also where exit.json cannot be written."""
        self._listen()
        began = time.time()
        try:
            child = self._start()
        except OSError as error:
            self._report(f"cannot start {self.job['command'][0]!r}: {error}")
            self.code = CANNOT_START
            self._write_exit(began)
            return CANNOT_START
        self._attend(child)
        sweep(self.job["token"])
        self._reap(child)
        with contextlib.suppress(OSError):
            self._show_log()
        self._write_exit(began)
        assert self.code is not None
        return self.code if self.code >= 0 else 128 - self.code

    def _listen(self) -> None:
        """Let signals ring the bell that the loop waits for; adopt orphans."""
        for name in (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(name, lambda *_: None)
        signal.signal(signal.SIGTERM, self._on_term)
        signal.set_wakeup_fd(self.ring, warn_on_full_buffer=False)
        _prctl(PR_SET_CHILD_SUBREAPER, 1)

    def _on_term(self, *_: Any) -> None:
        if self.ended_by == "itself":
            self.ended_by = "cancel"

    def _start(self) -> int:
        environment = {**os.environ, **self.job["environment"], TOKEN_NAME: self.job["token"]}
        me = os.getpid()

        def in_child() -> None:
            _prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
            if os.getppid() != me:
                os._exit(CANNOT_START)

        self._report(f"attempt {self.job['attempt']}: {' '.join(self.job['command'])}")
        with (self.folder / "stdout.log").open("ab") as output:
            child = subprocess.Popen(
                self.job["command"],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=environment,
                cwd=self.job["cwd"],
                start_new_session=True,
                preexec_fn=in_child,  # noqa: PLW1509 - we have one thread
            )
        child.returncode = 0  # we reap it ourselves, with the orphans that we adopt
        body = {
            "token": self.job["token"], "host": os.uname().nodename, "supervisor": me, "supervisor_birth": birth(me),
            "pid": child.pid, "birth": birth(child.pid), "began": time.time(),
        }  # fmt: skip
        with contextlib.suppress(OSError):  # a full disk: the trial may still end well
            write_json(self.folder / "process.json", body)
        return child.pid

    def _attend(self, child: int) -> None:
        """Wait until the trial ends, the pilot dies, or the pilot asks for the end."""
        poll = select.poll()
        poll.register(self.bell, select.POLLIN)
        if self.lifeline >= 0:
            poll.register(self.lifeline, select.POLLIN)
        while not self._reap(child):
            if self.ended_by == "cancel":
                return self._end_gently(child)
            for fd, _ in poll.poll():
                if fd == self.lifeline:
                    self.ended_by = "pilot_death"
                    return self._end(child, signal.SIGKILL)
                with contextlib.suppress(BlockingIOError):
                    os.read(self.bell, 4096)
        return _kill_group(child, signal.SIGKILL)

    def _end_gently(self, child: int) -> None:
        _kill_group(child, signal.SIGTERM)
        deadline = time.monotonic() + self.job["grace_s"]
        while time.monotonic() < deadline:
            if self._reap(child):
                break
            select.select([self.bell], [], [], 0.05)
            with contextlib.suppress(BlockingIOError):
                os.read(self.bell, 4096)
        self._end(child, signal.SIGKILL)

    def _end(self, child: int, number: int) -> None:
        _kill_group(child, number)
        while not self._reap(child):
            time.sleep(0.002)

    def _reap(self, child: int) -> bool:
        """Collect whoever ended; returns whether the trial itself did."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                break
            if pid == 0:
                break
            if pid == child:
                self.code = os.waitstatus_to_exitcode(status)
        return self.code is not None

    def _show_log(self) -> None:
        """Put stdout.log into the run folder, also where the trial came to no folder of its own."""
        run = Path(self.job["run"])
        run.mkdir(parents=True, exist_ok=True)
        draft = run / f".stdout.{os.getpid()}"
        log = self.folder / "stdout.log"
        try:
            os.link(log, draft)
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise
            shutil.copyfile(log, draft)  # a file system without hard links
        draft.replace(run / "stdout.log")
        draft.unlink(missing_ok=True)  # both names were one file already

    def _write_exit(self, began: float) -> None:
        body = {
            "token": self.job["token"], "trial": self.job["trial"], "retry": self.job["retry"],
            "attempt": self.job["attempt"], "code": self.code, "ended_by": self.ended_by, "began": began,
            "ended": time.time(),
        }  # fmt: skip
        with contextlib.suppress(OSError):  # a full disk: our own exit code still says it
            write_json(self.folder / "exit.json", body)

    def _report(self, line: str) -> None:
        with contextlib.suppress(OSError), (self.folder / "stdout.log").open("a", encoding="utf-8") as file:
            file.write(f"[otpilot {time.strftime('%Y-%m-%d %H:%M:%S')}] {line}\n")


def _prctl(option: int, value: int) -> None:
    if LINUX:
        ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0)


def _kill_group(leader: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(leader, number)


def _boot() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return "?"


def _lock(path: Path, wait_s: float, lifeline: int) -> int | None:
    """Return the locked file, or None when another supervisor keeps it, or the pilot died while we waited."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    deadline = time.monotonic() + wait_s
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return fd
        except BlockingIOError:
            if time.monotonic() > deadline or _is_dead(lifeline, 0.01):
                return None


def _is_dead(lifeline: int, wait_s: float) -> bool:
    if lifeline < 0:
        time.sleep(wait_s)
        return False
    return bool(select.select([lifeline], [], [], wait_s)[0])


def main(arguments: list[str]) -> int:
    """Run the job in the folder given and return the exit code for the pilot."""
    folder, token, lifeline = Path(arguments[0]), arguments[1], int(arguments[2])
    if lifeline >= 0:
        os.set_inheritable(lifeline, False)
    for name in arguments[3:]:  # device locks: ours as long as we live, never the trial's
        os.set_inheritable(int(name), False)
    if _lock(folder / "lock", LOCK_WAIT_S, lifeline) is None or _is_dead(lifeline, 0.0):
        return BUSY
    job = json.loads((folder / "job.json").read_text(encoding="utf-8"))
    if job["token"] != token:  # under the lock: a later pilot wrote another job
        return BUSY
    return Supervisor(folder, job, lifeline).run()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
