// Package schemadoc makes the JSON Schemas of docs/ from Go types, for the tests that keep the two together: what a
// field is, its schema says in the words of the field's comment, and of every number it says the unit.
package schemadoc

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/google/jsonschema-go/jsonschema"
)

// Maker makes schemas.
type Maker struct {
	Root   string // folder of the module
	Module string // its path
	// Types are the schemas of types that have a JSON form of their own.
	Types map[reflect.Type]*jsonschema.Schema
	// Units are of the numbers whose unit is neither in their name nor in their comment, by TYPE.FIELD as Go has them.
	Units map[string]string

	packages map[string]map[string]typeDoc // by path and type
	unitless []string
}

type typeDoc struct {
	doc    string
	fields map[string]string // comments by field
}

// Strict is the schema of a type: fields that it does not have are errors. The error names the numbers without a unit.
func (m *Maker) Strict(t reflect.Type) (*jsonschema.Schema, error) {
	s, err := jsonschema.ForType(t, &jsonschema.ForOptions{TypeSchemas: m.Types})
	if err != nil {
		return nil, err
	}
	m.packages, m.unitless = map[string]map[string]typeDoc{}, nil
	if err := m.describe(s, t); err != nil {
		return nil, err
	}
	if len(m.unitless) > 0 {
		return nil, fmt.Errorf("no unit is said of %s: it belongs into the name, the comment or Units",
			strings.Join(m.unitless, ", "))
	}
	return s, nil
}

// Open makes a schema one that takes fields which it does not know, such as those of a later version.
func Open(s *jsonschema.Schema) *jsonschema.Schema {
	s = s.CloneSchemas()
	var walk func(*jsonschema.Schema)
	walk = func(s *jsonschema.Schema) {
		if s == nil {
			return
		}
		if s.AdditionalProperties != nil && s.AdditionalProperties.Not != nil {
			s.AdditionalProperties = nil
		}
		for _, p := range s.Properties {
			walk(p)
		}
		walk(s.Items)
		walk(s.AdditionalProperties)
	}
	walk(s)
	return s
}

// describe gives the parts of a schema their descriptions.
func (m *Maker) describe(s *jsonschema.Schema, t reflect.Type) error {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if _, own := m.Types[t]; own || s == nil {
		return nil
	}
	switch t.Kind() {
	case reflect.Slice, reflect.Array:
		return m.describe(s.Items, t.Elem())
	case reflect.Map:
		return m.describe(s.AdditionalProperties, t.Elem())
	case reflect.Struct:
		return m.describeFields(s, t)
	}
	return nil
}

func (m *Maker) describeFields(s *jsonschema.Schema, t reflect.Type) error {
	if !strings.HasPrefix(t.PkgPath(), m.Module) {
		return nil
	}
	docs, err := m.docsOf(t)
	if err != nil {
		return err
	}
	for i := range t.NumField() {
		f := t.Field(i)
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		switch {
		case f.Anonymous && name == "":
			if err := m.describeFields(s, f.Type); err != nil {
				return err
			}
			continue
		case !f.IsExported() || name == "-":
			continue
		case name == "":
			name = f.Name
		}
		p := s.Properties[name]
		if p == nil {
			return fmt.Errorf("%s.%s has no place in the schema", t.Name(), f.Name)
		}
		p.Description = sentence(docs.fields[f.Name], t)
		if p.Description == "" {
			p.Description = m.typeComment(f.Type)
		}
		m.addUnit(p, t, f, name)
		if err := m.describe(p, f.Type); err != nil {
			return err
		}
	}
	return nil
}

// sentence is a comment as a sentence that names fields as JSON does.
func sentence(text string, of reflect.Type) string {
	text = strings.TrimSpace(strings.TrimPrefix(text, "…"))
	if text == "" {
		return ""
	}
	for i := range of.NumField() {
		f := of.Field(i)
		if name, _, _ := strings.Cut(f.Tag.Get("json"), ","); name != "" && name != "-" {
			text = regexp.MustCompile(`\b`+f.Name+`\b`).ReplaceAllLiteralString(text, name)
		}
	}
	first, size := utf8.DecodeRuneInString(text)
	if !strings.Contains(strings.Fields(text)[0], "_") {
		text = string(unicode.ToUpper(first)) + text[size:]
	}
	return strings.TrimRight(text, ". …") + "."
}

// typeComment is the first sentence about a struct.
func (m *Maker) typeComment(t reflect.Type) string {
	for t.Kind() == reflect.Pointer || t.Kind() == reflect.Slice {
		t = t.Elem()
	}
	if t.Kind() != reflect.Struct || !strings.HasPrefix(t.PkgPath(), m.Module) {
		return ""
	}
	docs, err := m.docsOf(t)
	if err != nil {
		return ""
	}
	first, _, _ := strings.Cut(docs.doc, ". ")
	return strings.TrimSuffix(first, ".") + "."
}

