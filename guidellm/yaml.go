package guidellm

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
	"go.yaml.in/yaml/v3"
)

// writeYAML writes a report as YAML that PyYAML, and so GuideLLM, reads back to the same values. asJSON writes it
// as JSON. Unlike that it holds the whole document in memory.
func writeYAML(w io.Writer, r *Report, asJSON func(io.Writer, *Report) error) error {
	err := func() error {
		var text bytes.Buffer
		if err := asJSON(&text, r); err != nil {
			return err
		}
		root, err := yamlNode(jsontext.NewDecoder(&text, jsontext.AllowInvalidUTF8(true))) // as it is read
		if err != nil {
			return err
		}
		e := yaml.NewEncoder(w)
		e.SetIndent(2)
		if err := e.Encode(root); err != nil {
			return err
		}
		return e.Close()
	}()
	if err != nil {
		return fmt.Errorf("writing the report as YAML: %w", err)
	}
	return nil
}

// yamlNode is the next value of a JSON text as YAML.
func yamlNode(d *jsontext.Decoder) (*yaml.Node, error) {
	t, err := d.ReadToken()
	if err != nil {
		return nil, err
	}
	n := &yaml.Node{Kind: yaml.ScalarNode, Value: t.String()}
	switch t.Kind() {
	case 'n':
		n.Tag = "!!null"
	case 't', 'f':
		n.Tag = "!!bool"
	case '"':
		n.Tag = "!!str"
	case '0':
		n.Tag = "!!int"
		if strings.ContainsAny(n.Value, ".eE") {
			n.Tag, n.Value = "!!float", yamlFloat(n.Value)
		}
	default:
		n = &yaml.Node{Kind: yaml.MappingNode}
		if t.Kind() == '[' {
			n.Kind = yaml.SequenceNode
		}
		for d.PeekKind() != '}' && d.PeekKind() != ']' {
			child, err := yamlNode(d)
			if err != nil {
				return nil, err
			}
			n.Content = append(n.Content, child)
		}
		if len(n.Content) == 0 {
			n.Style = yaml.FlowStyle // {} and [], which have no other form
		}
		_, err = d.ReadToken()
	}
	return n, err
}

// yamlFloat writes a JSON number so that YAML 1.1, which PyYAML reads, takes it for a float: that asks for a point in
// every float, also before an exponent.
func yamlFloat(text string) string {
	if mantissa, exponent, ok := strings.Cut(text, "e"); ok && !strings.Contains(mantissa, ".") {
		return mantissa + ".0e" + exponent
	}
	return text
}

// Limits of a YAML document. PyYAML writes an object that it meets again as an alias; a bomb is made of the same stuff.
const (
	mostYAMLDepth  = 500
	mostYAMLGrowth = 100 // times the document's own length
)

// yamlToJSON reads a YAML document as a whole. Keys keep their order.
func yamlToJSON(text []byte) ([]byte, error) {
	var document yaml.Node
	if err := yaml.Unmarshal(text, &document); err != nil {
		return nil, fmt.Errorf("it is neither JSON nor YAML: %w", err)
	}
	if len(document.Content) == 0 {
		return nil, errors.New("it is empty")
	}
	y := yamlReader{most: mostYAMLGrowth * len(text)}
	err := y.value(document.Content[0], 0)
	return y.json, err
}

type yamlReader struct {
	json []byte
	most int // bytes of it
}

func (y *yamlReader) value(n *yaml.Node, depth int) error {
	if depth > mostYAMLDepth || len(y.json) > y.most {
		return fmt.Errorf("line %d: the YAML is nested too deeply or unfolds to too much", n.Line)
	}
	brackets := "[]"
	switch n.Kind {
	case yaml.AliasNode:
		return y.value(n.Alias, depth+1)
	case yaml.ScalarNode:
		y.json = appendYAMLScalar(y.json, n)
		return nil
	case yaml.MappingNode:
		brackets = "{}"
	}
	y.json = append(y.json, brackets[0])
	for i, child := range n.Content {
		switch isValue := n.Kind == yaml.MappingNode && i%2 == 1; {
		case isValue:
			y.json = append(y.json, ": "...)
		case i > 0:
			y.json = append(y.json, ", "...)
		}
		if n.Kind == yaml.MappingNode && i%2 == 0 {
			y.json, _ = jsontext.AppendQuote(y.json, child.Value)
		} else if err := y.value(child, depth+1); err != nil {
			return err
		}
	}
	y.json = append(y.json, brackets[1])
	return nil
}

func appendYAMLScalar(b []byte, n *yaml.Node) []byte {
	var v any
	switch tag := n.ShortTag(); tag {
	case "!!null":
		return append(b, "null"...)
	case "!!int", "!!float", "!!bool":
		if raw := jsontext.Value(n.Value); strings.Trim(n.Value, "-0123456789") == "" && raw.IsValid() {
			return append(b, raw...) // also an integer that no int64 holds
		}
		if n.Decode(&v) == nil {
			if text, err := marshalFree(v); err == nil {
				return append(b, text...)
			}
		}
	}
	b, _ = jsontext.AppendQuote(b, n.Value)
	return b
}
