package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/openloop/openloop/guidellm"
	"github.com/openloop/openloop/internal/atomicfile"
	"github.com/openloop/openloop/report"
	"github.com/openloop/openloop/report/bucket"
	"github.com/openloop/openloop/spec"
)

// resultFiles are the files of a run.
type resultFiles struct {
	dir     string           // "" until begin has made a new one
	runs    string           // where begin makes it
	bucket  *bucket.Location // where all goes in the end; nil: it stays in dir
	earlier spec.Earlier
	outputs []output
	saved   []string              // written last
	own     map[string]bool       // files that this run may write over, by their absolute names: it wrote them
	rescue  string                // folder for what could not be saved where it was to go; "" as long as all could
	kept    func(old, now string) // told of each file that got another name
}

// openResultFiles says what is wrong with where the results are to go. Nothing is made before the run begins.
func openResultFiles(o spec.Output) (*resultFiles, error) {
	outputs, err := allOutputs(o)
	if err != nil {
		return nil, err
	}
	f := &resultFiles{dir: o.Dir, runs: runsFolder, earlier: o.Earlier, outputs: outputs, own: map[string]bool{}}
	if f.bucket, err = parseDestination(o.Dir); err != nil {
		return nil, err
	}
	if f.bucket != nil {
		if o.Earlier == spec.OverwriteEarlier {
			return nil, usageError("--overwrite and --output-dir %s contradict each other: "+
				"each run has a folder of its own in the bucket", f.bucket)
		}
		f.dir = ""
		f.runs, err = localRuns()
		return f, err
	}
	if err := checkFolder(cmp.Or(o.Dir, runsFolder)); err != nil {
		return nil, usageError("--output-dir: %w", err)
	}
	return f, nil
}

// refuseEarlier is an error where the results of an earlier run are in the way, unless something is to become of them.
func (f *resultFiles) refuseEarlier() error {
	if f.earlier != spec.RefuseEarlier {
		return nil
	}
	for _, name := range f.names() {
		if info, err := os.Stat(name); err == nil && info.Mode().IsRegular() {
			return withHint(usageError("--output-dir: %s holds the results of an earlier run: %s",
				filepath.Dir(name), filepath.Base(name)),
				"name another folder, leave the flag out for a new one, or replace what is there with --overwrite")
		}
	}
	return nil
}

// names are the files that a run leaves where it is to write: those that were asked for, and, unless earlier ones are
// kept, those that another run may have been asked for.
func (f *resultFiles) names() []string {
	var names []string
	for _, o := range f.outputs {
		if f.dir != "" || filepath.IsAbs(o.file) {
			names = append(names, f.place(o.file))
		}
	}
	if f.dir == "" || f.earlier == spec.KeepEarlier {
		return names
	}
	for _, form := range formNames(true) {
		if outputs, err := parseOutputs([]string{form}); err == nil {
			name := f.place(outputs[0].file)
			names = append(names, name, name+compressedEnding)
		}
	}
	return append(names, f.place(journalFile))
}

// writeRepeat writes the configuration that repeats the run, unless a file of someone's own has its name.
func (f *resultFiles) writeRepeat(text string) error {
	name := f.place(configFile)
	there, err := os.ReadFile(name)
	if text == "" || err == nil && !strings.HasPrefix(string(there), repeatHeading) {
		return nil
	}
	return os.WriteFile(name, []byte(text), 0o644)
}

// begin makes the folder of a run that is about to send load.
func (f *resultFiles) begin(model string, now time.Time) error {
	var err error
	if f.dir == "" {
		name := runName(model, now)
		if f.bucket != nil {
			name += "-" + bucketTag()
		}
		f.dir, err = newRunFolder(f.runs, name)
	} else {
		err = os.MkdirAll(f.dir, 0o755)
	}
	if err != nil {
		return usageError("--output-dir: the folder for the results can't be made: %w", err)
	}
	for _, o := range f.outputs {
		if err := os.MkdirAll(filepath.Dir(f.place(o.file)), 0o755); err != nil {
			return usageError("the folder of %s can't be made: %w", o.file, err)
		}
	}
	if f.earlier != spec.OverwriteEarlier {
		return nil
	}
	if err := removeFile(f.place(journalFile)); err != nil {
		return usageError("--overwrite: %w", err)
	}
	return nil
}

// removeEarlier removes what an earlier run left and this one does not write: it would seem to be of this one. Until
// this run has saved something, the earlier results stay.
func (f *resultFiles) removeEarlier() error {
	if f.earlier != spec.OverwriteEarlier {
		return nil
	}
	for _, name := range f.names() {
		if f.own[absolute(name)] || name == f.place(journalFile) { // the journal is of this run by now
			continue
		}
		if err := removeFile(name); err != nil {
			return fmt.Errorf("--overwrite: %w", err)
		}
	}
	return nil
}

// removeFile removes a file, if there is one.
func removeFile(name string) error {
	if info, err := os.Lstat(name); err != nil || !info.Mode().IsRegular() {
		return nil
	}
	return os.Remove(name)
}

// save writes the files of a result, some of them only if the run has ended. Where the folder has become
// unusable, they go to the folder for temporary files: what was measured is not to be lost.
func (f *resultFiles) save(file *guidellm.Report, result *report.Result, ended bool) error {
	f.saved = nil
	var failed error
	for _, o := range f.outputs {
		if o.format.atEnd && !ended {
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
	if failed == nil {
		failed = f.removeEarlier()
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
	if err != nil || !info.Mode().IsRegular() || f.own[absolute(name)] || f.earlier == spec.OverwriteEarlier {
		return nil
	}
	end := filepath.Ext(name)
	if end == compressedEnding {
		end = filepath.Ext(strings.TrimSuffix(name, end)) + end
	}
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
