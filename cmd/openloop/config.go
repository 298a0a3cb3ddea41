package main

import (
	"errors"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"

	"github.com/knadh/koanf/providers/env/v2"
	"github.com/knadh/koanf/providers/rawbytes"
	"github.com/knadh/koanf/v2"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"go.yaml.in/yaml/v3"

	"github.com/openloop/openloop/endpoint"
	"github.com/openloop/openloop/internal/infile"
)

// configFile is the file in a run's folder that repeats the run.
const configFile = "openloop.yaml"

const (
	configFlag      = "config"
	printConfigFlag = "print-config"
	// variablePrefix is that of the environment variables that are flags: OPENLOOP_PROMPT_TOKENS.
	variablePrefix = "OPENLOOP_"
	// baseURLVariable names the target for many clients of OpenAI's API.
	baseURLVariable = "OPENAI_BASE_URL"
	keyVariable     = "OPENAI_API_KEY"
	// mostConfig is the size of a configuration file: it is written by hand.
	mostConfig = 1 << 20
)

// notKeys are the flags that are no key of a configuration.
var notKeys = []string{"help", helpAllFlag, printConfigFlag, configFlag}

// settings are the flags of a command with where their values came from.
type settings struct {
	cmd  *cobra.Command
	from map[string]string // by flag: --target, OPENLOOP_TARGET, openloop.yaml:3; flags at their default are not in it
}

// addConfigFlags makes the flags of a command keys of a configuration.
func addConfigFlags(set *pflag.FlagSet) {
	set.String(configFlag, "", "read flags from this `FILE`: every flag is a key (also: variables "+variablePrefix+
		"PROMPT_TOKENS and so on); flags go over variables, and those over the file")
	set.Bool(printConfigFlag, false, "print what is in force as such a file, with where each value came from, and end")
}

// configure gives the flags of a command that were not given the values of the environment and of the configuration
// file. args are the arguments that are not flags.
func (p *program) configure(cmd *cobra.Command, args []string) error {
	set := cmd.Flags()
	if !isConfigured(set) {
		return nil
	}
	s := &settings{cmd: cmd, from: map[string]string{}}
	p.settings = s
	set.Visit(func(f *pflag.Flag) { s.from[f.Name] = "--" + f.Name })
	if len(args) > 0 && set.Lookup("target") != nil {
		if err := s.set("target", "the argument", args[0]); err != nil {
			return err
		}
	}
	merged := koanf.New(".")
	file := &yamlParser{lines: map[string]int{}}
	name, err := configName(set)
	if err != nil {
		return err
	}
	if name != "" {
		text, err := infile.ReadAll(name, mostConfig)
		if err != nil {
			return usageError("--config: %w", err)
		}
		if err := merged.Load(rawbytes.Provider(text), file); err != nil {
			return usageError("--config: %s:%w", name, err)
		}
		if err := p.checkKeys(cmd, name, file); err != nil {
			return err
		}
	}
	variables := map[string]string{} // by key
	known := p.configKeys(cmd.Root())
	keyOf := func(variable, value string) (string, any) {
		key := keyName(strings.ToLower(strings.TrimPrefix(variable, variablePrefix)))
		if !slices.Contains(known, key) {
			p.unknownVariable(variable, known)
			return "", nil
		}
		if value == "" { // as good as not set, as everywhere in a shell
			return "", nil
		}
		variables[key] = variable
		return key, value
	}
	all := env.Provider(".", env.Opt{Prefix: variablePrefix, TransformFunc: keyOf})
	if err := merged.Load(all, nil); err != nil {
		return usageError("%w", err)
	}
	for _, key := range merged.Keys() {
		if !takes(set, key) || s.from[key] != "" {
			continue
		}
		from := fmt.Sprintf("%s:%d", name, file.lines[key])
		if v := variables[key]; v != "" {
			from = v
		} else if slices.Contains(secretFlags, key) {
			fmt.Fprintf(p.stderr, "warning: %s: %s in a file can be read by whoever can read the file; "+
				"--api-key-file or %s keeps it apart\n", from, key, keyVariable)
		}
		if err := s.set(key, from, merged.Get(key)); err != nil {
			return err
		}
	}
	return p.defaultTarget(s)
}

