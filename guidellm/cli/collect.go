package cli

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/pflag"

	"github.com/openloop/openloop/guidellm"
)

// collect reads a scenario, and flags and GUIDELLM_… variables over it; a flag goes over its variable.
func collect(set *pflag.FlagSet, getenv func(string) string) (*arguments, error) {
	type source struct {
		texts []string
		from  string
	}
	given := map[string]source{}
	for _, o := range options() {
		texts, from, err := o.texts(set, getenv)
		if err != nil {
			return nil, err
		}
		if texts != nil {
			given[o.field] = source{texts, from}
		}
	}
	a := newArguments()
	if s, ok := given["scenario"]; ok {
		if err := a.readScenario(last(s.texts)); err != nil {
			return nil, fmt.Errorf("--scenario: %w", err)
		}
	}
	fromScenario := a.overSaturation.Object
	a.overSaturation.Object = nil
	for _, o := range options() {
		s, ok := given[o.field]
		if !ok {
			continue
		}
		if err := o.to(a).parse(s.texts); err != nil {
			return nil, fmt.Errorf("%s: %w", s.from, err)
		}
	}
	switch _, ok := given["over_saturation"]; {
	case a.detectSaturation.Value && a.overSaturation.Object == nil:
		a.overSaturation.Object = guidellm.Object{{Key: "enabled", Value: true}}
	case !ok:
		a.overSaturation.Object = fromScenario
	}
	a.joinFormatter()
	_, hasDir := given["output_dir"]
	return a, a.splitOutputPath(hasDir)
}

// joinFormatter makes one argument of --request-type and --request-formatter-kwargs, as GuideLLM's command does.
func (a *arguments) joinFormatter() {
	kind, settings := a.requestType, a.formatterKwargs.Object
	switch {
	case kind.Valid && len(settings) > 0:
		named := guidellm.Object{{Key: "request_type", Value: kind.Value}}
		a.requestFormatter.value = append(named, settings...)
	case kind.Valid:
		a.requestFormatter.value = kind.Value
	case settings != nil:
		a.requestFormatter.value = settings
	}
}

// splitOutputPath turns --output-path into --output-dir and --outputs.
func (a *arguments) splitOutputPath(hasDir bool) error {
	path := a.outputPath.Value
	if path == "" {
		return nil
	}
	if hasDir {
		return errors.New("--output-path and --output-dir contradict each other: give one")
	}
	if strings.HasPrefix(path, "s3://") {
		return errors.New("--output-path names a local file or folder: give --output-dir s3://BUCKET/PREFIX, " +
			"and --outputs")
	}
	if info, err := os.Stat(path); err == nil && info.IsDir() {
		a.outputDir.Null = guidellm.Some(path)
		return nil
	}
	a.outputDir.Null, a.outputs = guidellm.Some(filepath.Dir(path)), textsArg{filepath.Base(path)}
	return nil
}
