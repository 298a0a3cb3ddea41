package tokenizer

import (
	"errors"
	"fmt"
	"math"
	"path/filepath"
	"slices"
	"strings"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/openloop/openloop/internal/infile"
)

// openSentencePiece reads a .model file of SentencePiece. It gives the same tokens as SentencePiece's own library, of
// version 0.2.3: earlier ones add scores up in another way, which tells where two splits are equally good.
func openSentencePiece(path string) (*huggingFace, error) {
	data, err := infile.ReadAll(path, largestFile)
	if err != nil {
		return nil, err
	}
	return parseSentencePiece(path, data)
}

// modelFile is what of a .model file decides about tokens, by the names of sentencepiece_model.proto.
type modelFile struct {
	pieces []piece

	// Of the trainer_spec.
	modelType    int
	suffix       bool // treat_whitespace_as_suffix: the ▁ stands behind a word
	byteFallback bool

	// Of the normalizer_spec.
	charsmap                   []byte
	addPrefix, trim, useMarked bool // add_dummy_prefix, remove_extra_whitespaces, escape_whitespaces
}

// piece is an entry of the vocabulary; its place is its identifier.
type piece struct {
	text  string
	score float32
	kind  int
}

// The kinds of models and pieces.
const (
	typeUnigram = 1
	typeBPE     = 2

	pieceNormal      = 1
	pieceUnknown     = 2
	pieceControl     = 3
	pieceUserDefined = 4
	pieceUnused      = 5
	pieceByte        = 6
)

// field is one of a protobuf message: a number of its own for scalars, bytes for the rest.
type protoField struct {
	number int
	value  uint64
	bytes  []byte
}

// protoFields reads the fields of a message.
func protoFields(data []byte, each func(protoField) error) error {
	for len(data) > 0 {
		number, kind, n := protowire.ConsumeTag(data)
		if n < 0 {
			return protowire.ParseError(n)
		}
		data = data[n:]
		f := protoField{number: int(number)}
		switch kind {
		case protowire.VarintType:
			f.value, n = protowire.ConsumeVarint(data)
		case protowire.Fixed32Type:
			var v uint32
			v, n = protowire.ConsumeFixed32(data)
			f.value = uint64(v)
		case protowire.BytesType:
			f.bytes, n = protowire.ConsumeBytes(data)
		default:
			n = protowire.ConsumeFieldValue(number, kind, data)
		}
		if n < 0 {
			return protowire.ParseError(n)
		}
		data = data[n:]
		if err := each(f); err != nil {
			return err
		}
	}
	return nil
}

// readModelFile reads the message ModelProto.
func readModelFile(data []byte) (*modelFile, error) {
	m := &modelFile{modelType: typeUnigram, addPrefix: true, trim: true, useMarked: true} // as the proto has it
	err := protoFields(data, func(f protoField) error {
		switch f.number {
		case 1:
			p := piece{kind: pieceNormal}
			err := protoFields(f.bytes, func(f protoField) error {
				switch f.number {
				case 1:
					p.text = string(f.bytes)
				case 2:
					p.score = math.Float32frombits(uint32(f.value))
				case 3:
					p.kind = int(f.value)
				}
				return nil
			})
			m.pieces = append(m.pieces, p)
			return err
		case 2:
			return protoFields(f.bytes, func(f protoField) error {
				switch f.number {
				case 3:
					m.modelType = int(f.value)
				case 24:
					m.suffix = f.value != 0
				case 35:
					m.byteFallback = f.value != 0
				}
				return nil
			})
		case 3:
			return protoFields(f.bytes, func(f protoField) error {
				switch f.number {
				case 2:
					m.charsmap = f.bytes
				case 3:
					m.addPrefix = f.value != 0
				case 4:
					m.trim = f.value != 0
				case 5:
					m.useMarked = f.value != 0
				}
				return nil
			})
		}
		return nil
	})
	if err == nil && len(m.pieces) == 0 {
		err = errors.New("it has no pieces")
	}
	return m, err
}

