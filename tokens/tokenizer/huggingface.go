package tokenizer

import (
	"bytes"
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/openloop/openloop/internal/infile"
)

// huggingFace is a tokenizer.json: the byte-level BPE of GPT-2, Llama 3, Qwen2 to Qwen3.5, DeepSeek V3, gpt-oss and
// others that split text in the same ways; SentencePiece's BPE (Llama 2, Mistral v1, Gemma) and Unigram (T5, XLM-R);
// BERT's WordPiece. It gives the same tokens as Hugging Face's own library with add_special_tokens=False. A .model file
// of SentencePiece becomes one as well, with the tokens of SentencePiece's library.
type huggingFace struct {
	name      string
	changes   []normalizer
	steps     []step // one after the other, each inside the pieces of the one before
	model     model  // nil is byte-level BPE
	whole     bool   // a piece that is a token is not looked at any closer
	tokens    map[string]int32
	texts     []string // the bytes of each identifier
	merges    map[pair]merge
	bytes     [256]int32
	raw       addedTokens // looked for in the text as it is
	normal    addedTokens // looked for in the normalised text
	addedText map[int]string
}

// step is a part of the pre-tokenizer.
type step struct {
	space bool    // a piece gets a space in front where it has none
	split matcher // nil leaves it whole
	// own, where it is not nil, is all that the step does. start says whether the piece begins the text.
	own func(text string, start bool, piece func(string))
}

type pair struct{ left, right int32 }

// merge is the identifier that a pair becomes, and its place in the order of merging.
type merge struct{ rank, id int32 }

// UnsupportedError says which part of a tokenizer.json is not known, so that its tokens could only be guessed.
type UnsupportedError struct {
	Path, Part, Found string
}

// Error implements error.
func (e *UnsupportedError) Error() string {
	return fmt.Sprintf("%s: its %s is %s, which is not known here: its tokens could only be guessed",
		e.Path, e.Part, e.Found)
}

// openHuggingFace reads a tokenizer.json. It fails with an [UnsupportedError] where any part of it is not known.
func openHuggingFace(path string) (*huggingFace, error) {
	data, err := infile.ReadAll(path, largestFile)
	if err != nil {
		return nil, err
	}
	return parseHuggingFace(path, data)
}

// tokenizerFile is what of a tokenizer.json decides about tokens. Truncation and padding are not: they are settings of
// whoever saved the file, and no server applies them. The post-processor adds what surrounds a text, which is not
// counted.
type tokenizerFile struct {
	AddedTokens  []addedTokenFile `json:"added_tokens"`
	Normalizer   json.RawMessage  `json:"normalizer"`
	PreTokenizer json.RawMessage  `json:"pre_tokenizer"`
	Model        struct {
		Type         string           `json:"type"`
		Dropout      float64          `json:"dropout"`
		Prefix       string           `json:"continuing_subword_prefix"`
		Suffix       string           `json:"end_of_word_suffix"`
		ByteFallback bool             `json:"byte_fallback"`
		IgnoreMerges bool             `json:"ignore_merges"`
		Unknown      string           `json:"unk_token"`
		FuseUnk      bool             `json:"fuse_unk"`
		MaxChars     *int             `json:"max_input_chars_per_word"`
		Vocab        map[string]int32 `json:"vocab"`
		Merges       json.RawMessage  `json:"merges"`
	} `json:"model"`
}

type addedTokenFile struct {
	ID         int    `json:"id"`
	Content    string `json:"content"`
	SingleWord bool   `json:"single_word"`
	LStrip     bool   `json:"lstrip"`
	RStrip     bool   `json:"rstrip"`
	Normalized bool   `json:"normalized"`
}

