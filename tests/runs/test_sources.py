"""Every source passes this: one logical run, written in each format, comes back the same."""

import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from otpilot.runs.history import RunHistory
from otpilot.runs.sources.spelling import parse_source
from tests.runs import formats
from tests.runs.formats import EMPTY, FULL, ONE, RUNS
from tests.runs.wandb_server import RemoteRun, serving


@dataclass(frozen=True)
class Format:
    """How to write runs, and what the format can hold of them."""

    write: Callable
    many: bool = True
    name: bool = True
    config: bool = True
    group: bool = False
    tags: bool = False
    times: bool = True
    finished: bool = False
    empty: bool = True


FORMATS = {
    "run folders": Format(write=formats.write_folders, finished=True),
    "wandb offline": Format(write=formats.write_wandb_offline, group=True, tags=True, finished=True),
    "wandb api": Format(write=None, group=True, tags=True, finished=True),
    "lerobot log": Format(write=formats.write_log, many=False, finished=True),
    "trackio": Format(write=formats.write_trackio, group=True),
    "csv wide": Format(write=formats.write_wide, many=False, config=False),
    "csv long": Format(write=formats.write_long, config=False, times=False, empty=False),
    "csv of W&B": Format(write=formats.write_export, config=False, times=False, empty=False),
}


def remote(run):
    rows = [
        {
            "_step": step,
            "_timestamp": formats.START + step,
            **{formats.FORK.get(k, k): word(v) for k, v in values.items()},
        }
        for step, values in run.rows()
    ]
    tags, group = run.tags, run.group or ""
    return RemoteRun(id=run.name.strip("<>"), name=run.name, rows=rows, config=run.config, group=group, tags=tags)


def word(value):
    return "NaN" if value != value else {np.inf: "Infinity", -np.inf: "-Infinity"}.get(value, value)


@pytest.fixture(scope="module", params=FORMATS)
def found(request, tmp_path_factory):
    """Return the format, and the runs read from it, by name."""
    form, folder = FORMATS[request.param], tmp_path_factory.mktemp("source")
    if request.param == "wandb api":
        with pytest.MonkeyPatch.context() as patch, serving(*map(remote, RUNS)) as server:
            patch.setenv("WANDB_BASE_URL", server.url)
            patch.setenv("WANDB_API_KEY", "k" * 40)
            return form, read("wandb:lab/ot", cache=folder)
    if form.many:
        return form, read(form.write(folder, RUNS))
    return form, {name: run for one in RUNS for name, run in read(form.write(folder, one)).items()}


def read(text, **options):
    source = parse_source(text, **options)
    runs = {run.name: run for run in source.runs()}
    assert source.problems == []
    return runs


def assert_curves(run: RunHistory, logical, *, times):
    for name, expected in logical.curves.items():
        curve = run.curves[name]
        assert curve.name == name
        np.testing.assert_array_equal(curve.steps, list(expected))
        np.testing.assert_array_equal(curve.values, list(expected.values()))
        assert curve.steps.dtype == np.int64
        assert curve.values.dtype == np.float64
        assert (curve.times is not None) == times
        if times:
            assert len(curve.times) == len(expected)
            assert (np.diff(curve.times) >= 0).all()
    more = {name for name in run.curves if not name.endswith(("/samples", "/episodes", "/epochs", "_s", "/lr"))}
    assert more == set(logical.curves)


def test_the_whole_run_comes_back_under_canonical_names(found):
    form, runs = found
    assert_curves(runs[FULL.name], FULL, times=form.times)
    assert runs[FULL.name].notes == ()


def test_a_run_of_one_row_comes_back(found):
    form, runs = found
    assert_curves(runs[ONE.name], ONE, times=form.times)


def test_an_empty_run_comes_back_without_curves(found):
    form, runs = found
    if form.empty:
        assert runs[EMPTY.name].curves == {}
    else:
        assert EMPTY.name not in runs  # the table has no place for it
    assert len(runs) == len(RUNS) - (not form.empty)


def test_what_the_format_can_hold_beside_curves_comes_back(found):
    form, runs = found
    run = runs[FULL.name]
    config = FULL.config | ({"batch_size": 8} if "batch_size" in run.config else {})
    assert run.config == (config if form.config else {})
    assert run.group == (FULL.group if form.group else None)
    assert sorted(run.tags) == (sorted(FULL.tags) if form.tags else [])
    assert (run.state == "finished") == form.finished
    assert run.source


def test_reading_needs_neither_torch_nor_lerobot(tmp_path):
    source = formats.write_folders(tmp_path / "runs", [FULL])
    script = (
        "import sys; from otpilot.runs.sources.spelling import parse_source;"
        f"assert len(list(parse_source({source!r}).runs())) == 1;"
        "heavy = {'torch', 'lerobot', 'wandb', 'pandas'} & set(sys.modules); assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)


GARBAGE = st.one_of(
    st.binary(max_size=300),
    st.text(alphabet=st.sampled_from(list('{}[]":,.\n\r\x00 -eE19+step:valuNI;K')), max_size=200).map(str.encode),
)


@settings(max_examples=40, deadline=None)
@given(GARBAGE)
@pytest.mark.parametrize("name", ["r/metrics.jsonl", "x.wandb", "x.log", "x.json", "x.db", "x.csv"])
def test_garbage_is_told_never_raised(tmp_path_factory, name, content):
    path = tmp_path_factory.mktemp("garbage") / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)
    source = parse_source(str(path))
    for run in source.runs():
        assert all(len(curve.steps) == len(curve.values) for curve in run.curves.values())


@pytest.mark.parametrize("form", ["run folders", "lerobot log", "trackio", "csv wide"])
def test_a_file_cut_anywhere_keeps_its_beginning(tmp_path, form):
    """What the whole file begins with is what the cut one gives; SQLite may refuse, and says so."""
    made = FORMATS[form]
    source = made.write(tmp_path, [FULL]) if made.many else made.write(tmp_path, FULL)
    (path,) = [path for path in map(Path, [source]) if path.is_file()] or [
        path for path in Path(source).rglob("*") if path.name == "metrics.jsonl" or path.suffix == ".wandb"
    ]
    whole, curve = path.read_bytes(), FULL.curves["train/grad_norm"]
    lengths = {0}
    for cut in range(1, len(whole), max(1, len(whole) // 97)):
        path.write_bytes(whole[:cut])
        cut_source = parse_source(source)
        for run in cut_source.runs():
            if "train/grad_norm" in run.curves:
                found = run.curves["train/grad_norm"]
                assert dict(zip(found.steps.tolist(), found.values.tolist(), strict=True)).items() <= curve.items()
                lengths.add(len(found.steps))
            else:
                assert run.curves.keys() <= FULL.curves.keys() | {"train/samples", "train/episodes", "train/epochs"}
    assert form == "trackio" or lengths >= {0, 1, 3, 5}
