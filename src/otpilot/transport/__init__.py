"""Transport: costs, plans and losses; tensors in, tensors out."""
