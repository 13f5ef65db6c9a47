"""Does co-training with transport carry skills to another domain? Rerun it: python -m benchmarks.transfer."""
