"""`python -m services.recommend serve [--work] | work | migrate`."""

import sys

from services.kit import command
from services.recommend import app

if __name__ == "__main__":
    sys.exit(command.main("recommend", app.run))
