package guidellm

import (
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"time"

	"github.com/openloop/openloop/internal/atomicfile"
)

// Format is the form of a file that a report is written to.
type Format string

// The forms.
const (
	JSON Format = "json"
	YAML Format = "yaml"
	CSV  Format = "csv"
	// JSONv2 is JSON of schema 2, as GuideLLM 0.8.1 writes and reads it.
	JSONv2 Format = "guidellm-v2"
	// YAMLv2 is YAML of schema 2, likewise.
	YAMLv2 Format = "guidellm-v2-yaml"
)

// Output is a file to be written.
type Output struct {
	File   string
	Format Format
}

// ParseOutputs reads output names as GuideLLM does: a form alone is benchmarks.FORM, and a file name has its form from
// its ending.
func ParseOutputs(names []string) ([]Output, error) {
	var outputs []Output
	for _, name := range names {
		name = strings.TrimSpace(name)
		ending := strings.TrimPrefix(filepath.Ext(name), ".")
		o := Output{File: name}
		if ending == "" {
			ending = name
			o.File = "benchmarks." + name
		}
		switch ending {
		case "json":
			o.Format = JSON
		case "yaml", "yml":
			o.Format = YAML
		case "csv":
			o.Format = CSV
		case "":
			return nil, errors.New("an output has no name")
		default:
			return nil, fmt.Errorf("%q: openloop writes json, yaml and csv, and files with these endings", name)
		}
		outputs = append(outputs, o)
	}
	return outputs, nil
}

// Write writes a report in one of the forms.
func Write(w io.Writer, f Format, r *Report) error {
	switch f {
	case JSON:
		return writeJSON(w, r)
	case JSONv2:
		return writeLater(w, r)
	case YAML:
		return writeYAML(w, r, writeJSON)
	case YAMLv2:
		return writeYAML(w, r, writeLater)
	case CSV:
		return writeCSV(w, r, time.Local)
	}
	return fmt.Errorf("no form %q", f)
}

// WriteFile writes a report to a file, which is either whole or as it was.
func WriteFile(name string, f Format, r *Report) error {
	return atomicfile.Write(name, func(w io.Writer) error { return Write(w, f, r) })
}
