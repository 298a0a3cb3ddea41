package compare

import (
	"errors"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestParseConditions(t *testing.T) {
	for _, tc := range []struct{ in, want string }{
		{"", ""},
		{"ttft:p95>+10%", "ttft:p95>+10%"},
		{"TTFT:P95>+10%, rate<-5%  tok/s<-2.5%", "ttft:p95>+10% rate<-5% tok/s<-2.5%"},
		{"errors>+1%,errors>+1%", "errors>+1%"},
		{"goodput<-2%", "goodput<-2%"},
		{"e2e:median>+5%", "e2e:p50>+5%"},
		{"tpot:p99.9>+200%", "tpot:p99.9>+200%"},
		{"ntpot:mean>+0%", "ntpot:mean>+0%"},
	} {
		all, err := ParseConditions(tc.in)
		var texts []string
		for _, f := range all {
			texts = append(texts, f.String())
		}
		if got := strings.Join(texts, " "); err != nil || got != tc.want {
			t.Errorf("%q: %q, %v; want %q", tc.in, got, err, tc.want)
		}
	}
}

func TestConditionErrors(t *testing.T) {
	for _, tc := range []struct {
		in, problem string
		column      int
	}{
		{"ttft:p95", "a condition is a metric", 8},
		{"ttft>+10%", "which statistic of ttft", 4},
		{"ttft:max>+10%", "which statistic of ttft", 5},
		{"rate<-5% latency>+10%", "a condition is on ttft", 9},
		{"itl:p99>+10%", "take tpot", 0},
		{"ttft:p95>10%", "a rise is written with a plus: ttft:p95>+10%", 9},
		{"rate<5%", "a fall is written with a minus", 5},
		{"rate<-5", "written in %", 7},
		{"rate<-x%", `"x" is not a number`, 6},
		{"rate<-1e2%", "is not a number", 6},
		{"rate<-100%", "as large", 6},
		{"errors>+101%", "as large", 8},
	} {
		_, err := ParseConditions(tc.in)
		var where *ConditionError
		if !errors.As(err, &where) || !strings.Contains(where.Problem, tc.problem) || where.Offset != tc.column {
			t.Errorf("%q: %v; want %q at %d", tc.in, err, tc.problem, tc.column)
		}
	}
}

func FuzzParseConditions(f *testing.F) {
	for _, text := range []string{"", "ttft:p95>+10%", "rate<-5%,tok/s<-5%", "errors>+1% goodput<-1%", "itl:p99>+1%",
		"ttft:p95>", "é>+1%", "tpot:p99.9>+0.1%"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		all, err := ParseConditions(text)
		var where *ConditionError
		if err != nil {
			if !errors.As(err, &where) || where.Offset < 0 || where.Offset > len(text) {
				t.Fatalf("%q: %v", text, err)
			}
			if utf8.ValidString(text) && !utf8.ValidString(err.Error()) {
				t.Fatalf("%q: the error is not UTF-8: %q", text, err.Error())
			}
			return
		}
		for _, c := range all {
			again, err := ParseConditions(c.String())
			if err != nil || len(again) != 1 || again[0].String() != c.String() {
				t.Fatalf("%q is read as %q, and that as %v, %v", text, c, again, err)
			}
		}
	})
}
