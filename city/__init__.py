"""The synthetic city: a seeded generator of operator files with planted truth. It imports nothing of the platform."""
