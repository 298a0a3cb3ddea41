package schemadoc

import (
	"reflect"
	"strings"
	"testing"
)

// The types of this test are its own: their comments are not read, so only names and the table say units.
type part struct {
	Wait  int64   `json:"wait_ns"`
	Pace  float64 `json:"pace"`
	Name  string  `json:"name"`
	Below []deep  `json:"below"`
}

type deep struct {
	Took float64 `json:"took_ms"`
}

func TestUnits(t *testing.T) {
	m := Maker{Root: "../..", Module: "github.com/openloop/openloop"}
	if _, err := m.Strict(reflect.TypeFor[part]()); err == nil || !strings.Contains(err.Error(), "part.Pace") {
		t.Errorf("a number without a unit is taken: %v", err)
	}
	m.Units = map[string]string{"part.Pace": "requests per second"}
	s, err := m.Strict(reflect.TypeFor[part]())
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"wait_ns": "Unit: nanoseconds.", "pace": "Unit: requests per second.", "name": "",
	} {
		if got := s.Properties[name].Description; got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	if got := s.Properties["below"].Items.Properties["took_ms"].Description; got != "Unit: milliseconds." {
		t.Errorf("in a list: %q", got)
	}
	if s.AdditionalProperties == nil || s.Properties["below"].Items.AdditionalProperties == nil {
		t.Error("a strict schema takes what it does not know")
	}
	open := Open(s)
	if open.AdditionalProperties != nil || open.Properties["below"].Items.AdditionalProperties != nil {
		t.Error("an open schema does not take what it does not know")
	}
	if s.AdditionalProperties == nil {
		t.Error("opening a schema changed it")
	}
}

// Comments are those of the types in the source: of Maker's own fields here.
func TestComments(t *testing.T) {
	m := Maker{Root: "../..", Module: "github.com/openloop/openloop", packages: map[string]map[string]typeDoc{}}
	docs, err := m.docsOf(reflect.TypeFor[Maker]())
	if err != nil {
		t.Fatal(err)
	}
	if docs.doc != "Maker makes schemas." || docs.fields["Root"] != "folder of the module" ||
		!strings.HasPrefix(docs.fields["Units"], "Units are of the numbers") {
		t.Errorf("%+v", docs)
	}
	if got := sentence("of Wait, which Below has", reflect.TypeFor[part]()); got != "Of wait_ns, which below has." {
		t.Errorf("got %q", got)
	}
}
