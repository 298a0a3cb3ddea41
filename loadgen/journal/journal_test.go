package journal

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/openloop/openloop/loadgen"
)

// A record comes back with every field that it has: one that was added to it and not here fails.
func TestRecord(t *testing.T) {
	var want loadgen.Record
	v := reflect.ValueOf(&want).Elem()
	for i := range v.NumField() {
		switch f := v.Field(i); f.Kind() {
		case reflect.Int64, reflect.Int32, reflect.Int16:
			f.SetInt(int64(i) - 3)
		case reflect.Uint8, reflect.Uint16:
			f.SetUint(uint64(i) + 1)
		default:
			t.Fatalf("%s is of a kind that this test does not know", v.Type().Field(i).Name)
		}
	}
	b := appendRecord(nil, &want)
	got, rest, err := readRecord(append(b, 7))
	if err != nil || got != want || len(b) != recordSize || len(rest) != 1 {
		t.Errorf("%+v, %d bytes, rest %v, %v; want %+v", got, len(b), rest, err, want)
	}
	if _, _, err := readRecord(b[:len(b)-1]); err == nil {
		t.Error("a record that is cut short is taken")
	}
}

// about is what the tests write of their run.
type about struct{ Name string }

const answer = `data: {"id":"c","choices":[{"index":0,"delta":{"content":"a"}}]}

data: {"id":"c","choices":[{"index":0,"delta":{"content":"b"},"finish_reason":"stop"}]}

data: [DONE]

`

// recorded runs two stages under a journal. The server fails every third request, and holds the last of the second
// stage back until the journal was looked at; look is told so.
func recorded(t *testing.T, look func(file string, w *Writer, run *loadgen.Run)) (
	file string, all []*loadgen.Measured,
) {
	t.Helper()
	const first, second = 20, 10
	var mu sync.Mutex
	n := 0
	held, let := make(chan bool, 1), make(chan bool)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		n++
		mine := n
		mu.Unlock()
		if mine == first+second {
			held <- true
			<-let
		}
		if mine%3 == 0 {
			http.Error(w, `{"error":{"message":"no"}}`, 500)
			return
		}
		w.Header().Set("Content-Type", "text/event-stream")
		io.WriteString(w, answer)
	}))
	defer s.Close()
	client, err := loadgen.NewClient(loadgen.Target{URL: s.URL})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	file = filepath.Join(t.TempDir(), "records.part")
	w, err := Create(file, about{"a run"})
	if err != nil {
		t.Fatal(err)
	}
	runner := loadgen.Runner{Client: client}
	for _, requests := range []int{first, second} {
		run, err := runner.Start(t.Context(), loadgen.Stage{
			Load: loadgen.Load{Kind: loadgen.Synchronous, Streams: 1}, MaxRequests: requests, KeepDetails: true,
		}, loadgen.Hooks{Observe: w.Observe, Source: func(int) (loadgen.Request, error) {
			return loadgen.Request{Body: []byte("{}"), PromptTokens: 1}, nil
		}})
		if err != nil {
			t.Fatal(err)
		}
		w.Begin(run)
		if requests == second {
			<-held
			look(file, w, run)
			close(let)
		}
		m := run.Wait()
		w.End(m)
		all = append(all, m)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return file, all
}

func read(t *testing.T, file string) ([]Stage, bool) {
	t.Helper()
	in, err := Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	var a about
	stages, cut, err := Read(in, &a)
	if err != nil || a.Name != "a run" {
		t.Fatalf("%+v %v", a, err)
	}
	return stages, cut
}

func sameMeasured(t *testing.T, got, want *loadgen.Measured) {
	t.Helper()
	if !slices.Equal(got.Records, want.Records) || got.Stopped != want.Stopped || got.End != want.End ||
		got.Start != want.Start || !got.Origin.Equal(want.Origin) || got.Reason != want.Reason ||
		got.Offered != want.Offered || got.Client != want.Client || !reflect.DeepEqual(got.Stage, want.Stage) {
		t.Errorf("%+v\nwant %+v", got, want)
	}
	for i := range want.Details {
		if got.Details[i].Error != want.Details[i].Error || got.Details[i].ResponseID != want.Details[i].ResponseID {
			t.Errorf("request %d: %+v, want %+v", i, got.Details[i], want.Details[i])
		}
	}
	if got.Gaps.TotalCount() != want.Gaps.TotalCount() || got.TTFT.TotalCount() != want.TTFT.TotalCount() {
		t.Errorf("%d gaps and %d first tokens, want %d and %d", got.Gaps.TotalCount(), got.TTFT.TotalCount(),
			want.Gaps.TotalCount(), want.TTFT.TotalCount())
	}
}

