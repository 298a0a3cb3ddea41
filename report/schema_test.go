package report

import (
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"testing"

	"github.com/google/jsonschema-go/jsonschema"

	"github.com/openloop/openloop/internal/num"
	"github.com/openloop/openloop/loadgen"
	"github.com/openloop/openloop/slo"
)

// schemaFile describes the form of a Result in JSON, for programs that read reports.
var schemaFile = filepath.Join("..", "docs", "result.schema.json")

// schema is the JSON Schema of a Result, made from its types.
func schema(t *testing.T) *jsonschema.Schema {
	t.Helper()
	infinite := &jsonschema.Schema{Type: "string", Enum: []any{"+Inf", "-Inf"}}
	s, err := jsonschema.For[Result](&jsonschema.ForOptions{TypeSchemas: map[reflect.Type]*jsonschema.Schema{
		reflect.TypeFor[num.Value]():       {AnyOf: []*jsonschema.Schema{{Type: "number"}, {Type: "null"}, infinite}},
		reflect.TypeFor[slo.Objective]():   {Type: "string"},
		reflect.TypeFor[slo.Gate]():        {Type: "string"},
		reflect.TypeFor[loadgen.Arrival](): {Type: "string"},
	}})
	if err != nil {
		t.Fatal(err)
	}
	s.Schema = "https://json-schema.org/draft/2020-12/schema"
	s.Title = "openloop's result, under the key openloop of a report file; schema number 2"
	return s
}

// docs/result.schema.json is made from the types, and a result of every shape fits it.
func TestSchema(t *testing.T) {
	s := schema(t)
	text, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	text = append(text, '\n')
	if *update {
		if err := os.WriteFile(schemaFile, text, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(schemaFile)
	if err != nil {
		t.Fatal(err)
	}
	if string(want) != string(text) {
		t.Errorf("%s is not that of the types (go test ./report -update writes it)", schemaFile)
	}
	resolved, err := s.Resolve(nil)
	if err != nil {
		t.Fatal(err)
	}
	result, err := json.Marshal(made(t))
	if err != nil {
		t.Fatal(err)
	}
	var value any
	if err := json.Unmarshal(result, &value); err != nil {
		t.Fatal(err)
	}
	if err := resolved.Validate(value); err != nil {
		t.Error(err)
	}
}
