"""The peers the benchmarks compare with: each module runs under `.peers/bin/python` and imports nothing of ours."""
