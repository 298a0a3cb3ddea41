package main

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/spf13/pflag"

	"github.com/openloop/openloop/spec"
)

// timeValue is a flag's duration: 30s, 1m30s, or a number of seconds.
type timeValue time.Duration

// timeVar adds a flag with a duration.
func timeVar(set *pflag.FlagSet, d *time.Duration, name string, value time.Duration, usage string) {
	*d = value
	set.Var((*timeValue)(d), name, usage)
}

// Set implements pflag.Value.
func (t *timeValue) Set(text string) error {
	d, err := parseTime(text)
	*t = timeValue(d)
	return err
}

// parseTime reads a duration with its unit, or a number of seconds.
func parseTime(text string) (time.Duration, error) {
	text = strings.TrimSpace(text)
	if seconds, err := strconv.ParseFloat(text, 64); err == nil || errors.Is(err, strconv.ErrRange) {
		switch ns := seconds * 1e9; {
		case math.IsNaN(ns):
		case math.Abs(ns) >= math.MaxInt64:
			return 0, errors.New("it is too long")
		default:
			return time.Duration(math.Round(ns)), nil
		}
	}
	d, err := time.ParseDuration(text)
	if err != nil {
		return 0, errors.New("it must be a number of seconds, or a duration such as 30s or 1m30s")
	}
	return d, nil
}

// Type implements pflag.Value: it is the value's name in the help.
func (t *timeValue) Type() string { return "TIME" }

// String implements pflag.Value.
func (t *timeValue) String() string { return shortTime(time.Duration(*t)) }

// shortTime writes a duration without the units that are 0: 10m, not 10m0s.
func shortTime(d time.Duration) string {
	text := d.String()
	if strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(text, "0s")
	}
	if strings.HasSuffix(text, "h0m") {
		text = strings.TrimSuffix(text, "0m")
	}
	return text
}

// trimValue is the part of a stage that a flag leaves out: a share below 1, a number of seconds (or of requests), or a
// duration with its unit.
type trimValue spec.Trim

// Set implements pflag.Value.
func (t *trimValue) Set(text string) error {
	text = strings.TrimSpace(text)
	if v, err := strconv.ParseFloat(text, 64); err == nil && !math.IsNaN(v) && !math.IsInf(v, 0) {
		*t = trimValue(spec.TrimOf(v))
		return nil
	}
	d, err := time.ParseDuration(text)
	if err != nil {
		return errors.New("it must be a share below 1, a number of seconds, or a duration such as 5s")
	}
	*t = trimValue{Value: d.Seconds()}
	return nil
}

// Type implements pflag.Value.
func (t *trimValue) Type() string { return "PART" }

// String implements pflag.Value.
func (t *trimValue) String() string {
	if t.Value != 0 {
		if t.Value < 1 { // without its unit, it would be a share
			return strconv.FormatFloat(t.Value, 'g', -1, 64) + "s"
		}
		return strconv.FormatFloat(t.Value, 'g', -1, 64)
	}
	return strconv.FormatFloat(t.Percent, 'g', -1, 64)
}

// setAll adds texts to a flag with several values.
func setAll(v pflag.Value, texts []string) error {
	for _, text := range texts {
		if err := v.Set(text); err != nil {
			return err
		}
	}
	return nil
}

// ratesValue is a list of rates: 5 or 5,10,20. A flag that is repeated adds to it.
type ratesValue []float64

// Set implements pflag.Value.
func (r *ratesValue) Set(text string) error {
	var rates []float64
	for part := range strings.SplitSeq(text, ",") {
		v, err := strconv.ParseFloat(strings.TrimSpace(part), 64)
		if err != nil && !errors.Is(err, strconv.ErrRange) { // an infinite rate is refused as one
			return errors.New("it is a number, or a list of them such as 5,10,20, without a unit")
		}
		rates = append(rates, v)
	}
	*r = append(*r, rates...)
	return nil
}

// Type implements pflag.Value.
func (r *ratesValue) Type() string { return "N,…" }

// String implements pflag.Value.
func (r *ratesValue) String() string { return strings.Join(r.GetSlice(), ",") }

