package guidellm

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/csv"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/openloop/openloop/guidellm/stats"
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

// TestGolden checks every recording: it is read and written without loss, its metrics come out of its requests (P2),
// and it renders as GuideLLM rendered it (P3).
func TestGolden(t *testing.T) {
	for _, folder := range goldenFolders(t) {
		t.Run(filepath.Base(folder), func(t *testing.T) {
			t.Parallel()
			text := gunzip(t, filepath.Join(folder, "report.json.gz"))
			r, err := Read(bytes.NewReader(text))
			if err != nil {
				t.Fatal(err)
			}
			t.Run("json", func(t *testing.T) { checkRoundTrip(t, r, text) })
			t.Run("fields", func(t *testing.T) { checkFields(t, text) })
			invented := strings.HasPrefix(filepath.Base(folder), "synthetic-")
			t.Run("window", func(t *testing.T) { checkWindow(t, r, invented) })
			t.Run("recompute", func(t *testing.T) { checkRecompute(t, r) })
			t.Run("console", func(t *testing.T) { checkConsole(t, r, filepath.Join(folder, "console.txt")) })
			t.Run("csv", func(t *testing.T) { checkCSV(t, r, filepath.Join(folder, "report.csv")) })
		})
	}
}

// Every field is known and read, and what is written is the same JSON value, its fields in GuideLLM's order.
func checkRoundTrip(t *testing.T, r *Report, want []byte) {
	if len(r.Unknown) > 0 || len(r.Missing) > 0 {
		t.Errorf("unknown fields %v, missing fields %v", r.Unknown, r.Missing)
	}
	var got bytes.Buffer
	if err := writeJSON(&got, r); err != nil {
		t.Fatal(err)
	}
	if !json.Valid(got.Bytes()) {
		t.Error("what was written is not JSON")
	}
	compareJSON(t, got.String(), string(want))
}

// compareJSON compares two texts token by token: numbers by their value, NaN as a word or as a string.
func compareJSON(t *testing.T, got, want string) {
	t.Helper()
	g, w := jsonTokens(got), jsonTokens(want)
	for n := 0; ; n++ {
		a, aErr := g.Token()
		b, bErr := w.Token()
		x, xIsNumber := a.(json.Number)
		y, yIsNumber := b.(json.Number)
		if xIsNumber && yIsNumber {
			v, vErr := x.Float64()
			u, uErr := y.Float64()
			xIsFloat, yIsFloat := strings.ContainsAny(string(x), ".e"), strings.ContainsAny(string(y), ".e")
			if v != u || vErr != nil || uErr != nil || xIsFloat != yIsFloat {
				t.Fatalf("token %d at byte %d: got %s, want %s", n, g.InputOffset(), x, y)
			}
			continue
		}
		if a != b || aErr != bErr {
			t.Fatalf("token %d at byte %d: got %v %v, want %v %v", n, g.InputOffset(), a, aErr, b, bErr)
		}
		if aErr != nil {
			return
		}
	}
}

func jsonTokens(text string) *json.Decoder {
	d := json.NewDecoder(&quoteNaN{in: bufio.NewReader(strings.NewReader(text))})
	d.UseNumber()
	return d
}

func checkRecompute(t *testing.T, r *Report) {
	out := Recompute(r)
	for i, d := range out.Differences {
		if i == 20 {
			t.Fatalf("and %d more", len(out.Differences)-i)
		}
		t.Error(d)
	}
	for _, n := range out.NotRecomputed {
		if filepath.Ext(n.Path) != ".processed_delay_avg" {
			t.Errorf("%s was not recomputed: %s", n.Path, n.Reason)
		}
	}
	if least := 1200 * len(r.Benchmarks); out.Compared < least {
		t.Errorf("compared %d values, expected at least %d", out.Compared, least)
	}
}

func checkConsole(t *testing.T, r *Report, file string) {
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var got strings.Builder
	if err := WriteConsole(&got, r, time.UTC); err != nil {
		t.Fatal(err)
	}
	if got.String() != string(want) {
		t.Errorf("got\n%s\nwant\n%s", got.String(), want)
	}
}

// Every cell is the same text, JSON in a cell the same value.
func checkCSV(t *testing.T, r *Report, file string) {
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var got strings.Builder
	if err := writeCSV(&got, r, time.UTC); err != nil {
		t.Fatal(err)
	}
	compareCSV(t, got.String(), string(want))
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
			switch {
			case g[i][j] == w[i][j]:
			case strings.HasPrefix(w[i][j], "{"): // pydantic writes some floats with other digits of the exponent
				compareJSON(t, g[i][j], w[i][j])
			default:
				t.Errorf("row %d cell %d:\ngot  %s\nwant %s", i, j, g[i][j], w[i][j])
			}
		}
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

// The measured window follows from the run and its requests.
func checkWindow(t *testing.T, r *Report, invented bool) {
	if invented {
		return
	}
	for i, b := range r.Benchmarks {
		var requests []stats.Request
		for _, seq := range []RequestSeq{b.Requests.Successful, b.Requests.Errored, b.Requests.Incomplete} {
			for r := range seq {
				requests = append(requests, r.Stats())
			}
		}
		progress := b.SchedulerState.Progress
		got := stats.MeasuredWindow(stats.Run{
			Start: b.SchedulerState.StartTime, Stop: orNaN(progress.StopTime),
			MaxRequests: orNaN(progress.TotalRequests), MaxSeconds: orNaN(progress.TotalDuration),
			Warmup: b.Config.Warmup.stats(), Cooldown: b.Config.Cooldown.stats(),
		}, requests)
		m := &b.SchedulerMetrics
		if want := (stats.Window{Start: m.MeasureStartTime, End: m.MeasureEndTime}); got != want {
			t.Errorf("benchmark %d: got %v, want %v", i, got, want)
		}
	}
}

// GuideLLM's own reports have all fields of the list, each of its kind.
func checkFields(t *testing.T, text []byte) {
	problems, err := validate(bytes.NewReader(text))
	if err != nil || len(problems) > 0 {
		t.Errorf("%v %v", err, problems[:min(5, len(problems))])
	}
}

func (c Transient) stats() stats.Transient {
	t := stats.NoTransient()
	t.Percent, t.Mode = orNaN(c.Percent), stats.TransientMode(c.Mode)
	if raw, ok := c.Value.(json.RawMessage); ok {
		t.Value, _ = strconv.ParseFloat(string(raw), 64)
	}
	return t
}
