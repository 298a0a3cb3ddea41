// Package arch has one test: that imports point the way the project's plan has it (docs/architecture.md).
package arch

import (
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/openloop/openloop/"

// The rooms, from the ground up, each with those below it that a higher room may use too.
const (
	engine  = "loadgen internal"                                 // how load is sent
	judging = "slo audit " + engine                              // what is made of it
	asking  = "spec endpoint tokens " + judging                  // what was asked for, and of whom
	trying  = "sweep " + asking                                  // what to try next
	showing = "report " + trying                                 // what came out
	all     = "cluster guidellm llmsim peer recorder " + showing // what cmd and bench may import
	tests   = "llmsim internal"                                  // what the tests of any package may import, too
)

// allowed lists for each package which packages of the project it may import. A name stands for those under it, too.
var allowed = map[string]string{
	"internal/arch":       "",
	"internal/armor":      "",
	"internal/atomicfile": "",
	"internal/fuzztest":   "",
	"internal/infile":     "",
	"internal/junit":      "",
	"internal/layout":     "",
	"internal/machine":    "",
	"internal/memnet":     "",
	"internal/num":        "",
	"internal/precise":    "",
	"internal/race":       "",
	"internal/schemadoc":  "",
	"internal/shell":      "",

	"loadgen":           engine,
	"loadgen/journal":   engine,
	"loadgen/stream":    "internal",
	"loadgen/transport": "loadgen/stream internal",

	"slo":      engine,
	"audit":    engine,
	"endpoint": engine,
	"spec":     "endpoint tokens slo " + engine,

	"tokens":                         "tokens/arrow tokens/tokenizer " + engine,
	"tokens/arrow":                   "internal",
	"tokens/tokenizer":               "internal",
	"tokens/tokenizer/tokenizertest": "tokens/tokenizer internal",

	"sweep":               "sweep/enginemetrics sweep/maxrate " + asking,
	"sweep/maxrate":       "slo internal",
	"sweep/enginemetrics": "endpoint " + engine,

	"report":          "report/estimate " + trying,
	"report/estimate": "slo internal",
	"report/metrics":  trying,
	"report/bucket":   "endpoint " + engine,
	"report/compare":  showing,
	"report/live":     showing,
	"report/page":     showing,
	"report/records":  showing,

	"cluster": engine,

	"guidellm":                "guidellm/oversaturation guidellm/stats " + showing,
	"guidellm/cli":            "guidellm guidellm/oversaturation " + showing,
	"guidellm/oversaturation": "guidellm/stats internal",
	"guidellm/parity":         "guidellm internal",
	"guidellm/stats":          "internal",

	"llmsim":   "internal",
	"recorder": "loadgen/stream internal",
	"peer":     "guidellm guidellm/stats llmsim " + showing,

	"bench/faults/server": "",

	"cmd/openloop":  all,
	"bench/compare": all,
	"bench/cluster": "",
	"bench/faults":  "bench/faults/server " + all,
	"bench/knee":    all,
	"bench/peers":   all,
	"bench/truth":   all,
}

// inTests lists what the tests of a package may import beside that.
var inTests = map[string]string{
	"cluster":     "audit",
	"report/page": "guidellm", // its reports are shown, too
}

// importsOf reads the imports of every package of the project, of all platforms' files, by the package's path below the
// module's; tests are the imports of its test files.
func importsOf(t *testing.T, root string) (code, tests map[string][]string) {
	t.Helper()
	code, tests = map[string][]string{}, map[string][]string{}
	err := filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if base := d.Name(); name != root && (base == "testdata" || base[0] == '.' || base[0] == '_') {
				return filepath.SkipDir
			}
			if _, err := os.Stat(filepath.Join(name, "go.mod")); err == nil && name != root {
				return filepath.SkipDir // another module
			}
			return nil
		}
		if filepath.Ext(name) != ".go" {
			return nil
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		below, err := filepath.Rel(root, filepath.Dir(name))
		if err != nil {
			return err
		}
		pkg, to := filepath.ToSlash(below), code
		if _, known := code[pkg]; !known {
			code[pkg] = nil // a package of tests alone is one as well
		}
		if strings.HasSuffix(name, "_test.go") {
			to = tests
		}
		for _, spec := range file.Imports {
			value, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				return err
			}
			if own, ok := strings.CutPrefix(value, module); ok {
				to[pkg] = append(to[pkg], own)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return code, tests
}

func distinct(list []string) []string { return slices.Compact(slices.Sorted(slices.Values(list))) }

// may says whether a list of names, each standing for what is under it too, holds a package.
func may(list, pkg string) bool {
	names := strings.Fields(list)
	for ; pkg != "."; pkg = path.Dir(pkg) {
		if slices.Contains(names, pkg) {
			return true
		}
	}
	return false
}

func TestImportsPointOneWay(t *testing.T) {
	code, ofTests := importsOf(t, filepath.Join("..", ".."))
	for _, pkg := range slices.Sorted(maps.Keys(code)) {
		list, known := allowed[pkg]
		if !known {
			t.Errorf("%s is not in the table: say there what it may import", pkg)
			continue
		}
		for _, imported := range distinct(code[pkg]) {
			if !may(list, imported) {
				t.Errorf("%s imports %s; it may import: %s", pkg, imported, list)
			}
		}
		for _, imported := range distinct(ofTests[pkg]) {
			if !may(pkg+" "+list+" "+tests+" "+inTests[pkg], imported) {
				t.Errorf("a test of %s imports %s; it may import what is under it, and: %s %s",
					pkg, imported, list, tests)
			}
		}
	}
	for pkg := range allowed {
		if _, there := code[pkg]; !there {
			t.Errorf("%s is in the table, and there is no such package", pkg)
		}
	}
	if len(code["loadgen"]) == 0 {
		t.Error("no import of loadgen was found: this test sees nothing")
	}
}
