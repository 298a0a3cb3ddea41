package main

import (
	"errors"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/spf13/pflag"

	"github.com/openloop/openloop/spec"
)

func TestParseTime(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"30": 30 * time.Second, "30s": 30 * time.Second, "1m30s": 90 * time.Second, "0.5": time.Second / 2,
		"0": 0, " 2 ": 2 * time.Second, "1e-9": 1, "-1": -time.Second, "9223372036854775807ns": math.MaxInt64,
	} {
		if got, err := parseTime(text); err != nil || got != want {
			t.Errorf("%q: %v, %v; want %v", text, got, err, want)
		}
	}
	for _, text := range []string{"", "soon", "1e300", "inf", "nan", "1e400", "30 s", "1d"} {
		if got, err := parseTime(text); err == nil {
			t.Errorf("%q is taken as %v", text, got)
		}
	}
}

// What a flag's value is written as is read as the same value.
func TestValuesAreWrittenAsTheyAreRead(t *testing.T) {
	for _, test := range []struct {
		value func() pflag.Value
		text  string
		want  string
	}{
		{func() pflag.Value { return new(timeValue) }, "600", "10m"},
		{func() pflag.Value { return new(timeValue) }, "3600s", "1h"},
		{func() pflag.Value { return new(timeValue) }, "1.5", "1.5s"},
		{func() pflag.Value { return new(trimValue) }, "0.1", "0.1"},
		{func() pflag.Value { return new(trimValue) }, "5s", "5"},
		{func() pflag.Value { return new(trimValue) }, "500ms", "0.5s"},
		{func() pflag.Value { return new(ratesValue) }, "5, 10,2.5", "5,10,2.5"},
		{func() pflag.Value { return new(labelsValue) }, " gpu = 1xL4,a=b ", "a=b,gpu=1xL4"},
		{func() pflag.Value { return new(costValue) }, "1.10/h", "1.1/h"},
		{func() pflag.Value { return new(costValue) }, "$1.10/hour", "$1.1/h"},
		{func() pflag.Value { return new(costValue) }, "€ 2", "€2/h"},
		{func() pflag.Value { return new(costValue) }, "EUR 2/hr", "EUR 2/h"},
	} {
		v := test.value()
		if err := v.Set(test.text); err != nil || v.String() != test.want {
			t.Errorf("%q is written as %q (%v), want %q", test.text, v, err, test.want)
			continue
		}
		again := test.value()
		if err := again.Set(v.String()); err != nil || again.String() != v.String() {
			t.Errorf("%q is read as %q (%v)", v, again, err)
		}
	}
}

func TestTrims(t *testing.T) {
	for text, want := range map[string]spec.Trim{
		"0.1": {Percent: 0.1}, "5": {Value: 5}, "5s": {Value: 5}, "500ms": {Value: 0.5}, "0": {},
	} {
		var got trimValue
		if err := got.Set(text); err != nil || spec.Trim(got) != want {
			t.Errorf("%q: %+v, %v; want %+v", text, got, err, want)
		}
	}
}

// FuzzValues: a flag's value is taken or refused in plain words, and one that is taken is read again from its text.
func FuzzValues(f *testing.F) {
	for _, s := range []string{
		"30s", "1m30s", "0.1", "5", "5,10", "gpu=1xL4", "$1.10/h", "€1", "EUR 1.1/hr", "nan", "1e400", "-5", "=", "a=",
		"/h", ".", "1e300h", "0x1p-2", "500ms", "a=b=c", "x=\x1b[31m", "$$$1", "1/h/h", "𝟏",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		for _, make := range []func() pflag.Value{
			func() pflag.Value { return new(timeValue) }, func() pflag.Value { return new(trimValue) },
			func() pflag.Value { return new(ratesValue) }, func() pflag.Value { return new(labelsValue) },
			func() pflag.Value { return new(costValue) },
		} {
			v := make()
			if err := v.Set(text); err != nil {
				var coded *exitError
				if errors.As(err, &coded) || strings.Contains(err.Error(), "strconv") {
					t.Fatalf("%T %q: %v", v, text, err)
				}
				continue
			}
			again := make()
			if err := again.Set(v.String()); err != nil || again.String() != v.String() {
				t.Fatalf("%T %q is %q, which is read as %q (%v)", v, text, v, again, err)
			}
		}
	})
}

func TestColumnsJSON(t *testing.T) {
	for text, want := range map[string]string{
		"text_column=prompt":                        `{"text_column":"prompt"}`,
		"text_column=a, prefix_column=b":            `{"prefix_column":"b","text_column":"a"}`,
		`{"text_column":"a=b"}`:                     `{"text_column":"a=b"}`,
		`{"text_column":"a","prefix_column":"b=c"}`: `{"text_column":"a","prefix_column":"b=c"}`,
		"": "", "nonsense": "nonsense",
	} {
		if got := columnsJSON(text); got != want {
			t.Errorf("%q: %s, want %s", text, got, want)
		}
	}
}
