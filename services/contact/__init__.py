"""Contact: who may be contacted, when, by which channel, for which offer; the hand-over, and what it achieved."""

import os

# Every vector here that goes to BLAS is short: its threads would only spin, in the CPU time of others.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
