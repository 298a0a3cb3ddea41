package main

import "testing"

func TestParseOutputs(t *testing.T) {
	for _, c := range []struct{ name, file, form string }{
		{"json", "benchmarks.json", "json"},
		{" csv ", "benchmarks.csv", "csv"},
		{"yaml", "benchmarks.yaml", "yaml"},
		{"yml", "benchmarks.yml", "yaml"}, // as GuideLLM has it
		{"screen", "benchmarks.txt", "screen"},
		{"txt", "benchmarks.txt", "screen"},
		{"a.json", "a.json", "json"},
		{"json.gz", "benchmarks.json.gz", "json"},
		{"a.csv.gz", "a.csv.gz", "csv"},
		{".gz", "", ""},
		{"gz", "", ""},
		{"/b/c.yml", "/b/c.yml", "yaml"},
		{"json.csv", "json.csv", "csv"},
		{"", "", ""},
		{"console", "", ""},             // is printed, and no file
		{"html", "report.html", "html"}, // for people, not for programs
		{"xlsx", "", ""},
		{"/b/json", "", ""},
		{"a.html", "a.html", "html"},
		{"a.xlsx", "", ""},
	} {
		outputs, err := parseOutputs([]string{c.name})
		if c.file == "" {
			if err == nil {
				t.Errorf("%q is taken as %+v", c.name, outputs[0])
			}
			continue
		}
		if err != nil {
			t.Errorf("%q: %v", c.name, err)
		} else if o := outputs[0]; o.file != c.file || o.format.name != c.form {
			t.Errorf("%q is %s in the form %s; want %s, %s", c.name, o.file, o.format.name, c.file, c.form)
		}
	}
}
