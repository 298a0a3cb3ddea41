package guidellm

import (
	"encoding/json"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// WriteYAML writes a report as YAML that PyYAML, and so GuideLLM, reads back to the same values. Unlike WriteJSON it
// holds the whole document in memory.
func WriteYAML(w io.Writer, r *Report) error {
	var out yamlTree
	if err := encode(&out, r); err != nil {
		return fmt.Errorf("writing the report as YAML: %w", err)
	}
	e := yaml.NewEncoder(w)
	e.SetIndent(2)
	if err := e.Encode(out.root); err != nil {
		return fmt.Errorf("writing the report as YAML: %w", err)
	}
	if err := e.Close(); err != nil {
		return fmt.Errorf("writing the report as YAML: %w", err)
	}
	return nil
}

// yamlTree is a sink that builds a YAML document.
type yamlTree struct {
	root *yaml.Node
	open []*yaml.Node // the objects and arrays not yet ended, outermost first
}

func (y *yamlTree) put(n *yaml.Node) {
	if len(y.open) == 0 {
		y.root = n
		return
	}
	parent := y.open[len(y.open)-1]
	parent.Content = append(parent.Content, n)
}

func (y *yamlTree) begin(kind yaml.Kind) {
	n := &yaml.Node{Kind: kind}
	y.put(n)
	y.open = append(y.open, n)
}

func (y *yamlTree) end() {
	last := len(y.open) - 1
	if len(y.open[last].Content) == 0 {
		y.open[last].Style = yaml.FlowStyle // {} and [], which have no other form
	}
	y.open = y.open[:last]
}

func (y *yamlTree) scalar(tag, value string) {
	y.put(&yaml.Node{Kind: yaml.ScalarNode, Tag: tag, Value: value})
}

func (y *yamlTree) beginObject()          { y.begin(yaml.MappingNode) }
func (y *yamlTree) endObject()            { y.end() }
func (y *yamlTree) beginArray()           { y.begin(yaml.SequenceNode) }
func (y *yamlTree) endArray()             { y.end() }
func (y *yamlTree) key(name string)       { y.scalar("!!str", name) }
func (y *yamlTree) null()                 { y.scalar("!!null", "null") }
func (y *yamlTree) boolean(b bool)        { y.scalar("!!bool", strconv.FormatBool(b)) }
func (y *yamlTree) integer(n int64)       { y.scalar("!!int", strconv.FormatInt(n, 10)) }
func (y *yamlTree) literal(n json.Number) { y.scalar("!!int", n.String()) }
func (y *yamlTree) float(x float64)       { y.scalar("!!float", yamlFloat(x)) }
func (y *yamlTree) text(s string)         { y.scalar("!!str", s) }
func (y *yamlTree) finish() error         { return nil }

// yamlFloat writes a float so that YAML 1.1, which PyYAML reads, takes it for one: that asks for a point in every
// float, also before an exponent.
func yamlFloat(x float64) string {
	switch {
	case math.IsNaN(x):
		return ".nan"
	case math.IsInf(x, 1):
		return ".inf"
	case math.IsInf(x, -1):
		return "-.inf"
	}
	text := formatFloat(x)
	if mantissa, exponent, ok := strings.Cut(text, "e"); ok && !strings.Contains(mantissa, ".") {
		return mantissa + ".0e" + exponent
	}
	return text
}
