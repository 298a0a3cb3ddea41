package journal

import (
	"bufio"
	"cmp"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"slices"

	hdr "github.com/HdrHistogram/hdrhistogram-go"

	"github.com/openloop/openloop/loadgen"
)

// StopKilled is why a stage ended whose end is not in the journal.
const StopKilled loadgen.StopReason = "killed"

// Stage is a stage as a journal has it.
type Stage struct {
	Measured *loadgen.Measured
	// Whole is whether the stage's end is in the journal. Else its records are those that were written in time, its
	// Client holds nothing, and its histogram of gaps is some seconds older than its records.
	Whole bool
}

// frameLimit bounds a frame: a stage of a long trace is the largest.
const frameLimit = 64 << 20

// Read reads a journal up to where it is whole. About is filled with what Create was given. Cut is whether something
// came after that, which a crash has spoilt. The error is that of a file that is not a journal, or of the reader.
func Read(in io.Reader, about any) (stages []Stage, cut bool, err error) {
	r := reader{in: bufio.NewReaderSize(in, 1<<16)}
	head := make([]byte, len(magic))
	if _, err := io.ReadFull(r.in, head); err != nil || string(head) != magic {
		return nil, false, errors.New("not a journal of this version of openloop")
	}
	first, text, err := r.frame()
	if err != nil || first != runFrame {
		return nil, false, errors.New("the journal does not say of which run it is")
	}
	if err := json.Unmarshal(text, about); err != nil {
		return nil, false, fmt.Errorf("the journal's run: %w", err)
	}
	for {
		k, payload, err := r.frame()
		switch {
		case errors.Is(err, io.EOF):
			return r.finish(), false, nil
		case errors.Is(err, errSpoilt), errors.Is(err, io.ErrUnexpectedEOF):
			return r.finish(), true, nil
		case err != nil:
			return nil, false, err
		}
		if err := r.take(k, payload); err != nil {
			return r.finish(), true, nil // a frame whose checksum fits, and that this version can't have written
		}
	}
}

var errSpoilt = errors.New("a frame is spoilt")

// reader reads the frames of a journal.
type reader struct {
	in     *bufio.Reader
	buf    []byte
	stages []*stage // by their numbers
}

// stage is a stage being put together.
type stage struct {
	measured loadgen.Measured
	begun    bool
	ended    bool
	at       map[uint64]int // where the records are, by the index of the request
	last     int64          // the latest time that is known
	index    []uint64
}

// frame reads the next frame. The payload is valid until the call after.
func (r *reader) frame() (kind, []byte, error) {
	var head [frameHead]byte
	if _, err := io.ReadFull(r.in, head[:]); err != nil {
		return 0, nil, err
	}
	n := int(binary.LittleEndian.Uint32(head[1:]))
	if n > frameLimit {
		return 0, nil, errSpoilt
	}
	r.buf = slices.Grow(r.buf[:0], n+frameTail)[:n+frameTail]
	if _, err := io.ReadFull(r.in, r.buf); err != nil {
		return 0, nil, io.ErrUnexpectedEOF
	}
	sum := crc32.Update(crc32.Checksum(head[:], table), table, r.buf[:n])
	if sum != binary.LittleEndian.Uint32(r.buf[n:]) {
		return 0, nil, errSpoilt
	}
	return kind(head[0]), r.buf[:n], nil
}

// mostStages bounds the number of a stage: far more than a run has.
const mostStages = 1 << 12

// stage returns a stage by its number.
func (r *reader) stage(number uint32) (*stage, error) {
	if number >= mostStages {
		return nil, errSpoilt
	}
	for uint32(len(r.stages)) <= number {
		r.stages = append(r.stages, &stage{at: map[uint64]int{}})
	}
	return r.stages[number], nil
}

