"""The phrases of findings in Chinese, and the origins of the limits."""

# ruff: noqa: E501 - sentences stay whole, so that they can be searched for

from otpilot.analysis.phrases import Phrase

CHINESE: dict[str, Phrase] = {
    "converging": Phrase(
        name="收敛正常",
        sentences=(
            "{metric} 在 {L_converging_steps} 步内下降 {fall_pct}（{first} → {then}，末段 {now}；要求 ≥{L_converging_fall_pct}）。",
            "{metric} 仍在变好：{before} → {level}（共 {evaluations} 次评估，最后三分之一）。",
            "{metric} 下降 {fall_pct}（首 {first}，末 {last}）。",
        ),
    ),
    "slow_start": Phrase(
        name="收敛慢",
        sentences=(
            "{metric} 起步慢：{L_converging_steps} 步内{fall_told}（{first} → {then}），要求下降 ≥{L_converging_fall_pct}；至末段已下降 {fall_late_pct}。",
            "{metric} 收敛慢：{L_converging_steps} 步内{fall_told}（{first} → {then}，末段 {now}），要求下降 ≥{L_converging_fall_pct}。",
            "{metric} 收敛慢：最优值较首值 {first} 也只下降 {fall_best_pct}，要求 {L_converging_steps} 步内下降 ≥{L_converging_fall_pct}。",
        ),
    ),
    "plateau": Phrase(
        name="平台期",
        sentences=("{metric} 进入平台期（水平 {level}）：每 {L_plateau_steps} 步{fall_told}（±{error_pct}），要求下降 ≥{L_plateau_fall_pct}。",),
    ),
    "loss_rising": Phrase(
        name="损失上升",
        sentences=("{metric} 在上升：水平 {level}，每 {L_plateau_steps} 步{fall_told}（±{error_pct}）。",),
    ),
    "non_finite": Phrase(
        name="NaN/Inf",
        sentences=("{metric} 共 {rows} 行，其中 {count} 行为 NaN/Inf（{share_pct}）。",),
    ),
    "diverged": Phrase(
        name="发散",
        sentences=(
            "{metric} 爆炸：末段 {now}，为最优水平 {best} 的 {factor} 倍。",
            "{metric} 最后 {rows} 行为 NaN/Inf，最后一个有限值为 {last_finite}。",
            "{metric} 共 {rows} 行，全部为 NaN/Inf。",
            "该 run 自报发散：{reason}",
        ),
    ),
    "too_short": Phrase(
        name="过短，无法判断",
        sentences=("过短，无法判断：{rows} 行，至第 {steps} 步；至少需要 {L_min_points} 行、{L_min_steps} 步。",),
    ),
    "mass_too_low": Phrase(
        name="π 过低",
        sentences=(
            "{metric} 为 {level}，低于 {L_mass_low} 且不升：reg/tau 偏小或 label 权重偏大。",
            "{metric} 为 {level}，低于 {L_mass_low}。",
        ),
    ),
    "mass_too_high": Phrase(name="π 过高", sentences=("{metric} 为 {level}，高于 {L_mass_high}，可能拉偏 BC。",)),
    "mass_collapsing": Phrase(
        name="π 坍缩",
        sentences=(
            "{metric} 由 {peak} 降至 {level}（缩小 {factor} 倍），低于合适区间下限 {L_mass_good_low}。",
            "{metric} 由 {peak} 降至 {level}，低于合适区间下限 {L_mass_good_low}。",
        ),
    ),
    "off_diagonal": Phrase(
        name="偏离对角",
        sentences=("传输质量只有 {share_pct} 落在对角（配对行）上，低于 {L_diagonal_share_pct}：时间一致性弱。",),
    ),
    "cost_not_falling": Phrase(
        name="OT cost 不降",
        sentences=(
            "{metric} 首 {first}，末段 {level}，{fall_told}；要求 {L_cost_to_step} 步内下降 ≥{L_cost_fall_pct}"
            "（{of} 个可学习项中有 {terms} 个不降）。",
            "{metric} 首 {first}，末 {last}，{fall_told}；要求下降 ≥{L_cost_fall_pct}。",
        ),
    ),
    "label_dominates": Phrase(
        name="标签支配",
        sentences=("标签项占 OT cost 的 {share_pct}（标签 {label_cost}，嵌入 {learned_cost}；上限 {L_label_share_pct}）：OT 主要受标签主导，而标签没有梯度。",),
    ),
    "transport_dead": Phrase(
        name="OT 失效",
        sentences=(
            "OT 不起作用：占编码器梯度 {share_pct}，低于 {L_dead_grad_share_pct}。",
            "OT 不起作用：π 质量（即梯度的尺度）为 {mass}，低于 {L_dead_mass}。",
            "该 run 在第 {alarm_step} 步自报 OT 失效。",
        ),
    ),
    "transport_eating": Phrase(
        name="OT 盖过 BC",
        sentences=(
            "OT 占编码器梯度 {share_pct}，高于 {L_eating_grad_share_pct}：OT 盖过 BC。",
            "该 run 在第 {alarm_step} 步自报 OT 盖过 BC。",
        ),
    ),
    "grad_norm_high": Phrase(
        name="梯度范数过大",
        sentences=("{metric} 中位数 {level}，{L_grad_norm_steps} 步内持续高于 {L_grad_norm}（{rows} 行中占 {share_pct}）。",),
    ),
    "grad_norm_spiking": Phrase(
        name="梯度范数尖峰",
        sentences=("{metric} 出现尖峰：{rows} 行中有 {count} 行超过局部中位数的 {L_spike_factor} 倍，最大 {largest}（中位数 {level}）。",),
    ),
    "jitter": Phrase(
        name="曲线抖动大",
        sentences=("{metric} 抖动大：一阶差分标准差/中位数为 {jitter}，高于 {L_jitter}（去除离群点后 {robust}，{rows} 行）。",),
    ),
    "lr_flat": Phrase(
        name="学习率不变",
        sentences=("学习率日志恒定在 {lr}，而调度器（{scheduler}）此时应已使其下降 {expected_pct}：调度器未生效，或未记录。",),
    ),
    "underfitting_after_optimiser_change": Phrase(
        name="改动优化器后欠拟合",
        sentences=(
            "{metric} 为 {score}，基线 {baseline} 为 {baseline_score}（{percent_signed}）；优化器有改动（{changed}；lr ×{lr_factor}，"
            "wd ×{wd_factor}），而抖动未爆炸（{jitter} 对 {baseline_jitter}）：属优化器不匹配，而非 OT 噪声。",
            "{metric} 为 {score}，基线 {baseline} 为 {baseline_score}（{percent_signed}）；优化器有改动（{changed}）：更可能是优化器不匹配，而非 OT 噪声。",
        ),
    ),
    "early_optimum_then_drift": Phrase(
        name="先优后漂移",
        sentences=(
            "{metric} 最优={best}@{best_step}，末={last}（{change_signed}）（三次评估的中位数）：早期最优后持续漂移，可考虑早停。",
            "{metric} 最优={best}@{best_step}，末={last}（三次评估的中位数）：早期最优后持续漂移，可考虑早停。",
        ),
    ),
    "stale_metric": Phrase(
        name="指标停滞",
        sentences=("{metric} 有 {share_pct} 的值与前一值相同（相对变化中位数为 0）；此类指标共 {metrics} 个：{names}。",),
    ),
    "data_loading_bottleneck": Phrase(
        name="数据加载瓶颈",
        sentences=("每步等待数据 {loading_s} s，计算 {update_s} s：等待占 {share_pct}，高于 {L_loading_share_pct}。",),
    ),
    "loss_only": Phrase(
        name="仅有验证损失",
        sentences=("只有验证损失（{metric}），没有闭环成功率；仅凭损失可能把方法排反。",),
    ),
}  # fmt: skip

