"""Writes the small .model files of tokens/tokenizer/sentencepiece_test.go and the identifiers that SentencePiece's own
library gives for texts.json.gz.

pip install sentencepiece==0.2.3; python make_sentencepiece.py
"""
import gzip, io, json, pathlib

import sentencepiece as spm

here = pathlib.Path(__file__).parent
texts = json.loads(gzip.open(here / "texts.json.gz").read())
words = (here / "../../tokens/tokenizer/words.txt").resolve().read_text().split()
corpus = [x for x in texts[::3] if x and len(x) < 4000] + [" ".join(words[i:] + words[:i]) for i in range(0, 2048, 64)]


def zipped(data):
    return gzip.compress(data, 9, mtime=0)


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


def make(name, **options):
    model = io.BytesIO()
    spm.SentencePieceTrainer.train(sentence_iterator=iter(corpus), model_writer=model, num_threads=1,
        minloglevel=2, max_sentence_length=100000, **options)
    (here / f"{name}.model.gz").write_bytes(zipped(model.getvalue()))
    sp = spm.SentencePieceProcessor(model_proto=model.getvalue())
    ids = sp.encode(texts)
    (here / f"{name}.ids.gz").write_bytes(zipped(varints(ids)))
    print(name, sp.vocab_size(), sum(map(len, ids)))


# As Llama 2's: every space is kept, digits are tokens of their own, bytes for what is unknown.
make("sp-llama2", model_type="bpe", vocab_size=3000, character_coverage=0.98, byte_fallback=True,
     normalization_rule_name="identity", remove_extra_whitespaces=False, split_digits=True,
     allow_whitespace_only_pieces=True)
# As Gemma's: no space in front, and symbols of its own, runs of spaces and line breaks among them.
make("sp-gemma", model_type="bpe", vocab_size=3000, character_coverage=0.98, byte_fallback=True,
     normalization_rule_name="identity", remove_extra_whitespaces=False, add_dummy_prefix=False,
     user_defined_symbols=["\n", "\n\n", "▁▁", "▁▁▁▁", "<b>", "</b>", "ing the"])
# A BPE without bytes, its spaces behind the words.
make("sp-suffix", model_type="bpe", vocab_size=2500, character_coverage=0.98, treat_whitespace_as_suffix=True,
     normalization_rule_name="identity", user_defined_symbols=["the", "ab"])
# As T5's, with symbols of its own and bytes for what is unknown.
make("sp-t5", model_type="unigram", vocab_size=1800, character_coverage=0.98)
make("sp-unigram", model_type="unigram", vocab_size=1800, character_coverage=0.98, byte_fallback=True,
     normalization_rule_name="identity", user_defined_symbols=["the", "there", "<sep>", "of a"],
     control_symbols=["<ctl>"])
