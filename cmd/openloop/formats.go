package main

import (
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/openloop/openloop/guidellm"
	"github.com/openloop/openloop/report"
	"github.com/openloop/openloop/report/page"
	"github.com/openloop/openloop/report/records"
	"github.com/openloop/openloop/spec"
)

// format is a form in which results can be written: GuideLLM's report, or a view of report.Result.
type format struct {
	name    string   // of --format and --outputs
	endings []string // of files, without the dot
	isView  bool     // of the result alone; else of GuideLLM's report alone
	write   func(w io.Writer, file *guidellm.Report, result *report.Result) error
	atEnd   bool // a run writes it once, at its end, and not after every stage
	// ofRun says that a run's file of it is report.ENDING: it is for people.
	ofRun bool
	// single says that a file of the form is of one result.
	single bool
	// together writes several results as one; nil: the form is of one result, or they stand one after the other.
	together func(w io.Writer, names []string, results []*report.Result) error
}

// formats are all forms. report.Formats has those that are made from a result alone.
func formats() []format {
	all := []format{
		guideLLMFormat("json", guidellm.JSON, "json"),
		guideLLMFormat("csv", guidellm.CSV, "csv"),
		guideLLMFormat("yaml", guidellm.YAML, "yaml", "yml"),
		{name: formatConsole, write: func(w io.Writer, file *guidellm.Report, _ *report.Result) error {
			return guidellm.WriteConsole(w, file, time.Local)
		}},
	}
	for _, f := range report.Formats() {
		view := viewFormat(f)
		view.single = f.Name == "junit"
		all = append(all, view)
	}
	for _, f := range page.Formats() {
		view := viewFormat(f)
		view.ofRun, view.atEnd = true, true
		if f.Name == "html" {
			view.together = func(w io.Writer, names []string, results []*report.Result) error {
				return page.Write(w, page.Input{Runs: results, Names: names})
			}
		} else {
			view.single = true
		}
		all = append(all, view)
	}
	return append(all, laterFormat(laterName, guidellm.JSONv2), laterFormat(laterYAMLName, guidellm.YAMLv2))
}

func viewFormat(f report.Format) format {
	return format{
		name: f.Name, endings: []string{f.Ending}, isView: true,
		write: func(w io.Writer, _ *guidellm.Report, result *report.Result) error { return f.Write(w, result) },
	}
}

func guideLLMFormat(name string, form guidellm.Format, endings ...string) format {
	write := func(w io.Writer, file *guidellm.Report, _ *report.Result) error { return guidellm.Write(w, form, file) }
	return format{name: name, endings: endings, write: write}
}

// laterName is the form of schema 2, and laterFile a run's file of it; laterYAMLName is the same as YAML.
const (
	laterName     = "guidellm-v2"
	laterFile     = "benchmarks-v2.json"
	laterYAMLName = "guidellm-v2-yaml"
	laterYAMLFile = "benchmarks-v2.yaml"
)

// laterFormat is GuideLLM's report of schema 2. A run writes it at its end: its figures are made of all requests.
func laterFormat(name string, form guidellm.Format) format {
	f := guideLLMFormat(name, form)
	f.atEnd, f.single = true, true
	return f
}

// findFormat finds a form by its name, nil where there is none.
func findFormat(name string) *format {
	all := formats()
	if i := slices.IndexFunc(all, func(f format) bool { return f.name == name }); i >= 0 {
		return &all[i]
	}
	return nil
}

// formatOf finds the form of a file by its ending, nil where there is none.
func formatOf(file string) *format {
	ending := strings.TrimPrefix(filepath.Ext(file), ".")
	all := formats()
	if i := slices.IndexFunc(all, func(f format) bool { return slices.Contains(f.endings, ending) }); i >= 0 {
		return &all[i]
	}
	return nil
}

// formNames are the names of the forms, those of files alone or all.
func formNames(filesOnly bool) []string {
	var names []string
	for _, f := range formats() {
		if !filesOnly || len(f.endings) > 0 || f.name == laterName || f.name == laterYAMLName {
			names = append(names, f.name)
		}
	}
	return names
}

// formatNames lists them in words.
func formatNames(filesOnly bool) string {
	names := formNames(filesOnly)
	return strings.Join(names[:len(names)-1], ", ") + " or " + names[len(names)-1]
}

