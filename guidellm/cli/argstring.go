package cli

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/openloop/openloop/guidellm"
)

// parseConfig reads what "guidellm run" takes for an option (utils/cli.py, parse_arguments, of GuideLLM 0.8.1): JSON or
// YAML, or kind=…,key=value,… with paths such as extras.body.seed or data[0].path as keys.
func parseConfig(text string) (any, error) {
	var node yaml.Node
	err := yaml.Unmarshal([]byte(text), &node)
	if err == nil && node.Kind == yaml.DocumentNode && node.Content[0].Kind != yaml.ScalarNode {
		y := yamlReader{left: mostYAMLGrowth * len(text)}
		return y.value(&node, 0)
	}
	o, argErr := parseArgString(text)
	if argErr != nil && err != nil {
		return nil, errors.New("want kind=…,key=value,… or a JSON or YAML object")
	}
	return o, argErr
}

// parseArgString reads key=value pairs (utils/arg_string.py). Each key may be given once.
func parseArgString(text string) (guidellm.Object, error) {
	o := guidellm.Object{}
	if strings.TrimSpace(text) == "" {
		return o, nil
	}
	for pair := range strings.SplitSeq(text, ",") {
		key, value, ok := strings.Cut(pair, "=")
		key = strings.TrimSpace(key)
		if !ok || key == "" {
			return nil, errors.New("want key=value pairs with commas between them; a value with commas in it needs " +
				"a JSON or YAML object")
		}
		v, err := parseScalar(strings.TrimSpace(value))
		if err != nil {
			return nil, fmt.Errorf("%s: %w", key, err)
		}
		if o, err = setPath(o, key, v, false); err != nil {
			return nil, err
		}
	}
	return o, nil
}

// fromText is what a text says as a value of a pair; a value that is no text, and a text that is not YAML, are
// themselves.
func fromText(v any) any {
	if text, ok := v.(string); ok {
		if parsed, err := parseScalar(text); err == nil {
			return parsed
		}
	}
	return v
}

// parseScalar reads a value of a pair as YAML.
func parseScalar(text string) (any, error) {
	var node yaml.Node
	if err := yaml.Unmarshal([]byte(text), &node); err != nil {
		return nil, errors.New("its value is not YAML")
	}
	if node.Kind == 0 {
		return nil, nil
	}
	y := yamlReader{left: mostYAMLGrowth*len(text) + 1}
	return y.value(&node, 0)
}

var indexedName = regexp.MustCompile(`^([^\[]+)\[(\d{1,6})\]$`)

// mostIndex bounds the lists that a path makes.
const mostIndex = 1000

// setPath returns an object with a value set at a path: names with dots between them, each perhaps with an index. What
// is not there on the way is made. over lets it replace what is there.
func setPath(o guidellm.Object, path string, value any, over bool) (guidellm.Object, error) {
	names := strings.Split(path, ".")
	if len(names) > mostDepth {
		return nil, errDepth
	}
	set, err := setNames(o, names, value, over)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return set, nil
}

var errTwice = errors.New("it is given twice, or as two kinds of value")

func setNames(o guidellm.Object, names []string, value any, over bool) (guidellm.Object, error) {
	name := strings.TrimSpace(names[0])
	index := -1
	if m := indexedName.FindStringSubmatch(name); m != nil {
		name = m[1]
		index, _ = strconv.Atoi(m[2])
	}
	if index > mostIndex {
		return nil, fmt.Errorf("an index is at most %d", mostIndex)
	}
	at := slices.IndexFunc(o, func(m guidellm.Member) bool { return m.Key == name })
	var before any
	if at >= 0 {
		before = o[at].Value
	}
	after, err := setWithin(before, at >= 0, index, names[1:], value, over)
	if err != nil {
		return nil, err
	}
	o = slices.Clone(o)
	if at < 0 {
		return append(o, guidellm.Member{Key: name, Value: after}), nil
	}
	o[at].Value = after
	return o, nil
}

// setWithin is the value of one name of a path: before is what it has, if it is there.
func setWithin(before any, there bool, index int, rest []string, value any, over bool) (any, error) {
	if index < 0 {
		if len(rest) == 0 {
			if there && !over {
				return nil, errTwice
			}
			return value, nil
		}
		object, ok := before.(guidellm.Object)
		if there && !ok && !over {
			return nil, errTwice
		}
		return setNames(object, rest, value, over)
	}
	list, ok := before.([]any)
	if there && !ok && !over {
		return nil, errTwice
	}
	list = slices.Clone(list)
	for len(list) <= index {
		list = append(list, nil)
	}
	element, err := setWithin(list[index], list[index] != nil, -1, rest, value, over)
	list[index] = element
	return list, err
}

// merge is an object with the keys of another over it, objects in objects likewise, lists replaced.
func merge(under, over guidellm.Object) guidellm.Object {
	out := slices.Clone(under)
	for _, m := range over {
		at := slices.IndexFunc(out, func(o guidellm.Member) bool { return o.Key == m.Key })
		if at < 0 {
			out = append(out, m)
			continue
		}
		a, isObject := out[at].Value.(guidellm.Object)
		b, alsoObject := m.Value.(guidellm.Object)
		if isObject && alsoObject {
			m.Value = merge(a, b)
		}
		out[at].Value = m.Value
	}
	return out
}
