"""Which inputs to try, and how eager and a program answer them."""