func parseSentencePiece(path string, data []byte) (*huggingFace, error) {
	m, err := readModelFile(data)
	if err != nil {
		if _, err := parseRanks(data); err == nil { // as Llama 3's is
			return nil, fmt.Errorf("%s is tiktoken's, whatever it is called: copy it to a name such as "+
				"llama3.tiktoken, or take the model's tokenizer.json", path)
		}
		return nil, fmt.Errorf("%s is not a model of SentencePiece: %w", path, err)
	}
	t := &huggingFace{name: filepath.Base(path), texts: make([]string, len(m.pieces))}
	tokens := make(map[string]int32, len(m.pieces))   // that texts are made of
	reserved := make(map[string]int32, len(m.pieces)) // that stand for no text
	unknown := int32(-1)
	var own addedTokens
	for i, p := range m.pieces {
		to := tokens
		switch p.kind {
		case pieceNormal, pieceUnused:
		case pieceUserDefined:
			own.add(p.text, addedTokenFile{ID: i, Content: p.text})
		case pieceUnknown:
			if unknown >= 0 {
				return nil, fmt.Errorf("%s: pieces %d and %d both stand for what is unknown", path, unknown, i)
			}
			unknown, to = int32(i), reserved
		case pieceControl, pieceByte:
			to = reserved
		default:
			return nil, &UnsupportedError{path, fmt.Sprintf("piece %d", i), fmt.Sprintf("of type %d", p.kind)}
		}
		_, twice := to[p.text]
		if twice || p.text == "" || !utf8.ValidString(p.text) || len(p.text) > longestToken || p.score != p.score {
			return nil, fmt.Errorf("%s: piece %d is %.80q with the score %v: want a text of its own of at most %d "+
				"bytes", path, i, p.text, p.score, longestToken)
		}
		to[p.text], t.texts[i] = int32(i), p.text
	}
	if unknown < 0 {
		return nil, fmt.Errorf("%s: none of its pieces stands for what is unknown", path)
	}
	if m.byteFallback {
		var ok bool
		if t.bytes, ok = fallback(reserved); !ok {
			return nil, &UnsupportedError{path, "vocabulary", "without a token for each byte (byte_fallback)"}
		}
	}
	switch m.modelType {
	case typeUnigram:
		t.model = m.unigram(tokens, unknown, t.bytes)
	case typeBPE:
		if t.model, err = m.characters(path, t, tokens, unknown, own); err != nil {
			return nil, err
		}
	default:
		return nil, &UnsupportedError{path, "model_type",
			fmt.Sprintf("%d (there are 1, Unigram, and 2, BPE)", m.modelType)}
	}
	t.useSpaces()
	normalize, err := m.normalizer(own)
	if err != nil {
		return nil, fmt.Errorf("%s: precompiled_charsmap: %w", path, err)
	}
	t.changes = []normalizer{normalize}
	return t, nil
}

// unigram is the model of a file whose type is Unigram.
func (m *modelFile) unigram(tokens map[string]int32, unknown int32, bytes [256]int32) *unigram {
	u := &unigram{tokens: tokens, scores: make([]float64, len(m.pieces)), starts: map[string]bool{}, unknown: unknown,
		fallback: m.byteFallback, bytes: bytes, single: true}
	least := float32(math.MaxFloat32)
	for i, p := range m.pieces {
		switch u.scores[i] = float64(p.score); p.kind {
		case pieceNormal:
			least = min(least, p.score)
		case pieceUserDefined: // a score that is above all others, so that it is always taken
			u.scores[i] = float64(float32(0.1 * float64(len(p.text)-1)))
		case pieceUnused:
			delete(tokens, p.text)
		}
	}
	u.penalty = float64(least - 10) // SentencePiece's kUnkPenalty
	for text := range tokens {
		for end := 1; end < len(text); end++ {
			u.starts[text[:end]] = true
		}
	}
	return u
}

