"""GuideLLM's own code on openloop's reports: python reverse.py REPORT…

P1: "guidellm benchmark from-file REPORT --output-formats console --output-formats csv" exits 0.
P2, reversed: the metrics that GuideLLM 0.5.0 makes from the report's requests are those that the report holds, to 1e-9.
It prints one line of a Markdown table for each report and exits 1 if anything does not hold.
"""
import pathlib
import sys
import tempfile

from click.testing import CliRunner

from guidellm.__main__ import cli
from guidellm.benchmark.schemas import GenerativeBenchmarksReport
from guidellm.benchmark.schemas.generative.accumulator import GenerativeBenchmarkAccumulator
from guidellm.benchmark.schemas.generative.metrics import GenerativeMetrics


def numbers(value, path=""):
    """Every leaf of a nested value with its path."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield from numbers(item, f"{path}.{key}")
    elif isinstance(value, (list, tuple)):
        for index, item in enumerate(value):
            yield from numbers(item, f"{path}[{index}]")
    else:
        yield path, value


def same(a, b):
    if isinstance(a, (int, float)) and isinstance(b, (int, float)):
        return a == b or abs(a - b) <= 1e-9 * max(abs(a), abs(b))
    return a == b


def recompute(benchmark):
    """The metrics block as GuideLLM compiles it at the end of a run."""
    accumulator = GenerativeBenchmarkAccumulator(config=benchmark.config)
    accumulator.completed.requests_stats = benchmark.requests.successful
    accumulator.errored.requests_stats = benchmark.requests.errored
    accumulator.incomplete.requests_stats = benchmark.requests.incomplete
    for name in ("request_start", "measure_start", "measure_end", "request_end"):
        setattr(accumulator.timings, name, getattr(benchmark.scheduler_metrics, f"{name}_time"))
    return GenerativeMetrics.compile(accumulator).model_dump()


def check(name):
    with tempfile.TemporaryDirectory() as folder:
        loads = CliRunner().invoke(cli, ["benchmark", "from-file", name, "--output-path", folder,
                                         "--output-formats", "console", "--output-formats", "csv"])
        rendered = loads.exit_code == 0 and (pathlib.Path(folder) / "benchmarks.csv").stat().st_size > 0
    if not rendered:
        print(loads.output, loads.exception, file=sys.stderr)
    count = different = 0
    for index, benchmark in enumerate(GenerativeBenchmarksReport.load_file(name).benchmarks):
        stored = dict(numbers(benchmark.metrics.model_dump()))
        made = dict(numbers(recompute(benchmark)))
        for path in sorted(stored.keys() | made.keys()):
            if path.endswith(".pdf"):  # kept on request only
                continue
            count += 1
            if not same(stored.get(path), made.get(path)):
                different += 1
                if different <= 10:
                    print(f"{name}: benchmarks[{index}]{path}: openloop {stored.get(path)}, GuideLLM {made.get(path)}", file=sys.stderr)
    label = pathlib.Path(name).parent.name
    print(f"| {label} | {'exits 0' if rendered else 'FAILS'} | {count} | {different} |")
    return rendered and different == 0 and count > 0


if __name__ == "__main__":
    results = [check(name) for name in sys.argv[1:]]
    sys.exit(0 if results and all(results) else 1)
