package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/openloop/openloop/guidellm"
	"github.com/openloop/openloop/internal/atomicfile"
	"github.com/openloop/openloop/report"
	"github.com/openloop/openloop/spec"
)

// resultFiles are the files of a run. An earlier run's are never overwritten: they are kept under another name.
type resultFiles struct {
	dir     string
	outputs []output
	saved   []string              // written last
	own     map[string]bool       // files that this run may write over, by their absolute names: it wrote them
	rescue  string                // folder for what could not be saved where it was to go; "" as long as all could
	kept    func(old, now string) // told of each file that got another name
}

// openResultFiles makes the folder and tries to write into it.
func openResultFiles(o spec.Output) (*resultFiles, error) {
	outputs, err := parseOutputs(o.Files)
	if err != nil {
		return nil, usageError("--outputs: %w", err)
	}
	if err := prepareFolder(o.Dir); err != nil {
		return nil, usageError("--output-dir: %w", err)
	}
	return &resultFiles{dir: o.Dir, outputs: outputs, own: map[string]bool{}}, nil
}

// prepareFolder makes the folder and tries to write into it.
func prepareFolder(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("the folder for the results can't be made: %w", err)
	}
	f, err := atomicfile.Create(filepath.Join(dir, "openloop-tests-whether-it-can-write-here"))
	if err == nil {
		_, err = f.Write([]byte("yes\n"))
		f.Abandon()
	}
	if err != nil {
		return fmt.Errorf("the folder for the results can't be written to: %w", err)
	}
	return nil
}

// save writes the files of a result, those that are for people only if the run has ended. Where the folder has become
// unusable, they go to the folder for temporary files: what was measured is not to be lost.
func (f *resultFiles) save(file *guidellm.Report, result *report.Result, ended bool) error {
	f.saved = nil
	var failed error
	for _, o := range f.outputs {
		if o.format.ofRun && !ended {
			continue
		}
		name := f.place(o.file)
		write := func(w io.Writer) error { return o.format.write(w, file, result) }
		err := f.write(name, write)
		if err == nil {
			f.saved = append(f.saved, name)
			continue
		}
		failed = errors.Join(failed, fmt.Errorf("saving %s: %w", name, err))
		if f.rescue == "" {
			if f.rescue, err = os.MkdirTemp("", "openloop-results-"); err != nil {
				continue
			}
		}
		rescue := filepath.Join(f.rescue, filepath.Base(o.file))
		if atomicfile.Write(rescue, write) == nil {
			f.saved = append(f.saved, rescue)
			failed = fmt.Errorf("%w; it is saved as %s", failed, rescue)
		}
	}
	return failed
}

// place is where a file of the results goes.
func (f *resultFiles) place(name string) string {
	if filepath.IsAbs(name) {
		return name
	}
	return filepath.Join(f.dir, name)
}

// write writes a file, and keeps what another run left under its name.
func (f *resultFiles) write(name string, write func(io.Writer) error) error {
	if err := f.keepEarlier(name); err != nil {
		return err
	}
	if err := atomicfile.Write(name, write); err != nil {
		return err
	}
	f.own[absolute(name)] = true
	return nil
}

// keepEarlier gives a file that another run left a name of its own: benchmarks.json becomes
// benchmarks-20261124-164300.json, by the time at which it was written.
func (f *resultFiles) keepEarlier(name string) error {
	info, err := os.Stat(name)
	if err != nil || !info.Mode().IsRegular() || f.own[absolute(name)] {
		return nil
	}
	end := filepath.Ext(name)
	stem := strings.TrimSuffix(name, end) + info.ModTime().Format("-20060102-150405")
	kept := stem + end
	for n := 2; exists(kept); n++ {
		kept = fmt.Sprintf("%s-%d%s", stem, n, end)
	}
	if err := os.Rename(name, kept); err != nil {
		return fmt.Errorf("keeping the results of an earlier run: %w", err)
	}
	f.kept(name, kept)
	return nil
}

// absolute is a name by which a file is known however it was written; the name itself where there is no folder.
func absolute(name string) string {
	if abs, err := filepath.Abs(name); err == nil {
		return abs
	}
	return name
}

func exists(name string) bool {
	_, err := os.Lstat(name)
	return err == nil
}

// sameFile says whether two names are of one file, by whatever links they lead to it, or of one place for a file.
func sameFile(a, b string) bool {
	if a == "" || b == "" {
		return false
	}
	one, errOne := os.Stat(a)
	other, errOther := os.Stat(b)
	if errOne != nil || errOther != nil {
		return absolute(a) == absolute(b)
	}
	return os.SameFile(one, other)
}