ORIGINS_ZH: dict[str, str] = {
    "min_points": "otpilot：水平取最多 5 点的中位数",
    "min_steps": "报告 004：至少容得下 500 步的平台期窗口",
    "converging_steps": "报告 004：L1 在 2k 步内",
    "converging_fall": "报告 004：较首值下降 ≥40%",
    "plateau_steps": "报告 004：连续 500 步",
    "plateau_fall": "报告 004：下降 <2%",
    "plateau_points": "otpilot：窗口至少 10 点，日志较疏时放宽",
    "diverged_tail": "otpilot：单个 NaN 可能是跳过的一步，末尾连续两个则不是",
    "diverged_factor": "otpilot：末段为最优水平的十倍且高于首值，或达三十倍",
    "non_finite_rows": "otpilot：一两行 NaN 可能是跳过的步",
    "non_finite_share": "otpilot：二十行中超过一行才算规律",
    "drift_rise": "报告 002：+8.3% 称为轻微漂移；报告 003 的 +1.7% 不算",
    "drift_share": "报告 000：最优出现在前 75%",
    "drift_noise": "otpilot：升幅须超过评估噪声的三倍",
    "drift_success": "otpilot：成功率下降 0.10，即 100 个回合的半区间",
    "drift_severe": "报告 000：0.034 升至 0.69 称为剧烈上升",
    "score_evaluations": "docs/analysis.md：得分为最后五次评估的均值",
    "mass_low": "报告 004：过低（<1e-3）且不升",
    "mass_good_low": "报告 004：0.05–0.3 为宜（报告 001 取 0.1–0.2，报告 003 要求 >0.1）",
    "mass_good_high": "报告 004：0.05–0.3 为宜（报告 001 高于 0.4 即回滚）",
    "mass_high": "报告 004：过高（>0.6）可能拉偏 BC（报告 002 在 0.98 时表现正常）",
    "mass_rising": "otpilot：相邻两个十分之一之间翻倍才算上升",
    "collapse_factor": "报告 004：pi_sum 由 0.1 降至 1e-3~1e-2",
    "diagonal_share": "报告 004：π_diag 越接近 π_sum 越好；界限（一半）由 otpilot 取",
    "cost_from_step": "报告 004：1k–3k 步内",
    "cost_to_step": "报告 004：1k–3k 步内",
    "cost_fall": "报告 004：相对首值下降 ≥10%",
    "label_share": "报告 001：标签占 cost 的 99.8%；界限由 otpilot 取",
    "dead_grad_share": "docs/transport.md：梯度占比低于 1% 即失效",
    "dead_mass": "docs/transport.md：plan_cost 的梯度即 π 质量；界限由 otpilot 取",
    "eating_grad_share": "docs/transport.md：梯度占比高于 50% 即盖过 BC",
    "grad_norm": "报告 004：不应长时间 >100",
    "grad_norm_steps": "otpilot：“长时间”取 500 步，同报告 004 的平台期窗口",
    "spike_factor": "报告 001：出现尖峰即回滚；局部中位数的五倍由 otpilot 取",
    "spike_count": "otpilot：一两个尖峰是批次所致，三个才是模式",
    "jitter": "报告 002：正常 run 为 0.38–0.46，取其两倍",
    "jitter_points": "otpilot：报告 002 的尾段，至少 20 点",
    "lr_change": "报告 001：学习率日志恒定",
    "lr_expected": "otpilot：仅当调度此时应已变化 5%",
    "optimiser_lr_factor": "报告 002：无证据时 lr 不超过 3e-5（基线 1e-5）",
    "optimiser_wd_factor": "报告 002：wd ×500 为原因之一；界限由 otpilot 取",
    "other_factor": "报告 002：lambda_ot 与 reg 的 ×0.5~×2 不足以解释",
    "regression": "报告 001：评估恶化 >10% 即回滚",
    "jitter_exploded": "报告 002：“抖动未爆炸”；基线的两倍由 otpilot 取",
    "stale_points": "otpilot：点数更少时可能偶然重复",
    "loading_share": "otpilot：加载占一步的一半以上（报告 001：0.274 s 中占 0.167 s）",
}
