"""The model under test, its example inputs and its outputs."""
