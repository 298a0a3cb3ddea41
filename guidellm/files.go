package guidellm

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// Format is the form of a file that a report is written to.
type Format string

// The forms.
const (
	JSON Format = "json"
	YAML Format = "yaml"
	CSV  Format = "csv"
)

// Output is a file to be written.
type Output struct {
	File   string
	Format Format
}

// ParseOutputs reads output names as GuideLLM does: a form alone is benchmarks.FORM, and a file name has its form from its
// ending.
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
		return WriteJSON(w, r)
	case YAML:
		return WriteYAML(w, r)
	case CSV:
		return WriteCSV(w, r, time.Local)
	}
	return fmt.Errorf("no form %q", f)
}

// WriteFile writes a report to a file, by way of another name in the same folder: the file is either whole or as it was.
func WriteFile(name string, f Format, r *Report) (err error) {
	temp, err := os.CreateTemp(filepath.Dir(name), ".openloop-*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			temp.Close()
			os.Remove(temp.Name())
		}
	}()
	out := bufio.NewWriterSize(temp, 1<<16)
	if err := Write(out, f, r); err != nil {
		return err
	}
	if err := out.Flush(); err != nil {
		return err
	}
	if err := temp.Chmod(0o644); err != nil { // readable as any file that a program writes
		return err
	}
	if err := temp.Sync(); err != nil { // a full disk may show itself only here
		return err
	}
	if err := temp.Close(); err != nil {
		return err
	}
	return os.Rename(temp.Name(), name)
}
