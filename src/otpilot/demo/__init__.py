"""`otpilot demo`: the main job end to end on the tabletop, in minutes."""
