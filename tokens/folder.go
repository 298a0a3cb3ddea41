package tokens

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/openloop/openloop/internal/infile"
)

// largestFolderFile bounds the files that describe a folder of data; a dataset has a name a shard in them.
const largestFolderFile = 16 << 20

// dataFiles are the files of records that data stands for: a file itself, or the shards of a folder that Hugging Face's
// datasets wrote (save_to_disk). Of a folder with several splits the note says which one is read.
func dataFiles(source string) (files []string, note string, err error) {
	info, err := os.Stat(source)
	if err != nil || !info.IsDir() {
		return []string{source}, "", nil // opening it says what is wrong
	}
	var dict struct{ Splits []string }
	switch err := readFolderFile(source, "dataset_dict.json", &dict); {
	case errors.Is(err, fs.ErrNotExist):
		files, err = shards(source)
		return files, "", err
	case err != nil:
		return nil, "", err
	}
	split, err := chooseSplit(source, dict.Splits)
	if err != nil {
		return nil, "", err
	}
	folder := filepath.Join(source, split)
	if files, err = shards(folder); err == nil && len(dict.Splits) > 1 {
		note = fmt.Sprintf("of the splits of %s (%s) %s is read: name the folder of another to send that", source,
			named(dict.Splits), folder)
	}
	return files, note, err
}

// Files are the files of records that [DataSpec.Sources] stand for, as far as they can be found.
func (d *DataSpec) Files() (files []string) {
	for _, source := range d.Sources() {
		if of, _, err := dataFiles(source); err == nil {
			files = append(files, of...)
		}
	}
	return files
}

// splitNames begin the names of splits, in the order in which GuideLLM prefers them.
var splitNames = []string{"train", "pretrain", "cal", "val", "dev", "test", "eval"}

// chooseSplit is the split that is read: that of training, as GuideLLM has it, or the first.
func chooseSplit(folder string, splits []string) (string, error) {
	for _, split := range splits {
		if !filepath.IsLocal(split) || filepath.Base(split) != split || split == "." {
			return "", fmt.Errorf("%s: dataset_dict.json names a split %.80q, which can't be the name of a folder",
				folder, split)
		}
	}
	for _, name := range splitNames {
		for _, split := range splits {
			if strings.HasPrefix(split, name) {
				return split, nil
			}
		}
	}
	if len(splits) == 0 {
		return "", fmt.Errorf("%s: its dataset_dict.json names no splits", folder)
	}
	return splits[0], nil
}

// shards are the files of a folder that holds one dataset.
func shards(folder string) ([]string, error) {
	var state struct {
		Files []struct {
			Name string `json:"filename"`
		} `json:"_data_files"`
		Indices []json.RawMessage `json:"_indices_data_files"`
	}
	switch err := readFolderFile(folder, "state.json", &state); {
	case errors.Is(err, fs.ErrNotExist):
		return nil, notSaved(folder)
	case err != nil:
		return nil, err
	case len(state.Indices) > 0:
		return nil, fmt.Errorf("%s: it was saved with an order of its own by an old version of datasets: load it and "+
			"save it anew", folder)
	}
	var files []string
	for _, file := range state.Files {
		if !filepath.IsLocal(file.Name) {
			return nil, fmt.Errorf("%s: state.json names a file %.80q, which is not in it", folder, file.Name)
		}
		files = append(files, filepath.Join(folder, file.Name))
	}
	if len(files) == 0 {
		return nil, fmt.Errorf("%s: its state.json names no files of data", folder)
	}
	return files, nil
}

// notSaved says what a folder holds that was not written by save_to_disk.
func notSaved(folder string) error {
	const want = "a folder that Hugging Face's datasets saved (save_to_disk) has a state.json or a dataset_dict.json"
	entries, err := os.ReadDir(folder)
	if err != nil {
		return err
	}
	var data []string
	for _, entry := range entries {
		ending := filepath.Ext(strings.TrimSuffix(strings.ToLower(entry.Name()), ".gz"))
		if slices.Contains(dataEndings, ending) && entry.Name() != "dataset_info.json" {
			data = append(data, entry.Name())
		}
	}
	if len(data) == 0 {
		return fmt.Errorf("%s is a folder without data: %s", folder, want)
	}
	return fmt.Errorf("%s is a folder of files, which are named one by one (%s): %s", folder, named(data), want)
}

// readFolderFile reads a file of JSON that describes a folder.
func readFolderFile(folder, name string, to any) error {
	path := filepath.Join(folder, name)
	text, err := infile.ReadAll(path, largestFolderFile)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(text, to); err != nil {
		return fmt.Errorf("%s: %s", path, jsonProblem(err))
	}
	return nil
}