func parseHuggingFace(path string, data []byte) (*huggingFace, error) {
	// The model's type comes first: the vocabulary of another kind of model does not even have this shape.
	var kind struct {
		AddedTokens  []addedTokenFile `json:"added_tokens"`
		Normalizer   json.RawMessage  `json:"normalizer"`
		PreTokenizer json.RawMessage  `json:"pre_tokenizer"`
		Model        json.RawMessage  `json:"model"`
	}
	var of struct {
		Type string `json:"type"`
	}
	if err := json.Unmarshal(data, &kind); err != nil {
		return nil, fmt.Errorf("%s is not a tokenizer.json: %w", path, err)
	}
	if err := json.Unmarshal(orNull(kind.Model), &of); err != nil {
		return nil, fmt.Errorf("%s is not a tokenizer.json: model: %w", path, err)
	}
	t := &huggingFace{name: filepath.Base(path), addedText: map[int]string{}}
	if of.Type == "Unigram" {
		if err := t.parseUnigram(path, kind.Model); err != nil {
			return nil, err
		}
		return t, t.parseRest(path, &tokenizerFile{
			AddedTokens: kind.AddedTokens, Normalizer: kind.Normalizer, PreTokenizer: kind.PreTokenizer,
		})
	}
	if of.Type != "BPE" && of.Type != "WordPiece" {
		return nil, &UnsupportedError{path, "model type", fmt.Sprintf("%q", of.Type)}
	}
	// continuing_subword_prefix is ## where a WordPiece is silent about it.
	file := tokenizerFile{}
	if of.Type == "WordPiece" {
		file.Model.Prefix = "##"
	}
	if err := json.Unmarshal(data, &file); err != nil {
		return nil, fmt.Errorf("%s is not a tokenizer.json: %w", path, err)
	}
	if of.Type == "WordPiece" {
		if err := t.parseWordPiece(path, &file, file.Model.Prefix); err != nil {
			return nil, err
		}
		return t, t.parseRest(path, &file)
	}
	switch m := file.Model; {
	case m.Dropout != 0:
		return nil, &UnsupportedError{path, "dropout", fmt.Sprint(m.Dropout)}
	case m.Prefix != "" || m.Suffix != "":
		return nil, &UnsupportedError{path, "mark of word parts", fmt.Sprintf("%q and %q", m.Prefix, m.Suffix)}
	}
	t.whole = file.Model.IgnoreMerges
	if err := t.setMerges(path, file.Model.Vocab, file.Model.Merges); err != nil {
		return nil, err
	}
	return t, t.parseRest(path, &file)
}

// parseRest reads what stands around the model, and a BPE's vocabulary, which the pre-tokenizer tells how to read.
func (t *huggingFace) parseRest(path string, file *tokenizerFile) error {
	if err := t.setNormalizer(path, file.Normalizer); err != nil {
		return err
	}
	byteLevel, err := t.addPreTokenizer(path, file.PreTokenizer)
	switch {
	case err != nil:
		return err
	case byteLevel && t.model != nil || byteLevel && file.Model.ByteFallback:
		return &UnsupportedError{path, "pre-tokenizer", "ByteLevel, for a model that is not: " +
			shorten(file.PreTokenizer)}
	case byteLevel:
		err = t.setVocabulary(path, file.Model.Vocab)
	case t.model != nil:
	case file.Model.ByteFallback || file.Model.Unknown != "":
		err = t.parseCharacters(path, file)
	default:
		err = &UnsupportedError{path, "pre-tokenizer", "without the step ByteLevel: " + shorten(file.PreTokenizer)}
	}
	if err != nil {
		return err
	}
	if _, words := t.model.(*wordPiece); t.model != nil && !words {
		t.useSpaces()
	}
	for _, a := range file.AddedTokens {
		if a.SingleWord {
			return &UnsupportedError{path, fmt.Sprintf("added token %q", a.Content), "one with single_word"}
		}
		if a.Content == "" {
			continue
		}
		t.addedText[a.ID] = a.Content
		if a.Normalized {
			t.normal.add(t.normalize(a.Content), a)
		} else {
			t.raw.add(a.Content, a)
		}
	}
	return nil
}