func TestJournal(t *testing.T) {
	var killed string
	file, all := recorded(t, func(file string, w *Writer, run *loadgen.Run) {
		w.keepGaps()
		if err := w.flush(true); err != nil {
			t.Error(err)
		}
		text, err := os.ReadFile(file) // what a program that is killed now leaves
		if err != nil {
			t.Error(err)
		}
		if in, err := Open(file); err == nil {
			in.Close()
			t.Error("a journal that is being written is opened")
		}
		killed = filepath.Join(t.TempDir(), "killed")
		os.WriteFile(killed, text, 0o644)
	})
	stages, cut := read(t, file)
	if len(stages) != 2 || cut || !stages[0].Whole || !stages[1].Whole {
		t.Fatalf("%d stages, cut: %v", len(stages), cut)
	}
	for i := range all {
		sameMeasured(t, stages[i].Measured, all[i])
	}

	stages, cut = read(t, killed)
	if len(stages) != 2 || cut || !stages[0].Whole || stages[1].Whole {
		t.Fatalf("killed: %d stages, cut: %v", len(stages), cut)
	}
	sameMeasured(t, stages[0].Measured, all[0])
	m := stages[1].Measured
	last := len(m.Records) - 1
	if last != 9 || !slices.Equal(m.Records[:last], all[1].Records[:last]) || m.Reason != StopKilled ||
		m.Records[last].Status != loadgen.Incomplete || m.Records[last].Sent == 0 || m.Offered != 10 ||
		m.Records[last].Scheduled != all[1].Records[last].Scheduled || m.Stopped != m.Records[last].Sent {
		t.Errorf("killed: %+v", m)
	}
	if m.Gaps.TotalCount() == 0 || m.TTFT.TotalCount() == 0 {
		t.Errorf("killed: %d gaps, %d first tokens", m.Gaps.TotalCount(), m.TTFT.TotalCount())
	}

	// Whatever a crash cuts off or spoils, what stands before it is good.
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for at := len(magic); at < len(text); at += 97 {
		spoilt := bytes.Clone(text)
		spoilt[at] ^= 0x40
		for _, b := range [][]byte{text[:at], spoilt} {
			var a about
			stages, _, err := Read(bytes.NewReader(b), &a)
			for _, s := range stages {
				if s.Whole && (s.Measured.Stopped == 0 || len(s.Measured.Records) == 0) {
					t.Fatalf("at %d: a stage without its records: %+v", at, s)
				}
			}
			if err == nil && a.Name != "a run" {
				t.Fatalf("at %d: %+v", at, a)
			}
		}
	}
}

func TestJournalRefuses(t *testing.T) {
	for _, text := range []string{"", "openloop", "{}", strings.Repeat("x", 100), magic, magic + "xxxx"} {
		var a about
		if _, _, err := Read(strings.NewReader(text), &a); err == nil {
			t.Errorf("%q is taken", text)
		}
	}
	there := filepath.Join(t.TempDir(), "there")
	os.WriteFile(there, []byte("mine"), 0o644)
	if _, err := Create(there, nil); err == nil {
		t.Error("a file is written over")
	}
}

// A journal that can't be written ends itself, says so, and holds nobody up.
func TestFullDisk(t *testing.T) {
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Skip("there is no /dev/full here: ", err)
	}
	w := &Writer{file: full, done: make(chan struct{})}
	w.add(runFrame, []byte("{}"))
	if w.flush(false) == nil || w.Err() == nil {
		t.Error("nothing is said")
	}
	w.Observe(loadgen.Event{Record: new(loadgen.Record), Run: new(loadgen.Run)})
	if len(w.buf) != 0 {
		t.Errorf("%d bytes wait for a disk that is full", len(w.buf))
	}
}

// A journal is removed only where it is the one that was made.
func TestRemove(t *testing.T) {
	name := filepath.Join(t.TempDir(), "records.part")
	w, err := Create(name, about{})
	if err != nil {
		t.Fatal(err)
	}
	os.Rename(name, name+"2")
	os.WriteFile(name, []byte("another's"), 0o644)
	if err := w.Remove(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(name); err != nil {
		t.Error("another's file was removed")
	}
}

// FuzzRead: no bytes make it fail in any other way than by saying so.
func FuzzRead(f *testing.F) {
	var b []byte
	b = appendFrame(append(b, magic...), runFrame, []byte(`{"Name":"x"}`))
	b = appendFrame(b, beginFrame, []byte(`{"number":0,"stage":{"Load":{"kind":"poisson","rate":5}},"start":5}`))
	f.Add(b, byte('d'), []byte("x"))
	f.Add(b, byte('g'), make([]byte, 60))
	f.Add(b, byte('e'), []byte(`{"number":0,"stopped":9}`))
	f.Add(b, byte('s'), appendRecord(make([]byte, 12), &loadgen.Record{Sent: 4}))
	f.Fuzz(func(t *testing.T, head []byte, k byte, payload []byte) {
		var a about
		for _, in := range [][]byte{head, appendFrame(bytes.Clone(b), kind(k), payload)} {
			stages, _, err := Read(bytes.NewReader(in), &a)
			for _, s := range stages {
				if err != nil || s.Measured == nil || s.Measured.Gaps == nil || s.Measured.TTFT == nil ||
					len(s.Measured.Details) != len(s.Measured.Records) {
					t.Fatalf("%+v, %v", s, err)
				}
			}
		}
	})
}

func BenchmarkObserve(b *testing.B) {
	null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	if err != nil {
		b.Fatal(err)
	}
	w := &Writer{file: null, done: make(chan struct{})}
	e := loadgen.Event{Run: new(loadgen.Run), Record: new(loadgen.Record), Ended: true,
		Detail: &loadgen.Detail{ResponseID: "chatcmpl-1"}}
	b.ReportAllocs()
	for b.Loop() {
		if w.Observe(e); len(w.buf) > 1<<20 {
			w.flush(false)
		}
	}
}
