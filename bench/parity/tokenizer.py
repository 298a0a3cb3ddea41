"""Makes the tokenizer that both tools and the simulated engine count with: python tokenizer.py WORDS FOLDER.

GuideLLM needs one from files, and loads it from a hub where it is not local. This one is a small byte-level BPE, trained on
the word list that openloop makes its prompts of, so that nothing is fetched.
"""
import json
import pathlib
import sys

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

words = pathlib.Path(sys.argv[1]).read_text().split()
folder = pathlib.Path(sys.argv[2])
tokenizer = Tokenizer(models.BPE())
tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
tokenizer.decoder = decoders.ByteLevel()
trainer = trainers.BpeTrainer(vocab_size=16000, show_progress=False, initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
# Each word twice, as it stands at the start of a text and behind a space.
tokenizer.train_from_iterator([text for word in words for text in (word, " " + word)], trainer)
folder.mkdir(parents=True, exist_ok=True)
tokenizer.save(str(folder / "tokenizer.json"))
(folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": 1 << 20}))
