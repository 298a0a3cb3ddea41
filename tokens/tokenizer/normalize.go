package tokenizer

import (
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/clipperhouse/uax29/v2/graphemes"
	"golang.org/x/text/unicode/norm"
)

// normalizer changes a text before it is split.
type normalizer func(string) string

// readNormalizers adds the steps of a normalizer; added is told each.
func readNormalizers(path string, data json.RawMessage, add func(normalizer)) error {
	n := struct {
		Type        string
		Normalizers []json.RawMessage
		Prepend     string
		Pattern     struct{ String, Regex *string }
		Content     string
		StripLeft   bool    `json:"strip_left"`
		StripRight  bool    `json:"strip_right"`
		Charsmap    *string `json:"precompiled_charsmap"`
		bertOptions
	}{bertOptions: bertOptions{CleanText: true, Chinese: true, Lowercase: true}} // as the library has it
	if err := json.Unmarshal(orNull(data), &n); err != nil {
		return fmt.Errorf("%s: normalizer: %w", path, err)
	}
	switch n.Type {
	case "":
		if string(orNull(data)) == "null" {
			return nil
		}
	case "NFC":
		add(norm.NFC.String)
		return nil
	case "Sequence":
		for _, part := range n.Normalizers {
			if err := readNormalizers(path, part, add); err != nil {
				return err
			}
		}
		return nil
	case "Prepend":
		add(func(text string) string {
			if text == "" {
				return text
			}
			return n.Prepend + text
		})
		return nil
	case "Replace":
		switch p := n.Pattern; {
		case p.String != nil && *p.String != "":
			add(func(text string) string { return strings.ReplaceAll(text, *p.String, n.Content) })
			return nil
		case p.Regex != nil && *p.Regex == " {2,}":
			add(func(text string) string { return replaceRuns(text, n.Content) })
			return nil
		}
	case "Strip":
		add(func(text string) string {
			if n.StripLeft {
				text = strings.TrimLeftFunc(text, unicode.IsSpace)
			}
			if n.StripRight {
				text = strings.TrimRightFunc(text, unicode.IsSpace)
			}
			return text
		})
		return nil
	case "Precompiled":
		if n.Charsmap == nil {
			return nil
		}
		c, err := readCharsmap(*n.Charsmap)
		if err != nil {
			return fmt.Errorf("%s: normalizer: precompiled_charsmap: %w", path, err)
		}
		add(c.normalize)
		return nil
	case "BertNormalizer":
		add(n.bertOptions.normalize)
		return nil
	}
	return &UnsupportedError{path, "normalizer", shorten(data)}
}

// replaceRuns puts content in the place of each run of two or more spaces.
func replaceRuns(text, content string) string {
	if !strings.Contains(text, "  ") {
		return text
	}
	var b strings.Builder
	for text != "" {
		i := strings.Index(text, "  ")
		if i < 0 {
			break
		}
		b.WriteString(text[:i])
		b.WriteString(content)
		text = strings.TrimLeft(text[i:], " ")
	}
	b.WriteString(text)
	return b.String()
}

// bertOptions is the BertNormalizer.
type bertOptions struct {
	CleanText bool  `json:"clean_text"`
	Chinese   bool  `json:"handle_chinese_chars"`
	Accents   *bool `json:"strip_accents"` // nil is as Lowercase
	Lowercase bool  `json:"lowercase"`
}

func (o bertOptions) normalize(text string) string {
	var b strings.Builder
	b.Grow(len(text))
	for _, r := range text {
		if o.CleanText {
			if unicode.Is(bertControls, r) {
				continue
			}
			if unicode.IsSpace(r) {
				r = ' '
			}
		}
		if o.Chinese && chinese(r) {
			b.WriteByte(' ')
			b.WriteRune(r)
			b.WriteByte(' ')
			continue
		}
		b.WriteRune(r)
	}
	text = b.String()
	if o.Accents == nil && o.Lowercase || o.Accents != nil && *o.Accents {
		text = strings.Map(func(r rune) rune {
			if unicode.Is(bertAccents, r) {
				return -1
			}
			return r
		}, norm.NFD.String(text))
	}
	if o.Lowercase {
		// Unicode has one character that becomes two; Go's mapping is one to one.
		text = strings.ReplaceAll(strings.Map(func(r rune) rune {
			if r == 'İ' {
				return r
			}
			return unicode.ToLower(r)
		}, text), "İ", "i\u0307")
	}
	return text
}

