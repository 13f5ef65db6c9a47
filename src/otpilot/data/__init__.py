"""Two LeRobot datasets on one time base, and the batches drawn from them."""
