"""Which inputs to try, and what eager and a program make of them."""
