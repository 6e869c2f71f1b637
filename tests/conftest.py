"""What every test shares: pytester, and one thread."""

from __future__ import annotations

import torch

pytest_plugins = ["pytester"]

# The models are tiny: more threads only fight over the cores, with each other and with xdist's workers.
torch.set_num_threads(1)
