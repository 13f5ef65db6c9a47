import html.parser

import pytest
from rich.console import Console

from otpilot.demo import run as demo_run
from otpilot.demo import settings, summary
from otpilot.errors import TrainingError
from otpilot.runs.reader import read_config, read_metrics, read_outcome


@pytest.fixture
def small(monkeypatch):
    for module in (settings, demo_run, summary):
        if hasattr(module, "SOURCE_EPISODES"):
            monkeypatch.setattr(module, "SOURCE_EPISODES", 4)
            monkeypatch.setattr(module, "TARGET_EPISODES", 2)
    return Console(record=True, width=150, highlight=False)


class Sources(html.parser.HTMLParser):
    """Collects what a page would load."""

    def __init__(self):
        super().__init__()
        self.found = []

    def handle_starttag(self, tag, attrs):
        self.found += [value for name, value in attrs if name in ("src", "href") and value]


def test_the_demo_end_to_end(small, tmp_path):
    out = tmp_path / "demo"
    methods = ("co-training", "co-training + OT")
    demo_run.run_demo(out, console=small, steps=2, seed=3, episodes=2, methods=methods)
    text = small.export_text()
    assert "This will take about" in text
    for words in (*methods, "source", "target id", "target ood", "[.00, .84]", "not distinguishable"):
        assert words in text
    paths = settings.DemoPaths(out)
    for method in methods:
        assert read_outcome(paths.run(method)).status == "finished"
        assert read_config(paths.run(method))["seed"] == 3
    first = [read_metrics(paths.run(method) / "metrics.jsonl").records[0] for method in methods]
    assert first[0].step == first[1].step == 2
    page = paths.html.read_text()
    sources = Sources()
    sources.feed(page)
    pictures = [source for source in sources.found if source.startswith("data:image/png;base64,")]
    assert len(pictures) == 4 + 3  # domains, pairs, view, plan, one film for each cell
    assert not [source for source in sources.found if not source.startswith(("data:", "#"))]
    for title in ("Both domains", "Matched pairs", "The source in the target", "A transport plan"):
        assert title in page
        assert title in paths.markdown.read_text()


def test_a_failing_method_is_told_with_its_log(small, tmp_path, monkeypatch):
    whole = settings.method_config

    def broken(*args, **kwargs):
        return whole(*args, **kwargs) | {"stepps": 1}

    monkeypatch.setattr(demo_run, "method_config", broken)
    with pytest.raises(TrainingError, match=r"'co-training' ended with exit code 2.*Did you mean 'steps'"):
        demo_run.run_demo(tmp_path / "demo", console=small, steps=1, episodes=1, methods=("co-training",))
