"""Makes vectors.json with GuideLLM 0.5.0's own class: python make.py > vectors.json (in an environment that has it)."""
import json
import random
import types

from guidellm.scheduler.constraints import saturation

def load(name, config, seconds, rate, capacity, base, seed, failing=0.0):
    """A queue served at a constant capacity: TTFT grows once the rate is above it."""
    rng = random.Random(seed)
    constraint = saturation.OverSaturationConstraintInitializer(**config).create_constraint()
    events, t, free = [], 0.0, 0.0
    while True:
        t += rng.expovariate(rate)
        if t > seconds:
            break
        free = max(free, t) + 1 / capacity
        ttft = free - t + base * rng.uniform(0.8, 1.2)
        status = "errored" if rng.random() < failing else "completed"
        events.append((t, "in_progress", None))
        events.append((t + ttft + 0.3, status, ttft))
    events.sort(key=lambda e: e[0])
    flying, out = 0, []
    state = types.SimpleNamespace(start_time=0.0, processing_requests=0)
    for at, status, ttft in events:
        if at > seconds:
            break
        flying += 1 if status == "in_progress" else -1
        state.processing_requests = flying
        saturation.time.time = lambda: at
        timings = types.SimpleNamespace(request_start=1.0, first_token_iteration=None)
        if ttft is not None:
            timings.first_token_iteration = 1.0 + ttft
            ttft = timings.first_token_iteration - timings.request_start
        m = constraint(state, types.SimpleNamespace(status=status, timings=timings)).metadata
        out.append([at, status, flying, ttft, m["is_over_saturated"], m["ttft_n"], m["ttft_violations"], m["concurrent_n"],
                    m["ttft_slope"], m["ttft_slope_moe"], m["concurrent_slope"], m["concurrent_slope_moe"]])
    return {"name": name, "config": config, "events": out}

if __name__ == "__main__":
    print(json.dumps([
        load("below capacity", {"min_seconds": 5}, 40, 6, 20, 0.05, 1),
        load("above capacity", {"min_seconds": 5, "minimum_ttft": 0.5}, 40, 8, 5, 0.05, 2),
        load("above capacity, defaults", {}, 60, 6, 3, 0.05, 3),
        load("slow and steady", {"min_seconds": 5}, 40, 4, 20, 3.0, 4),
        load("small window", {"min_seconds": 2, "max_window_seconds": 6, "minimum_ttft": 0.2, "maximum_window_ratio": 0.5,
                              "minimum_window_size": 3, "confidence": 0.9, "moe_threshold": 1.0}, 25, 8, 6, 0.05, 5),
        load("with errors", {"min_seconds": 5, "minimum_ttft": 0.5}, 30, 8, 5, 0.05, 6, failing=0.3),
        load("no window", {"min_seconds": 1, "maximum_window_ratio": 0.0, "minimum_window_size": 0}, 6, 8, 2, 0.05, 7),
    ]))