// output is a file to be written.
type output struct {
	file   string
	format *format
}

// compressedEnding is that of files that are compressed by gzip, after the ending of their form.
const compressedEnding = ".gz"

// compressed is a form whose text is compressed by gzip.
func (f format) compressed() *format {
	plain := f.write
	f.write = func(w io.Writer, file *guidellm.Report, result *report.Result) error {
		return compress(w, func(w io.Writer) error { return plain(w, file, result) })
	}
	return &f
}

// compress compresses what is written by gzip.
func compress(w io.Writer, write func(io.Writer) error) error {
	z := gzip.NewWriter(w)
	return errors.Join(write(z), z.Close())
}

// requestFile is a file of requests: of --records or of --hlog.
type requestFile struct {
	flag, file string
	write      func(w io.Writer, all ...*report.Result) error
}

// requestFiles are those of --records and --hlog; "" is none.
func requestFiles(recordsFile, hlogFile string) ([]requestFile, error) {
	var all []requestFile
	if recordsFile != "" {
		form, err := records.FormOf(strings.TrimSuffix(recordsFile, compressedEnding))
		if err != nil {
			return nil, usageError("--records: %w", err)
		}
		all = append(all, requestFile{"records", recordsFile, func(w io.Writer, r ...*report.Result) error {
			return records.Write(w, form, r...)
		}})
	}
	if hlogFile != "" {
		all = append(all, requestFile{"hlog", hlogFile, records.WriteHLog})
	}
	return all, nil
}

// output is the file among those of a run.
func (f requestFile) output() output {
	// What it holds stands in the report as well, which is saved after every stage.
	form := format{name: f.flag, isView: true, atEnd: true}
	form.write = func(w io.Writer, _ *guidellm.Report, r *report.Result) error { return f.write(w, r) }
	if strings.HasSuffix(f.file, compressedEnding) {
		return output{f.file, form.compressed()}
	}
	return output{f.file, &form}
}

// allOutputs are all files of a run.
func allOutputs(o spec.Output) ([]output, error) {
	if err := refuseObjectNames(o); err != nil {
		return nil, err
	}
	outputs, err := parseOutputs(o.Files)
	if err != nil {
		return nil, usageError("--outputs: %w", err)
	}
	files, err := requestFiles(o.Records, o.HLog)
	if err != nil {
		return nil, err
	}
	for _, f := range files {
		outputs = append(outputs, f.output())
	}
	forms := map[string]string{}
	for _, out := range outputs {
		name := filepath.Clean(out.file)
		if before, taken := forms[name]; taken && before != out.format.name {
			return nil, usageError("%s would be written twice, as %s and as %s: name another file", out.file, before,
				out.format.name)
		}
		forms[name] = out.format.name
	}
	return outputs, nil
}

// parseOutputs reads --outputs: the name or the ending of a form is benchmarks.ENDING, or report.ENDING where it is for
// people, and a file name has its form from its ending. Either may have .gz after it.
func parseOutputs(names []string) ([]output, error) {
	var all []output
	for _, name := range names {
		name, compress := strings.CutSuffix(strings.TrimSpace(name), compressedEnding)
		if given, file, ok := strings.Cut(name, "="); ok {
			form := findFormat(given)
			if form == nil || file == "" {
				return nil, fmt.Errorf("%q: want FORM=FILE, and of the forms %s", name, formatNames(true))
			}
			if compress {
				file, form = file+compressedEnding, form.compressed()
			}
			all = append(all, output{file, form})
			continue
		}
		file := name
		if filepath.Ext(name) == "" {
			file = "benchmarks." + name
		}
		if f := findFormat(name); f != nil && len(f.endings) > 0 {
			file = "benchmarks." + f.endings[0]
			if f.ofRun {
				file = "report." + f.endings[0]
			}
		}
		form := formatOf(file)
		switch name {
		case laterName:
			file, form = laterFile, findFormat(name)
		case laterYAMLName:
			file, form = laterYAMLFile, findFormat(name)
		}
		if form == nil {
			return nil, fmt.Errorf("%q: openloop writes %s, and files with their endings", name, formatNames(true))
		}
		if compress {
			file, form = file+compressedEnding, form.compressed()
		}
		all = append(all, output{file, form})
	}
	return all, nil
}
