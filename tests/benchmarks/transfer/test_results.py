import math

import pytest

from benchmarks.transfer.cells import Cell
from benchmarks.transfer.report import report_blocks, write_report
from benchmarks.transfer.results import append_result, find_result, read_results
from benchmarks.transfer.tables import make_sections
from benchmarks.transfer.verify import compare_records, told
from otpilot.errors import RunError, TrainingError
from tests.benchmarks.transfer.made import record

METHODS = {"source-only": 0.1, "co-training": 0.4, "ot": 0.6}


def records(offset=0.0, suite="tabletop"):
    return [
        record(f"{suite}/act/{method}/1000/{100 + i}", 0.9, 0.8, rate + 0.02 * i + (offset if method == "ot" else 0.0))
        for i in range(3)
        for method, rate in METHODS.items()
    ]


def test_lines_come_back_and_torn_ones_are_told(tmp_path):
    made = records()
    for one in made:
        path = append_result(one, tmp_path)
    assert path.name == "tabletop.jsonl"
    assert read_results(tmp_path) == made
    with path.open("a") as file:
        file.write('{"cell": "tabletop')
    with pytest.raises(RunError, match="line 10"):
        read_results(tmp_path)


def test_a_result_is_found_by_what_was_trained():
    made = [record("tabletop/act/ot+share=0.1/1000/100", 0.9, 0.8, 0.5, episodes=50)]
    same = Cell.parse("tabletop/act/ot/1000/100")
    assert find_result(same, made) == made[0]
    assert find_result(same, made, episodes=100) is None
    assert find_result(Cell.parse("tabletop/act/ot/1000/101"), made) is None
    failed = record("tabletop/act/ot/1000/100", 0.9, 0.8, 0.5, state="diverged")
    assert find_result(same, [failed]) is None


def test_a_mean_has_the_t_interval_over_seeds():
    (section,), stale = make_sections(records())
    assert stale == []
    found = section.row("ot").estimate("target_ood")
    half = 4.302653 * 0.02 / math.sqrt(3)  # t with 2 degrees of freedom; .60, .62, .64 have a deviation of .02
    assert (found.mean, found.low, found.high) == pytest.approx((0.62, 0.62 - half, 0.62 + half), abs=1e-6)
    assert (found.seeds, found.episodes, found.basis) == (3, 300, "t over seeds")


def test_equal_seeds_have_the_exact_interval_over_episodes():
    (section,), _ = make_sections(records())
    found = section.row("ot").estimate("source")
    assert found.basis == "exact over episodes"
    assert found.low == pytest.approx(0.8604, abs=1e-3)  # Clopper-Pearson, 270 of 300


@pytest.mark.parametrize("rate", [0.1, 0.18, 0.36])
def test_seeds_are_equal_whatever_their_mean_rounds_to(rate):
    assert sum([rate] * 3) / 3 != rate
    (section,), _ = make_sections([record(f"tabletop/act/ot/1000/{seed}", 0.9, 0.8, rate) for seed in (100, 101, 102)])
    found = section.row("ot").estimate("target_ood")
    assert found.basis == "exact over episodes"
    assert found.low < rate - 0.02 < rate + 0.02 < found.high


def test_differences_are_paired_by_seed():
    made = [
        record(f"tabletop/act/{method}/1000/{100 + i}", 0.9, 0.8, 0.3 + 0.2 * i + extra)
        for i in range(3)
        for method, extra in (("co-training", 0.0), ("ot", 0.1 + 0.01 * i))
    ]
    (section,), _ = make_sections(made)
    found = section.row("ot").minus(section.row("co-training"), "target_ood")
    assert found.word == "better"  # although the two overlap widely
    assert found.mean == pytest.approx(0.11)
    assert found.seeds == 3


def test_every_stored_result_belongs_to_a_cell_of_today():
    _, stale = make_sections(read_results())
    assert [record.cell for record in stale] == []


def test_changed_settings_leave_the_tables_but_not_in_silence():
    old = record("tabletop/act/ot/1000/100", 0.9, 0.8, 0.5, hash="0" * 16)
    sections, stale = make_sections([*records(), old])
    assert stale == [old]
    text = "".join(map(str, report_blocks(sections, stale, [old])))
    assert "1 results belong to no cell" in text


