"""Suites of small models, each with what plain torch says of it; run by ``tests/acceptance/test_cases.py``."""
