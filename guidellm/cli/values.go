package cli

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/openloop/openloop/guidellm"
)

// argument is what may be given for one of GuideLLM's arguments. No error shows a text that may be a secret.
type argument interface {
	// parse reads texts of the command line or of a variable, at least one. Where only one counts, it is the last.
	parse(texts []string) error
	// decode reads a value of a scenario: nil, bool, int64, float64, string, []any or guidellm.Object.
	decode(value any) error
}

func last(texts []string) string { return texts[len(texts)-1] }

// textArg is a text, perhaps one of a few.
type textArg struct {
	guidellm.Null[string]
	choices []string
}

func (t *textArg) parse(texts []string) error { return t.decode(last(texts)) }

func (t *textArg) decode(value any) error {
	switch v := value.(type) {
	case nil:
		t.Null = guidellm.Null[string]{}
		return nil
	case string:
		if t.choices != nil && !slices.Contains(t.choices, v) {
			return fmt.Errorf("%q: it is one of %s", v, strings.Join(t.choices, ", "))
		}
		t.Null = guidellm.Some(v)
		return nil
	}
	return fmt.Errorf("it is %s: want a text", describe(value))
}

// numberArg is a number, and what was given for it, for the report.
type numberArg struct {
	guidellm.Null[float64]
	given any
}

func (n *numberArg) parse(texts []string) error {
	x, err := parseNumber(last(texts))
	n.Null, n.given = guidellm.Some(x), x
	return err
}

func (n *numberArg) decode(value any) error {
	x, ok := numberOf(value)
	if value != nil && !ok {
		return fmt.Errorf("it is %s: want a number", describe(value))
	}
	n.Null, n.given = guidellm.Null[float64]{Value: x, Valid: ok}, value
	return nil
}

// wholeArg is a whole number. isNull says that null was given, which is not the same as nothing.
type wholeArg struct {
	guidellm.Null[int64]
	isNull bool
}

func (n *wholeArg) parse(texts []string) error {
	v, err := strconv.ParseInt(strings.TrimSpace(last(texts)), 10, 64)
	if err != nil {
		return fmt.Errorf("%q is not a whole number", last(texts))
	}
	n.Null, n.isNull = guidellm.Some(v), false
	return nil
}

func (n *wholeArg) decode(value any) error {
	x, ok := numberOf(value)
	if value != nil && (!ok || x != math.Trunc(x) || math.Abs(x) > 1<<53) {
		return fmt.Errorf("it is %s: want a whole number", describe(value))
	}
	n.Null, n.isNull = guidellm.Null[int64]{Value: int64(x), Valid: ok}, value == nil
	return nil
}

// switchArg is on or off.
type switchArg struct{ guidellm.Null[bool] }

func (s *switchArg) parse(texts []string) error {
	on, ok := truthOf(last(texts))
	if !ok {
		return fmt.Errorf("%q is neither true nor false", last(texts))
	}
	s.Null = guidellm.Some(on)
	return nil
}

func (s *switchArg) decode(value any) error {
	on, ok := truthOf(value)
	if value != nil && !ok {
		return fmt.Errorf("it is %s: want true or false", describe(value))
	}
	s.Null = guidellm.Null[bool]{Value: on, Valid: ok}
	return nil
}

// settingsArg is an object; nil for none.
type settingsArg struct{ guidellm.Object }

func (s *settingsArg) parse(texts []string) error {
	v, err := parseSettings(last(texts))
	if err != nil {
		return err
	}
	return s.decode(v)
}

func (s *settingsArg) decode(value any) error {
	o, ok := value.(guidellm.Object)
	if value != nil && !ok {
		return fmt.Errorf("it is %s: want a JSON object or key=value pairs", describe(value))
	}
	s.Object = o
	return nil
}

// anyArg is what is read by the subject that it belongs to.
type anyArg struct{ value any }

func (a *anyArg) parse(texts []string) error {
	v, err := parseSettings(last(texts))
	a.value = v
	return err
}

func (a *anyArg) decode(value any) error {
	a.value = value
	return nil
}

// listArg is a list of such.
type listArg []any

func (l *listArg) parse(texts []string) error {
	*l = nil
	for _, text := range texts {
		v, err := parseSettings(text)
		if err != nil {
			return err
		}
		*l = append(*l, v)
	}
	return nil
}

func (l *listArg) decode(value any) error {
	*l = listOf(value)
	return nil
}

// dataArg is a list of sources of data.
type dataArg []any

