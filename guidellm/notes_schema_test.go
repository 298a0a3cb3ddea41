package guidellm

import (
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"reflect"
	"testing"

	"github.com/google/jsonschema-go/jsonschema"

	"github.com/openloop/openloop/internal/schemadoc"
)

var update = flag.Bool("update", false, "write docs/notes.schema.json anew")

// notesFile describes what stands under "openloop" in a benchmark and in a request.
var notesFile = filepath.Join("..", "docs", "notes.schema.json")

// notesSchema is made of the types of the notes.
func notesSchema(t *testing.T, of reflect.Type) *jsonschema.Schema {
	t.Helper()
	m := schemadoc.Maker{
		Root: "..", Module: "github.com/openloop/openloop",
		Types: map[reflect.Type]*jsonschema.Schema{
			reflect.TypeFor[Null[float64]](): {Type: "number"}, // null is left out
			reflect.TypeFor[Null[int64]]():   {Type: "integer"},
		},
		Units: map[string]string{
			"requestNotes.SendDelay": "seconds", "requestNotes.ScheduledTTFT": "seconds",
			"requestNotes.ScheduledLatency": "seconds", "requestNotes.Connecting": "seconds",
			"requestNotes.Session": "none", "requestNotes.Turn": "none",
			"requestNotes.Class": "none", "requestNotes.Target": "none",
			"requestNotes.Index": "none", "requestNotes.HTTPStatus": "none",
			"stageNotes.Stage": "none; an index in the result's stages", "requestText.Index": "none",
			"notSent.Index": "none", "notSent.Scheduled": "seconds",
		},
	}
	s, err := m.Strict(of)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// docs/notes.schema.json is made from the types, and what a report has of them fits it.
func TestNotesSchema(t *testing.T) {
	benchmark := notesSchema(t, reflect.TypeFor[stageNotes]())
	request := notesSchema(t, reflect.TypeFor[requestNotes]())
	document := &jsonschema.Schema{
		Schema: "https://json-schema.org/draft/2020-12/schema",
		Title:  `what stands under the key openloop in a benchmark and in a request of a report file`,
		Defs: map[string]*jsonschema.Schema{
			"benchmark": schemadoc.Open(benchmark), "request": schemadoc.Open(request),
		},
	}
	text, err := json.MarshalIndent(document, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	text = append(text, '\n')
	if *update {
		if err := os.WriteFile(notesFile, text, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(notesFile)
	if err != nil {
		t.Fatal(err)
	}
	if string(want) != string(text) {
		t.Errorf("%s is not that of the types (go test ./guidellm -run NotesSchema -update writes it)", notesFile)
	}
	load := everyLoad["constant"]
	live := resultOf(measured(load), measured(load))
	live.Stages[1].Search = true
	r := readText(t, writeText(t, exporter(load, "sweep").Export(live)))
	var search struct {
		Search []*Benchmark `json:"search_benchmarks"`
	}
	if err := DecodeFree(r.OpenLoop, &search); err != nil {
		t.Fatal(err)
	}
	fits := func(s *jsonschema.Schema, notes any) {
		t.Helper()
		resolved, err := s.Resolve(nil)
		if err != nil {
			t.Fatal(err)
		}
		var value any
		if err := json.Unmarshal(notes.(json.RawMessage), &value); err != nil {
			t.Fatal(err)
		}
		if err := resolved.Validate(value); err != nil {
			t.Errorf("%s: %v", notes, err)
		}
	}
	for _, b := range append(r.Benchmarks, search.Search...) {
		fits(benchmark, b.OpenLoop)
		for _, q := range b.Requests.Successful.List() {
			fits(request, q.OpenLoop)
		}
		for _, q := range append(b.Requests.Errored.List(), b.Requests.Incomplete.List()...) {
			fits(request, q.OpenLoop)
		}
	}
}

// What GuideLLM's reports say in openloop's words is a result by its schema, too.
func TestImportedResultsFitTheSchema(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("..", "docs", "result.schema.json"))
	if err != nil {
		t.Fatal(err)
	}
	var s jsonschema.Schema
	if err := json.Unmarshal(text, &s); err != nil {
		t.Fatal(err)
	}
	resolved, err := s.Resolve(nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, folder := range goldenFolders(t) {
		result, err := json.Marshal(Import(readGolden(t, folder)))
		if err != nil {
			t.Fatalf("%s: %v", folder, err)
		}
		var value any
		if err := json.Unmarshal(result, &value); err != nil {
			t.Fatal(err)
		}
		if err := resolved.Validate(value); err != nil {
			t.Errorf("%s: %v", folder, err)
		}
	}
}
