package cli

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/openloop/openloop/guidellm"
)

// section is an object of a scenario of "guidellm run", whose keys are taken one by one. What nobody took is refused in
// the end. The first thing that is wrong is kept; no error shows a text that may be a secret.
type section struct {
	path  string // such as backend, or data[0]
	rest  guidellm.Object
	known []string
	err   error
}

func newSection(path string, value any) *section {
	s := &section{path: path}
	switch v := value.(type) {
	case guidellm.Object:
		s.rest = v
	case nil:
	default:
		s.err = fmt.Errorf("%s: it is %s: want an object", path, describe(value))
	}
	return s
}

// failed keeps what is wrong with a key.
func (s *section) failed(key, format string, args ...any) {
	if s.err == nil {
		s.err = fmt.Errorf("%s.%s: "+format, append([]any{s.path, key}, args...)...)
	}
}

// take takes a key, or one of its other names; nil where it is not there, or null.
func (s *section) take(key string, others ...string) any {
	s.known = append(s.known, key)
	for _, name := range append([]string{key}, others...) {
		i := slices.IndexFunc(s.rest, func(m guidellm.Member) bool { return m.Key == name })
		if i < 0 {
			continue
		}
		v := s.rest[i].Value
		s.rest = slices.Delete(slices.Clone(s.rest), i, i+1)
		if v != nil {
			return v
		}
	}
	return nil
}

func (s *section) text(key string, others ...string) string {
	switch v := s.take(key, others...).(type) {
	case nil:
		return ""
	case string:
		return v
	default:
		s.failed(key, "it is %s: want a text", describe(v))
		return ""
	}
}

func (s *section) truth(key string) (on, given bool) {
	v := s.take(key)
	if v == nil {
		return false, false
	}
	on, ok := truthOf(v)
	if !ok {
		s.failed(key, "it is %s: want true or false", describe(v))
	}
	return on, ok
}

// number is a number of at least least.
func (s *section) number(key string, least float64) (x float64, given bool) {
	v := s.take(key)
	if v == nil {
		return 0, false
	}
	x, ok := numberOf(v)
	if !ok || !(x >= least) || math.IsInf(x, 0) {
		s.failed(key, "it is %s: want a number of at least %v", describe(v), least)
		return 0, false
	}
	return x, true
}

// whole is a whole number of at least least.
func (s *section) whole(key string, least int64) (n int64, given bool) {
	x, given := s.number(key, float64(least))
	if given && (x != math.Trunc(x) || x > 1<<53) {
		s.failed(key, "%v: want a whole number", x)
		return 0, false
	}
	return int64(x), given
}

// count is a whole number, of which an int32 is as good as any larger one.
func (s *section) count(key string, least int64) (n int, given bool) {
	whole, given := s.whole(key, least)
	return int(min(whole, math.MaxInt32)), given
}

// numbers is a number above 0 or a list of such, also as JSON text.
func (s *section) numbers(key string) []float64 {
	var list []float64
	for _, item := range listOf(fromText(s.take(key))) {
		x, ok := numberOf(item)
		if !ok || !(x > 0) || math.IsInf(x, 0) {
			s.failed(key, "it holds %s: want numbers above 0", describe(item))
			return nil
		}
		list = append(list, x)
	}
	return list
}

// kind takes the key kind, one of some or of others that are refused with what to do.
func (s *section) kind(taken []string, refused map[string]string) string {
	kind := s.text("kind")
	why, isRefused := refused[kind]
	switch {
	case s.err != nil:
	case kind == "":
		s.failed("kind", "it is missing; it is one of %s", strings.Join(taken, ", "))
	case slices.Contains(taken, kind):
	case isRefused:
		s.failed("kind", "%s: %s", kind, why)
	default:
		s.failed("kind", "%q: openloop takes %s", kind, strings.Join(taken, ", "))
	}
	return kind
}

// refuse refuses keys where they are given and say more than nothing, with what to do.
func (s *section) refuse(why string, keys ...string) {
	for _, key := range keys {
		switch v := s.take(key).(type) {
		case nil:
		case bool:
			if v {
				s.failed(key, "%s", why)
			}
		case []any:
			if len(v) > 0 {
				s.failed(key, "%s", why)
			}
		case guidellm.Object:
			if len(v) > 0 {
				s.failed(key, "%s", why)
			}
		default:
			s.failed(key, "%s", why)
		}
	}
}

// end is what is wrong with the section, a key that it does not have among it.
func (s *section) end() error {
	if s.err == nil && len(s.rest) > 0 {
		slices.Sort(s.known)
		s.err = fmt.Errorf("%s: GuideLLM 0.8.1 has no %q here; there are %s", s.path, s.rest[0].Key,
			strings.Join(slices.Compact(s.known), ", "))
	}
	return s.err
}