func shorten(data []byte) string {
	if len(data) == 0 {
		return "nothing"
	}
	return fmt.Sprintf("%.300s", data)
}

func (t *huggingFace) setNormalizer(path string, data json.RawMessage) error {
	return readNormalizers(path, data, func(n normalizer) { t.changes = append(t.changes, n) })
}

func orNull(data json.RawMessage) json.RawMessage {
	if len(data) == 0 {
		return json.RawMessage("null")
	}
	return data
}

// addPreTokenizer adds the steps of a pre-tokenizer; byteLevel says whether the last of them was ByteLevel.
func (t *huggingFace) addPreTokenizer(path string, data json.RawMessage) (byteLevel bool, err error) {
	p := struct {
		Type             string
		PreTokenizers    []json.RawMessage
		Pattern          struct{ Regex, String *string }
		Behavior         string
		Invert           bool
		AddPrefixSpace   bool `json:"add_prefix_space"`
		UseRegex         bool `json:"use_regex"`
		IndividualDigits bool `json:"individual_digits"`
		Replacement      string
		PrependScheme    *string `json:"prepend_scheme"`
		Split            *bool   `json:"split"`
	}{UseRegex: true, AddPrefixSpace: true} // as the library has it where a file is silent
	if err := json.Unmarshal(orNull(data), &p); err != nil {
		return false, fmt.Errorf("%s: pre_tokenizer: %w", path, err)
	}
	switch p.Type {
	case "":
		if string(orNull(data)) == "null" {
			return false, nil
		}
	case "WhitespaceSplit":
		t.steps = append(t.steps, step{own: func(text string, _ bool, piece func(string)) {
			for _, word := range strings.FieldsFunc(text, unicode.IsSpace) {
				piece(word)
			}
		}})
		return false, nil
	case "BertPreTokenizer":
		t.steps = append(t.steps, step{own: func(text string, _ bool, piece func(string)) { bertPieces(text, piece) }})
		return false, nil
	case "Metaspace":
		m := metaspace{mark: p.Replacement, always: p.AddPrefixSpace, split: p.Split == nil || *p.Split}
		if p.PrependScheme != nil {
			m.always, m.first = *p.PrependScheme == "always", *p.PrependScheme == "first"
			if !m.always && !m.first && *p.PrependScheme != "never" {
				break
			}
		}
		// With steps before it, whether a piece begins the text is not told here.
		if m.mark == "" || m.first && len(t.steps) > 0 {
			break
		}
		t.steps = append(t.steps, step{own: m.pieces})
		return false, nil
	case "Sequence":
		for i, part := range p.PreTokenizers {
			byteLevel, err = t.addPreTokenizer(path, part)
			if err != nil {
				return false, err
			}
			if byteLevel && i < len(p.PreTokenizers)-1 {
				found := "one that goes on after ByteLevel: " + shorten(data)
				return false, &UnsupportedError{path, "pre-tokenizer", found}
			}
		}
		return byteLevel, nil
	case "ByteLevel":
		s := step{space: p.AddPrefixSpace}
		if p.UseRegex {
			s.split = matchGPT2
		}
		t.steps = append(t.steps, s)
		return true, nil
	case "Digits":
		most := 0
		if p.IndividualDigits {
			most = 1
		}
		t.steps = append(t.steps, step{split: func(text string) int { return run(text, number, most) }})
		return false, nil
	case "Split":
		if p.Pattern.String != nil && *p.Pattern.String == " " && p.Behavior == "MergedWithPrevious" && !p.Invert {
			t.steps = append(t.steps, step{own: func(text string, _ bool, piece func(string)) {
				for part := range strings.SplitAfterSeq(text, " ") {
					if part != "" {
						piece(part)
					}
				}
			}})
			return false, nil
		}
		if p.Pattern.Regex == nil {
			break
		}
		m, ok := knownPattern(*p.Pattern.Regex)
		if !ok {
			found := fmt.Sprintf("the regular expression %q", *p.Pattern.Regex)
			return false, &UnsupportedError{path, "pre-tokenizer", found}
		}
		if p.Behavior == "Isolated" && !p.Invert {
			t.steps = append(t.steps, step{split: m})
			return false, nil
		}
	}
	return false, &UnsupportedError{path, "pre-tokenizer", shorten(data)}
}

