"""Writes the small tokenizers of tokens/tokenizer/pieces_test.go and the identifiers that Hugging Face's library gives for texts.json.gz.

pip install tokenizers sentencepiece protobuf; python make_pieces.py

They are trained on texts.json.gz and words.txt, with the normaliser, pre-tokenizer and settings that the models'
tokenizer.json files have (as transformers' convert_slow_tokenizer.py writes them). The characters' map of the Unigram
models is SentencePiece's nmt_nfkc, as T5 and XLM-R have it.
"""
import base64, gzip, io, json, pathlib

import sentencepiece as spm
from sentencepiece import sentencepiece_model_pb2 as pb
from tokenizers import (AddedToken, Regex, Tokenizer, models, normalizers as n, pre_tokenizers as p, trainers as tr)

here = pathlib.Path(__file__).parent
texts = json.loads(gzip.open(here / "texts.json.gz").read())
words = (here / "../../tokens/tokenizer/words.txt").resolve().read_text().split()
corpus = texts[::3] + [" ".join(words[i:] + words[:i]) for i in range(0, 2048, 64)] + words * 20


def varints(lists):
    out = bytearray()
    def put(v):
        while v > 127:
            out.append(v & 127 | 128)
            v >>= 7
        out.append(v)
    for ids in lists:
        put(len(ids))
        for i in ids:
            put(i)
    return bytes(out)


def zipped(data):
    return gzip.compress(data, 9, mtime=0)


def save(name, t):
    (here / f"{name}.json.gz").write_bytes(zipped(t.to_str().encode()))
    ids = [t.encode(x, add_special_tokens=False).ids for x in texts]
    (here / f"{name}.ids.gz").write_bytes(zipped(varints(ids)))
    print(name, t.get_vocab_size(), sum(map(len, ids)))


bytes_ = [f"<0x{b:02X}>" for b in range(256)]


def bpe(name, special, normalizer, pre, fallback=True):
    # As SentencePiece trains them: no token spans words, but runs of spaces are tokens.
    t = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=fallback))
    t.normalizer = n.Sequence([n.Prepend("▁"), n.Replace(" ", "▁")])
    t.pre_tokenizer = p.Metaspace(prepend_scheme="never", split=True)
    t.train_from_iterator(corpus, tr.BpeTrainer(vocab_size=6000, special_tokens=special + (bytes_ if fallback else []),
        limit_alphabet=300, show_progress=False))
    model = json.loads(t.to_str())
    v, m = model["model"]["vocab"], model["model"]["merges"]
    run = "▁"
    while len(run) < 16:
        if run + run not in v:
            v[run + run] = max(v.values()) + 1
            m.append([run, run])
        run += run
    model["added_tokens"] = [a for a in model["added_tokens"] if a["content"] in special]
    t = Tokenizer.from_str(json.dumps(model))
    t.normalizer, t.pre_tokenizer = normalizer, pre
    if normalizer is None:
        model = json.loads(t.to_str()); model["normalizer"] = None
        if pre is None: model["pre_tokenizer"] = None
        t = Tokenizer.from_str(json.dumps(model))
    elif pre is None:
        model = json.loads(t.to_str()); model["pre_tokenizer"] = None
        t = Tokenizer.from_str(json.dumps(model))
    save(name, t)


llama = n.Sequence([n.Prepend("▁"), n.Replace(" ", "▁")])
bpe("llama2", ["<unk>", "<s>", "</s>"], llama, None)
bpe("llama2-first", ["<unk>", "<s>", "</s>"], None, p.Metaspace(prepend_scheme="first", split=False))
bpe("gemma", ["<pad>", "<eos>", "<bos>", "<unk>"], n.Replace(" ", "▁"), p.Split(" ", "merged_with_previous"))
bpe("bpe-unk", ["<unk>", "<s>", "</s>"], llama, None, fallback=False)


def bert(name, lower, strip):
    t = Tokenizer(models.WordPiece(unk_token="[UNK]", max_input_chars_per_word=100))
    t.normalizer = n.BertNormalizer(clean_text=True, handle_chinese_chars=True, strip_accents=strip, lowercase=lower)
    t.pre_tokenizer = p.BertPreTokenizer()
    t.train_from_iterator(corpus, tr.WordPieceTrainer(vocab_size=6000, limit_alphabet=600, show_progress=False,
        special_tokens=["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]))
    save(name, t)


bert("bert-uncased", True, None)
bert("bert-cased", False, None)
bert("bert-lower-accents", True, False)


def unigram(name, normalizer, pre, added=(), fallback=False):
    out = io.BytesIO()
    lines = [l for x in corpus for l in x.split("\n") if l.strip() and "\0" not in l and len(l) < 3000]
    spm.SentencePieceTrainer.train(sentence_iterator=iter(lines), model_writer=out, vocab_size=5000,
        model_type="unigram", character_coverage=0.99, byte_fallback=fallback, hard_vocab_limit=False, minloglevel=2)
    proto = pb.ModelProto(); proto.ParseFromString(out.getvalue())
    vocab = [(x.piece, x.score) for x in proto.pieces]
    t = Tokenizer(models.Unigram(vocab, unk_id=proto.trainer_spec.unk_id, byte_fallback=fallback))
    t.normalizer = normalizer(n.Precompiled(proto.normalizer_spec.precompiled_charsmap))
    t.pre_tokenizer = pre
    t.add_special_tokens(["<s>", "</s>", "<unk>"])
    for a in added: t.add_special_tokens([a])
    save(name, t)


unigram("t5", lambda c: c, p.Sequence([p.WhitespaceSplit(), p.Metaspace(prepend_scheme="always")]))
unigram("t5-new", lambda c: n.Sequence([c, n.Strip(left=False, right=True), n.Replace(Regex(" {2,}"), "▁")]),
    p.Metaspace(prepend_scheme="always"), fallback=True)
unigram("xlm-r", lambda c: n.Sequence([c, n.Replace(Regex(" {2,}"), " ")]), p.Metaspace(prepend_scheme="always"),
    [AddedToken("<mask>", lstrip=True)])
