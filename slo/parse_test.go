package slo

import (
	"errors"
	"math"
	"strings"
	"testing"

	"github.com/openloop/openloop/loadgen"
)

func TestParseObjectives(t *testing.T) {
	for _, tc := range []struct{ in, want string }{
		{"", ""},
		{" , ", ""},
		{"ttft:p95<250ms", "ttft:p95<250ms"},
		{"ttft:p95<250ms tpot:p95<50ms errors<1%", "ttft:p95<250ms tpot:p95<50ms errors<1%"},
		{"ttft:p95<250ms,tpot:p95<20ms", "ttft:p95<250ms tpot:p95<20ms"},
		{"TTFT:P95 <= 0.25s", "ttft:p95<=250ms"},
		{"itl:p99.9<50000us", "itl:p99.9<50ms"},
		{"itl:p99<1.5µs", "itl:p99<1.5us"},
		{"e2e:mean<1500ms", "e2e:mean<1.5s"},
		{"ntpot:max<=20ms", "ntpot:max<=20ms"},
		{"ttft:median<100ms", "ttft:p50<100ms"},
		{"errors<=0%", "errors<=0%"},
		{"errors < 0.1%", "errors<0.1%"},
		{"goodput:ttft<250ms,tpot<50ms >=90%", "goodput:ttft<250ms,tpot<50ms>=90%"},
		{"goodput: ttft < 250ms , e2e<=3s > 99.5%, errors<1%", "goodput:ttft<250ms,e2e<=3s>99.5% errors<1%"},
		{"goodput>=90% ttft:p95<250ms itl:p95<9ms tpot:mean<50ms",
			"goodput:ttft<250ms,tpot<50ms>=90% ttft:p95<250ms itl:p95<9ms tpot:mean<50ms"},
		{"chat", "ttft:p99<=200ms tpot:p99<=50ms"},
		{"rag", "ttft:p99<=300ms tpot:p99<=100ms e2e:p99<=3s"},
		{"code", "ttft:p99<=500ms tpot:p99<=150ms"},
		{"mlperf-llama2-70b-server", "ttft:p99<=2s tpot:p99<=200ms"},
		{"MLPerf-Llama2-70B-Interactive", "ttft:p99<=450ms tpot:p99<=40ms"},
		{"chat,errors<1%,ttft:p99<=0.2s", "ttft:p99<=200ms tpot:p99<=50ms errors<1%"},
	} {
		os, err := ParseObjectives(tc.in)
		if got := joinObjectives(os); err != nil || got != tc.want {
			t.Errorf("%q: %q, %v; want %q", tc.in, got, err, tc.want)
		}
	}
}

func joinObjectives(os []Objective) string {
	var all []string
	for _, o := range os {
		all = append(all, o.String())
	}
	return strings.Join(all, " ")
}

func TestParsedFigures(t *testing.T) {
	os, err := ParseObjectives("ttft:p99.9<250ms errors<0.1% goodput:ttft<1s>=99.9%")
	if err != nil {
		t.Fatal(err)
	}
	if os[0].Statistic.Q != 0.999 || os[0].Bound != 250e6 || os[1].Bound != 0.001 || os[2].Bound != 0.999 {
		t.Errorf("figures are not those of the decimal text: %+v", os)
	}
}

// The error points at the character that is wrong, also behind characters of several bytes.
func TestParseObjectiveErrors(t *testing.T) {
	for _, tc := range []struct {
		in   string
		at   int // rune column
		part string
	}{
		{"ttft<250ms", 4, "which statistic"},
		{"ttft", 4, "which statistic"},
		{"latency:p95<3s", 0, "begins with"},
		{"ttft:p95>250ms", 8, "upper bound"},
		{"ttft:p95=250ms", 8, "upper bound"},
		{"ttft:p95 250ms", 9, "upper bound"},
		{"ttft:p0<250ms", 5, "percentile"},
		{"ttft:p100<250ms", 5, "percentile"},
		{"ttft:pNaN<250ms", 5, "percentile"},
		{"ttft:p1e1<250ms", 5, "percentile"},
		{"ttft:worst<250ms", 5, "statistic"},
		{"ttft:p95<250", 12, "units"},
		{"ttft:p95<250%", 12, "units"},
		{"ttft:p95<250min", 12, "units"},
		{"ttft:p95<ms", 9, "number"},
		{"ttft:p95<1.2.3ms", 9, "number"},
		{"ttft:p95<0ms", 9, "above 0"},
		{"ttft:p95<2.5us;tpot:p95<5ms", 14, "separate"},
		{"ttft:p95<250µs tpot:p95<<5ms", 23, "upper bound"},
		{"errors<1", 8, "%"},
		{"errors<0%", 7, "no share"},
		{"errors<101%", 7, "no share"},
		{"errors>1%", 6, "errors<1%"},
		{"goodput>=90%", 7, "needs bounds"},
		{"goodput:>=90%", 8, "takes bounds"},
		{"goodput:itl<5ms>=90%", 8, "tpot"},
		{"goodput:ttft:p95<5ms>=90%", 12, "without a statistic"},
		{"goodput:ttft<5ms<90%", 16, "write for example"},
		{"goodput:ttft<5ms", 16, "write for example"},
		{"goodput:ttft<5ms>100%", 17, "no share"},
	} {
		_, err := ParseObjectives(tc.in)
		var pe *ParseError
		if !errors.As(err, &pe) {
			t.Errorf("%q: %v", tc.in, err)
			continue
		}
		lines := strings.Split(err.Error(), "\n")
		caret := strings.Index(lines[len(lines)-1], "^") - 2
		if caret != tc.at || !strings.Contains(pe.Problem, tc.part) {
			t.Errorf("%q: column %d, %q; want column %d, …%s…", tc.in, caret, pe.Problem, tc.at, tc.part)
		}
	}
}

