"""Checks a report of schema 2 that openloop wrote, with GuideLLM 0.8.1 itself: schema2.py REPORT

GuideLLM loads it, makes its metrics once more of the report's requests, and each value is compared with the stored one;
then what it writes again is compared with what it read."""

import json
import math
import sys
from types import SimpleNamespace

from guidellm.benchmark.schemas.accumulator import GenerativeRequestsAccumulator
from guidellm.benchmark.schemas.metrics import GenerativeMetrics
from guidellm.benchmark.schemas.report import GenerativeBenchmarksReport

compared, different = 0, []


def compare(a, b, path):
    global compared
    if isinstance(a, dict) and isinstance(b, dict):
        for key in a.keys() | b.keys():
            compare(a.get(key), b.get(key), f"{path}.{key}")
    elif isinstance(a, list) and isinstance(b, list) and len(a) == len(b):
        for i, (x, y) in enumerate(zip(a, b)):
            compare(x, y, f"{path}[{i}]")
    else:
        compared += 1
        number = all(isinstance(x, (int, float)) for x in (a, b))
        if not (a == b or number and math.isclose(a, b, rel_tol=1e-9)):
            different.append(f"{path}: stored {a}, computed {b}")


report = GenerativeBenchmarksReport.load_file(sys.argv[1], "json")
for i, b in enumerate(report.benchmarks):
    window = SimpleNamespace(finalized_measure_start=b.start_time, finalized_measure_end=b.end_time)
    groups = {
        name: GenerativeRequestsAccumulator.model_construct(requests_stats=requests)
        for name, requests in (
            ("completed", b.requests.successful),
            ("incomplete", b.requests.incomplete),
            ("errored", b.requests.errored),
        )
    }
    made = GenerativeMetrics.compile(SimpleNamespace(timings=window, config=b.config, **groups))
    compare(b.metrics.model_dump(mode="json"), made.model_dump(mode="json"), f"benchmarks[{i}].metrics")

again = report.model_dump(mode="json")
for i, b in enumerate(json.load(open(sys.argv[1]))["benchmarks"]):
    for part in ("metrics", "requests", "scheduler_metrics"):
        now = again["benchmarks"][i][part]

        def kept(was, now, path):  # GuideLLM adds the defaults of what is not there
            if isinstance(was, dict) and isinstance(now, dict):
                for key, value in was.items():
                    if key != "openloop":
                        kept(value, now.get(key), f"{path}.{key}")
            elif isinstance(was, list) and isinstance(now, list) and len(was) == len(now):
                for j, (x, y) in enumerate(zip(was, now)):
                    kept(x, y, f"{path}[{j}]")
            else:
                compare(was, now, path)

        kept(b[part], now, f"benchmarks[{i}].{part} written again")
print(f"{len(report.benchmarks)} benchmarks, {compared} values compared, {len(different)} differ")
print("\n".join(different[:40]))
sys.exit(bool(different))
