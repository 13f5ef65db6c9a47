"""Optimal-transport co-training for LeRobot policies, and a pilot that runs the experiments."""
