"""Does co-training with transport carry skills to another domain, and against whom? Rerun: python -m benchmarks.transfer."""
