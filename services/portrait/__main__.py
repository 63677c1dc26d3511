"""`python -m services.portrait serve [--work] | work | migrate`."""

import sys

from services.kit import command
from services.portrait import app

if __name__ == "__main__":
    sys.exit(command.main("portrait", app.run))
