"""The only rooms that know torch.jit: tracing, graphs, and running what was traced."""
