package journal

import (
	"encoding/binary"
	"errors"

	"github.com/openloop/openloop/loadgen"
	"github.com/openloop/openloop/loadgen/stream"
)

// recordSize is how many bytes a record takes: thirteen of 64 bits, twelve of 32, and the rest.
const recordSize = 13*8 + 12*4 + 3*2 + 6 + 2

// wide and narrow are the fields of a record, in the order of the file.
func wide(r *loadgen.Record) [13]*int64 {
	return [...]*int64{&r.Scheduled, &r.Started, &r.Connecting, &r.Sent, &r.FirstEvent, &r.FirstToken, &r.LastToken,
		&r.LastEvent, &r.End, &r.DelaySum, &r.DelayMax, &r.Began, &r.FirstOutput}
}

func narrow(r *loadgen.Record) [12]*int32 {
	return [...]*int32{&r.Lines, &r.TokenEvents, &r.PromptTokens, &r.OutputTokens, &r.CachedTokens, &r.AskedPrompt,
		&r.AskedOutput, &r.PromptWords, &r.PromptChars, &r.OutputWords, &r.OutputChars, &r.Session}
}

// appendRecord writes a record.
func appendRecord(b []byte, r *loadgen.Record) []byte {
	for _, f := range wide(r) {
		b = binary.LittleEndian.AppendUint64(b, uint64(*f))
	}
	for _, f := range narrow(r) {
		b = binary.LittleEndian.AppendUint32(b, uint32(*f))
	}
	for _, v := range []int16{r.HTTPStatus, r.Turn, r.Turns} {
		b = binary.LittleEndian.AppendUint16(b, uint16(v))
	}
	b = append(b, byte(r.Status), byte(r.Err), byte(r.Finish), r.Tries, r.Class, r.Target)
	return binary.LittleEndian.AppendUint16(b, uint16(r.Flags))
}

var errShort = errors.New("a record is cut short")

// readRecord reads a record, and returns what follows it.
func readRecord(b []byte) (r loadgen.Record, rest []byte, err error) {
	if len(b) < recordSize {
		return r, nil, errShort
	}
	for _, f := range wide(&r) {
		*f = int64(binary.LittleEndian.Uint64(b))
		b = b[8:]
	}
	for _, f := range narrow(&r) {
		*f = int32(binary.LittleEndian.Uint32(b))
		b = b[4:]
	}
	for _, v := range []*int16{&r.HTTPStatus, &r.Turn, &r.Turns} {
		*v = int16(binary.LittleEndian.Uint16(b))
		b = b[2:]
	}
	r.Status, r.Err, r.Finish = loadgen.Status(b[0]), loadgen.ErrorKind(b[1]), stream.Finish(b[2])
	r.Tries, r.Class, r.Target = b[3], b[4], b[5]
	r.Flags = loadgen.Flags(binary.LittleEndian.Uint16(b[6:]))
	return r, b[8:], nil
}

// appendText writes a text with its length.
func appendText(b []byte, text string) []byte {
	return append(binary.LittleEndian.AppendUint32(b, uint32(len(text))), text...)
}

// readText reads what appendText wrote; "" where there is none.
func readText(b []byte) (text string, rest []byte) {
	if len(b) < 4 {
		return "", nil
	}
	n := int64(binary.LittleEndian.Uint32(b))
	b = b[4:]
	if n > int64(len(b)) {
		return "", nil
	}
	return string(b[:n]), b[n:]
}
