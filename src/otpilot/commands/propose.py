"""`otpilot propose`: read runs, say what to try next and why, write the configs with their lineage."""

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.console import Console
from rich.markup import escape

from otpilot.commands.analysis import Limits, Reading, Sources
from otpilot.config.files import read_config_file
from otpilot.errors import ConfigError
from otpilot.runs.counting import counted

if TYPE_CHECKING:
    from otpilot.pilot.candidates import Candidates
    from otpilot.pilot.parents import ChosenParent
    from otpilot.pilot.variants import Batch, Variant

app = typer.Typer()
console = Console(highlight=False)
errors = Console(stderr=True, highlight=False)


@app.command(no_args_is_help=True)
def propose(
    sources: Sources,
    base: Annotated[
        str | None,
        typer.Option(
            help="Config to make variants of (file or recipe:NAME); default: each run's own.", show_default=False
        ),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder to write configs and lineage into.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print what would be proposed; write nothing.")] = False,
    maximum: Annotated[
        int, typer.Option("--max", min=1, help="Largest number of variants; at most three from one run.")
    ] = 3,
    proposer: Annotated[str, typer.Option(help="rules, mixed, bayes, random, grid or optuna.")] = "rules",
    only: Annotated[
        Literal["ot", "bc"] | None,
        typer.Option(help="Change only settings of the transport (ot), or only of cloning (bc)."),
    ] = None,
    rules: Annotated[
        list[Path] | None, typer.Option(help="Python file with rules of your own; may be repeated.")
    ] = None,
    baseline: Annotated[
        str | None, typer.Option(help="Id or name of the run that the others are compared with.")
    ] = None,
    seed: Annotated[
        list[int] | None, typer.Option(help="Seed of the variants; may be repeated. Default: the run's.")
    ] = None,
    steps: Annotated[
        int | None, typer.Option(min=1, help="Training steps of a trial; schedules keep the run's own horizon.")
    ] = None,
    sampler_seed: Annotated[
        int, typer.Option(help="Seed of the proposers that draw at random (all but rules and grid).")
    ] = 0,
    thresholds: Limits = None,
) -> None:
    """Read runs, say what to try next and why, and write the configs together with their lineage."""
    if out is None and not dry_run:
        raise ConfigError("Give --out, a folder for the configs, or --dry-run to see what would be proposed.")
    from otpilot.analysis.thresholds import load_thresholds
    from otpilot.pilot.candidates import read_candidates
    from otpilot.pilot.parents import choose_parents
    from otpilot.pilot.proposers import Request
    from otpilot.pilot.proposers import propose as propose_variants
    from otpilot.pilot.rules import all_rules

    reading = Reading(sources=sources)
    limits = None if thresholds is None else load_thresholds(thresholds)
    config = None if base is None else read_config_file(base)
    candidates = read_candidates(reading.histories(), thresholds=limits, baseline=baseline, base=config)
    table, notes = all_rules(rules or ())
    chosen = choose_parents(candidates.parents, limit=max(1, min(maximum, 2))) or _any(candidates)
    batch = propose_variants(
        Request(
            parents=tuple(choice.parent for choice in chosen),
            limit=maximum,
            seeds=tuple(seed or ()),
            budget=steps,
            known=candidates.known,
            only=only,
            rules=table,
            observations=candidates.observations,
            sampler_seed=sampler_seed,
        ),
        proposer,
    )
    _show(candidates, chosen, batch)
    if out is not None and not dry_run and batch.variants:
        _write(batch, out)
    hint = _baseline_hint(candidates) if baseline is None else ()
    for note in (*reading.problems, *candidates.notes, *notes, *hint, *batch.notes):
        errors.print(f"[dim]note[/] {escape(note)}", soft_wrap=True)


def _any(candidates: "Candidates") -> "tuple[ChosenParent, ...]":
    """Return the first run where none has a score or a problem: it can still be swept."""
    from otpilot.pilot.parents import ChosenParent

    return tuple(ChosenParent(parent=p, reason="no run has a score or a problem") for p in candidates.parents[:1])


def _baseline_hint(candidates: "Candidates") -> tuple[str, ...]:
    """Return how to have several runs compared; which of them the baseline is, only a person knows."""
    from otpilot.pilot.parents import choose_parents

    if sum(parent.score is not None for parent in candidates.parents) < 2:
        return ()
    return tuple(
        "No run was named as the baseline, so runs were not compared, and an optimiser change that underfits is not "
        f"looked for. The best by {candidates.metric} is {best.id} ({best.score:.4g}): "
        f"--baseline {shlex.quote(best.id)}"
        for best in (choice.parent for choice in choose_parents(candidates.parents, how=("best",), limit=1))
    )


def _show(candidates: "Candidates", chosen: "tuple[ChosenParent, ...]", batch: "Batch") -> None:
    scored = f", scored by {candidates.metric}" if candidates.metric else ""
    console.print(f"{counted(len(candidates.parents), 'run')} to derive from{scored}.", markup=False)
    for choice in chosen:
        tags = ", ".join(f"{f.tag} ({f.severity})" for f in choice.parent.findings if f.severity != "info")
        line = f"[bold]{escape(choice.parent.id)}[/]: {escape(choice.reason)}"
        console.print(f"{line}. Findings: {escape(tags or 'none')}", soft_wrap=True)
    for variant in batch.variants:
        _show_variant(variant)
    for proposal in batch.advice:
        edits = "; ".join(map(str, proposal.edits))
        text = f"{edits}. {proposal.reason}"
        console.print(f"\n[bold]for every run[/] ({proposal.rule}): {escape(text)}", soft_wrap=True)
    for refusal in batch.refused:
        console.print(f"[dim]refused ({escape(refusal.rule)}): {escape(refusal.reason)}[/]", soft_wrap=True)
    if not batch.variants:
        console.print("\nNothing to propose.")


def _show_variant(variant: "Variant") -> None:
    proposal = variant.proposal
    console.print(f"\n[bold cyan]{escape(variant.name)}[/] (seed {variant.key.seed}, config {variant.key.config_hash})")
    rows = {
        "rule": f"{proposal.rule} ({proposal.source}); touches {proposal.touched}, risk {proposal.risk}",
        "change": "; ".join(f"{change.path} {change.old} -> {change.new}" for change in variant.changes),
        "why": proposal.reason,
        "expected": proposal.expected,
        "failed if": str(proposal.failure),
    }
    for name, text in rows.items():
        console.print(f"  [dim]{name:<9}[/] {escape(text)}", soft_wrap=True)


def _write(batch: "Batch", out: Path) -> None:
    from otpilot.pilot.variants import write_variant

    try:
        out.mkdir(parents=True, exist_ok=True)
        paths = [write_variant(variant, out) for variant in batch.variants]
    except OSError as error:
        raise ConfigError(f"{out} cannot be written: {error.strerror}.") from error
    console.print()
    for path in paths:
        console.print(f"otpilot train --config_path={path}", markup=False, soft_wrap=True)
