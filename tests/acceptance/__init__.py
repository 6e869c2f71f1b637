"""The contract, run as users run it: real pytest processes over small suites."""
