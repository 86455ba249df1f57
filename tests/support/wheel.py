"""The wheel in FOLDER/dist is whole, and README's blocks run with what is installed.

`.ci/wheel` calls it with the Python of an empty environment: `-m tests.support.wheel FOLDER`.
"""

import os
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Final

from tests.support.documents import ROOT, Block, python_blocks

_FIRST_USE: Final = """
import sys
import cl_server_shared
assert cl_server_shared.__file__.startswith(sys.prefix), cl_server_shared.__file__
for name in cl_server_shared.__all__:
    getattr(cl_server_shared, name)
"""


def check_contents(wheel: Path) -> None:
    """Compare the names in *wheel* with the files under `src`."""
    packed = set(zipfile.ZipFile(wheel).namelist())
    ours = {
        path.relative_to(ROOT / "src").as_posix()
        for path in (ROOT / "src").rglob("*")
        if path.is_file() and path.suffix != ".pyc"
    }
    for wanted in ("py.typed", "events/asyncapi.json"):
        assert f"cl_server_shared/{wanted}" in packed, wanted
    missing, added = ours - packed, packed - ours
    assert not missing, f"not in the wheel: {sorted(missing)}"
    foreign = [name for name in added if ".dist-info/" not in name]
    assert not foreign, f"in the wheel by mistake: {sorted(foreign)}"


def run(block: Block, folder: Path) -> None:
    """Run *block* in a process of its own, in an empty folder, as the quick start says."""
    folder.mkdir()
    (folder / "data").mkdir()
    given = {"CL_SERVER_DIR": str(folder / "data"), "BROADCAST_TYPE": "memory"}
    code = folder / "block.py"
    module = block.module()
    if module.lstrip().startswith("async def block"):
        module += "\nimport asyncio\nasyncio.run(block())\n"
    code.write_text(module)
    command = [sys.executable, "-W", "error", str(code)]
    subprocess.run(command, cwd=folder, env=os.environ | given, check=True)


def main() -> None:
    """Check everything; the first assertion or command that fails ends it."""
    folder = Path(sys.argv[1])
    (wheel,) = (folder / "dist").glob("*.whl")
    assert len(list((folder / "dist").glob("*.tar.gz"))) == 1
    check_contents(wheel)
    subprocess.run([sys.executable, "-W", "error", "-c", _FIRST_USE], cwd=folder, check=True)
    blocks = python_blocks(ROOT / "README.md")
    assert blocks
    for block in blocks:
        run(block, folder / str(block.line))
    print(f"{wheel.name}: {len(blocks)} blocks of README ran")


if __name__ == "__main__":
    main()