// isConfigured says whether the flags are keys of a configuration. The --config of "guidellm run" is another one.
func isConfigured(set *pflag.FlagSet) bool {
	f := set.Lookup(configFlag)
	return f != nil && f.Value.Type() == "string"
}

// keyName is the flag that a name with - or _ between its words is of.
func keyName(name string) string { return string(presentName(nil, strings.ReplaceAll(name, "_", "-"))) }

// takes says whether a command takes a key of the configuration. What it only knows in order to refuse it, as gate does
// with --max-seconds, is hidden: a file for all commands may well hold it.
func takes(set *pflag.FlagSet, key string) bool {
	f := set.Lookup(key)
	return f != nil && !f.Hidden && !slices.Contains(notKeys, key)
}

// configName is the configuration file that was asked for, "" for none.
func configName(set *pflag.FlagSet) (string, error) {
	name := set.Lookup(configFlag).Value.String()
	switch {
	case name != "":
		return name, nil
	case set.Changed(configFlag):
		return "", usageError("--config is empty: name a file")
	}
	return os.Getenv(variablePrefix + "CONFIG"), nil
}

// set gives a flag a value, and keeps where it came from.
func (s *settings) set(key, from string, value any) error {
	set := s.cmd.Flags()
	var err error
	switch value := value.(type) {
	case string:
		err = set.Set(key, value)
	case []string:
		flag := set.Lookup(key)
		list, ok := flag.Value.(pflag.SliceValue)
		if !ok {
			return usageError("%s: %s takes one value, not a list", from, key)
		}
		err = list.Replace(value)
		flag.Changed = true
	}
	switch {
	case err == nil:
		s.from[key] = from
		return nil
	case slices.Contains(secretFlags, key):
		return usageError("%s: what %s is given is not understood", from, key)
	}
	return usageError("%s: %s", from, shownFlagError(err))
}

// defaultTarget takes the target from the variable that many clients know, where none is given.
func (p *program) defaultTarget(s *settings) error {
	set := s.cmd.Flags()
	at := os.Getenv(baseURLVariable)
	if at == "" || set.Lookup("target") == nil || set.Changed("target") {
		return nil
	}
	if err := s.set("target", baseURLVariable, at); err != nil {
		return err
	}
	if quiet, _ := set.GetBool("quiet"); !quiet {
		fmt.Fprintf(p.stderr, "target: %s, from %s\n", endpoint.RedactUserinfo(at), baseURLVariable)
	}
	return nil
}

// configKeys are the flags of all commands that take a configuration.
func (p *program) configKeys(root *cobra.Command) []string {
	var keys []string
	for _, c := range root.Commands() {
		if !isConfigured(c.Flags()) {
			continue
		}
		c.Flags().VisitAll(func(f *pflag.Flag) {
			if !slices.Contains(keys, f.Name) && (f.Name == configFlag || !slices.Contains(notKeys, f.Name)) {
				keys = append(keys, f.Name)
			}
		})
	}
	return keys
}

// checkKeys refuses a key of a file that is no flag. One of another command's says nothing here: a file may be for all.
func (p *program) checkKeys(cmd *cobra.Command, name string, file *yamlParser) error {
	known := p.configKeys(cmd.Root())
	for _, key := range file.keys {
		if takes(cmd.Flags(), key) {
			continue
		}
		if slices.Contains(known, key) && key != configFlag {
			fmt.Fprintf(p.stderr, "note: %s:%d: %s is not for openloop %s, and left out\n", name, file.lines[key], key,
				cmd.Name())
			continue
		}
		err := usageError("%s:%d: there is no flag %q", name, file.lines[key], key)
		if near := nearest(key, known); near != "" {
			return withHint(err, fmt.Sprintf("did you mean %q?", near))
		}
		return withHint(err, fmt.Sprintf("every flag is a key, without its dashes: %q lists them",
			cmd.CommandPath()+" --"+helpAllFlag))
	}
	return nil
}

