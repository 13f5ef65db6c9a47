"""Where a policy's own encodings are tapped."""
