//go:build ignore

// genvocabularies writes vocabularies/NAME.gz of the encodings that are part of the program, from the .tiktoken files of
// OpenAI's that the module tiktoken-go-loader holds. embedded.go reads them, and says what is in them.
package main

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"

	loader "github.com/pkoukk/tiktoken-go-loader"
)

func main() {
	for _, name := range []string{"o200k_base", "cl100k_base"} {
		if err := write(name); err != nil {
			fmt.Fprintf(os.Stderr, "genvocabularies: %s: %v\n", name, err)
			os.Exit(1)
		}
	}
}

func write(name string) error {
	ranks, err := loader.NewOfflineLoader().LoadTiktokenBpe(name + ".tiktoken")
	if err != nil {
		return err
	}
	tokens := make([]string, len(ranks))
	for token, rank := range ranks {
		if rank >= len(tokens) || tokens[rank] != "" || len(token) == 0 || len(token) > 255 {
			return fmt.Errorf("the token %q has the rank %d, of %d", token, rank, len(tokens))
		}
		tokens[rank] = token
	}
	data := binary.BigEndian.AppendUint32(nil, uint32(len(tokens)))
	for _, token := range tokens {
		data = append(data, byte(len(token)))
	}
	for _, token := range tokens {
		data = append(data, token...)
	}
	var packed bytes.Buffer
	zipped, err := gzip.NewWriterLevel(&packed, gzip.BestCompression)
	if err != nil {
		return err
	}
	if _, err := zipped.Write(data); err != nil {
		return err
	}
	if err := zipped.Close(); err != nil {
		return err
	}
	if err := os.MkdirAll("vocabularies", 0o755); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join("vocabularies", name+".gz"), packed.Bytes(), 0o644)
}