def test_baselines_share_what_changes_every_method():
    made = [
        record(f"tabletop/act/{name}/1000/{seed}", 0.9, 0.8, rate)
        for seed in (100, 101)
        for name, rate in (
            ("co-training", 0.4),
            ("co-training+targets=3", 0.1),
            ("ot+targets=3", 0.2 + seed / 1000),
            ("ot+window=5", 0.5),
        )
    ]
    (section,), _ = make_sections(made)
    assert section.baseline(section.row("ot", ["targets=3"]), "co-training").recipe.label == "co-training targets=3"
    assert section.baseline(section.row("ot", ["window=5"]), "co-training").recipe.label == "co-training"


def test_validation_seeds_stay_out_of_the_reported_tables():
    tuning = record("tabletop/act/ot/1000/0", 0.9, 0.8, 1.0)
    sections, _ = make_sections([*records(), tuning])
    assert [(section.reported, len(section.distinct())) for section in sections] == [(True, 3), (False, 1)]
    assert sections[0].row("ot").estimate("target_ood").mean == pytest.approx(0.62)


@pytest.mark.parametrize(
    ("offset", "sentence", "aim"),
    [
        (0.0, "transport with otpilot's defaults beats co-training", "is **reached**"),
        (-0.4, "transport with otpilot's defaults is worse than co-training", "is **not reached**"),
    ],
)
def test_the_words_follow_the_verdict(tmp_path, offset, sentence, aim):
    made = [
        record(f"tabletop/act/{method}/1000/{100 + i}", 0.9, 0.8, rate + 0.02 * i * (2 if method == "ot" else 1))
        for i in range(3)
        for method, rate in (METHODS | {"ot": 0.6 + offset}).items()
    ]
    write_report(made, tmp_path)
    text = (tmp_path / "results.md").read_text()
    assert f"**On target OOD, {sentence}**" in text
    assert aim in text


def test_a_loss_that_cannot_be_told_from_noise_is_not_called_none(tmp_path):
    made = [
        record(f"tabletop/act/{method}/1000/{100 + i}", source, 0.8, rate + 0.01 * i * (method == "ot"))
        for i, lost in enumerate((0.6, 0.9, 0.7))
        for method, source, rate in (("source-only", 0.9, 0.1), ("co-training", 0.9, 0.4), ("ot", lost, 0.6))
    ]
    write_report(made, tmp_path)
    text = (tmp_path / "results.md").read_text()
    assert "without a loss elsewhere beyond noise, is **reached**" in text, "17 points lost, [-54, +21]"


def test_one_seed_neither_beats_nor_reaches(tmp_path):
    write_report(
        [record(f"tabletop/act/{method}/1000/100", 0.9, 0.8, rate) for method, rate in METHODS.items()], tmp_path
    )
    text = (tmp_path / "results.md").read_text()
    assert "+0.20 [+0.06, +0.33] better (one seed: episodes only)" in text
    assert "**On target OOD, one seed cannot say whether transport with otpilot's defaults beats co-training**" in text
    assert "is **not reached**" in text


def test_only_what_was_compared_over_seeds_is_counted_beside_its_winners(tmp_path):
    once = [record("tabletop/act/mmd/1000/100", 0.9, 0.8, 0.4), record("tabletop/act/coral/1000/100", 0.9, 0.8, 0.4)]
    more = [record(f"tabletop/act/paired/1000/{seed}", 0.9, 0.8, 0.7 + seed / 5000) for seed in (100, 101, 102)]
    write_report([*records(), *more, *once], tmp_path)
    text = (tmp_path / "results.md").read_text()
    assert "Better than co-training on target OOD, by the interval over seeds: paired" in text
    assert "- 3 settings were compared over seeds" in text, "source-only, paired and ot; mmd and coral have one seed"


def test_what_has_more_than_the_defaults_is_told(tmp_path):
    def told(rate):
        made = [
            record(f"tabletop/act/{method}/1000/{seed}", 0.9, 0.8, found * seed / 100)
            for seed in (100, 101, 102)
            for method, found in (("ot", 0.5), ("ot-product", rate), ("co-training", 0.2))
        ]
        write_report(made, tmp_path)
        return (tmp_path / "results.md").read_text()

    assert "More than the defaults on target OOD, by the interval over common seeds: ot-product (+0.41" in told(0.9)
    assert "None of 2 other settings has more than the defaults on target OOD" in told(0.4)


