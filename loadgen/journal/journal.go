// Package journal keeps on the disk what a run measures, as it comes, so that a run that is killed, or whose machine
// dies, loses some seconds and not its stage.
//
//	journal.go  the file while the run lives
//	read.go     the file read back
//	record.go   one request in it
//
// A journal is a sequence of frames: a kind, a length, so many bytes, and their checksum. What a crash cuts in its
// middle is told from what is whole, and all before it is good.
package journal

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"slices"
	"sync"
	"time"

	hdr "github.com/HdrHistogram/hdrhistogram-go"

	"github.com/openloop/openloop/loadgen"
)

// magic begins the file; the number is that of its format.
const magic = "openloop records 5\n"

// kind is what a frame holds.
type kind byte

// The kinds.
const (
	runFrame   kind = 'r' // JSON of whoever wrote it: what is needed to make a report of the rest
	beginFrame kind = 'b' // JSON of a stage that begins
	sentFrame  kind = 's' // a request that is sent
	doneFrame  kind = 'd' // one that has ended, with its texts
	gapsFrame  kind = 'g' // the histogram of the gaps between tokens, so far
	endFrame   kind = 'e' // JSON of a stage that has ended
)

// How often what has come is written, and put on the disk: what a killed program and a dead machine lose at most.
const (
	writeEvery = time.Second
	syncEvery  = 3 * time.Second
)

// bufferLimit bounds what waits to be written. A disk that stands still for longer costs the journal, not the run.
const bufferLimit = 64 << 20

// begin is a beginFrame.
type begin struct {
	Number int           `json:"number"` // of the stage, from 0
	Stage  loadgen.Stage `json:"stage"`
	Origin time.Time     `json:"origin"`
	Start  int64         `json:"start"`
}

// end is an endFrame: what a stage left beside its records and histograms.
type end struct {
	Number  int                 `json:"number"`
	Stopped int64               `json:"stopped"`
	End     int64               `json:"end"`
	Reason  loadgen.StopReason  `json:"reason"`
	Err     string              `json:"err,omitempty"`
	Offered int                 `json:"offered"`
	Client  loadgen.ClientStats `json:"client"`
}

// Writer writes a journal. Its methods are safe for concurrent use; none of them waits for the disk but Close.
type Writer struct {
	file *os.File
	done chan struct{} // closed to end the writing
	idle sync.WaitGroup

	mu     sync.Mutex
	run    loadgen.Running // the stage under way; nil between stages
	number int             // of that stage, −1 before the first
	buf    []byte          // frames that are to be written
	spare  []byte
	err    error
}

// Create begins a journal in a new file. About is what the caller needs to make a report of it, in JSON.
func Create(name string, about any) (*Writer, error) {
	head, err := json.Marshal(about)
	if err != nil {
		return nil, err
	}
	file, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return nil, err
	}
	lock(file)
	w := &Writer{file: file, done: make(chan struct{}), number: -1}
	w.buf = appendFrame(append(w.buf, magic...), runFrame, head)
	if err := w.flush(true); err != nil {
		file.Close()
		os.Remove(name)
		return nil, err
	}
	w.idle.Go(w.write)
	return w, nil
}

// Open opens a journal to be read. It fails where the run that writes it is still going.
func Open(name string) (*os.File, error) {
	file, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	if !lock(file) {
		file.Close()
		return nil, fmt.Errorf("%s: the run that writes it is still going", name)
	}
	return file, nil
}

// Begin takes note of a stage that has begun. Its requests may have come before.
func (w *Writer) Begin(run loadgen.Running) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.enter(run)
	w.addJSON(beginFrame, begin{w.number, run.Stage(), run.Origin(), run.Start()})
}

// enter makes a run the stage under way.
func (w *Writer) enter(run loadgen.Running) {
	if w.run != run {
		w.run = run
		w.number++
	}
}

// Observe is for loadgen.Hooks.Observe: it keeps what is known of a request.
func (w *Writer) Observe(e loadgen.Event) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.enter(e.Run)
	if len(w.buf) > bufferLimit {
		w.fail(fmt.Errorf("the disk has taken nothing of the last %d MiB", bufferLimit>>20))
	}
	if w.err != nil {
		return
	}
	start := len(w.buf)
	w.buf = binary.LittleEndian.AppendUint32(openFrame(w.buf), uint32(w.number))
	w.buf = binary.LittleEndian.AppendUint64(w.buf, uint64(e.Index))
	w.buf = appendRecord(w.buf, e.Record)
	frame := sentFrame
	if e.Ended {
		frame = doneFrame
		if e.Detail != nil {
			w.buf = appendText(appendText(w.buf, e.Detail.ResponseID), e.Detail.Error)
			w.buf = appendText(w.buf, e.Detail.RequestID)
		}
	} else {
		// It is about to be sent; its record says so when it has ended.
		w.buf = binary.LittleEndian.AppendUint64(w.buf, uint64(e.Run.Start()+int64(e.At)))
	}
	w.buf = closeFrame(w.buf, start, frame)
}