func (d *dataArg) parse(texts []string) error {
	*d = nil
	for _, text := range texts {
		*d = append(*d, text)
	}
	return nil
}

func (d *dataArg) decode(value any) error {
	*d = listOf(value)
	return nil
}

// textsArg is a list of texts, each with commas between several.
type textsArg []string

func (t *textsArg) parse(texts []string) error {
	*t = splitCommas(texts)
	return nil
}

func (t *textsArg) decode(value any) error {
	*t = nil
	for _, item := range listOf(value) {
		text, ok := item.(string)
		if !ok {
			return fmt.Errorf("it is %s: want a text", describe(item))
		}
		*t = append(*t, text)
	}
	return nil
}

// numbersArg is a list of numbers above 0, each text with commas between several.
type numbersArg []float64

func (n *numbersArg) parse(texts []string) error {
	*n = nil
	for _, text := range splitCommas(texts) {
		x, err := parseNumber(text)
		if err != nil {
			return err
		}
		if err := n.add(x, text); err != nil {
			return err
		}
	}
	return nil
}

func (n *numbersArg) decode(value any) error {
	*n = nil
	for _, item := range listOf(value) {
		x, _ := numberOf(item)
		if err := n.add(x, describe(item)); err != nil {
			return err
		}
	}
	return nil
}

func (n *numbersArg) add(x float64, given string) error {
	if !(x > 0) || math.IsInf(x, 0) {
		return fmt.Errorf("%s: it must be a number above 0", given)
	}
	*n = append(*n, x)
	return nil
}

// splitCommas splits lists; what is empty between commas is left out.
func splitCommas(texts []string) []string {
	list := []string{}
	for _, text := range texts {
		for item := range strings.SplitSeq(text, ",") {
			item = strings.TrimSpace(item)
			if item != "" || !strings.Contains(text, ",") {
				list = append(list, item)
			}
		}
	}
	return list
}

// listOf is a list, or a single value as a list of it.
func listOf(value any) []any {
	switch v := value.(type) {
	case nil:
		return nil
	case []any:
		return v
	}
	return []any{value}
}

func parseNumber(text string) (float64, error) {
	x, err := strconv.ParseFloat(strings.TrimSpace(text), 64)
	if err != nil || math.IsNaN(x) {
		return 0, fmt.Errorf("%q is not a number", text)
	}
	return x, nil
}

// numberOf reads a number, or the text of one as key=value pairs give it.
func numberOf(value any) (float64, bool) {
	switch v := value.(type) {
	case int64:
		return float64(v), true
	case float64:
		return v, !math.IsNaN(v)
	case string:
		x, err := parseNumber(v)
		return x, err == nil
	}
	return 0, false
}

// truthOf reads true and false, and the words for them that click and pydantic take.
func truthOf(value any) (on, ok bool) {
	switch v := value.(type) {
	case bool:
		return v, true
	case string:
		switch strings.ToLower(strings.TrimSpace(v)) {
		case "1", "true", "t", "yes", "y", "on":
			return true, true
		case "0", "false", "f", "no", "n", "off":
			return false, true
		}
	}
	return false, false
}

// describe says what a value is without showing a text, which may be a secret.
func describe(value any) string {
	switch v := value.(type) {
	case nil:
		return "null"
	case string:
		return "a text"
	case []any:
		return "a list"
	case guidellm.Object:
		return "an object"
	default:
		return fmt.Sprint(v)
	}
}

// parseSettings reads JSON, key=value pairs with commas between them, or a plain number or word (utils/cli.py,
// parse_json). Nothing but blanks is nil.
func parseSettings(text string) (any, error) {
	trimmed := strings.TrimSpace(text)
	switch {
	case trimmed == "":
		return nil, nil
	case strings.ContainsAny(text, "{}"):
		v, err := parseJSON([]byte(text))
		if err != nil {
			return nil, fmt.Errorf("not valid JSON: %w", err)
		}
		return v, nil
	case strings.Contains(text, "="):
		o := guidellm.Object{}
		for pair := range strings.SplitSeq(text, ",") {
			key, value, ok := strings.Cut(pair, "=")
			if !ok {
				return nil, errors.New("want JSON, or key=value pairs with commas between them")
			}
			o = append(o, guidellm.Member{Key: strings.TrimSpace(key), Value: strings.TrimSpace(value)})
		}
		return o, nil
	}
	if n, err := strconv.ParseInt(trimmed, 10, 64); err == nil {
		return n, nil
	}
	if x, err := strconv.ParseFloat(trimmed, 64); err == nil {
		return x, nil
	}
	return text, nil
}