def test_a_difference_that_no_noise_of_rates_explains_is_one_although_all_seeds_agree():
    made = [
        record(f"tabletop/act/{method}/1000/{seed}", 0.9, 0.8 if method == "ot" else 0.78, rate)
        for seed in (100, 101, 102)
        for method, rate in (("co-training", 0.0), ("ot", 1.0))
    ]
    (section,), _ = make_sections(made)
    ours, base = section.row("ot"), section.row("co-training")
    assert ours.minus(base, "target_ood").word == "better"
    assert (ours.minus(base, "target_id").word, ours.minus(base, "target_id").low) == ("not distinguishable", None)


def test_without_a_difference_the_report_says_that_it_does_not_beat(tmp_path):
    made = [
        record(f"tabletop/act/{method}/1000/{100 + i}", 0.9, 0.8, 0.5 + 0.1 * (i - 1) * sign)
        for i in range(3)
        for method, sign in (("co-training", 1), ("ot", -1))
    ]
    write_report(made, tmp_path)
    assert "does not beat co-training** (not distinguishable)" in (tmp_path / "results.md").read_text()


def test_page_and_picture_hold_what_the_text_holds(tmp_path):
    from xml.etree import ElementTree

    failed = record("tabletop/act/mmd/1000/100", 0.0, 0.0, 0.0, state="diverged", reason="the loss is <NaN>")
    files = write_report([*records(), *records(0.1, suite="tabletop_far"), failed], tmp_path)
    assert [path.name for path in files] == ["results.md", "results.html", "results.svg"]
    picture = (tmp_path / "results.svg").read_text()
    ElementTree.fromstring(picture)
    assert "prefers-color-scheme: dark" in picture
    page, text = (tmp_path / "results.html").read_text(), (tmp_path / "results.md").read_text()
    for words in (
        ".62 [.57, .67]",
        "python -m benchmarks.transfer run tabletop/act/ot/1000/102 --episodes 100",
        "A Processor",
    ):
        assert words in text
        assert words in page
    assert "tabletop/act/mmd/1000/100: diverged" in text
    assert "&lt;NaN&gt;" in page


def test_the_median_time_of_two_lies_between_them(tmp_path):
    made = [
        record(f"tabletop/act/ot/1000/{seed}", 0.9, 0.8, 0.6, wall_s=wall_s)
        for seed, wall_s in ((100, 300.0), (101, 600.0))
    ]
    write_report(made, tmp_path)
    assert "median 7.5 minutes" in (tmp_path / "results.md").read_text()


def test_no_results_is_said(tmp_path):
    write_report([], tmp_path)
    assert "There are no results" in (tmp_path / "results.md").read_text()
    assert not (tmp_path / "results.svg").exists()


def test_a_rerun_agrees_or_differs():
    stored = record("tabletop/act/ot/1000/100", 0.9, 0.8, 0.5)
    near, far = (record("tabletop/act/ot/1000/100", 0.9, 0.8, rate) for rate in (0.55, 0.9))
    assert all(one.agrees for one in compare_records(stored, near))
    assert [one.agrees for one in compare_records(stored, far)] == [True, True, False]
    assert "DIFFERS" in "".join(told(stored, far))
    assert "the same" in told(stored, stored)[-1]
    with pytest.raises(TrainingError, match="crashed"):
        compare_records(stored, record("tabletop/act/ot/1000/100", 0.9, 0.8, 0.5, state="crashed"))


def test_the_number_of_demonstrations_is_drawn_where_several_were_trained(tmp_path):
    few = [record(f"tabletop/act/{method}+targets=3/1000/100", 0.9, 0.5, 0.2) for method in ("ot", "co-training")]
    files = write_report([*records(), *few], tmp_path)
    drawn = tmp_path / "results-demonstrations-tabletop-act.svg"
    assert drawn in files
    assert drawn.read_text().count("<circle") == 2 * 2 * (3 + 1), "two questions, two methods, four trainings each"
    assert f"({drawn.name})" in (tmp_path / "results.md").read_text()