// GetSlice, Append and Replace implement pflag.SliceValue.
func (r *ratesValue) GetSlice() []string {
	texts := make([]string, 0, len(*r))
	for _, v := range *r {
		texts = append(texts, strconv.FormatFloat(v, 'g', -1, 64))
	}
	return texts
}

// Append implements pflag.SliceValue.
func (r *ratesValue) Append(text string) error { return r.Set(text) }

// Replace implements pflag.SliceValue.
func (r *ratesValue) Replace(texts []string) error {
	*r = nil
	return setAll(r, texts)
}

// labelsValue is a set of labels, key=value or key=value,key=value; a flag that is repeated adds to it.
type labelsValue map[string]string

// Set implements pflag.Value.
func (l *labelsValue) Set(text string) error {
	parts := strings.Split(text, ",")
	if !slices.ContainsFunc(parts, func(part string) bool { return !strings.Contains(part, "=") }) {
		for _, part := range parts {
			if err := l.setOne(part); err != nil {
				return err
			}
		}
		return nil
	}
	return l.setOne(text)
}

func (l *labelsValue) setOne(text string) error {
	key, value, ok := strings.Cut(text, "=")
	key, value = strings.TrimSpace(key), strings.TrimSpace(value)
	if !ok || key == "" {
		return errors.New("it must be KEY=VALUE, such as gpu=1xL4")
	}
	if strings.ContainsFunc(key+value, unicode.IsControl) {
		return errors.New("it must not hold a control character")
	}
	if *l == nil {
		*l = labelsValue{}
	}
	if before, given := (*l)[key]; given && before != value {
		return fmt.Errorf("%s is %q already", key, before)
	}
	(*l)[key] = value
	return nil
}

// Type implements pflag.Value.
func (l *labelsValue) Type() string { return "KEY=VALUE" }

// String implements pflag.Value.
func (l *labelsValue) String() string { return strings.Join(l.GetSlice(), ",") }

// GetSlice implements pflag.SliceValue.
func (l *labelsValue) GetSlice() []string {
	var texts []string
	for _, key := range slices.Sorted(maps.Keys(*l)) {
		texts = append(texts, key+"="+(*l)[key])
	}
	return texts
}

// Append implements pflag.SliceValue.
func (l *labelsValue) Append(text string) error { return l.Set(text) }

// Replace implements pflag.SliceValue.
func (l *labelsValue) Replace(texts []string) error {
	*l = nil
	return setAll(l, texts)
}

// costValue is what the endpoint costs an hour: 1.10/h, $1.10/h, €1.10, EUR 1.10/h.
type costValue struct{ cost *spec.Cost }

// Set implements pflag.Value.
func (c *costValue) Set(text string) error {
	wrong := errors.New("it must be an amount an hour, such as 1.10/h, $1.10/h or 'EUR 1.10/h'")
	amount := strings.TrimSpace(text)
	for _, per := range []string{"/h", "/hour", "/hr"} {
		if rest, ok := strings.CutSuffix(amount, per); ok {
			amount = strings.TrimSpace(rest)
			break
		}
	}
	digits := strings.IndexFunc(amount, func(r rune) bool { return r >= '0' && r <= '9' || r == '.' })
	if digits < 0 {
		return wrong
	}
	currency := strings.TrimSpace(amount[:digits])
	other := func(r rune) bool { return !unicode.IsLetter(r) && !unicode.Is(unicode.Sc, r) }
	if strings.ContainsFunc(currency, other) || len([]rune(currency)) > 3 {
		return wrong
	}
	perHour, err := strconv.ParseFloat(amount[digits:], 64)
	if err != nil || !(perHour > 0) || math.IsInf(perHour, 0) {
		return wrong
	}
	c.cost = &spec.Cost{PerHour: perHour, Currency: currency}
	return nil
}

// Type implements pflag.Value.
func (c *costValue) Type() string { return "PRICE" }

// String implements pflag.Value.
func (c *costValue) String() string {
	if c.cost == nil {
		return ""
	}
	return c.cost.InCurrency(strconv.FormatFloat(c.cost.PerHour, 'f', -1, 64)) + "/h"
}
