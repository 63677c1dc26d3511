"""`python -m services.points serve [--work] | work | migrate | replay …`."""

import sys

from services.kit import command
from services.points import app, offline

if __name__ == "__main__":
    sys.exit(command.main("points", app.run, offline={"replay": offline.replay}))