// characters is the model of a file whose type is BPE. Two neighbours are merged where what they make is a piece, the
// piece with the highest score first.
func (m *modelFile) characters(path string, t *huggingFace, tokens map[string]int32, unknown int32, own addedTokens,
) (model, error) {
	c := &characters{t: t, fallback: m.byteFallback, unknown: unknown, hasUnk: true, fuse: true}
	t.tokens, t.merges = tokens, map[pair]merge{}
	var scores []float32
	for i, p := range m.pieces {
		if p.kind == pieceUnused {
			return nil, &UnsupportedError{path, fmt.Sprintf("piece %d", i), "an unused one in a BPE"}
		}
		if p.kind == pieceNormal {
			scores = append(scores, p.score)
		}
	}
	slices.Sort(scores)
	scores = slices.Compact(scores)
	_, c.apart = tokens["▁"]
	c.apart = c.apart && !m.suffix
	for i, p := range m.pieces {
		if p.kind != pieceNormal {
			continue
		}
		at, _ := slices.BinarySearch(scores, p.score)
		rank := int32(len(scores) - at)
		for end, r := range p.text {
			if _, known := tokens[string(r)]; !known {
				return nil, &UnsupportedError{path, fmt.Sprintf("piece %d", i),
					fmt.Sprintf("%q, of which %q is no piece", p.text, r)}
			}
			left, ok1 := tokens[p.text[:end]]
			right, ok2 := tokens[p.text[end:]]
			if end > 0 && ok1 && ok2 {
				t.merges[pair{left, right}] = merge{rank, int32(i)}
			}
		}
		if strings.Contains(strings.TrimLeft(p.text, "▁"), "▁") {
			c.apart = false
		}
	}
	if !own.any {
		return c, nil
	}
	return &withOwn{c, own}, nil
}

// withOwn cuts the symbols that a user defined out of a piece: they are merged with nothing.
type withOwn struct {
	model model
	own   addedTokens
}

func (m *withOwn) encode(text string, ids []int, work *merger) []int {
	m.own.cut(text, func(id int) { ids = append(ids, id) }, func(between string, _ bool) {
		ids = m.model.encode(between, ids, work)
	})
	return ids
}

// normalizer is what changes a text before the model sees it. Symbols that a user defined are left as they are.
func (m *modelFile) normalizer(own addedTokens) (normalizer, error) {
	var chars *charsmap
	if len(m.charsmap) > 0 {
		var err error
		if chars, err = parseCharsmap(m.charsmap); err != nil {
			return nil, err
		}
	}
	mark := " "
	if m.useMarked {
		mark = "▁"
	}
	// first is what the start of a text becomes, and how long that start is.
	first := func(text string) (becomes string, length int) {
		if symbol := own.first(text); symbol.text != "" {
			return symbol.text, len(symbol.text)
		}
		if chars != nil {
			if becomes, length = chars.longest(text); length > 0 {
				return becomes, length
			}
		}
		_, length = utf8.DecodeRuneInString(text)
		return text[:length], length
	}
	return func(text string) string {
		for m.trim && text != "" {
			becomes, n := first(text)
			if becomes != " " {
				break
			}
			text = text[n:]
		}
		if text == "" {
			return ""
		}
		var b strings.Builder
		b.Grow(len(text) + len(text)/4)
		if m.addPrefix && !m.suffix {
			b.WriteString(mark)
		}
		wasSpace := m.trim
		for text != "" {
			becomes, n := first(text)
			text = text[n:]
			if wasSpace {
				becomes = strings.TrimLeft(becomes, " ")
			}
			if becomes != "" {
				wasSpace = m.trim && strings.HasSuffix(becomes, " ")
				b.WriteString(strings.ReplaceAll(becomes, " ", mark))
			}
		}
		normal := b.String()
		for m.trim && strings.HasSuffix(normal, mark) {
			normal = strings.TrimSuffix(normal, mark)
		}
		if m.addPrefix && m.suffix {
			normal += mark
		}
		return normal
	}, nil
}
