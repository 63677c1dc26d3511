"""`python -m services.points serve [--work] | work | migrate | replay … | rules …`."""

import sys

from services.kit import command
from services.points import app, offline

if __name__ == "__main__":
    sys.exit(command.main("points", app.run, offline={"replay": offline.replay, "rules": offline.rules}))
