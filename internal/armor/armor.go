// Package armor carries a report through a log, where no file outlives a run: compressed, and as text between two lines
// in the PEM format, which other programs read too.
package armor

import (
	"bytes"
	"compress/gzip"
	"encoding/pem"
	"errors"
	"io"
)

// blockType stands in the lines around a report: -----BEGIN OPENLOOP REPORT-----.
const blockType = "OPENLOOP REPORT"

// Write compresses what write writes by gzip and writes it as text.
func Write(w io.Writer, write func(io.Writer) error) error {
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	if err := errors.Join(write(z), z.Close()); err != nil {
		return err
	}
	return pem.Encode(w, &pem.Block{Type: blockType, Bytes: packed.Bytes()})
}

// Find finds the last report in a log; it is still compressed. ok is false where there is none that is whole.
func Find(log []byte) (packed []byte, ok bool) {
	for {
		block, rest := pem.Decode(log)
		if block == nil {
			return packed, ok
		}
		if block.Type == blockType {
			packed, ok = block.Bytes, true
		}
		log = rest
	}
}