func FuzzParseObjectives(f *testing.F) {
	for _, s := range []string{"ttft:p95<250ms,errors<1%", "goodput:ttft<250ms,tpot<50ms >=90%", "chat rag",
		"itl:p99.9<=1.5µs",
		"goodput>=90% e2e:max<3s", "ttft:p95<\x80", "errors<1e9%", "ttft{turn>1}:p95<1s session_e2e:p95<60s",
		"ttft{class=chat}:p95<1s errors{class=a.b}<1% tpot{class=x,turn>1}:mean<20ms"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		os, err := ParseObjectives(s)
		if err != nil {
			var pe *ParseError
			if !errors.As(err, &pe) || pe.Offset < 0 || pe.Offset > len(s) || pe.Error() == "" {
				t.Fatalf("%q: %v", s, err)
			}
			return
		}
		canonical := joinObjectives(os)
		again, err := ParseObjectives(canonical)
		if err != nil {
			t.Fatalf("%q: canonical %q: %v", s, canonical, err)
		}
		if joinObjectives(again) != canonical {
			t.Fatalf("%q: %q, then %q", s, canonical, joinObjectives(again))
		}
		for _, o := range os {
			if !(o.Bound >= 0) || math.IsInf(o.Bound, 0) {
				t.Fatalf("%q: bound %v", s, o.Bound)
			}
		}
	})
}

func TestTurns(t *testing.T) {
	for text, want := range map[string]Turns{
		"ttft{turn=1}:p95<1s": {1, 1}, "ttft{turn>1}:p95<1s": {First: 2}, "ttft{turn>=3}:p95<1s": {First: 3},
		"errors{turn<4}<1%": {1, 3}, "tpot{turn<=3}:mean<1s": {1, 3}, "ttft:p95<1s": {},
	} {
		got, err := ParseObjectives(text)
		if err != nil || len(got) != 1 || got[0].Turns != want {
			t.Errorf("%s: %+v, %v", text, got, err)
			continue
		}
		if again, err := ParseObjectives(got[0].String()); err != nil || again[0].Turns != want {
			t.Errorf("%s is written as %s, which is read as %+v (%v)", text, got[0], again, err)
		}
	}
	for _, text := range []string{"ttft{turn=0}:p95<1s", "ttft{turn<1}:p95<1s", "ttft{turn>1:p95<1s",
		"ttft{x=1}:p95<1s", "itl{turn=1}:p95<1s", "session_e2e{turn=1}:p95<1s", "ttft{turn=99999999999}:p95<1s"} {
		if got, err := ParseObjectives(text); err == nil {
			t.Errorf("%s is read as %v", text, got)
		}
	}
	first, third := loadgen.Record{Session: 1}, loadgen.Record{Session: 1, Turn: 2}
	alone := loadgen.Record{}
	for _, c := range []struct {
		turns Turns
		of    *loadgen.Record
		has   bool
	}{
		{Turns{}, &alone, true}, {Turns{}, &third, true}, {Turns{1, 1}, &first, true}, {Turns{1, 1}, &third, false},
		{Turns{First: 2}, &third, true}, {Turns{First: 2}, &first, false}, {Turns{1, 1}, &alone, false},
	} {
		if got := c.turns.has(c.of); got != c.has {
			t.Errorf("%v of turn %d of session %d: %v", c.turns, c.of.Turn, c.of.Session, got)
		}
	}
}

