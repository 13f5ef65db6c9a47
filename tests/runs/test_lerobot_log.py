import math
import os
import time

import pytest

from otpilot.runs.sources.lerobot_log import read_log
from otpilot.runs.sources.spelling import parse_source

HEAD = "INFO 2025-12-24 10:11:12 ot_train.py:641 "


def write(tmp_path, *lines):
    path = tmp_path / "train.log"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def metrics(step, loss="0.500"):
    return f"{HEAD}step:{step} smpl:3K ep:12 epch:0.35 loss:{loss} grdn:75.211 lr:1.0e-05 updt_s:0.110 data_s:0.003"


def big(step):
    return str(step) if step < 1000 else f"{step / 1000:.0f}K"


def steps(path, name="train/loss"):
    return read_log(path).curves[name].steps.tolist()


def test_a_line_in_full(tmp_path):
    run = read_log(write(tmp_path, metrics(200), HEAD + "End of training"))
    found = {name: (curve.steps.tolist(), curve.values.tolist()) for name, curve in run.curves.items()}
    assert found == {
        "train/samples": ([200], [3000.0]), "train/episodes": ([200], [12.0]), "train/epochs": ([200], [0.35]),
        "train/loss": ([200], [0.5]), "train/grad_norm": ([200], [75.211]), "train/lr": ([200], [1e-5]),
        "train/update_s": ([200], [0.11]), "train/dataloading_s": ([200], [0.003]),
    }  # fmt: skip
    assert run.state == "finished"
    assert run.notes == ()


@pytest.mark.parametrize("freq", [50, 200, 250, 500, 1000])
def test_steps_printed_in_thousands_are_filled_in(tmp_path, freq):
    true = list(range(freq, 20_001, freq))
    config = [HEAD + "{'batch_size': 8,", f" 'log_freq': {freq},", " 'policy': {'type': 'act'}}"]
    path = write(tmp_path, *config, *(metrics(big(step)) for step in true))
    assert steps(path) == true
    assert read_log(path).config == {"batch_size": 8, "log_freq": freq, "policy": {"type": "act"}}


def test_without_the_config_the_first_steps_tell_the_spacing(tmp_path):
    true = list(range(200, 6001, 200))
    assert steps(write(tmp_path, *(metrics(big(step)) for step in true))) == true


def test_a_resumed_run_begins_in_thousands_and_may_go_back(tmp_path):
    config = [HEAD + "{'batch_size': 8,", " 'log_freq': 200,", " 'policy': {'type': 'act'}}"]
    true = list(range(20_200, 30_001, 200))
    found = steps(write(tmp_path, *config, *(metrics(big(step)) for step in true)))
    assert found == sorted(set(found))
    assert found[8:] == true[8:]
    again = [*range(200, 5001, 200), *range(3200, 8001, 200)]
    found = steps(write(tmp_path, *config, *(metrics(big(step)) for step in again)))
    assert (len(found), found[-1]) == (len(again), 8000)


def test_steps_that_nothing_tells_stay_as_printed_and_are_noted(tmp_path):
    run = read_log(write(tmp_path, metrics("21K"), metrics("21K"), metrics("22K")))
    assert run.curves["train/loss"].steps.tolist() == [21000, 21000, 22000]
    assert any("3 lines are known only as printed" in note for note in run.notes)


@pytest.mark.parametrize(("text", "value"), [("nan", math.nan), ("inf", math.inf), ("-inf", -math.inf)])
def test_non_finite_losses_are_kept(tmp_path, text, value):
    found = read_log(write(tmp_path, metrics(200, loss=text))).curves["train/loss"].values[0]
    assert found == value or (math.isnan(found) and math.isnan(value))


def test_evaluations_are_read(tmp_path):
    run = read_log(
        write(
            tmp_path,
            metrics(200),
            HEAD + "step 200: eval_loss=0.1234",
            HEAD + "Eval policy at step 200",
            HEAD + "Suite overall aggregated: {'avg_sum_reward': 1.5, 'pc_success': 40.0, 'eval_s': 3.2}",
            HEAD + "step:200 smpl:3K ep:12 epch:0.35 ∑rwrd:1.500 success:40.0 eval_s:3.200",
        )
    )
    assert run.curves["eval/offline_eval/avg_loss"].values.tolist() == [0.1234]
    assert run.curves["eval/pc_success"].ordered().values.tolist() == [0.4]  # a rate from 0 to 1
    assert run.curves["eval/avg_sum_reward"].ordered().values.tolist() == [1.5]
    assert run.curves["train/loss"].steps.tolist() == [200]


def test_a_progress_bar_before_the_line_does_not_hide_it(tmp_path):
    bar = "Training:  10%|█         | 200/2000 [00:20<03:00, 9.98step/s]"
    assert steps(write(tmp_path, bar + "\r" + bar + metrics(200))) == [200]


def test_a_traceback_is_a_crash_with_its_last_line(tmp_path):
    run = read_log(
        write(tmp_path, metrics(200), "Traceback (most recent call last):", '  File "x.py"', "ValueError: no")
    )
    assert (run.state, run.reason) == ("crashed", "ValueError: no")
    run = read_log(write(tmp_path, metrics(200), "Traceback (most recent call last):", "KeyboardInterrupt"))
    assert run.state == "killed"


def test_a_silent_log_is_killed_a_fresh_one_runs(tmp_path):
    path = write(tmp_path, metrics(200))
    assert read_log(path).state == "running"
    os.utime(path, (time.time() - 86400 * 3,) * 2)
    assert (read_log(path).state, "3 days" in read_log(path).reason) == ("killed", True)


def test_another_kind_of_log_is_a_problem(tmp_path):
    source = parse_source(str(write(tmp_path, "hello", "world")))
    assert list(source.runs()) == []
    assert "none is one of LeRobot's" in source.problems[0]


@pytest.mark.slow  # imports lerobot: seconds
def test_what_lerobot_itself_prints_is_read(tmp_path):
    from lerobot.utils.logging_utils import AverageMeter, MetricsTracker

    meters = {"loss": AverageMeter("loss", ":.3f"), "grad_norm": AverageMeter("grdn", ":.3f")}
    meters |= {"lr": AverageMeter("lr", ":0.1e"), "samples_per_s": AverageMeter("smp/s", ":.0f")}
    tracker = MetricsTracker(8, 1000, 10, meters, initial_step=0)
    lines = []
    for _ in range(20):
        for _ in range(100):
            tracker.step()
        tracker.loss, tracker.grad_norm, tracker.lr, tracker.samples_per_s = 0.25, 1.5, 1e-4, 120.0
        tracker.update_metrics({"ot_pi_sum": 0.125})
        lines.append(HEAD + str(tracker))
        tracker.reset_averages()
    run = read_log(write(tmp_path, *lines))
    for name, value in (
        ("loss", 0.25),
        ("grad_norm", 1.5),
        ("lr", 1e-4),
        ("samples_per_s", 120.0),
        ("ot_pi_sum", 0.125),
    ):
        assert run.curves[f"train/{name}"].values.tolist() == [value] * 20
        assert run.curves[f"train/{name}"].steps.tolist() == list(range(100, 2001, 100))
