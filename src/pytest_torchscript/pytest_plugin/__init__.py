"""The only rooms that know pytest: options, markers, running the tests' gates, gathering what they found."""