// How units are said: at the end of a name, and in a comment.
var (
	unitInName = regexp.MustCompile(`_(ns|ms|s|tokens|share|seconds|per_second|count|n|bytes)$`)
	unitInText = regexp.MustCompile(`(?i)\b(ns|nanoseconds?|ms|milliseconds?|seconds?|requests?|req/s|tokens?|share|` +
		`number of|how many|counts?|index|stages?|streams?|0\.5 to 1|0 to 1|scrapes?|sequences|connections?|threads?|` +
		`processors?|arrivals?|bytes|observations|clusters|seed)\b`)
)

// timeUnits are those of times, by the end of a name.
var timeUnits = map[string]string{"ns": "nanoseconds", "ms": "milliseconds", "s": "seconds"}

// addUnit says the unit of a number.
func (m *Maker) addUnit(p *jsonschema.Schema, of reflect.Type, f reflect.StructField, name string) {
	key := of.Name() + "." + f.Name
	unit, ok := m.Units[key]
	if m.number(f.Type) && !ok {
		unit, ok = timeUnits[name[strings.LastIndexByte(name, '_')+1:]]
	}
	if ok {
		p.Description = strings.TrimSpace(p.Description + " Unit: " + unit + ".")
		return
	}
	if m.number(f.Type) && !unitInName.MatchString(name) && !unitInText.MatchString(p.Description) {
		m.unitless = append(m.unitless, key)
	}
}

// number says whether a type is a number in JSON, or a list of numbers.
func (m *Maker) number(t reflect.Type) bool {
	for t.Kind() == reflect.Pointer || t.Kind() == reflect.Slice {
		t = t.Elem()
	}
	if s, own := m.Types[t]; own {
		if s.Type == "number" || s.Type == "integer" {
			return true
		}
		for _, each := range s.AnyOf {
			if each.Type == "number" || each.Type == "integer" {
				return true
			}
		}
		return false
	}
	return t.Kind() >= reflect.Int && t.Kind() <= reflect.Float64
}

// docsOf reads the comments of a struct's fields.
func (m *Maker) docsOf(t reflect.Type) (typeDoc, error) {
	types, ok := m.packages[t.PkgPath()]
	if !ok {
		types = map[string]typeDoc{}
		folder := filepath.Join(m.Root, filepath.FromSlash(strings.TrimPrefix(t.PkgPath(), m.Module)))
		files, err := os.ReadDir(folder)
		if err != nil {
			return typeDoc{}, err
		}
		for _, f := range files {
			if filepath.Ext(f.Name()) != ".go" || strings.HasSuffix(f.Name(), "_test.go") {
				continue
			}
			name := filepath.Join(folder, f.Name())
			file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ParseComments)
			if err != nil {
				return typeDoc{}, err
			}
			for _, d := range file.Decls {
				readTypes(d, types)
			}
		}
		m.packages[t.PkgPath()] = types
	}
	name, _, _ := strings.Cut(t.Name(), "[")
	return types[name], nil
}

func readTypes(d ast.Decl, types map[string]typeDoc) {
	g, ok := d.(*ast.GenDecl)
	if !ok || g.Tok != token.TYPE {
		return
	}
	for _, spec := range g.Specs {
		t, ok := spec.(*ast.TypeSpec)
		if !ok {
			continue
		}
		doc := typeDoc{doc: oneLine(t.Doc.Text()), fields: map[string]string{}}
		if doc.doc == "" {
			doc.doc = oneLine(g.Doc.Text())
		}
		if of, ok := t.Type.(*ast.StructType); ok {
			readFields(of, doc.fields)
		}
		types[t.Name.Name] = doc
	}
}

// readFields reads the comments of fields. One without a comment has that of another which names it.
func readFields(of *ast.StructType, comments map[string]string) {
	var all []string
	for _, f := range of.Fields.List {
		text := oneLine(strings.TrimSpace(f.Doc.Text()) + " " + f.Comment.Text())
		if text != "" {
			all = append(all, text)
		}
		for _, name := range f.Names {
			comments[name.Name] = text
		}
	}
	for name, text := range comments {
		if text != "" {
			continue
		}
		word := regexp.MustCompile(`\b` + name + `\b`)
		for _, other := range all {
			if word.MatchString(other) {
				comments[name] = other
			}
		}
	}
}

func oneLine(text string) string { return strings.Join(strings.Fields(text), " ") }
