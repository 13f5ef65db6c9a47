"""The phrases of findings in English."""

# ruff: noqa: E501 - sentences stay whole, so that they can be searched for

from otpilot.analysis.phrases import Phrase

ENGLISH: dict[str, Phrase] = {
    "converging": Phrase(
        name="converging",
        sentences=(
            "{metric} fell by {fall_pct} within {L_converging_steps} steps, from {first} to {then}, and is at {now} at the end "
            "({L_converging_fall_pct} is asked for).",
            "{metric} still improves: {before}, then {level} in the last third of {evaluations} evaluations.",
            "{metric} fell by {fall_pct}, from {first} to {last}.",
        ),
    ),
    "slow_start": Phrase(
        name="slow start",
        sentences=(
            "{metric} started slowly: within {L_converging_steps} steps it {fell_told}, from {first} to {then}, where a fall of "
            "{L_converging_fall_pct} is asked for; by the end it is down {fall_late_pct}.",
            "{metric} starts slowly: within {L_converging_steps} steps it {fell_told}, from {first} to {then}, where a fall of "
            "{L_converging_fall_pct} is asked for; it is at {now} at the end.",
            "{metric} starts slowly: even its best value is only {fall_best_pct} below the first, {first}, where a fall of "
            "{L_converging_fall_pct} within {L_converging_steps} steps is asked for.",
        ),
    ),
    "plateau": Phrase(
        name="plateau",
        sentences=(
            "{metric} is on a plateau at {level}: it {fall_told} per {L_plateau_steps} steps (± {error_pct}); "
            "{L_plateau_fall_pct} is asked for.",
        ),
    ),
    "loss_rising": Phrase(
        name="loss rising",
        sentences=("{metric} rises: it is at {level} and {fall_told} per {L_plateau_steps} steps (± {error_pct}).",),
    ),
    "non_finite": Phrase(
        name="NaN or infinity",
        sentences=("{metric} is NaN or infinite in {count} of {rows} rows ({share_pct}).",),
    ),
    "diverged": Phrase(
        name="diverged",
        sentences=(
            "{metric} exploded: {now} at the end, {factor} times its best level {best}.",
            "{metric} is not finite in its last {rows_told}; its last finite value is {last_finite}.",
            "{metric} is not finite in any of {rows_told}.",
            "The run says that it diverged: {reason}",
        ),
    ),
    "too_short": Phrase(
        name="too short to say",
        sentences=(
            "Too short to say: {rows_told} up to step {steps}; {L_min_points} rows and {L_min_steps} steps are needed.",
        ),
    ),
    "mass_too_low": Phrase(
        name="mass too low",
        sentences=(
            "{metric} is {level}, under {L_mass_low}, and does not rise: reg and tau are too small for the cost, or the "
            "label weight is too large.",
            "{metric} is {level}, under {L_mass_low}.",
        ),
    ),
    "mass_too_high": Phrase(
        name="mass too high",
        sentences=("{metric} is {level}, over {L_mass_high}; it may pull behaviour cloning away.",),
    ),
    "mass_collapsing": Phrase(
        name="mass collapsing",
        sentences=(
            "{metric} collapsed from {peak} to {level}, {factor} times less and under the good window "
            "({L_mass_good_low}).",
            "{metric} collapsed from {peak} to {level}, under the good window ({L_mass_good_low}).",
        ),
    ),
    "off_diagonal": Phrase(
        name="off the diagonal",
        sentences=("Only {share_pct} of the transported mass lies on the diagonal, that is on paired rows (under "
                   "{L_diagonal_share_pct}): time is not aligned.",),
    ),
    "cost_not_falling": Phrase(
        name="cost not falling",
        sentences=(
            "{metric} {fall_told}, from {first} to {level}; a fall of {L_cost_fall_pct} within {L_cost_to_step} steps "
            "is asked for (learned terms that do not fall: {terms} of {of}).",
            "{metric} {fall_told}, from {first} to {last}; a fall of {L_cost_fall_pct} is asked for.",
        ),
    ),
    "label_dominates": Phrase(
        name="label dominates",
        sentences=("Labels make up {share_pct} of the transport cost ({label_cost} against {learned_cost} from learned "
                   "encodings; over {L_label_share_pct}): the plan follows the labels, which send no gradient.",),
    ),
    "transport_dead": Phrase(
        name="transport dead",
        sentences=(
            "The transport does not act: its share of the encoder gradient is {share_pct}, under "
            "{L_dead_grad_share_pct}.",
            "The transport does not act: its mass, which scales its gradient, is {mass}, under {L_dead_mass}.",
            "The run raised the alarm that its transport is dead, at step {alarm_step}.",
        ),
    ),
    "transport_eating": Phrase(
        name="transport eats the policy",
        sentences=(
            "The transport takes {share_pct} of the encoder gradient, over {L_eating_grad_share_pct}: it eats the policy.",
            "The run raised the alarm that its transport eats the policy, at step {alarm_step}.",
        ),
    ),
    "grad_norm_high": Phrase(
        name="gradient norm high",
        sentences=("{metric} has a median of {level}, over {L_grad_norm} for {L_grad_norm_steps} steps ({share_pct} of {rows} rows).",),
    ),
    "grad_norm_spiking": Phrase(
        name="gradient norm spikes",
        sentences=("{metric} spikes: {count} of {rows} rows exceed {L_spike_factor} times their local median, the largest is "
                   "{largest} at a median of {level}.",),
    ),
    "jitter": Phrase(
        name="jitter",
        sentences=("{metric} jitters: std of its steps over its median is {jitter}, over {L_jitter} "
                   "(without outliers {robust}, {rows} rows).",),
    ),
    "lr_flat": Phrase(
        name="learning rate flat",
        sentences=("The logged learning rate stays at {lr}, although the scheduler ({scheduler}) should have lowered it by "
                   "{expected_pct} by now: the scheduler does not act, or is not logged.",),
    ),
    "underfitting_after_optimiser_change": Phrase(
        name="underfitting after an optimiser change",
        sentences=(
            "{metric} is {score} against {baseline_score} of {baseline} ({percent_signed}); the optimiser was changed ({changed}; "
            "lr x{lr_factor}, weight decay x{wd_factor}) and jitter did not explode ({jitter} against {baseline_jitter}): "
            "optimiser mismatch, not transport noise.",
            "{metric} is {score} against {baseline_score} of {baseline} ({percent_signed}); the optimiser was changed ({changed}): "
            "optimiser mismatch rather than transport noise.",
        ),
    ),
    "early_optimum_then_drift": Phrase(
        name="early optimum, then drift",
        sentences=("{metric} was best around step {best_step} ({best}) and ends at {last} ({change_signed}), by medians of three "
                   "evaluations: it drifts away from an early optimum.",
                   "{metric} was best around step {best_step} ({best}) and ends at {last}, by medians of three evaluations: it "
                   "drifts away from an early optimum.",),
    ),
    "stale_metric": Phrase(
        name="stale metric",
        sentences=("{share_pct} of the values of {metric} repeat the one before (median relative change 0); {metrics_told}: "
                   "{names}.",),
    ),
    "data_loading_bottleneck": Phrase(
        name="data loading is the bottleneck",
        sentences=("A step waits {loading_s} s for data and computes for {update_s} s: {share_pct} of the time, over "
                   "{L_loading_share_pct}.",),
    ),
    "loss_only": Phrase(
        name="ranked by a loss only",
        sentences=("Only a validation loss exists ({metric}), no closed-loop success; such a loss can rank methods "
                   "backwards.",),
    ),
}  # fmt: skip
