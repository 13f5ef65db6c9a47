"""The notes of analyses and readers in Chinese; they are written in English where they arise.

(pattern, Chinese), with the groups of the pattern by number. What another program said, an error's reason, stays as it is.
"""

# ruff: noqa: E501 - sentences stay whole, so that they can be searched for

NOTES: tuple[tuple[str, str], ...] = (
    (
        r"Only a validation loss exists for (?:both|these runs), no closed-loop success\..*",
        "只有验证损失，没有闭环成功率。仅凭损失可能把方法排反：曾有一例，成功率最高的 source-only 按损失排在最后。",
    ),
    (r"Closed-loop success exists for some runs only.*", "只有部分 run 有闭环成功率；两者都有时，它优先于验证损失。"),
    (r"(\d+) of (\d+) runs? holds? no evaluation at all\.", r"\2 个 run 中有 \1 个没有任何评估。"),
    (
        r"Left out of the verdict, for want of finite evaluations near an equal step: (.+)\.",
        r"以下 run 在相同步数附近没有有限的评估值，未计入结论：\1。",
    ),
    (
        r"Diverged: (.+)\. What breaks on some seeds is not better.*",
        r"已发散：\1。部分种子发散的配置不能凭剩余种子算更好。",
    ),
    (r"The run is not worse than the baseline.*", "该 run 并不差于基线，无需解释；差异照列。"),
    (
        r"Between seeds, scores of one configuration have varied by (\S+) %: this may be noise\.",
        r"同一配置在不同随机种子间相差可达 \1%：可能只是噪声。",
    ),
    (
        r"The seeds differ; between seeds, scores of one configuration have varied by (\S+) %\.",
        r"随机种子不同；同一配置在不同种子间相差可达 \1%。",
    ),
    (
        r"No single setting of this run's config would test: (.+)\.",
        r"以下差异无法通过只改该 run 的一项配置来检验：\1。",
    ),
    (r"The two runs were not evaluated alike.*", "两个 run 的评估方式不同，得分未必可比。"),
    (r"The ranking rests on a validation loss.*", "排序依据是验证损失，可能把方法排反。"),
    (
        r"The values are the last ones of each run, at different or unknown steps.*",
        "数值取自各 run 的末值，步数不同或未知：较短的 run 可能显得更差。",
    ),
    (
        r"The last value of (.+) is worse than that of (.+), but at a different or unknown step.*",
        r"\1 的末值差于 \2，但步数不同或未知，故不算回退。",
    ),
    (r"Jitter could not be compared.*", "抖动无法比较：两个 run 没有共同的训练指标尾段。"),
    (r"(\d+) of (\d+) metrics (?:is|are) not drawn\.", r"\2 个指标中有 \1 个未绘制。"),
    (r"A run with id (.+) was read before; this one is called (.+)\.", r"id 为 \1 的 run 已读入；本 run 改称 \2。"),
    # what readers say of one run
    (r"The source holds figures only, no curves\.", "来源只有汇总数值，没有曲线。"),
    (r"(.+) has no figures\.", r"\1 没有数值。"),
    (
        r"(.+) is there under two names with different figures; the first is used\.",
        r"\1 以两个名称出现且数值不同，取第一个。",
    ),
    (r"(.+) and (.+) are one metric with different rows; (.+) is used\.", r"\1 与 \2 是同一指标但行不同，取 \3。"),
    (
        r"(\d+) values? (?:has|have) a step beyond 64 bits and (?:is|are) left out\.",
        r"\1 个值的步数超出 64 位，已略去。",
    ),
    (r"The last line does not end and was left out\.", "最后一行不完整，已略去。"),
    (
        r"The steps? of (\d+) lines? (?:is|are) known only as printed \(1K is 500 to 1499\), because the log says neither log_freq nor two steps below 1000\.",
        r"\1 行的步数只能按打印值取（1K 即 500 至 1499）：日志既未给出 log_freq，1000 步以下也不足两行。",
    ),
    (r"There is no metrics\.jsonl\.", "没有 metrics.jsonl。"),
    (r"There is no config\.json\.", "没有 config.json。"),
    (r"config\.json is damaged: (.+)\.", r"config.json 已损坏：\1。"),
    (r"config\.json is not a JSON object\.", "config.json 不是 JSON 对象。"),
    (r"outcome\.json could not be used: (.+)", r"outcome.json 无法使用：\1"),
    (
        r"(\d+) of (\d+) lines? of metrics\.jsonl (?:is|are) torn or garbled and (?:was|were) left out\.",
        r"metrics.jsonl 共 \2 行，其中 \1 行残缺或损坏，已略去。",
    ),
    (r"Values that are no numbers were left out: (.+)\.", r"非数值的值已略去：\1。"),
    (r"It was resumed: (\d+) files are read as one run\.", r"该 run 曾续训：\1 个文件合并为一个 run。"),
    (
        r"(\d+) cells? or rows? (?:is|are) no numbers?, or (?:has|have) no step, and (?:was|were) left out\.",
        r"\1 个单元格或行不是数值或没有步数，已略去。",
    ),
    (r"(\d+) rows? (?:is|are) garbled and (?:was|were) left out\.", r"\1 行损坏，已略去。"),
    (r"(\d+) rows? (?:has|have) no step and (?:is|are) left out\.", r"\1 行没有步数，已略去。"),
    (
        r"The file's header is damaged; it was read as a W&B file of version 0\.",
        "文件头已损坏，按版本 0 的 W&B 文件读取。",
    ),
    (r"(\d+) bytes? in (\d+) places? (?:is|are) damaged \(at (.+)\)\.", r"\2 处共 \1 字节损坏（位置 \3）。"),
    (
        r"The file ends within a record \(at (.+)\); what came before was read\.",
        r"文件在一条记录中间截断（位置 \1），之前的内容已读取。",
    ),
    (
        r"(\d+) of (\d+) records? (?:is|are) lost; (\d+) rows? of history (?:was|were) read\.",
        r"\2 条记录中丢失 \1 条；已读取 \3 行历史。",
    ),
    (r"The record with the run's name and config is lost\.", "含 run 名称与配置的记录已丢失。"),
    (r"The file holds no record\.", "文件中没有记录。"),
    (r"W&B counts (\d+) rows? of (.+) and returned (\d+)\.", r"W&B 记有 \1 行 \2，只返回 \3 行。"),
    (r"W&B counts (\d+) rows? and returned none\.", r"W&B 记有 \1 行，却未返回任何行。"),
    (
        r"The newest rows could not be fetched \((.+)\); these are from the cache\.",
        r"最新的行无法获取（\1），以下取自缓存。",
    ),
    (
        r"W&B could not be asked; this run is from the cache, as it was when last fetched\.",
        "无法访问 W&B；该 run 取自缓存，为上次获取时的状态。",
    ),
    # what could not be read at all
    (
        r"W&B could not be asked for (\S+) \((.+)\), and the cache in (.+) holds none of its runs\. Check .*",
        r"无法访问 W&B 的 \1（\2），缓存 \3 中也没有其 run。请检查 WANDB_API_KEY（或 `wandb login`）、WANDB_BASE_URL 与网络；也可改用本地的 run 文件夹、W&B 离线文件夹或 .wandb 文件、CSV 导出，或 compare_runs*.json。",
    ),
    (
        r"W&B could not be asked \((.+)\); (\d+) runs? (?:is|are) from the cache\.",
        r"无法访问 W&B（\1）；\2 个 run 取自缓存。",
    ),
    (r"(.+) has no run (.+)\.", r"\1 没有 run \2。"),
    (r"Run (.+) could not be fetched: (.+)", r"run \1 无法获取：\2"),
    (r"Run (.+) could not be cached in (.+): (.+)\.", r"run \1 无法缓存到 \2：\3。"),
    (r"(.+): (.+) has no summary and is left out\.", r"\1：\2 没有汇总数值，已略去。"),
    (r"(.+) is no Trackio file: it has no table `metrics`\.", r"\1 不是 Trackio 文件：没有 `metrics` 表。"),
    (
        r"(.+) holds no run: no folder with a metrics\.jsonl, and no \.wandb file\.",
        r"\1 中没有 run：既无含 metrics.jsonl 的文件夹，也无 .wandb 文件。",
    ),
    (r"(.+) could not be searched: (.+)\.", r"\1 无法搜索：\2。"),
    (r"(.+) could not be read to its end: (.+)\.", r"\1 未能读完：\2。"),
    (r"(.+) could not be read: (.+)\.", r"\1 无法读取：\2。"),
    (r"(.+) is damaged: (.+)\.", r"\1 已损坏：\2。"),
)
