"""Programs that outlive the run."""

# nn.Module.__call__ is untyped, so that nearly every forward would "return Any".
# mypy: disable-error-code="no-any-return, no-untyped-call"

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from .cases import is_gone
from .compilers import script


def test_an_interrupted_run_leaves_no_compiler_behind(tmp_path: Path) -> None:
    """A thread that nobody waits for any more has one at work when the process ends."""
    compiler = script(tmp_path / "hanging", f"echo $$ > {tmp_path}/new; mv {tmp_path}/new {tmp_path}/pid; sleep 60")
    run = f"""
import os, threading, time
from pathlib import Path
from pytest_torchscript.targets.libtorch import process

arguments = dict(folder=Path({str(tmp_path)!r}), seconds=60, environment=os.environ)
threading.Thread(target=lambda: process.execute([{str(compiler)!r}], **arguments), daemon=True).start()
while not os.path.exists({str(tmp_path / "pid")!r}):
    time.sleep(0.05)
"""
    subprocess.run([sys.executable, "-c", run], check=True, timeout=60)
    assert is_gone(int((tmp_path / "pid").read_text()))