// numbered reads the number at the beginning of a payload, and returns its stage and the rest.
func (r *reader) numbered(payload []byte) (*stage, []byte, error) {
	if len(payload) < 4 {
		return nil, nil, errSpoilt
	}
	s, err := r.stage(binary.LittleEndian.Uint32(payload))
	return s, payload[4:], err
}

// take takes in a frame.
func (r *reader) take(k kind, payload []byte) error {
	switch k {
	case beginFrame:
		var b begin
		if err := json.Unmarshal(payload, &b); err != nil {
			return err
		}
		s, err := r.stage(uint32(b.Number))
		if err != nil {
			return err
		}
		s.begun = true
		s.measured.Stage, s.measured.Origin, s.measured.Start = b.Stage, b.Origin, b.Start
	case endFrame:
		var e end
		if err := json.Unmarshal(payload, &e); err != nil {
			return err
		}
		s, err := r.stage(uint32(e.Number))
		if err != nil {
			return err
		}
		m := &s.measured
		s.ended = true
		m.Stopped, m.End, m.Reason, m.Offered, m.Client = e.Stopped, e.End, e.Reason, e.Offered, e.Client
		if e.Err != "" {
			m.Err = errors.New(e.Err)
		}
	case gapsFrame:
		s, packed, err := r.numbered(payload)
		if err != nil {
			return err
		}
		gaps, err := hdr.Decode(packed)
		if err != nil {
			return err
		}
		s.measured.Gaps = gaps
	case sentFrame, doneFrame:
		return r.takeRecord(k, payload)
	}
	return nil // of a later version
}

// takeRecord takes in a request that was sent, or has ended.
func (r *reader) takeRecord(k kind, payload []byte) error {
	s, payload, err := r.numbered(payload)
	if err != nil || len(payload) < 8 {
		return errSpoilt
	}
	index := binary.LittleEndian.Uint64(payload)
	rec, rest, err := readRecord(payload[8:])
	if err != nil {
		return err
	}
	var detail loadgen.Detail
	if k == doneFrame {
		detail.ResponseID, rest = readText(rest)
		detail.Error, rest = readText(rest)
		detail.RequestID, _ = readText(rest)
		s.last = max(s.last, rec.End)
	} else {
		if len(rest) < 8 {
			return errSpoilt
		}
		rec.Status, rec.Sent = loadgen.Incomplete, int64(binary.LittleEndian.Uint64(rest))
		s.last = max(s.last, rec.Sent)
	}
	i, known := s.at[index]
	if !known {
		i = len(s.measured.Records)
		s.at[index] = i
		s.index = append(s.index, index)
		s.measured.Records = append(s.measured.Records, rec)
		s.measured.Details = append(s.measured.Details, detail)
		return nil
	}
	if k == doneFrame {
		s.measured.Records[i], s.measured.Details[i] = rec, detail
	}
	return nil
}

// finish puts the stages together.
func (r *reader) finish() []Stage {
	var all []Stage
	for _, s := range r.stages {
		if s.begun && len(s.measured.Records) > 0 {
			all = append(all, s.finish())
		}
	}
	return all
}

// finish puts a stage together: its records in the order of the requests, and what follows from them.
func (s *stage) finish() Stage {
	m := &s.measured
	order := make([]int, len(s.index))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(a, b int) int { return cmp.Compare(s.index[a], s.index[b]) })
	records, details := make([]loadgen.Record, len(order)), make([]loadgen.Detail, len(order))
	for i, from := range order {
		records[i], details[i] = m.Records[from], m.Details[from]
	}
	m.Records, m.Details = records, details
	if !s.ended {
		m.Reason, m.Stopped, m.End, m.Offered = StopKilled, s.last, s.last, len(records)
	}
	for i := range records {
		rec := &records[i]
		if rec.Status == loadgen.Incomplete && rec.End == 0 { // it was in flight when the journal ended
			rec.End = m.End
			details[i].Error = "Request was cancelled"
		}
	}
	m.SortRecords()
	m.Rebuild()
	return Stage{Measured: m, Whole: s.ended}
}