// A session is observed once, when its last turn is answered, or when it is known to take too long.
func TestSessionE2E(t *testing.T) {
	o, err := ParseObjectives("session_e2e:max<10s")
	if err != nil {
		t.Fatal(err)
	}
	turn := func(session int32, k int16, began, due, end int64, status loadgen.Status) loadgen.Record {
		r := loadgen.Record{Session: session, Turn: k, Turns: 2, Began: began, Scheduled: due, Sent: due}
		r.Status = status
		if status == loadgen.Completed {
			r.FirstToken, r.LastToken = end-1, end
		}
		r.End = end
		return r
	}
	ends := func(r loadgen.Record) loadgen.Record {
		r.Flags |= loadgen.EndsSession
		return r
	}
	m := &loadgen.Measured{
		Stage: loadgen.Stage{Load: loadgen.Load{Kind: loadgen.ConstantGap, Rate: 1}}, Start: 1, Stopped: 20e9,
		End:      20e9,
		Sessions: loadgen.Sessions{Started: 4, Done: 1, Abandoned: 1}, Offered: 4,
		Records: []loadgen.Record{
			turn(1, 0, 1e9, 1e9, 2e9, loadgen.Completed),
			turn(2, 0, 2e9, 2e9, 3e9, loadgen.Completed),
			ends(turn(3, 0, 3e9, 3e9, 4e9, loadgen.Errored)),
			turn(3, 1, 3e9, 3e9, 5e9, loadgen.Errored),         // beside it: the session is counted once
			ends(turn(1, 1, 1e9, 4e9, 6e9, loadgen.Completed)), // 5 s
			turn(2, 1, 2e9, 5e9, 0, loadgen.Incomplete),     // 18 s so far: a miss
			turn(4, 0, 15e9, 15e9, 16e9, loadgen.Completed), // goes on
			turn(4, 1, 15e9, 17e9, 0, loadgen.Incomplete),   // 5 s so far: not known
		},
	}
	got := Observe(m, o[0])
	if got.N != 3 || got.Misses != 2 || got.Failed != 1 {
		t.Errorf("%d observed, %d misses, %d failed", got.N, got.Misses, got.Failed)
	}
}

func TestClasses(t *testing.T) {
	all, err := ParseObjectives(
		"ttft{class=chat}:p95<1s errors{class=b-2}<1% tpot{ class=chat , turn>1 }:p95<1s " +
			"e2e{turn>1,class=b-2}:max<9s goodput{class=chat}:ttft<1s>=90% ttft:p95<2s")
	if err != nil {
		t.Fatal(err)
	}
	if all, err = ForClasses(all, []string{"chat", "b-2"}); err != nil {
		t.Fatal(err)
	}
	chat, other := loadgen.Record{Class: 1}, loadgen.Record{Class: 2}
	turn := loadgen.Record{Class: 1, Session: 1, Turn: 1}
	for i, want := range []struct {
		text              string
		chat, other, turn bool
	}{
		{"ttft{class=chat}:p95<1s", true, false, true},
		{"errors{class=b-2}<1%", false, true, false},
		{"tpot{class=chat,turn>=2}:p95<1s", false, false, true},
		{"e2e{class=b-2,turn>=2}:max<9s", false, false, false},
		{"goodput{class=chat}:ttft<1s>=90%", true, false, true},
		{"ttft:p95<2s", true, true, true},
	} {
		o := all[i]
		if o.String() != want.text || o.about(&chat) != want.chat || o.about(&other) != want.other ||
			o.about(&turn) != want.turn {
			t.Errorf("%s: %s of chat %v, other %v, turn %v", want.text, o, o.about(&chat), o.about(&other),
				o.about(&turn))
		}
	}
	if _, err := ForClasses(all, []string{"chat"}); err == nil {
		t.Error("no error about a class that is not there")
	}
	if _, err := ForClasses(all, nil); err == nil {
		t.Error("no error where there are no classes")
	}
	for _, text := range []string{"ttft{class=}:p95<1s", "ttft{class=a b}:p95<1s", "ttft{class=a,class=b}:p95<1s",
		"itl{class=a}:p95<1s", "session_e2e{class=a,turn>1}:p95<1s", "ttft{}:p95<1s", "ttft{class=a,}:p95<1s"} {
		if got, err := ParseObjectives(text); err == nil {
			t.Errorf("%s is read as %v", text, got)
		}
	}
	// Without bounds of its own, goodput takes those of the objectives on all requests.
	all, err = ParseObjectives("goodput>=90% ttft:p95<2s ttft{class=chat}:p95<1s session_e2e:p95<9s")
	if err != nil || len(all[0].Each) != 1 || all[0].Each[0].Bound != 2e9 {
		t.Errorf("%+v, %v", all, err)
	}
}
