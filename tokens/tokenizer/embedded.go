package tokenizer

import (
	"bytes"
	"compress/gzip"
	"embed"
	"encoding/binary"
	"fmt"
	"io"
)

// The vocabularies of o200k_base and cl100k_base, in a quarter of what their .tiktoken files take.
//
//go:generate go run genvocabularies.go
//go:embed vocabularies
var vocabularies embed.FS

// openEmbedded loads o200k_base or cl100k_base from the program itself. It takes some 0.1 s; who only needs prompts by
// o200k_base uses [EmbeddedWords], which needs no tokenizer.
func openEmbedded(name string) (*tiktokenBPE, error) {
	pattern, ok := map[string]string{"o200k_base": patternO200K, "cl100k_base": patternCL100K}[name]
	if !ok {
		return nil, fmt.Errorf("there is not an embedded tokenizer %q; there are o200k_base and cl100k_base", name)
	}
	packed, err := vocabularies.ReadFile("vocabularies/" + name + ".gz")
	if err != nil {
		return nil, fmt.Errorf("embedded tokenizer %s: %w", name, err)
	}
	ranks, err := unpackRanks(packed)
	if err != nil {
		return nil, fmt.Errorf("embedded tokenizer %s: %w", name, err)
	}
	return newTiktoken(name, ranks, pattern)
}

// unpackRanks reads a vocabulary as genvocabularies.go writes it: how many tokens there are in four bytes, a byte for
// the length of each, and then the tokens, all in the order of their ranks; compressed.
func unpackRanks(packed []byte) (map[string]int, error) {
	zipped, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		return nil, err
	}
	data, err := io.ReadAll(zipped)
	if err != nil {
		return nil, err
	}
	if len(data) < 4 {
		return nil, io.ErrUnexpectedEOF
	}
	count, data := uint64(binary.BigEndian.Uint32(data)), data[4:]
	if uint64(len(data)) < count {
		return nil, io.ErrUnexpectedEOF
	}
	lengths, tokens := data[:count], string(data[count:])
	ranks := make(map[string]int, count)
	for rank, length := range lengths {
		if int(length) > len(tokens) {
			return nil, io.ErrUnexpectedEOF
		}
		ranks[tokens[:length]] = rank
		tokens = tokens[length:]
	}
	if len(tokens) > 0 || uint64(len(ranks)) != count {
		return nil, fmt.Errorf("%d tokens, of which %d differ, and %d bytes after them", count, len(ranks), len(tokens))
	}
	return ranks, nil
}
