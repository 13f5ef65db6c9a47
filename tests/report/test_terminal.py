"""What is printed while something runs."""

import io

from rich.console import Console

from otpilot.report.terminal import TrainingBar


def test_a_note_is_printed_as_it_stands():
    text = io.StringIO()
    with TrainingBar(Console(file=text, width=200)) as bar:
        bar.note("No file data/[sim] for features[action], nor [/]; see it.")
    assert "Note: No file data/[sim] for features[action], nor [/]; see it.\n" in text.getvalue()
