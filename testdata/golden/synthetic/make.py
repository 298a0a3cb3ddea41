"""Makes the synthetic-* folders beside this one with GuideLLM 0.5.0's own code.

The recordings of real runs show only what a server did on the day. These reports hold what they do not: images, video
and audio, answers without a stream or without usage, several tokens a line, ties, single requests, empty windows,
unusual arguments. Requests are invented (seeded), everything computed from them is GuideLLM's.

usage: PYTHON_WITH_GUIDELLM_0.5.0 make.py      (writes report.json.gz, report.csv, console.txt a case, and some as YAML)
"""

import asyncio
import gzip
import io
import json
import os
import random
import sys
import time
import types
from pathlib import Path

os.environ["TZ"] = "UTC"
time.tzset()

import yaml  # noqa: E402
from guidellm.benchmark.outputs.console import GenerativeBenchmarkerConsole  # noqa: E402
from guidellm.benchmark.outputs.csv import GenerativeBenchmarkerCSV  # noqa: E402
from guidellm.benchmark.profiles import (  # noqa: E402
    AsyncProfile, ConcurrentProfile, SweepProfile, SynchronousProfile, ThroughputProfile)
from guidellm.benchmark.schemas import GenerativeBenchmark, GenerativeBenchmarksReport  # noqa: E402
from guidellm.benchmark.schemas.base import BenchmarkConfig, TransientPhaseConfig  # noqa: E402
from guidellm.benchmark.schemas.generative.accumulator import GenerativeBenchmarkAccumulator  # noqa: E402
from guidellm.benchmark.schemas.generative.entrypoints import BenchmarkGenerativeTextArgs  # noqa: E402
from guidellm.benchmark.schemas.generative.report import GenerativeBenchmarkMetadata  # noqa: E402
from guidellm.scheduler import (  # noqa: E402
    AsyncConstantStrategy, AsyncPoissonStrategy, ConcurrentStrategy, SchedulerState, SchedulerUpdateAction,
    SynchronousStrategy, ThroughputStrategy)
from guidellm.schemas import GenerativeRequestStats, RequestInfo, RequestTimings, UsageMetrics  # noqa: E402
from guidellm.utils import Console  # noqa: E402

import guidellm.benchmark.schemas.generative.accumulator as accumulator  # noqa: E402

START = 1795501839.507391
accumulator.time = types.SimpleNamespace(time=lambda: START + 200)  # "processed" at a set time: the same files every time
HERE = Path(__file__).resolve().parent


