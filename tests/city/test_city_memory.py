"""The size of a city is bounded by the disk, not by memory."""

import subprocess
import sys
from pathlib import Path

MEGABYTES = 400


def test_a_city_of_four_thousand_fits_into_little_memory(tmp_path: Path) -> None:
    # VmHWM, since ru_maxrss of a child begins with the size of the process that started it.
    program = (
        "import sys; from city.__main__ import main; code = main(sys.argv[1:]);"
        "status = open('/proc/self/status').read().split('VmHWM:')[1]; print(int(status.split()[0]) // 1024);"
        "sys.exit(code)"
    )
    arguments = ["--customers", "4000", "--days", "12", "--quiet", "--out", str(tmp_path / "files")]
    done = subprocess.run([sys.executable, "-c", program, *arguments], capture_output=True, text=True, check=True)
    written = sum(path.stat().st_size for path in (tmp_path / "files").glob("SIGNAL_*")) // 2**20
    assert written > 120
    assert int(done.stdout) < MEGABYTES
