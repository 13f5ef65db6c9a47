"""Run otpilot as a module."""

from otpilot.cli import main

main()
