"""Which product, for whom, how likely, and why."""

import os

# Our matrices are small and many: BLAS with a thread per core spends its time waiting (ten times over, measured on the
# log-linear filter with a busy machine). Threads are ours to give, one per product or tree.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
