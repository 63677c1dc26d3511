"""`python -m services.portrait.training FOLDER`; exit status: 0 done (a refusal is a report too), 1 failed.

The program ends when its standard input closes, that is, when its parent dies, however the parent dies.
"""

import os
import sys
import threading
from pathlib import Path

_DIED_WITH_PARENT = 3


def _end_with_parent() -> None:
    while os.read(sys.stdin.fileno(), 4096):
        pass
    os._exit(_DIED_WITH_PARENT)


if __name__ == "__main__":
    threading.Thread(target=_end_with_parent, daemon=True).start()
    from services.portrait.training.program import main  # only now: importing alone takes a second or two

    sys.exit(main(Path(sys.argv[1])))
