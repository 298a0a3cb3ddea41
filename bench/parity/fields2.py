"""Says which fields one of two reports of schema 2 has and the other has not, or has with a value of another kind:
fields2.py GUIDELLM OPENLOOP. Elements of lists count as one, openloop's own parts are left out."""

import json
import sys


def kind(value):
    if value is None:
        return "null"
    return "number" if isinstance(value, (int, float)) and not isinstance(value, bool) else type(value).__name__


def fields(value, path, out):
    if isinstance(value, dict):
        for key, item in value.items():
            if key != "openloop":
                fields(item, f"{path}.{key}" if path else key, out)
    elif isinstance(value, list):
        for item in value:
            fields(item, path + "[]", out)
    else:
        out.setdefault(path, set()).add(kind(value))


reports = []
for name in sys.argv[1:3]:
    with open(name) as file:
        out = {}
        fields(json.load(file), "", out)
        reports.append(out)
theirs, ours = reports
prefixes = [{p[: i] for p in r for i, c in enumerate(p + ".") if c == "."} for r in reports]


def missing(one, other_prefixes):
    found = set()
    for path in one:
        parts = path.split(".")
        for n in range(1, len(parts) + 1):
            head = ".".join(parts[:n])
            if head not in other_prefixes:
                found.add(head)
                break
    return sorted(found)


def grouped(names):
    """Names by what they stand in: `a`: b, c; `d`: e. The same names in many objects are told once."""
    groups = {}
    for name in names:
        head, _, last = name.rpartition(".")
        groups.setdefault(head, []).append(last)
    by_names = {}
    for head, last in groups.items():
        by_names.setdefault(", ".join(last), []).append(head)
    return (
        "; ".join(
            f"{names} of {len(heads)} objects" if len(heads) > 4 else f"{', '.join(f'`{h}`' for h in heads)}: {names}"
            for names, heads in by_names.items()
        )
        or "none"
    )


def other_kind(path):
    a, b = theirs[path] - {"null"}, ours[path] - {"null"}
    return a and b and not a & b


for title, names in (
    ("Fields of GuideLLM's alone", missing(theirs, prefixes[1])),
    ("Fields of openloop's alone", missing(ours, prefixes[0])),
    ("Of another kind", sorted(filter(other_kind, theirs.keys() & ours.keys()))),
):
    print(f"- {title}: {grouped(names)}.")
