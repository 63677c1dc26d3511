"""`python -m services.admin serve [--work] | work | migrate`."""

import sys

from services.admin import app
from services.kit import command

if __name__ == "__main__":
    sys.exit(command.main("admin", app.run))
