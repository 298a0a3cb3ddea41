package report

import (
	"bytes"
	"compress/gzip"
	"encoding/csv"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// goldenFolders lists the recordings of GuideLLM 0.5.0: report.json.gz and what GuideLLM rendered from it.
func goldenFolders(t *testing.T) []string {
	t.Helper()
	names, err := filepath.Glob("../testdata/golden/*/report.json.gz")
	if err != nil || len(names) == 0 {
		t.Fatalf("no golden reports found (%v)", err)
	}
	for i, name := range names {
		names[i] = filepath.Dir(name)
	}
	return names
}

func gunzip(t *testing.T, name string) []byte {
	t.Helper()
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func readGolden(t *testing.T, folder string) *Report {
	t.Helper()
	r, err := ReadFile(filepath.Join(folder, "report.json.gz"))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// What GuideLLM wrote is read and written back byte for byte: field order, nulls, floats and escapes included.
func TestJSONRoundTrip(t *testing.T) {
	for _, folder := range goldenFolders(t) {
		t.Run(filepath.Base(folder), func(t *testing.T) {
			r := readGolden(t, folder)
			if len(r.Unknown) > 0 || len(r.Missing) > 0 {
				t.Errorf("unknown fields %v, missing fields %v", r.Unknown, r.Missing)
			}
			var got bytes.Buffer
			if err := WriteJSON(&got, r); err != nil {
				t.Fatal(err)
			}
			want := gunzip(t, filepath.Join(folder, "report.json.gz"))
			for i := range want {
				if i >= got.Len() || got.Bytes()[i] != want[i] {
					from := max(0, i-200)
					t.Fatalf("differs at byte %d\ngot  …%s\nwant …%s", i, clip(got.Bytes(), from), clip(want, from))
				}
			}
			if got.Len() != len(want) {
				t.Fatalf("%d bytes, want %d", got.Len(), len(want))
			}
		})
	}
}

func clip(b []byte, from int) []byte { return b[min(from, len(b)):min(from+400, len(b))] }

// P2: every figure of GuideLLM's metrics, of its scheduler's delays and of its requests comes out of its requests.
func TestRecomputeGolden(t *testing.T) {
	for _, folder := range goldenFolders(t) {
		t.Run(filepath.Base(folder), func(t *testing.T) {
			r := readGolden(t, folder)
			out := Recompute(r)
			for i, d := range out.Differences {
				if i == 20 {
					t.Fatalf("and %d more", len(out.Differences)-i)
				}
				t.Error(d)
			}
			for _, n := range out.NotRebuilt {
				if filepath.Ext(n.Path) != ".processed_delay_avg" {
					t.Errorf("%s was not rebuilt: %s", n.Path, n.Reason)
				}
			}
			if least := 1500 * len(r.Benchmarks); out.Figures < least {
				t.Errorf("compared %d figures, expected at least %d", out.Figures, least)
			}
		})
	}
}

// P3: the console tables are GuideLLM's, character for character.
func TestConsoleGolden(t *testing.T) {
	for _, folder := range goldenFolders(t) {
		t.Run(filepath.Base(folder), func(t *testing.T) {
			want, err := os.ReadFile(filepath.Join(folder, "console.txt"))
			if err != nil {
				t.Fatal(err)
			}
			var got strings.Builder
			if err := WriteConsole(&got, readGolden(t, folder), time.UTC); err != nil {
				t.Fatal(err)
			}
			if got.String() != string(want) {
				t.Errorf("got\n%s\nwant\n%s", got.String(), want)
			}
		})
	}
}

// P3: the CSV has GuideLLM's cells, numbers included, since they are written with the fewest digits that hold them.
func TestCSVGolden(t *testing.T) {
	for _, folder := range goldenFolders(t) {
		t.Run(filepath.Base(folder), func(t *testing.T) {
			want, err := os.ReadFile(filepath.Join(folder, "report.csv"))
			if err != nil {
				t.Fatal(err)
			}
			var got strings.Builder
			if err := WriteCSV(&got, readGolden(t, folder), time.UTC); err != nil {
				t.Fatal(err)
			}
			compareCSV(t, got.String(), string(want))
		})
	}
}

func compareCSV(t *testing.T, got, want string) {
	t.Helper()
	if got == want {
		return
	}
	g, w := csvRecords(t, got), csvRecords(t, want)
	if len(g) != len(w) {
		t.Fatalf("%d rows, want %d", len(g), len(w))
	}
	for i := range w {
		if len(g[i]) != len(w[i]) {
			t.Errorf("row %d has %d cells, want %d", i, len(g[i]), len(w[i]))
		}
		for j := range min(len(g[i]), len(w[i])) {
			if g[i][j] != w[i][j] {
				t.Errorf("row %d cell %d:\ngot  %s\nwant %s", i, j, g[i][j], w[i][j])
			}
		}
	}
	if !t.Failed() {
		t.Error("same cells, but not the same bytes")
	}
}

func csvRecords(t *testing.T, text string) [][]string {
	t.Helper()
	in := csv.NewReader(strings.NewReader(text))
	in.FieldsPerRecord = -1
	records, err := in.ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	return records
}
