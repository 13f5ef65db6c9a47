"""How many trials each proposer needs from the same bad start, on a recorded surrogate of trials.

python -m benchmarks.pilot_efficiency record CAMPAIGN   # measures real trials of a campaign; writes recorded.json
python -m benchmarks.pilot_efficiency                   # plays every start, proposer and repetition (minutes)
python -m benchmarks.pilot_efficiency report            # writes docs/pilot-efficiency.md and its plot
python -m benchmarks.pilot_efficiency confirm FOLDER    # one start with real trials, a campaign each (hours)
"""