// chinese says whether BERT takes a character for a word of its own.
func chinese(r rune) bool {
	return r >= 0x4e00 && r <= 0x9fff || r >= 0x3400 && r <= 0x4dbf || r >= 0x20000 && r <= 0x2a6df ||
		r >= 0x2a700 && r <= 0x2b81f || r >= 0x2b920 && r <= 0x2ceaf || r >= 0xf900 && r <= 0xfaff ||
		r >= 0x2f800 && r <= 0x2fa1f
}

// charsmap is SentencePiece's map of characters to what they become: a double array (darts-clone) whose leaves say
// where in texts the replacement starts. Each ends with a zero byte.
type charsmap struct {
	units []uint32
	texts string
}

func readCharsmap(encoded string) (*charsmap, error) {
	data, err := base64.StdEncoding.DecodeString(encoded)
	if err != nil {
		return nil, err
	}
	return parseCharsmap(data)
}

func parseCharsmap(data []byte) (*charsmap, error) {
	if len(data) < 4 {
		return nil, errors.New("it is cut off")
	}
	size := uint64(binary.LittleEndian.Uint32(data))
	data = data[4:]
	if size%4 != 0 || size == 0 || size > uint64(len(data)) {
		return nil, fmt.Errorf("a map of %d bytes in %d", size, len(data))
	}
	c := &charsmap{units: make([]uint32, size/4), texts: string(data[size:])}
	for i := range c.units {
		c.units[i] = binary.LittleEndian.Uint32(data[4*i:])
	}
	if !utf8.ValidString(c.texts) {
		return nil, errors.New("its replacements are not UTF-8")
	}
	return c, nil
}

// lookUp returns what the shortest start of a text that is in the map becomes; Hugging Face's library takes the
// shortest too, and for the whole of the text.
func (c *charsmap) lookUp(text string) (replacement string, ok bool) {
	c.starts(text, func(_ int, becomes string) bool {
		replacement, ok = becomes, true
		return false
	})
	return replacement, ok
}

// longest returns what the longest start of a text that is in the map becomes, and how long that start is; 0: none is.
func (c *charsmap) longest(text string) (replacement string, length int) {
	c.starts(text, func(n int, becomes string) bool {
		replacement, length = becomes, n
		return true
	})
	return replacement, length
}

// starts passes on the starts of a text that are in the map, the shortest first, until found says false.
func (c *charsmap) starts(text string, found func(length int, becomes string) bool) {
	offset := func(unit uint32) uint32 { return unit >> 10 << (unit & (1 << 9) >> 6) }
	at := offset(c.units[0])
	for i := range len(text) {
		if text[i] == 0 {
			break
		}
		at ^= uint32(text[i])
		if int64(at) >= int64(len(c.units)) {
			return
		}
		unit := c.units[at]
		if unit&(1<<31|0xff) != uint32(text[i]) {
			return
		}
		at ^= offset(unit)
		if unit>>8&1 == 0 {
			continue
		}
		if int64(at) >= int64(len(c.units)) {
			return
		}
		start := int64(c.units[at] & (1<<31 - 1))
		if start > int64(len(c.texts)) {
			return
		}
		replacement, _, _ := strings.Cut(c.texts[start:], "\x00")
		if !found(i+1, replacement) {
			return
		}
	}
}

// normalize replaces grapheme clusters of up to five bytes, and the characters of the others.
func (c *charsmap) normalize(text string) string {
	var b strings.Builder
	b.Grow(len(text))
	for clusters := graphemes.FromString(text); clusters.Next(); {
		cluster := clusters.Value()
		if len(cluster) < 6 {
			if replacement, ok := c.lookUp(cluster); ok {
				b.WriteString(replacement)
				continue
			}
		}
		for _, r := range cluster {
			if replacement, ok := c.lookUp(string(r)); ok {
				b.WriteString(replacement)
			} else {
				b.WriteRune(r)
			}
		}
	}
	return b.String()
}
