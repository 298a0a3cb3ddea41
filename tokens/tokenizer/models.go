package tokenizer

import (
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// model turns a piece into tokens and appends their identifiers.
type model interface {
	encode(piece string, ids []int, work *merger) []int
}

// byteToken is how SentencePiece's vocabularies write a byte.
func byteToken(b byte) string { return fmt.Sprintf("<0x%02X>", b) }

// fallback returns the tokens of all bytes; ok is false where one is missing.
func fallback(tokens map[string]int32) (ids [256]int32, ok bool) {
	for b := range 256 {
		if ids[b], ok = tokens[byteToken(byte(b))]; !ok {
			return ids, false
		}
	}
	return ids, true
}

// characters is a BPE that starts with characters, as SentencePiece's does: Llama 2, Mistral v1, Gemma.
type characters struct {
	t        *huggingFace
	fallback bool // a character that is not in the vocabulary becomes its bytes
	unknown  int32
	hasUnk   bool
	fuse     bool // neighbouring unknown characters are one token
	apart    bool // no merge joins a ▁ to what stands before it, so that words can be merged one by one
}

// encode merges word by word where it can: a text in one piece takes several times as long.
func (m *characters) encode(piece string, ids []int, work *merger) []int {
	const mark = "▁"
	for from := 0; m.apart; {
		i := strings.Index(piece[from:], mark)
		if i < 0 {
			break
		}
		if from += i; from > 0 && !strings.HasSuffix(piece[:from], mark) {
			ids = m.encodeWord(piece[:from], ids, work)
			piece, from = piece[from:], 0
		}
		from += len(mark)
	}
	return m.encodeWord(piece, ids, work)
}

func (m *characters) encodeWord(piece string, ids []int, work *merger) []int {
	if m.t.whole {
		if id, ok := m.t.tokens[piece]; ok {
			return append(ids, int(id))
		}
	}
	work.start()
	wasUnknown := false
	for i, r := range piece {
		char := piece[i : i+utf8.RuneLen(r)]
		id, ok := m.t.tokens[char]
		switch {
		case ok:
			work.add(id)
		case m.fallback:
			for j := range len(char) {
				work.add(m.t.bytes[char[j]])
			}
		case m.hasUnk && !(wasUnknown && m.fuse):
			work.add(m.unknown)
		}
		wasUnknown = !ok
	}
	return work.merge(m.t, ids)
}

// wordPiece takes the longest token from the front of a word, again and again: BERT.
type wordPiece struct {
	tokens  map[string]int32
	prefix  string // of every token but a word's first
	unknown int32
	longest int // a word of more characters is unknown
	most    int // the longest token in bytes, without its prefix
}

func (m *wordPiece) encode(piece string, ids []int, _ *merger) []int {
	if utf8.RuneCountInString(piece) > m.longest {
		return append(ids, int(m.unknown))
	}
	before := len(ids)
	var name []byte
	for from := 0; from < len(piece); {
		name = name[:0]
		if from > 0 {
			name = append(name, m.prefix...)
		}
		start := len(name)
		name = append(name, piece[from:min(len(piece), from+m.most)]...)
		found := false
		for end := len(name); end > start; end-- {
			if next := from + end - start; next < len(piece) && !utf8.RuneStart(piece[next]) {
				continue
			}
			if id, ok := m.tokens[string(name[:end])]; ok {
				ids, from, found = append(ids, int(id)), from+end-start, true
				break
			}
		}
		if !found {
			return append(ids[:before], int(m.unknown))
		}
	}
	return ids
}

// unigram takes the tokens whose scores sum up highest: T5, XLM-R.
type unigram struct {
	tokens   map[string]int32
	scores   []float64
	starts   map[string]bool // the starts of tokens, by whole bytes, that end no look-up
	unknown  int32           // -1: there is none
	penalty  float64         // the score of an unknown character
	fallback bool
	bytes    [256]int32
	// single adds scores up in single precision and takes unknown characters for nothing else, as SentencePiece's own
	// library does; Hugging Face's has double precision.
	single bool
}

// farFromZero is how far scores may go in single precision: from there on they count from zero again.
const farFromZero = 100_000

// unigramNode is the best way to a place in the piece.
type unigramNode struct {
	score float64
	from  int32 // -1: none yet
	id    int32
}

func (m *unigram) encode(piece string, ids []int, _ *merger) []int {
	if len(piece) > math.MaxInt32 {
		return ids
	}
	best := make([]unigramNode, len(piece)+1)
	for i := range best {
		best[i].from = -1
	}
	better := func(at int, score float64, from int, id int32) {
		if m.single {
			score = float64(float32(score))
		}
		if n := &best[at]; n.from < 0 || score > n.score {
			*n = unigramNode{score, int32(from), id}
		}
	}
	for from, r := range piece {
		here, width, single := best[from].score, utf8.RuneLen(r), false
		if m.single && math.Abs(here) > farFromZero {
			for i := range best[from:] {
				if n := &best[from+i]; i == 0 || n.from >= 0 {
					n.score = float64(float32(n.score - here))
				} else if i > longestToken {
					break
				}
			}
			here = 0
		}
		for end := from + 1; end <= len(piece); end++ {
			text := piece[from:end]
			if id, ok := m.tokens[text]; ok {
				better(end, m.scores[id]+here, from, id)
				single = single || end-from == width
			}
			if !m.starts[text] {
				break
			}
		}
		if !single {
			better(from+width, m.penalty+here, from, m.unknown)
		}
	}
	// From the end to the start; unknown characters side by side are one token.
	type part struct {
		text    string
		unknown bool
	}
	var parts []part
	for end := len(piece); end > 0; {
		from := int(best[end].from)
		unknown := best[end].id == m.unknown
		if unknown {
			for from > 0 && best[from].id == m.unknown {
				from = int(best[from].from)
			}
		}
		parts = append(parts, part{piece[from:end], unknown})
		end = from
	}
	for _, p := range slices.Backward(parts) {
		id, ok := m.tokens[p.text]
		switch {
		case ok && !(m.single && p.unknown):
			ids = append(ids, int(id))
		case m.fallback:
			for j := range len(p.text) {
				ids = append(ids, int(m.bytes[p.text[j]]))
			}
		default:
			ids = append(ids, int(m.unknown))
		}
	}
	return ids
}

// parseUnigram reads the model of a tokenizer.json whose type is Unigram.
func (t *huggingFace) parseUnigram(path string, data json.RawMessage) error {
	var file struct {
		Unknown      *int32               `json:"unk_id"`
		Vocab        [][2]json.RawMessage `json:"vocab"`
		ByteFallback bool                 `json:"byte_fallback"`
	}
	if err := json.Unmarshal(data, &file); err != nil {
		return fmt.Errorf("%s is not a tokenizer.json: model: %w", path, err)
	}
	if file.Unknown == nil || *file.Unknown < 0 || int(*file.Unknown) >= len(file.Vocab) {
		return &UnsupportedError{path, "unk_id", "none of its vocabulary"}
	}
	m := &unigram{tokens: make(map[string]int32, len(file.Vocab)), scores: make([]float64, len(file.Vocab)),
		starts: map[string]bool{}, unknown: *file.Unknown, penalty: math.Inf(1)}
	t.texts = make([]string, len(file.Vocab))
	for i, entry := range file.Vocab {
		var text string
		if json.Unmarshal(orNull(entry[0]), &text) != nil || json.Unmarshal(orNull(entry[1]), &m.scores[i]) != nil {
			return fmt.Errorf("%s: vocabulary: entry %d is [%.80s, %.80s]; want a text and a number", path, i+1,
				entry[0], entry[1])
		}
		m.tokens[text], t.texts[i] = int32(i), text // of two equal texts the library keeps the later
		for end := 1; end < len(text) && len(text) <= longestToken; end++ {
			m.starts[text[:end]] = true
		}
		if len(text) > longestToken {
			return fmt.Errorf("%s: vocabulary: entry %d has %d bytes; at most %d are read", path, i+1, len(text),
				longestToken)
		}
		m.penalty = min(m.penalty, m.scores[i])
	}
	m.penalty -= 10 // SentencePiece's kUnkPenalty
	if file.ByteFallback {
		m.bytes, m.fallback = fallback(m.tokens)
	}
	t.model = m
	return nil
}

// longestToken bounds what a hostile file makes of one entry, in bytes.
const longestToken = 1024

// parseWordPiece sets the model of a tokenizer.json whose type is WordPiece.
func (t *huggingFace) parseWordPiece(path string, file *tokenizerFile, prefix string) error {
	m := &wordPiece{tokens: file.Model.Vocab, prefix: prefix, longest: 100}
	if file.Model.MaxChars != nil {
		m.longest = *file.Model.MaxChars
	}
	var ok bool
	if m.unknown, ok = m.tokens[file.Model.Unknown]; !ok {
		return &UnsupportedError{path, "unk_token",
			fmt.Sprintf("%q, which is not in its vocabulary", file.Model.Unknown)}
	}
	if err := t.setTexts(path, file.Model.Vocab); err != nil {
		return err
	}
	for text, id := range m.tokens {
		m.most = max(m.most, len(text))
		if rest, ok := strings.CutPrefix(text, prefix); ok && prefix != "" {
			t.texts[id] = rest
		} else {
			t.texts[id] = " " + text
		}
	}
	t.model = m
	return nil
}

// parseCharacters sets the model of a tokenizer.json whose type is BPE, but not byte-level.
func (t *huggingFace) parseCharacters(path string, file *tokenizerFile) error {
	if err := t.setTexts(path, file.Model.Vocab); err != nil {
		return err
	}
	m := &characters{t: t, fuse: file.Model.FuseUnk}
	t.tokens = file.Model.Vocab
	if file.Model.ByteFallback {
		if t.bytes, m.fallback = fallback(t.tokens); !m.fallback {
			return &UnsupportedError{path, "vocabulary", "without a token for each byte (byte_fallback)"}
		}
	}
	_, m.apart = t.tokens["▁"]
	m.apart = m.apart && !t.whole
	for _, joined := range t.merges {
		if inner := strings.TrimLeft(t.texts[joined.id], "▁"); strings.Contains(inner, "▁") {
			m.apart = false
		}
	}
	if file.Model.Unknown != "" && !m.fallback {
		if m.unknown, m.hasUnk = t.tokens[file.Model.Unknown]; !m.hasUnk {
			return &UnsupportedError{path, "unk_token",
				fmt.Sprintf("%q, which is not in its vocabulary", file.Model.Unknown)}
		}
	}
	t.model = m
	return nil
}

// setTexts keeps the texts of the tokens as they are written.
func (t *huggingFace) setTexts(path string, vocab map[string]int32) error {
	size, err := vocabularySize(path, vocab)
	if err != nil {
		return err
	}
	t.texts = make([]string, size)
	for text, id := range vocab {
		t.texts[id] = text
	}
	return nil
}

// useSpaces turns the texts of a SentencePiece vocabulary, which write a space as ▁ and a byte as <0x0A>, back.
func (t *huggingFace) useSpaces() {
	stands := make(map[string]string, 256)
	for b := range 256 {
		stands[byteToken(byte(b))] = string([]byte{byte(b)})
	}
	for i, text := range t.texts {
		if b, ok := stands[text]; ok {
			t.texts[i] = b
		} else {
			t.texts[i] = strings.ReplaceAll(text, "▁", " ")
		}
	}
}

// bertPieces cuts at white space, and each mark of punctuation off.
func bertPieces(text string, piece func(string)) {
	for _, word := range strings.FieldsFunc(text, unicode.IsSpace) {
		from := 0
		for i, r := range word {
			if !unicode.Is(bertPunctuation, r) {
				continue
			}
			if i > from {
				piece(word[from:i])
			}
			from = i + utf8.RuneLen(r)
			piece(word[i:from])
		}
		if from < len(word) {
			piece(word[from:])
		}
	}
}

// metaspace writes spaces as SentencePiece does.
type metaspace struct {
	mark          string
	always, first bool // a piece gets a mark in front where it has none; first: only at the start of the text
	split         bool // before each mark
}

func (m metaspace) pieces(text string, start bool, piece func(string)) {
	text = strings.ReplaceAll(text, " ", m.mark)
	if (m.always || m.first && start) && !strings.HasPrefix(text, m.mark) {
		text = m.mark + text
	}
	if !m.split {
		piece(text)
		return
	}
	for text != "" {
		end := len(text)
		if i := strings.Index(text[min(len(text), len(m.mark)):], m.mark); i >= 0 && strings.HasPrefix(text, m.mark) {
			end = i + len(m.mark)
		} else if i := strings.Index(text, m.mark); i > 0 {
			end = i
		}
		piece(text[:end])
		text = text[end:]
	}
}