// setVocabulary turns the printable stand-ins of a byte-level vocabulary back into bytes.
func (t *huggingFace) setVocabulary(path string, vocab map[string]int32) error {
	size, err := vocabularySize(path, vocab)
	if err != nil {
		return err
	}
	t.tokens = make(map[string]int32, len(vocab))
	t.texts = make([]string, size)
	for text, id := range vocab {
		if raw, ok := fromByteLevel(text); ok {
			t.tokens[raw] = id
			t.texts[id] = raw
		} else { // an added token that is written into the vocabulary as well
			t.texts[id] = text
		}
	}
	for b := range 256 {
		id, ok := t.tokens[string([]byte{byte(b)})]
		if !ok {
			found := fmt.Sprintf("not byte-level: it has no token for the byte 0x%02x", b)
			return &UnsupportedError{path, "vocabulary", found}
		}
		t.bytes[b] = id
	}
	return nil
}

// vocabularySize is one more than the greatest identifier.
func vocabularySize(path string, vocab map[string]int32) (size int32, err error) {
	for text, id := range vocab {
		if id < 0 || id > 1<<24 {
			return 0, fmt.Errorf("%s: the token %q has the identifier %d; want 0 to %d", path, text, id, 1<<24)
		}
		size = max(size, id+1)
	}
	return size, nil
}

func (t *huggingFace) setMerges(path string, vocab map[string]int32, data json.RawMessage) error {
	// Files of before 2024 have "a b", later ones ["a","b"].
	var pairs [][]string
	if err := json.Unmarshal(orNull(data), &pairs); err != nil {
		var lines []string
		if json.Unmarshal(data, &lines) != nil {
			return fmt.Errorf("%s: merges: want [\"a b\", …] or [[\"a\",\"b\"], …]: %w", path, err)
		}
		pairs = make([][]string, len(lines))
		for i, line := range lines {
			pairs[i] = strings.Split(line, " ")
		}
	}
	t.merges = make(map[pair]merge, len(pairs))
	for i, p := range pairs {
		if len(p) != 2 {
			return fmt.Errorf("%s: merge %d is %q; want two tokens", path, i+1, p)
		}
		left, ok1 := vocab[p[0]]
		right, ok2 := vocab[p[1]]
		id, ok3 := vocab[p[0]+p[1]]
		if !ok1 || !ok2 || !ok3 {
			return fmt.Errorf("%s: merge %d joins %q and %q, but the vocabulary lacks one of the three tokens",
				path, i+1, p[0], p[1])
		}
		t.merges[pair{left, right}] = merge{int32(i), id} // of two equal pairs the library keeps the later
	}
	return nil
}

// byteLevelBytes maps the characters that stand for bytes in byte-level files to the bytes: the printable ones of
// Latin-1 stand for themselves, U+0100 and up for the others in order (GPT-2's encoder.py).
var byteLevelBytes = func() map[rune]byte {
	m := make(map[rune]byte, 256)
	other := rune(0x100)
	for b := range rune(256) {
		if b >= '!' && b <= '~' || b >= 0xa1 && b <= 0xac || b >= 0xae {
			m[b] = byte(b)
		} else {
			m[other] = byte(b)
			other++
		}
	}
	return m
}()

func fromByteLevel(text string) (string, bool) {
	raw := make([]byte, 0, len(text))
	for _, r := range text {
		b, ok := byteLevelBytes[r]
		if !ok {
			return "", false
		}
		raw = append(raw, b)
	}
	return string(raw), len(raw) > 0
}

