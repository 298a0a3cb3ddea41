package cli

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/openloop/openloop/endpoint"
	"github.com/openloop/openloop/guidellm"
)

// builtIn are the scenarios that GuideLLM 0.5.0 brings along (benchmark/scenarios), by their data: sweeps over the
// lengths of a chat and of retrieval-augmented generation.
var builtIn = map[string]string{
	"chat": "prompt_tokens=512,prompt_tokens_stdev=128,prompt_tokens_min=1,prompt_tokens_max=1024," +
		"output_tokens=256,output_tokens_stdev=64,output_tokens_min=1,output_tokens_max=1024",
	"rag": "prompt_tokens=4096,prompt_tokens_stdev=512,prompt_tokens_min=2048,prompt_tokens_max=6144," +
		"output_tokens=512,output_tokens_stdev=128,output_tokens_min=1,output_tokens_max=1024",
}

// readScenario reads a scenario into the arguments: a file, or one of the built-in names. Keys that are not known are
// passed over, as GuideLLM does.
func (a *arguments) readScenario(name string) error {
	object, err := openScenario(name)
	if err != nil {
		return err
	}
	for _, m := range object {
		field := strings.ReplaceAll(m.Key, "-", "_")
		if field == "request_type" {
			field = "data_request_formatter"
		}
		for _, o := range options() {
			if o.field != field || slices.Contains(commandOnly, field) {
				continue
			}
			if err := o.to(a).decode(m.Value); err != nil {
				return fmt.Errorf("%s: %s: %w", name, m.Key, err)
			}
		}
	}
	return nil
}

func openScenario(name string) (guidellm.Object, error) {
	info, err := os.Stat(name)
	if err != nil || info.IsDir() {
		data, ok := builtIn[strings.TrimSuffix(name, ".json")]
		if !ok {
			return nil, fmt.Errorf("%q is neither a file nor one of the built-in scenarios chat and rag",
				endpoint.RedactUserinfo(name))
		}
		return guidellm.Object{{Key: "profile", Value: "sweep"}, {Key: "data", Value: data}}, nil
	}
	object, err := openObject(name)
	if err != nil {
		return nil, err
	}
	if args, ok := object.Get("args").(guidellm.Object); ok { // a report
		return args, nil
	}
	return object, nil
}

// openObject reads a file that holds one object, as JSON or YAML.
func openObject(name string) (guidellm.Object, error) {
	text, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	var v any
	switch filepath.Ext(name) {
	case ".json":
		v, err = parseJSON(text)
	case ".yaml", ".yml":
		var node yaml.Node
		if err = yaml.Unmarshal(text, &node); err == nil {
			y := yamlReader{left: mostYAMLGrowth * len(text)}
			v, err = y.value(&node, 0)
		}
	default:
		return nil, fmt.Errorf("%s: a scenario is a .json, .yaml or .yml file", name)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	object, ok := v.(guidellm.Object)
	if !ok {
		return nil, fmt.Errorf("%s holds no object of arguments", name)
	}
	return object, nil
}

// mostDepth is how deep objects and lists may be nested: none of the arguments has more than a few.
const mostDepth = 100

var errDepth = fmt.Errorf("nested more than %d deep", mostDepth)

// mostYAMLGrowth bounds what a YAML document unfolds to, in values for each of its bytes: every alias is one more copy.
const mostYAMLGrowth = 10

// yamlReader turns a YAML document into the values that JSON has.
type yamlReader struct{ left int } // values that it may still make

func (y *yamlReader) value(n *yaml.Node, depth int) (any, error) {
	if depth > mostDepth {
		return nil, errDepth
	}
	if y.left--; y.left < 0 {
		return nil, errors.New("its aliases unfold to too much")
	}
	switch n.Kind {
	case yaml.DocumentNode:
		return y.value(n.Content[0], depth+1)
	case yaml.AliasNode:
		return y.value(n.Alias, depth+1)
	case yaml.SequenceNode:
		list := []any{}
		for _, item := range n.Content {
			v, err := y.value(item, depth+1)
			if err != nil {
				return nil, err
			}
			list = append(list, v)
		}
		return list, nil
	case yaml.MappingNode:
		object := guidellm.Object{}
		for i := 0; i+1 < len(n.Content); i += 2 {
			v, err := y.value(n.Content[i+1], depth+1)
			if err != nil {
				return nil, err
			}
			object = append(object, guidellm.Member{Key: n.Content[i].Value, Value: v})
		}
		return object, nil
	case yaml.ScalarNode:
		var v any
		if err := n.Decode(&v); err != nil {
			return nil, err
		}
		switch v := v.(type) {
		case int:
			return int64(v), nil
		case nil, bool, int64, float64, string:
			return v, nil
		}
		return n.Value, nil
	}
	return nil, nil
}
