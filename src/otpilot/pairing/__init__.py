"""Pairing: which source frame meets which target frame."""
