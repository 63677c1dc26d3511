"""`python -m services.recommend serve [--work] | work | migrate | evaluate …`."""

import sys

from services.kit import command
from services.recommend import app, offline

if __name__ == "__main__":
    sys.exit(command.main("recommend", app.run, offline={"evaluate": offline.evaluate}))
