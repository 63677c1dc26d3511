"""`python -m services.points serve [--work] | work | migrate`."""

import sys

from services.kit import command
from services.points import app

if __name__ == "__main__":
    sys.exit(command.main("points", app.run))
