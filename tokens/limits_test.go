package tokens

import (
	"compress/gzip"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// repeated is a text without an end.
type repeated string

func (r repeated) Read(p []byte) (int, error) {
	n := 0
	for n < len(p) {
		n += copy(p[n:], r)
	}
	return n, nil
}

// Whatever a file holds, a record of it has a limit, and so has what gzip unpacks; both say so, and where.
func TestRecordLimits(t *testing.T) {
	folder := t.TempDir()
	lines := strings.Repeat("a", 10_000) + "\n"
	for _, c := range []struct {
		name, start, rest string
		length            int64
		want              string
	}{
		{"long.txt", "good\n", "no line ends ", largestRecord + 1<<17, ":2: a record that is larger than 32 MB"},
		{"long.jsonl", "{\"prompt\":\"good\"}\n{\"prompt\":\"", "no string ends ", largestRecord + 1<<17,
			":2: a record that is larger than 32 MB"},
		{"empty.jsonl", "{\"prompt\":\"good\"}\n", "\n", largestRecord + 1<<17, "a record that is larger than 32 MB"},
		{"long.json", "[{\"prompt\":\"good\"},\n{\"prompt\":\"", "no string ends ", largestRecord + 1<<17,
			":2: a record that is larger than 32 MB"},
		{"long.csv", "prompt\ngood\n\"", "no quote ends ", largestRecord + 1<<17,
			":3: a record that is larger than 32 MB"},
		{"many.txt", "good\n", lines, largestRecord + 4<<20, ""},
		{"bomb.txt.gz", "good\n", lines, 300 << 20, "larger than 256 MB and than 200 times its size"},
	} {
		name := filepath.Join(folder, c.name)
		file, err := os.Create(name)
		if err != nil {
			t.Fatal(err)
		}
		text := io.MultiReader(strings.NewReader(c.start), io.LimitReader(repeated(c.rest), c.length))
		if strings.HasSuffix(name, ".gz") {
			z, _ := gzip.NewWriterLevel(file, gzip.BestSpeed)
			if _, err = io.Copy(z, text); err == nil {
				err = z.Close()
			}
		} else {
			_, err = io.Copy(file, text)
		}
		if err != nil {
			t.Fatal(err)
		}
		file.Close()
		r, err := openRecords(name)
		n := 0
		for err == nil {
			if _, _, err = r.next(); err == nil {
				n++
			}
		}
		if c.want == "" && (err != io.EOF || n < 100) || c.want != "" && !strings.Contains(err.Error(), c.name) ||
			!strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %d records, %v", c.name, n, err)
		}
		os.Remove(name)
	}
}

// A pipe is refused at once: nothing waits for somebody to write to it.
func TestPipesAreNoData(t *testing.T) {
	for _, name := range []string{"p.jsonl", "p.json", "tokenizer.json"} {
		pipe := filepath.Join(t.TempDir(), name)
		if err := syscall.Mkfifo(pipe, 0o600); err != nil {
			t.Skip(err)
		}
		for field, spec := range map[string]Spec{
			"Data": {Data: &DataSpec{Source: pipe}}, "Trace": {Trace: &TraceSpec{File: pipe}},
			"Tokenizer": {Synthetic: &SyntheticSpec{Prompt: Length{Mean: 1}}, Tokenizer: pipe},
		} {
			if field == "Tokenizer" && filepath.Ext(name) != ".json" {
				continue
			}
			_, err := Open(spec, "m")
			if err == nil || !strings.HasPrefix(err.Error(), field+": ") ||
				!strings.Contains(err.Error(), "is a pipe") {
				t.Errorf("%s %s: %v", field, name, err)
			}
		}
	}
}
