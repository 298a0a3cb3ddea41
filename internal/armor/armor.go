// Package armor carries a report through a log, where no file outlives a run: compressed, and as text between two lines
// in the PEM format, which other programs read too.
package armor

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"io"
)

const (
	// blockType stands in the lines around a report.
	blockType = "OPENLOOP REPORT"
	begin     = "-----BEGIN " + blockType + "-----"
	end       = "-----END " + blockType + "-----"

	// lineLength is that of a report's lines. What keeps a container's log adds some fifty bytes to every line, and
	// splits those that are longer than 16 kB.
	lineLength = 4096
)

// Write compresses what write writes by gzip and writes it as text.
func Write(w io.Writer, write func(io.Writer) error) error {
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	if err := errors.Join(write(z), z.Close()); err != nil {
		return err
	}
	text := make([]byte, base64.StdEncoding.EncodedLen(packed.Len()))
	base64.StdEncoding.Encode(text, packed.Bytes())
	var lines bytes.Buffer
	lines.WriteString(begin + "\n")
	for len(text) > 0 {
		n := min(len(text), lineLength)
		lines.Write(text[:n])
		lines.WriteByte('\n')
		text = text[n:]
	}
	lines.WriteString(end + "\n")
	_, err := w.Write(lines.Bytes())
	return err
}

// Find finds the last report in a log; it is still compressed. ok is false where there is none that is whole. Lines
// that got among those of a report, as those of stderr do in a container's log, are left out.
func Find(log []byte) (packed []byte, ok bool) {
	var report bytes.Buffer
	inside := false
	for line := range bytes.Lines(log) {
		line = bytes.TrimSpace(line)
		switch {
		case string(line) == begin:
			inside = true
			report.Reset()
		case !inside:
			continue
		case string(line) == end:
			inside = false
		case !isBase64(line):
			continue
		}
		report.Write(line)
		report.WriteByte('\n')
		if !inside {
			if block, _ := pem.Decode(report.Bytes()); block != nil {
				packed, ok = block.Bytes, true
			}
		}
	}
	return packed, ok
}

func isBase64(line []byte) bool {
	for _, c := range line {
		switch {
		case c >= 'A' && c <= 'Z', c >= 'a' && c <= 'z', c >= '0' && c <= '9', c == '+', c == '/', c == '=':
		default:
			return false
		}
	}
	return true
}
