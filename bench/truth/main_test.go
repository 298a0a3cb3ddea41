package main

import (
	"math"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/openloop/openloop/audit"
)

// The tests' program is the server's and the client's as well, as the bench's is.
func TestMain(m *testing.M) {
	runProcess(os.Args[1:])
	os.Exit(m.Run())
}

// A run leaves nothing behind, also where its client fails.
func TestNoFilesAreLeft(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("TMPDIR", dir)
	r := row{Name: "x", Engine: "fixed", Rate: 1, Output: 1, Seconds: 1}
	_, err := r.run("send", clientOptions{Profile: "/nosuch/folder/cpu.out"})
	if err == nil || !strings.Contains(err.Error(), "client") {
		t.Errorf("a client that can't write its profile: error %v", err)
	}
	if _, err := startServer("nosuch engine", false); err == nil {
		t.Error("no error of a server that does not start")
	}
	left, err := os.ReadDir(dir)
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

func TestWrongVerdict(t *testing.T) {
	// A run of a second at 1,000 req/s that the server saw as it was asked for.
	good := func(level audit.Level) runResult {
		return runResult{
			clientMeasured: clientMeasured{Verdict: level, TTFT: [2]float64{30.2, 31}},
			serverMeasured: serverMeasured{TrueTTFT: [2]float64{30.1, 31}, Reached: 1000, Late: [2]float64{0.1, 1}},
		}
	}
	with := func(level audit.Level, change func(*runResult)) runResult {
		r := good(level)
		change(&r)
		return r
	}
	off := func(r *runResult) { r.TTFT[0] = 32 }
	unsent := func(r *runResult) { r.Reached = 900 }
	late := func(r *runResult) { r.Late[1] = 20 }
	busy := func(r *runResult) { r.Others = 0.6 }
	for _, c := range []struct {
		name   string
		right  []audit.Level
		result runResult
		wrong  string // part of what is said; "" where the verdict is right
	}{
		{"valid and true", nil, good(audit.Valid), ""},
		{"invalid is careful", nil, good(audit.Invalid), ""},
		{"valid, and the TTFT is not the server's", nil, with(audit.Valid, off), "wrong by 1.90 ms"},
		{"suspect says that the TTFT may not be the server's", nil, with(audit.Suspect, off), ""},
		{"valid, and the load was less", nil, with(audit.Valid, unsent), "90.0 % of the requests"},
		{"suspect, and the load was less", nil, with(audit.Suspect, unsent), "90.0 % of the requests"},
		{"invalid, for the load was less", nil, with(audit.Invalid, unsent), ""},
		{"valid, and the load was late", nil, with(audit.Valid, late), "20.0 ms late"},
		{"invalid, for the load was late", nil, with(audit.Invalid, late), ""},
		{"a starved client is called invalid", unfit, good(audit.Invalid), ""},
		{"a starved client is called valid", unfit, good(audit.Valid), "[invalid] would be right"},
		{"a fit client is called suspect", fit, good(audit.Suspect), ""},
		{"a fit client is called invalid", fit, good(audit.Invalid), "would be right"},
		{"a fit client is called invalid, others took its processor", fit, with(audit.Invalid, busy), ""},
		{"a starved client is called valid, whatever others did", unfit, with(audit.Valid, busy), "would be right"},
	} {
		r := row{Rate: 1000, Seconds: 1, Verdicts: c.right}
		got := r.wrongVerdict(&c.result)
		if (got == "") != (c.wrong == "") || !strings.Contains(got, c.wrong) {
			t.Errorf("%s: %q, want %q", c.name, got, c.wrong)
		}
	}
	closed := row{Streams: 5}
	res := with(audit.Valid, unsent)
	if got := closed.wrongVerdict(&res); got != "" {
		t.Errorf("a closed loop has no rate to reach: %q", got)
	}
}

func TestLateArrivals(t *testing.T) {
	steady := func(n int) []int64 {
		at := make([]int64, n)
		for i := range at {
			at[i] = int64(5*time.Second) + int64(i)*int64(time.Millisecond)
		}
		return at
	}
	near := func(got, want [2]float64) bool {
		return math.Abs(got[0]-want[0]) < 1e-6 && math.Abs(got[1]-want[1]) < 1e-6
	}
	if got := lateArrivals(steady(1000), 1000); !near(got, [2]float64{0, 0}) {
		t.Errorf("a steady load is %v ms late", got)
	}
	// From the middle on nothing comes for a tenth of a second, and then all that was due.
	stalled := steady(1000)
	for i := 500; i < 600; i++ {
		stalled[i] = stalled[600]
	}
	if got := lateArrivals(stalled, 1000); !near(got, [2]float64{0, 91}) {
		t.Errorf("after a stall of 100 ms a tenth of the load is %v ms late, want a p99 of 91", got)
	}
	// The first is late, and the order of the record is not that of the arrivals.
	first := steady(1000)
	first[0] += int64(500 * time.Microsecond)
	slices.Reverse(first)
	if got := lateArrivals(first, 1000); !near(got, [2]float64{0, 0}) {
		t.Errorf("%v ms late, and it is one request", got)
	}
	if got := lateArrivals(nil, 1000); got != [2]float64{} {
		t.Errorf("of no request: %v", got)
	}
}

func TestChoose(t *testing.T) {
	names := func(rows []row) (names []string) {
		for _, r := range rows {
			names = append(names, r.Name)
		}
		return names
	}
	all, err := choose(rows(), "")
	if err != nil || slices.Contains(names(all), "report") || !slices.Contains(names(all), "beyond") {
		t.Errorf("%v, %v", names(all), err)
	}
	if some, err := choose(rows(), "report,300"); err != nil || !slices.Equal(names(some), []string{"300", "report"}) {
		t.Errorf("%v, %v", names(some), err)
	}
	if _, err := choose(rows(), "300,nosuch"); err == nil || !strings.Contains(err.Error(), `"nosuch"`) {
		t.Errorf("a row that is not there: %v", err)
	}
	if all := names(rows()); len(slices.Compact(slices.Sorted(slices.Values(all)))) != len(all) {
		t.Errorf("a name stands for two rows: %v", all)
	}
}

func TestReplaceTables(t *testing.T) {
	const tables = "\nnew\n"
	whole := tablesBegin + tables + tablesEnd
	for _, c := range []struct{ page, want string }{
		{"", "# The client against the truth\n\n" + whole},
		{"# Title\n\ntext\n", "# Title\n\ntext\n\n" + whole},
		{"before\n" + tablesBegin + "old\n" + tablesEnd + "after\n", "before\n" + whole + "after\n"},
	} {
		if got := replaceTables(c.page, tables); got != c.want {
			t.Errorf("%q becomes %q, want %q", c.page, got, c.want)
		}
	}
}

func TestTableOfARow(t *testing.T) {
	r := row{Name: "300", Engine: "fixed", Rate: 300, Output: 128, Seconds: 3}
	tab := r.table([]runResult{{
		clientMeasured: clientMeasured{
			Verdict: audit.Valid, TTFT: [2]float64{30.5, 31}, Sent: 900, Offered: 900, Tokens: 1,
		},
		serverMeasured: serverMeasured{TrueTTFT: [2]float64{30.25, 31}},
	}})
	var text, page strings.Builder
	tab.print(&text)
	tab.markdown(&page)
	if !strings.Contains(page.String(), "| TTFT p50, error (ms) | +0.250 | +0.250 … +0.250 |\n") ||
		!strings.Contains(page.String(), "### 300: 300 req/s of 128 tokens, fixed, 3 s, runs: 1\n") {
		t.Error(page.String())
	}
	if !strings.Contains(text.String(), "TTFT p50, error (ms)") || !strings.Contains(text.String(), "+0.250") {
		t.Error(text.String())
	}
}
