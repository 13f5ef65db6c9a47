"""Executors: one interface, several places where trials run."""
