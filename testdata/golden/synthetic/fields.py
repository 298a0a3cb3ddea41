"""Prints the fields of a GuideLLM 0.5.0 report and the kinds of their values, from its own models.

usage: PYTHON_WITH_GUIDELLM_0.5.0 fields.py > ../../../guidellm/testdata/fields.txt
"""

import types
import typing

from pydantic import BaseModel

from guidellm.benchmark.profiles import Profile
from guidellm.benchmark.schemas import GenerativeBenchmarksReport
from guidellm.scheduler import SchedulingStrategy

HEAD = """# The fields of a GuideLLM 0.5.0 report and the kinds of their values, made by testdata/golden/synthetic/fields.py from
# GuideLLM's own models. GuideLLM writes every field; without those marked * its loader refuses a report. [Model] begins
# the fields of a model, [Model by key] the models that an object may be by the value of its key. Kinds: =x is the text
# or number x, @Model an object, list:k a list and dict:k an object of values of kind k.
"""

KINDS = {str: "string", int: "int", float: "number", bool: "bool", type(None): "null", typing.Any: "any"}
TAGGED = (SchedulingStrategy, Profile)

# GuideLLM's arguments are written as text, or in the form in which they were given.
WRITTEN = {
    "data": "list:string", "backend": "string", "profile": "string", "processor": "string|null", "output_dir": "string",
    "data_collator": "string|null", "data_sampler": "string|null", "data_column_mapper": "object|string",
    "data_request_formatter": "object|string", "warmup": "int|number|object|null", "cooldown": "int|number|object|null",
}

models = {}  # by name, in the order in which they are met


def kinds(annotation):
    """The kinds of value an annotation allows."""
    origin, args = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        return kinds(args[0])
    if origin in (typing.Union, types.UnionType):
        return [k for a in args for k in kinds(a)]
    if origin is typing.Literal:
        return [f"={a}" for a in args]
    if origin in (list, tuple):
        return ["list:" + k for k in kinds(args[0])]
    if origin is dict:
        return ["dict:" + k for k in kinds(args[1])]
    if annotation in KINDS:
        return [KINDS[annotation]]
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return ["@" + name(annotation)]
    return ["any"]


def name(model):
    """Names a model and sees to it that it will be described."""
    short = model.__name__.split("[")[0]
    if short == "StatusBreakdown":  # generic: of counts or of lists of requests
        short = "Counts" if model.model_fields["total"].annotation is int else "Requests"
    if short not in models:
        models[short] = None
        models[short] = describe(short, model)
    return short


def describe(short, model):
    if model in TAGGED:
        lines = [f"{tag} @{name(sub)}" for tag, sub in model.registry.items()]
        return [f"[{short} by type_]", *lines]
    lines = [f"[{short}]"]
    for field, info in model.model_fields.items():
        names = kinds(info.annotation)
        if short == "BenchmarkGenerativeTextArgs" and field in WRITTEN:
            names = [WRITTEN[field]]
        # The loader takes a block without a status; whoever reads the report does not.
        required = info.is_required() or short in ("Counts", "Requests", "StatusDistributionSummary")
        lines.append(f"{field}{'*' if required else ''} {'|'.join(dict.fromkeys(names))}")
    for field, info in model.model_computed_fields.items():
        lines.append(f"{field} {'|'.join(dict.fromkeys(kinds(info.return_type)))}")
    return lines


name(GenerativeBenchmarksReport)
print(HEAD, end="")
for lines in models.values():
    print("\n" + "\n".join(lines))
