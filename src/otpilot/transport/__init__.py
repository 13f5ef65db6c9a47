"""Optimal transport between two batches of features: cost, plan, loss, health; tensors in, tensors out."""