// Name returns the base name of the file.
func (t *huggingFace) Name() string { return t.name }

// Count returns the number of tokens.
func (t *huggingFace) Count(text string) int { return len(t.Encode(text)) }

// Encode returns the identifiers of the tokens. Special tokens that the text spells out are taken as such.
func (t *huggingFace) Encode(text string) []int {
	if !utf8.ValidString(text) {
		text = strings.ToValidUTF8(text, "\uFFFD")
	}
	var ids []int
	var work merger
	token := func(id int) { ids = append(ids, id) }
	t.raw.cut(text, token, func(text string, start bool) {
		t.normal.cut(t.normalize(text), token, func(text string, starts bool) {
			pieces(text, start && starts, t.steps, func(piece string) {
				if t.model != nil {
					ids = t.model.encode(piece, ids, &work)
					return
				}
				if t.whole {
					if id, ok := t.tokens[piece]; ok {
						ids = append(ids, int(id))
						return
					}
				}
				ids = work.mergeBytes(t, piece, ids)
			})
		})
	})
	return ids
}

func (t *huggingFace) normalize(text string) string {
	for _, change := range t.changes {
		text = change(text)
	}
	return text
}

// pieces passes on what the steps leave of a text, which is not empty. start says whether all text starts with it.
func pieces(text string, start bool, steps []step, piece func(string)) {
	if len(steps) == 0 {
		piece(text)
		return
	}
	if own := steps[0].own; own != nil {
		own(text, start, func(part string) { pieces(part, false, steps[1:], piece) })
		return
	}
	if steps[0].space && text[0] != ' ' {
		text = " " + text
	}
	if steps[0].split == nil {
		pieces(text, false, steps[1:], piece)
		return
	}
	steps[0].split.split(text, func(part string) { pieces(part, false, steps[1:], piece) })
}

// Decode returns the text of identifiers, special tokens included.
func (t *huggingFace) Decode(tokens []int) string {
	var text bytes.Buffer
	for _, id := range tokens {
		if added, ok := t.addedText[id]; ok {
			text.WriteString(added)
		} else if id >= 0 && id < len(t.texts) {
			text.WriteString(t.texts[id])
		}
	}
	return text.String()
}

// addedTokens finds tokens that are cut out of a text before anything else: the leftmost, and of those the longest.
type addedTokens struct {
	byFirst [256][]addedToken
	any     bool
}

type addedToken struct {
	text        string
	id          int
	left, right bool // takes the white space on this side along
}

func (a *addedTokens) add(text string, t addedTokenFile) {
	if text != "" {
		a.any = true
		a.byFirst[text[0]] = append(a.byFirst[text[0]], addedToken{text, t.ID, t.LStrip, t.RStrip})
	}
}

// first is the longest token that a text, which is not empty, begins with.
func (a *addedTokens) first(text string) (best addedToken) {
	for _, t := range a.byFirst[text[0]] {
		if len(t.text) > len(best.text) && strings.HasPrefix(text, t.text) {
			best = t
		}
	}
	return best
}

// cut passes on the tokens, and the text between them; start says whether it is where the text starts.
func (a *addedTokens) cut(text string, token func(id int), between func(text string, start bool)) {
	from := 0
	for i := 0; a.any && i < len(text); {
		best := a.first(text[i:])
		if best.text == "" {
			i++
			continue
		}
		before := text[from:i]
		if best.left {
			before = strings.TrimRightFunc(before, unicode.IsSpace)
		}
		if before != "" {
			between(before, from == 0)
		}
		token(best.id)
		i += len(best.text)
		if best.right {
			i = len(text) - len(strings.TrimLeftFunc(text[i:], unicode.IsSpace))
		}
		from = i
	}
	if from < len(text) {
		between(text[from:], from == 0)
	}
}
