"""Writes the Arrow samples of tokens/arrow_test.go: saved/ (a DatasetDict of Hugging Face's datasets, on disk) and
arrow/*.arrow (one table in the forms that a file may have).

pip install datasets==5.2.0; python make_arrow.py
"""
import pathlib, shutil

import datasets, pyarrow as pa

here = pathlib.Path(__file__).parent
user, answer = "user", "assistant"


def rows(first, n):
    return [{
        "messages": [{"role": user, "content": f"question {i} <é>", "name": None},
                     {"role": answer, "content": "one two three", "name": None}],
        "source": ["web", "book"][i % 2], "temperature": [0.5, None][i % 2],
    } for i in range(first, first + n)]


features = datasets.Features({
    "messages": datasets.List({"role": datasets.Value("string"), "content": datasets.Value("large_string"),
                               "name": datasets.Value("string")}),
    "source": datasets.ClassLabel(names=["web", "book"]), "temperature": datasets.Value("float64"),
})
shutil.rmtree(here / "saved", ignore_errors=True)
datasets.DatasetDict({
    "test": datasets.Dataset.from_list(rows(10, 2), features=features),
    "train": datasets.Dataset.from_list(rows(0, 3), features=features),
}).save_to_disk(here / "saved", num_shards={"test": 1, "train": 2})

# Texts of every form, lists and structs of them, dictionaries; two batches.
texts = ["first", None, "a longer text, which a view does not hold in itself", "first"]
table = pa.table({
    "prompt": pa.array(texts),
    "output_tokens_count": pa.array([3, 4, None, 5], pa.uint16()),
    "large": pa.array(texts, pa.large_string()),
    "view": pa.array(texts, pa.string_view()),
    "binary": pa.array([t and t.encode() for t in texts], pa.large_binary()),
    "dictionary": pa.array(texts).dictionary_encode(),
    "list": pa.array([["a", None], [], None, ["b"]], pa.large_list(pa.string_view())),
    "fixed": pa.array([[1, 2], [3, 4], None, [5, 6]], pa.list_(pa.int8(), 2)),
    "struct": pa.array([{"a": 1, "b": None}, {"a": None, "b": ["x"]}, None, {"a": 2, "b": []}],
                       pa.struct({"a": pa.float32(), "b": pa.list_(pa.dictionary(pa.int8(), pa.string()))})),
    "true": pa.array([True, False, None, True]),
    "time": pa.array([0, 1, None, 2], pa.timestamp("s")),
    "nothing": pa.nulls(4),
})
(here / "arrow").mkdir(exist_ok=True)


def write(name, how, **options):
    with how(here / "arrow" / name, table.schema, options=pa.ipc.IpcWriteOptions(**options)) as w:
        w.write_table(table, max_chunksize=2)


write("stream.arrow", pa.ipc.new_stream)
write("zstd.arrow", pa.ipc.new_stream, compression="zstd")
write("lz4.arrow", pa.ipc.new_stream, compression="lz4")
write("file.arrow", pa.ipc.new_file, compression="zstd", unify_dictionaries=True)
