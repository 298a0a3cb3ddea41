package tokens

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
)

// namedRecords is how many records that can't be sent are named one by one.
const namedRecords = 3

// dataScan is what a reading of all records of the data has found, before any load.
type dataScan struct {
	records    int // that can be sent
	withOutput int // of them, those that say how long their output is to be
	saved      bool
	format     Format

	skipped int            // records that can't be sent
	bad     []*RecordError // the first of them
	folders []string       // what of folders is read
	further int            // ShareGPT conversations with more turns than the one that is sent
	taken   map[string]int // columns that are sent as fields of the request, with the number of records
	unused  map[string]int // columns that nothing uses
}

// scanData reads all records, or as many as are used. An error is one that ends a run, too.
func scanData(spec string, cfg dataConfig) (*dataScan, error) {
	cfg.skip, cfg.count, cfg.output = true, nil, 0
	f, err := openSource(spec, cfg)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.close() }() // all that is wanted was read
	found := &dataScan{folders: f.notes, taken: map[string]int{}, unused: map[string]int{}}
	f.found = found
	for {
		it, err := f.next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
		if err := cfg.format.checkMessages(it.Messages); err != nil {
			return nil, fmt.Errorf("%s: record %d: %w", f.all(), found.records+1, err)
		}
		if found.records++; it.OutputTokens > 0 {
			found.withOutput++
		}
	}
	found.saved = f.path != ""
	if format, ok := formatOf(f.path); ok {
		found.format = format
	}
	switch {
	case found.records == 0 && found.skipped == 0:
		return nil, fmt.Errorf("%s: it holds no records", f.all())
	case found.records == 0 && found.skipped == 1:
		return nil, found.bad[0]
	case found.records == 0:
		return nil, fmt.Errorf("none of the %d records can be sent: %w", found.skipped, found.bad[0])
	}
	if cfg.samples > 0 {
		found.records = min(found.records, cfg.samples)
	}
	return found, nil
}

func (s *dataScan) skip(bad *RecordError) {
	if s.skipped++; len(s.bad) < namedRecords {
		s.bad = append(s.bad, bad)
	}
}

// notes say what of the records is sent and what is not.
func (s *dataScan) notes(spec *DataSpec) (notes, warnings []string) {
	notes = append(notes, s.folders...)
	if s.skipped > 0 {
		var named []string
		for _, bad := range s.bad {
			named = append(named, bad.Error())
		}
		more := ""
		if n := s.skipped - len(s.bad); n > 0 {
			more = fmt.Sprintf("; and %d more", n)
		}
		warnings = append(warnings, fmt.Sprintf("%d of %d records can't be sent and are left out: %s%s",
			s.skipped, s.skipped+s.records, strings.Join(named, "; "), more))
	}
	if s.further > 0 {
		whole := " (--sessions sends them whole)"
		if spec.GuideLLM {
			whole = ""
		}
		notes = append(notes, fmt.Sprintf("%d of %d conversations have further turns: the first question of each is "+
			"sent alone%s", s.further, s.records, whole))
	}
	if taken := slices.Sorted(maps.Keys(s.taken)); len(taken) > 0 {
		limit := ""
		if slices.ContainsFunc(limitFields, func(name string) bool { return s.taken[name] > 0 }) {
			limit = "; their bound of the length is sent as one, so that an answer may be shorter"
		}
		notes = append(notes, fmt.Sprintf("the records' own fields are sent with their requests: %s%s", named(taken),
			limit))
	}
	var meant, rest []string
	for _, name := range slices.Sorted(maps.Keys(s.unused)) {
		if isBodyField(name) {
			meant = append(meant, name)
		} else {
			rest = append(rest, name)
		}
	}
	if len(meant) > 0 {
		why := ""
		switch {
		case spec.GuideLLM:
			why = " (GuideLLM 0.5.0 sends none of them)"
		case spec.Columns != nil:
			why = " (the mapper of the columns does not name them)"
		}
		warnings = append(warnings, fmt.Sprintf("the records have fields of a request that are not sent: %s%s",
			named(meant), why))
	}
	if len(rest) > 0 {
		notes = append(notes, "not used of the records: "+named(rest))
	}
	return notes, warnings
}
