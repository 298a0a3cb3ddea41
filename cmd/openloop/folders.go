package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/openloop/openloop/internal/atomicfile"
)

// runsFolder is where runs have their folders, unless they are given one.
const runsFolder = "openloop-results"

// latestRun is the name under which the last run is found: in runsFolder, and in the arguments of commands.
const latestRun = "latest"

// runName is what the folder of a run is called: TIME-MODEL.
func runName(model string, now time.Time) string {
	return now.Format("2006-01-02T1504-") + fileName(model)
}

// newRunFolder makes a folder for a run that nobody else has, with a number behind its name where that is taken. The
// name latest leads to it.
func newRunFolder(runs, base string) (string, error) {
	if err := os.MkdirAll(runs, 0o755); err != nil {
		return "", err
	}
	name := base
	for n := 2; ; n++ {
		err := os.Mkdir(filepath.Join(runs, name), 0o755)
		if err == nil {
			break
		}
		if !os.IsExist(err) {
			return "", err
		}
		name = fmt.Sprintf("%s-%d", base, n)
	}
	return filepath.Join(runs, name), pointTo(filepath.Join(runs, latestRun), name)
}

// fileName is a model's short name as a part of a file's: Qwen/Qwen2.5-7B-Instruct is qwen2.5-7b-instruct.
func fileName(model string) string {
	const longest = 60
	model = strings.TrimRight(model, "/")
	model = model[strings.LastIndexAny(model, `/\`)+1:]
	name := strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= '0' && r <= '9', r == '.', r == '_':
			return r
		case r >= 'A' && r <= 'Z':
			return r - 'A' + 'a'
		}
		return '-'
	}, model)
	name = strings.Trim(name[:min(len(name), longest)], "-.")
	if name == "" {
		return "model"
	}
	return name
}

// pointTo makes a link to a folder beside it, in place of one that led elsewhere. Where there are no links, a file with
// the folder's name does.
func pointTo(link, name string) error {
	if info, err := os.Lstat(link); err == nil && info.IsDir() {
		return nil // a folder of someone's own
	}
	fresh := fmt.Sprintf("%s.part-%d", link, os.Getpid())
	err := os.Symlink(name, fresh)
	if err == nil {
		if err = os.Rename(fresh, link); err == nil {
			return nil
		}
		_ = os.Remove(fresh) // as good as never made
	}
	return os.WriteFile(link, []byte(name+"\n"), 0o644)
}

// runFolder finds what an argument names: "latest" is the last run, wherever there is nothing else of that name.
func runFolder(name string) string {
	if name == latestRun && !exists(name) {
		name = filepath.Join(runsFolder, latestRun)
	}
	if filepath.Base(name) != latestRun {
		return name
	}
	if text, err := os.ReadFile(name); err == nil { // of a system without links
		return filepath.Join(filepath.Dir(name), filepath.Base(strings.TrimSpace(string(text))))
	}
	return name
}

// checkFolder says whether a folder can be made, or be written to where it is there. It leaves nothing behind.
func checkFolder(dir string) error {
	at := dir // or what is there of the way to it
	info, err := os.Stat(at)
	for err != nil && !errors.Is(err, fs.ErrPermission) && filepath.Dir(at) != at {
		at = filepath.Dir(at)
		info, err = os.Stat(at)
	}
	switch {
	case err != nil:
		return fmt.Errorf("the folder for the results can't be made: %s: %w", dir, err)
	case !info.IsDir():
		return fmt.Errorf("the folder for the results can't be made: %s: %s is not a folder", dir, at)
	}
	f, err := atomicfile.Create(filepath.Join(at, "openloop-tests-whether-it-can-write-here"))
	if err == nil {
		_, err = f.Write([]byte("yes\n"))
		f.Abandon()
	}
	if err != nil {
		return fmt.Errorf("the folder for the results can't be written to: %s: %w", dir, err)
	}
	return nil
}