// End takes note of what a stage left, which was the last to begin.
func (w *Writer) End(m *loadgen.Measured) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.run = nil
	w.addGaps(m.Gaps)
	e := end{w.number, m.Stopped, m.End, m.Reason, "", m.Offered, m.Client}
	if m.Err != nil {
		e.Err = m.Err.Error()
	}
	w.addJSON(endFrame, e)
}

// Err says why the journal ended before the run did; nil if it did not.
func (w *Writer) Err() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.err
}

// Close ends the journal and leaves the file, with all that was told.
func (w *Writer) Close() error {
	close(w.done)
	w.idle.Wait()
	err := w.flush(true)
	return errors.Join(err, w.file.Close())
}

// Remove ends the journal and removes the file, if it is still the one that was made.
func (w *Writer) Remove() error {
	mine, err := w.file.Stat()
	name := w.file.Name()
	if closeErr := w.Close(); err == nil && closeErr == nil {
		if there, err := os.Stat(name); err == nil && os.SameFile(mine, there) {
			return os.Remove(name)
		}
	}
	return err
}

// write writes what has come, until the journal ends.
func (w *Writer) write() {
	tick := time.NewTicker(writeEvery)
	defer tick.Stop()
	synced := time.Now()
	for {
		select {
		case <-w.done:
			return
		case <-tick.C:
		}
		sync := time.Since(synced) >= syncEvery
		if sync {
			synced = time.Now()
			w.keepGaps()
		}
		if w.flush(sync) != nil {
			return
		}
	}
}

// keepGaps takes in the gaps between tokens of the stage under way.
func (w *Writer) keepGaps() {
	w.mu.Lock()
	run, number := w.run, w.number
	w.mu.Unlock()
	if run == nil {
		return
	}
	gaps := run.Gaps()
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.number == number && w.run == run {
		w.addGaps(gaps)
	}
}

func (w *Writer) addGaps(gaps *hdr.Histogram) {
	packed, err := gaps.Encode(hdr.V2CompressedEncodingCookieBase)
	if err != nil {
		w.fail(err)
		return
	}
	w.add(gapsFrame, append(binary.LittleEndian.AppendUint32(nil, uint32(w.number)), packed...))
}

func (w *Writer) addJSON(k kind, v any) {
	text, err := json.Marshal(v)
	if err != nil {
		w.fail(err)
		return
	}
	w.add(k, text)
}

func (w *Writer) add(k kind, payload []byte) {
	if w.err == nil {
		w.buf = appendFrame(w.buf, k, payload)
	}
}

// fail ends the journal. The run goes on without.
func (w *Writer) fail(err error) {
	if w.err == nil {
		w.err, w.buf = err, nil
	}
}

// flush writes what waits. One goroutine at a time calls it.
func (w *Writer) flush(sync bool) error {
	w.mu.Lock()
	out, err := w.buf, w.err
	w.buf, w.spare = w.spare[:0], nil
	w.mu.Unlock()
	if err == nil && len(out) > 0 {
		_, err = w.file.Write(out)
	}
	if err == nil && sync {
		err = w.file.Sync()
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.spare = out[:0]
	if err != nil {
		w.fail(err)
	}
	return w.err
}

// A frame is its kind, the length of its payload, the payload, and the checksum of the three.
const (
	frameHead = 1 + 4
	frameTail = 4
)

var table = crc32.MakeTable(crc32.Castagnoli)

func appendFrame(b []byte, k kind, payload []byte) []byte {
	start := len(b)
	return closeFrame(append(openFrame(b), payload...), start, k)
}

// openFrame leaves room for the head of a frame, whose payload is to follow.
func openFrame(b []byte) []byte { return append(slices.Grow(b, 256), make([]byte, frameHead)...) }

// closeFrame fills in the head of the frame that began at start, and adds its checksum.
func closeFrame(b []byte, start int, k kind) []byte {
	b[start] = byte(k)
	binary.LittleEndian.PutUint32(b[start+1:], uint32(len(b)-start-frameHead))
	return binary.LittleEndian.AppendUint32(b, crc32.Checksum(b[start:], table))
}