def request(rng, i, begin, status="completed", ttft=0.02, itl=0.003, tokens=16, lines=None, prompt=32, grain=None,
            first=True, started=True, ended=None, usage_in=None, usage_out=None, extra=None):
    """One request that begins at `begin`; times are rounded to multiples of `grain`, so that they tie."""
    def at(t):
        return round(t / grain) * grain if grain else t
    lines = tokens if lines is None else lines
    resolve = at(begin)
    sent = at(begin + 0.0001) if started else None
    t = RequestTimings(targeted_start=at(begin - 0.0005), queued=at(begin - 1), dequeued=at(begin - 0.0003),
                       scheduled_at=at(begin - 0.0003), resolve_start=resolve, request_start=sent)
    end = begin + 0.001
    if started and first and lines > 0:
        t.first_request_iteration = at(begin + ttft - 0.00005)
        t.first_token_iteration = at(begin + ttft)
        t.last_token_iteration = at(begin + ttft + itl * max(lines - 1, 0))
        t.last_request_iteration = at(begin + ttft + itl * max(lines - 1, 0) + 0.00005)
        t.token_iterations = lines
        t.request_iterations = 2 * lines + 4
        end = t.last_request_iteration + 0.0002
    elif started:
        end = begin + ttft + itl * tokens
    if ended if ended is not None else status != "cancelled" and started:
        t.request_end = at(end)
    t.resolve_end = at(end + 0.0001)
    t.finalized = at(end + 0.0004)
    known = status == "completed"
    info = RequestInfo(request_id=f"req-{i}", status=status, scheduler_node_id=i % 3, scheduler_process_id=0,
                       scheduler_start_time=START, timings=t,
                       error=None if known else ("Request was cancelled" if status == "cancelled" else "HTTP 500 – “zu viel” 🙈"))
    return GenerativeRequestStats(
        request_id=f"req-{i}", request_type="chat_completions", response_id=f"chatcmpl-{i}" if known else None,
        request_args="{'body': 'naïve \t \\ \" \x7f \x1f  😀'}" if i % 5 == 0 else None,
        output=" token" * tokens if known else None, info=info,
        input_metrics=UsageMetrics(**(usage_in if usage_in is not None else
                                      dict(text_tokens=prompt, text_words=prompt // 2, text_characters=prompt * 5))),
        output_metrics=UsageMetrics(**(usage_out if usage_out is not None else
                                       (dict(text_tokens=tokens, text_words=tokens, text_characters=6 * tokens) if known else {}))),
        **(extra or {}))


def benchmark(requests, index=0, strategy=None, profile=None, warm=0.0, cool=0.0, stop=None, warmup=None, cooldown=None,
              constraints=None, actions=None, run_state=None, backend=None):
    config = BenchmarkConfig(
        id_=f"00000000-0000-0000-0000-{index:012d}", run_id="run", run_index=index,
        strategy=strategy or AsyncConstantStrategy(rate=20.0, worker_count=10, max_concurrency=512),
        constraints=constraints or {}, sample_requests=None,
        warmup=TransientPhaseConfig.create_from_value(warmup), cooldown=TransientPhaseConfig.create_from_value(cooldown),
        profile=profile or AsyncProfile(type_="constant", strategy_type="constant", rate=[20.0]),
        requests={"data": "['kind=synthetic_text,prompt_tokens=32']", "data_args": "[]", "data_samples": -1},
        backend=backend or {"target": "http://127.0.0.1:8210", "model": "modèle/β", "timeout": 60.0, "verify": False},
        environment={"str": "NonDistributedEnvironment", "attributes": {"run_errors": []}})
    acc = GenerativeBenchmarkAccumulator(config=config)
    counts = dict(completed=0, errored=0, cancelled=0)
    last = START
    for r in requests:
        counts[r.info.status] += 1
        last = max(last, r.info.timings.request_end or r.info.timings.resolve_end)
        {"completed": acc.completed, "errored": acc.errored, "cancelled": acc.incomplete}[r.info.status].requests_stats.append(r)
    stop = last if stop is None else stop
    state = SchedulerState(node_id=0, num_processes=10, start_time=START, end_time=stop + 0.07,
                           end_queuing_time=stop + 0.002, end_processing_time=stop + 0.003,
                           end_queuing_constraints=actions or {}, end_processing_constraints=actions or {},
                           scheduler_constraints=actions or {},
                           created_requests=len(requests) + 7, processed_requests=len(requests),
                           successful_requests=counts["completed"], errored_requests=counts["errored"],
                           cancelled_requests=counts["cancelled"])
    for k, v in (run_state or {}).items():
        setattr(state, k, v)
    acc.timings.request_start = START
    acc.timings.measure_start = START + warm
    acc.timings.request_end = stop
    acc.timings.measure_end = stop - cool
    for r in requests:
        acc.scheduler_metrics.update_estimate(state, r)
    return GenerativeBenchmark.compile(acc, state)


def train(rng, n, gap, **kw):
    return [request(rng, i, START + 0.01 + i * gap, tokens=rng.randint(1, 30), ttft=rng.uniform(0.01, 0.05),
                    itl=rng.uniform(0.001, 0.006), prompt=rng.randint(8, 80), **kw) for i in range(n)]


def media(rng, i):
    kinds = [
        dict(text_tokens=12, text_words=9, text_characters=40, image_tokens=rng.randint(64, 256), image_count=rng.randint(1, 3),
             image_pixels=rng.randint(10**4, 10**7), image_bytes=rng.randint(10**4, 10**6)),
        dict(audio_tokens=rng.randint(10, 90), audio_samples=rng.randint(8000, 90000), audio_seconds=rng.uniform(0.1, 30),
             audio_bytes=rng.randint(10**4, 10**6)),
        dict(text_tokens=5, video_tokens=rng.randint(100, 900), video_frames=rng.randint(1, 300),
             video_seconds=rng.choice([0.1, 0.2, 0.3, 1.5]), video_bytes=rng.randint(10**5, 10**8)),
        dict(text_words=3),
    ]
    return kinds[i % len(kinds)]


def cases():
    rng = random.Random(7)
    yield "media", [
        benchmark([request(rng, i, START + i * 0.037, tokens=rng.randint(2, 20), usage_in=media(rng, i),
                           status=(["completed"] * 8 + ["errored", "cancelled"])[i % 10])
                   for i in range(120)]),
        benchmark([request(rng, i, START + i * 0.02, usage_out=dict(text_tokens=4, audio_tokens=i % 3, audio_seconds=0.1 * i, image_count=1))
                   for i in range(40)], index=1, strategy=SynchronousStrategy(worker_count=1, max_concurrency=1)),
    ]
    yield "single", [benchmark([request(rng, 0, START + 0.1)]),
                     benchmark([request(rng, 0, START + 0.1, tokens=1)], index=1),
                     benchmark([request(rng, 0, START + 0.1, status="errored", started=False)], index=2),
                     benchmark([request(rng, 0, START + 0.1, status="cancelled")], index=3)]
    yield "no-stream", [benchmark(train(rng, 50, 0.05, first=False)),
                        benchmark(train(rng, 50, 0.05, lines=1), index=1)]
    yield "lines", [benchmark([request(rng, i, START + 0.01 * i, tokens=rng.randint(2, 60), lines=rng.randint(2, 20), itl=0.004)
                               for i in range(300)]),
                    benchmark([request(rng, i, START + 0.01 * i, tokens=rng.randint(1, 5), lines=rng.randint(2, 9), itl=0.002)
                               for i in range(200)], index=1)]
    yield "no-usage", [benchmark([request(rng, i, START + 0.02 * i, usage_out=dict(text_words=5, text_characters=25),
                                          usage_in={} if i % 2 else dict(text_tokens=0)) for i in range(60)])]
    yield "broken", [benchmark([request(rng, i, START + 0.015 * i,
                                        status=rng.choice(["completed", "completed", "errored", "cancelled"]),
                                        started=rng.random() > 0.1, first=rng.random() > 0.3, tokens=rng.randint(1, 9))
                                for i in range(200)], warm=0.5, cool=0.4)]
    yield "ties", [benchmark([request(rng, i, START + i * 0.05, tokens=rng.choice([4, 8]), ttft=rng.choice([0.016, 0.032]),
                                      itl=0.004, grain=2**-8, prompt=rng.choice([10, 20, 30, 40])) for i in range(100)]),
                   benchmark([request(rng, i, START + (i // 5) * 0.25, tokens=8, itl=0.00005, lines=8, prompt=10)
                              for i in range(100)], index=1)]
    yield "dense", [benchmark([request(rng, i, START + rng.uniform(0, 2), tokens=rng.randint(8, 40), lines=rng.choice([3, 7, 11, 13]),
                                       itl=rng.uniform(0.00002, 0.004), status=rng.choice(["completed"] * 9 + ["cancelled"]))
                               for i in range(700)])]
    # Three streams in step, several tokens a line: events merge three by three, with the rounding of running sums.
    yield "lockstep", [benchmark([request(rng, i, START + (i // 3) * 0.125 + (i % 3) * 0.00003, tokens=30, lines=12, ttft=0.0625,
                                          itl=2**-8, grain=2**-20) for i in range(90)])]
    yield "outside", [benchmark(train(rng, 40, 0.05), warm=100.0),
                      benchmark(train(rng, 40, 0.05), index=1, cool=100.0),
                      benchmark(train(rng, 40, 0.05), index=2, warm=0.7, cool=0.7, warmup=0.35, cooldown={"value": 3, "mode": "both"})]
    yield "incomplete-only", [benchmark(train(rng, 30, 0.01, status="cancelled"), stop=START + 0.3)]
    action = SchedulerUpdateAction(request_queuing="stop", request_processing="stop_all", metadata={
        "slope": float("nan"), "margin": float("inf"), "low": float("-inf"), "tiny": 1.2e-7, "huge": 1e22, "big": 10**25,
        "edge": [1e-4, 1e-5, 9.9e-5, 1e15, 1e16, 123456789012345680.0, 0.0, -0.0, 5e-324], "text": "“ü” <&> \u2028 'x'\n", "none": None})
    strategies = [
        (SynchronousStrategy(worker_count=1, max_concurrency=1), SynchronousProfile()),
        (ConcurrentStrategy(streams=4, worker_count=4, max_concurrency=4, rampup_duration=1.5), ConcurrentProfile(streams=[4, 8])),
        (ThroughputStrategy(worker_count=10, max_concurrency=None), ThroughputProfile(max_concurrency=256)),
        (AsyncPoissonStrategy(rate=12.5, random_seed=1), AsyncProfile(type_="poisson", strategy_type="poisson", rate=[12.5, 1e-7], random_seed=1)),
        (AsyncConstantStrategy(rate=1e16), SweepProfile(sweep_size=5, throughput_rate=123.456, synchronous_rate=0.00001,
                                                       async_rates=[1.5, 2e-6, 1e22], measured_rates=[])),
    ]
    yield "strategies", [benchmark(train(rng, 12, 0.05), index=i, strategy=s, profile=p, actions={"over_saturation": action},
                                   constraints={"over_saturation": {"type_": "over_saturation", "moe": 1e-7}},
                                   run_state=dict(end_queuing_time=None) if i == 2 else {})
                         for i, (s, p) in enumerate(strategies)], dict(
        target="http://127.0.0.1:8210", data=["kind=synthetic_text,prompt_tokens=32", "ü.jsonl"], profile="sweep", rate=None,
        backend_kwargs={"timeout": 5, "x": [1, 2.0, {"y": None}]}, model="m", processor=None, data_args=[{"split": "train"}],
        max_seconds=30, max_requests=12, warmup={"percent": 0.1, "mode": "prefer_requests"}, cooldown=5, max_error_rate=1e-6,
        sample_requests=None, over_saturation={"enabled": True, "min_seconds": 30.0}, data_sampler="shuffle",
        data_request_formatter={"type": "chat_completions"}, rampup=2, output_dir=".", outputs=("json",))
    yield "empty", []


def write_gzip(path, text):
    with open(path, "wb") as raw, gzip.GzipFile(fileobj=raw, mode="wb", filename="", mtime=0) as out:
        out.write(text.encode())


def save(name, benchmarks, args=None):
    report = GenerativeBenchmarksReport(
        metadata=GenerativeBenchmarkMetadata(python_version="3.11.7", platform="Linux"),
        args=BenchmarkGenerativeTextArgs(**(args or dict(target="http://127.0.0.1:8210", data=["kind=synthetic_text"],
                                                         profile="constant", rate=[20.0], output_dir="."))),
        benchmarks=benchmarks)
    folder = HERE.parent / f"synthetic-{name}"
    folder.mkdir(exist_ok=True)
    text = json.dumps(report.model_dump())
    write_gzip(folder / "report.json.gz", text)
    if name in ("single", "strategies"):
        write_gzip(folder / "report.yaml.gz", yaml.dump(report.model_dump()))
    asyncio.run(GenerativeBenchmarkerCSV(output_path=folder / "report.csv").finalize(report))
    console = Console(file=io.StringIO(), width=80, force_terminal=False)
    asyncio.run(GenerativeBenchmarkerConsole(console=console).finalize(report))
    (folder / "console.txt").write_text(console.file.getvalue().lstrip("\n"))
    print(name, len(text), file=sys.stderr)


if __name__ == "__main__":
    for name, benchmarks, *args in cases():
        save(name, benchmarks, *args)
