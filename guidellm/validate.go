package guidellm

import (
	"bufio"
	_ "embed"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
)

//go:embed fields.txt
var fieldsText string

// Problem is a way in which a document departs from GuideLLM 0.5.0's schema.
type Problem struct {
	Path    string
	What    string // "is missing", "is a string, not a number"
	Refused bool   // GuideLLM's loader would not take the report
}

func (p Problem) String() string { return p.Path + " " + p.What }

// Validate checks a report, JSON or YAML, against the list of GuideLLM 0.5.0's fields in fields.txt: that each is
// there, and that its value is of the right kind. Fields that GuideLLM does not have are no problem, as they are none
// to its loader. It holds the whole document in memory. The error is that of a document that cannot be read at all.
func Validate(r io.Reader) ([]Problem, error) {
	source, err := newTokens(bufio.NewReader(r))
	if err != nil {
		return nil, &ReadError{Err: err}
	}
	d := decoder{tokens: source}
	first, err := d.next()
	if err != nil {
		return nil, &ReadError{Err: err}
	}
	document, err := d.any(first)
	if err != nil {
		return nil, &ReadError{Err: err}
	}
	v := validator{models: parseFields(fieldsText)}
	v.model("", document, "GenerativeBenchmarksReport")
	return v.problems, nil
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
	problems []Problem
}

func (v *validator) model(path string, value any, name string) {
	object, ok := value.(Object)
	if !ok {
		v.problems = append(v.problems, Problem{path, "is " + kindOf(value) + ", not an object", true})
		return
	}
	model := v.models[name]
	if model.by != "" {
		tag := object.Text(model.by)
		i := slices.IndexFunc(model.fields, func(f fieldRule) bool { return f.name == tag })
		if i < 0 {
			v.problems = append(v.problems, Problem{memberPath(path, model.by), fmt.Sprintf("is %q, which names no %s", tag, name), true})
			return
		}
		v.model(path, object, strings.TrimPrefix(model.fields[i].kinds[0], "@"))
		return
	}
	for _, f := range model.fields {
		i := slices.IndexFunc(object, func(m Member) bool { return m.Key == f.name })
		if i < 0 {
			v.problems = append(v.problems, Problem{memberPath(path, f.name), "is missing", f.required})
			continue
		}
		v.field(memberPath(path, f.name), object[i].Value, f.kinds)
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
			for _, m := range value.(Object) {
				v.field(memberPath(path, m.Key), m.Value, []string{inner})
			}
		case outer[0] == '@':
			v.model(path, value, outer[1:])
		}
		return
	}
	v.problems = append(v.problems, Problem{path, "is " + kindOf(value) + ", not " + strings.Join(kinds, " or "), true})
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
		_, ok := value.(Object)
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
		_, ok := value.(float64)
		return ok || kindOf(value) == "an int"
	}
	if literal, ok := strings.CutPrefix(outer, "="); ok {
		return fmt.Sprint(value) == literal
	}
	_, ok := value.(Object) // @Model
	return ok
}

func kindOf(value any) string {
	switch value.(type) {
	case nil:
		return "null"
	case bool:
		return "a bool"
	case int64, json.Number:
		return "an int"
	case float64:
		return "a number"
	case string:
		return "a string"
	case []any:
		return "a list"
	default:
		return "an object"
	}
}