// serviceVariable are those that Kubernetes sets for a service named openloop: they are none of ours.
var serviceVariable = regexp.MustCompile(`(^|_)(SERVICE_HOST|SERVICE_PORT(_.*)?|PORT(_[0-9]+_(TCP|UDP).*)?)$`)

// unknownVariable warns of a variable that seems to be meant for openloop and is not.
func (p *program) unknownVariable(name string, known []string) {
	if serviceVariable.MatchString(name) || name == workerTokenVariable {
		return
	}
	variables := make([]string, 0, len(known))
	for _, key := range known {
		variables = append(variables, variableOf(key))
	}
	hint := ""
	if near := nearest(name, variables); near != "" {
		hint = "; did you mean " + near + "?"
	}
	fmt.Fprintf(p.stderr, "warning: the variable %s is not one of openloop's%s\n", name, hint)
}

// variableOf is the variable of a flag.
func variableOf(flag string) string {
	return variablePrefix + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}

// yamlParser reads a configuration file for koanf: names of flags, with - or _ between their words, and texts or lists
// of texts as they stand there. It keeps the lines for what is to be said of them.
type yamlParser struct {
	keys  []string       // in the order of the file
	lines map[string]int // of each key
}

// Unmarshal implements koanf.Parser.
func (y *yamlParser) Unmarshal(text []byte) (map[string]any, error) {
	var document yaml.Node
	if err := yaml.Unmarshal(text, &document); err != nil {
		text := strings.TrimPrefix(err.Error(), "yaml: ")
		if rest, ok := strings.CutPrefix(text, "line "); ok {
			return nil, errors.New(rest)
		}
		return nil, errors.New(" " + text)
	}
	values := map[string]any{}
	if len(document.Content) == 0 || isNull(document.Content[0]) {
		return values, nil
	}
	top := document.Content[0]
	if top.Kind != yaml.MappingNode {
		return nil, fmt.Errorf("%d: it must hold a flag and its value on each line, such as target: http://host:8000",
			top.Line)
	}
	for i := 0; i+1 < len(top.Content); i += 2 {
		name, value := top.Content[i], top.Content[i+1]
		key := keyName(name.Value)
		if before := y.lines[key]; before > 0 {
			return nil, fmt.Errorf("%d: %s stands on line %d already", name.Line, key, before)
		}
		y.keys, y.lines[key] = append(y.keys, key), name.Line
		if strings.Contains(key, ".") || isNull(value) {
			continue // one that is unknown in any case, and one without a value
		}
		texts, isList, err := nodeTexts(value)
		switch {
		case err != nil:
			return nil, fmt.Errorf("%d: %s: %w", value.Line, key, err)
		case isList:
			values[key] = texts
		default:
			values[key] = texts[0]
		}
	}
	return values, nil
}

// Marshal implements koanf.Parser.
func (y *yamlParser) Marshal(map[string]any) ([]byte, error) {
	return nil, errors.New("a configuration is only read")
}

func isNull(n *yaml.Node) bool { return n.Kind == yaml.ScalarNode && n.Tag == "!!null" }

// nodeTexts are the texts of a value as they stand in the file: one, or those of a list or of KEY: VALUE pairs.
func nodeTexts(n *yaml.Node) (texts []string, isList bool, err error) {
	switch n.Kind {
	case yaml.ScalarNode:
		return []string{n.Value}, false, nil
	case yaml.SequenceNode:
		texts = []string{}
		for _, item := range n.Content {
			if item.Kind != yaml.ScalarNode {
				return nil, false, errors.New("a list must hold values alone")
			}
			texts = append(texts, item.Value)
		}
		return texts, true, nil
	case yaml.MappingNode:
		texts = []string{}
		for i := 0; i+1 < len(n.Content); i += 2 {
			if n.Content[i+1].Kind != yaml.ScalarNode {
				return nil, false, errors.New("it must be a value, a list of values, or KEY: VALUE pairs")
			}
			texts = append(texts, n.Content[i].Value+"="+n.Content[i+1].Value)
		}
		return texts, true, nil
	}
	return nil, false, errors.New("it must be a value or a list of values, written out")
}
