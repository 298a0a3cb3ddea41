package guidellm

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"testing"
)

// problem is a way in which a document departs from GuideLLM 0.5.0's schema.
type problem struct {
	Path    string
	What    string // "is missing", "is a string, not a number"
	Refused bool   // GuideLLM's loader would not take the report
}

func (p problem) String() string { return p.Path + " " + p.What }

// validate checks a report against the list of GuideLLM 0.5.0's fields in testdata/fields.txt: that each is there, and
// that its value is of the right kind. Fields that GuideLLM does not have are not a problem, as they are none to its
// loader. The error is that of a document that cannot be read at all.
func validate(r io.Reader) ([]problem, error) {
	in, err := openJSON(r)
	if err != nil {
		return nil, err
	}
	d := json.NewDecoder(&quoteNaN{in: in})
	d.UseNumber()
	var document any
	if err := d.Decode(&document); err != nil {
		return nil, err
	}
	text, err := os.ReadFile("testdata/fields.txt")
	v := validator{models: parseFields(string(text))}
	v.model("", document, "GenerativeBenchmarksReport")
	return v.problems, err
}

// fieldModel is a [Model] of fields.txt.
type fieldModel struct {
	by     string // the key whose value chooses one of the fields' models, "" for a model with fields
	fields []fieldRule
}

type fieldRule struct {
	name     string
	required bool
	kinds    []string
}

func parseFields(text string) map[string]*fieldModel {
	models := map[string]*fieldModel{}
	var model *fieldModel
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		switch {
		case line == "" || line[0] == '#':
		case line[0] == '[':
			name, by, _ := strings.Cut(strings.Trim(line, "[]"), " by ")
			model = &fieldModel{by: by}
			models[name] = model
		default:
			name, kinds, _ := strings.Cut(line, " ")
			bare := strings.TrimSuffix(name, "*")
			model.fields = append(model.fields, fieldRule{bare, bare != name, strings.Split(kinds, "|")})
		}
	}
	return models
}

type validator struct {
	models   map[string]*fieldModel
	problems []problem
}

func (v *validator) model(path string, value any, name string) {
	object, ok := value.(map[string]any)
	if !ok {
		v.problems = append(v.problems, problem{path, "is " + kindOf(value) + ", not an object", true})
		return
	}
	model := v.models[name]
	if model.by != "" {
		tag, _ := object[model.by].(string)
		i := slices.IndexFunc(model.fields, func(f fieldRule) bool { return f.name == tag })
		if i < 0 {
			v.problems = append(v.problems, problem{memberPath(path, model.by),
				fmt.Sprintf("is %q, which names no %s", tag, name), true})
			return
		}
		v.model(path, object, strings.TrimPrefix(model.fields[i].kinds[0], "@"))
		return
	}
	for _, f := range model.fields {
		member, ok := object[f.name]
		if !ok {
			v.problems = append(v.problems, problem{memberPath(path, f.name), "is missing", f.required})
			continue
		}
		v.field(memberPath(path, f.name), member, f.kinds)
	}
}

// field checks a value against the kinds it may have, and what it holds against the first of them that fits.
func (v *validator) field(path string, value any, kinds []string) {
	for _, kind := range kinds {
		if !isKind(value, kind) {
			continue
		}
		outer, inner, _ := strings.Cut(kind, ":")
		switch {
		case outer == "list":
			for i, item := range value.([]any) {
				v.field(elementPath(path, i), item, []string{inner})
			}
		case outer == "dict":
			for key, member := range value.(map[string]any) {
				v.field(memberPath(path, key), member, []string{inner})
			}
		case outer[0] == '@':
			v.model(path, value, outer[1:])
		}
		return
	}
	v.problems = append(v.problems, problem{path, "is " + kindOf(value) + ", not " + strings.Join(kinds, " or "), true})
}

func isKind(value any, kind string) bool {
	outer, _, _ := strings.Cut(kind, ":")
	switch outer {
	case "any":
		return true
	case "null":
		return value == nil
	case "list":
		_, ok := value.([]any)
		return ok
	case "dict", "object":
		_, ok := value.(map[string]any)
		return ok
	case "string":
		_, ok := value.(string)
		return ok
	case "bool":
		_, ok := value.(bool)
		return ok
	case "int":
		return kindOf(value) == "an int"
	case "number":
		return kindOf(value) == "an int" || kindOf(value) == "a number"
	}
	if literal, ok := strings.CutPrefix(outer, "="); ok {
		return fmt.Sprint(value) == literal
	}
	_, ok := value.(map[string]any) // @Model
	return ok
}

func kindOf(value any) string {
	switch value := value.(type) {
	case nil:
		return "null"
	case bool:
		return "a bool"
	case json.Number:
		if strings.ContainsAny(value.String(), ".eE") {
			return "a number"
		}
		return "an int"
	case string:
		if _, isNumber := quotedNumbers[`"`+value+`"`]; isNumber {
			return "a number"
		}
		return "a string"
	case []any:
		return "a list"
	default:
		return "an object"
	}
}

// A report with a field gone or of another kind is not valid.
func TestValidate(t *testing.T) {
	text := string(gunzip(t, "../testdata/golden/text-completions/report.json.gz"))
	tests := []struct {
		old, new string
		want     problem
	}{
		{`"run_index": 0`, `"run_index": "0"`, problem{"benchmarks[0].config.run_index", "is a string, not int", true}},
		{`"run_index": 0, `, ``, problem{"benchmarks[0].config.run_index", "is missing", true}},
		{`"python_version": "3.11.7", `, ``, problem{"metadata.python_version", "is missing", false}},
		{`"type_": "synchronous"`, `"type_": "hasty"`, problem{"benchmarks[0].config.strategy.type_",
			`is "hasty", which names no SchedulingStrategy`, true}},
		{`"target": "http`, `"target": null, "x": "http`, problem{"args.target", "is null, not string", true}},
	}
	for _, tt := range tests {
		changed := strings.Replace(text, tt.old, tt.new, 1)
		if changed == text {
			t.Fatalf("the recording has no %s", tt.old)
		}
		problems, err := validate(strings.NewReader(changed))
		if err != nil || !slices.Contains(problems, tt.want) {
			t.Errorf("%s: got %v %v, want %v", tt.new, problems, err, tt.want)
		}
	}
}
