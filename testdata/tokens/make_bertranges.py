"""Writes tokens/tokenizer/bertranges.go: what BERT's steps do to each character, by Hugging Face's library.

pip install tokenizers; python make_bertranges.py > ../../tokens/tokenizer/bertranges.go; gofmt -w that file
"""
from tokenizers import normalizers as n, pre_tokenizers as p

off = dict(clean_text=False, handle_chinese_chars=False, strip_accents=False, lowercase=False)
clean = n.BertNormalizer(**{**off, "clean_text": True})
strip = n.BertNormalizer(**{**off, "strip_accents": True})
pre = p.BertPreTokenizer()
tables = {"bertPunctuation": [], "bertAccents": [], "bertControls": []}
for i in range(0x110000):
    if 0xd800 <= i < 0xe000:
        continue
    c = chr(i)
    if [x for x, _ in pre.pre_tokenize_str("a" + c + "b")] == ["a", c, "b"]:
        tables["bertPunctuation"].append(i)
    if strip.normalize_str(c) == "":
        tables["bertAccents"].append(i)
    if clean.normalize_str(c) == "":
        tables["bertControls"].append(i)


def table(name, doc):
    ranges = []
    for i in tables[name]:
        if ranges and ranges[-1][1] == i - 1:
            ranges[-1][1] = i
        else:
            ranges.append([i, i])
    print(f"// {name} {doc}\nvar {name} = &unicode.RangeTable{{")
    for bits, part in (16, [r for r in ranges if r[1] < 0x10000]), (32, [r for r in ranges if r[1] >= 0x10000]):
        print(f"\tR{bits}: []unicode.Range{bits}{{")
        line = "\t\t"
        for low, high in part:
            entry = f"{{{low:#x}, {high:#x}, 1}}, "
            if len(line) + len(entry) > 106:
                print(line.rstrip())
                line = "\t\t"
            line += entry
        print(line.rstrip() + "\n\t},")
    latin = sum(high <= 0xff for _, high in ranges)
    if latin:
        print(f"\tLatinOffset: {latin},")
    print("}\n")


print("""package tokenizer

import "unicode"

// The library looks categories of characters up in tables of an older Unicode than Go's, so that some characters are no
// punctuation or no accents there yet. These are its tables, as its BertNormalizer and BertPreTokenizer show them for
// every character (tokenizers 0.23.3); testdata/tokens/make_bertranges.py writes this file.
""")
table("bertPunctuation", "is what BertPreTokenizer cuts off.")
table("bertAccents", "is what strip_accents takes away.")
table("bertControls", "is what clean_text takes away.")
