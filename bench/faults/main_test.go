package main

import (
	_ "embed"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/openloop/openloop/internal/race"
)

// pending names rows, one a line, that are not green yet: go test leaves them out, the campaign does not.
//
//go:embed testdata/pending.txt
var pending string

// The fast rows of the campaign, against the program as it is.
func TestFastRows(t *testing.T) {
	if testing.Short() || race.Enabled {
		t.Skip("it runs another program, hundreds of times")
	}
	dir := t.TempDir()
	binary, err := findBinary(t.Context(), "", dir)
	if err != nil {
		t.Fatal(err)
	}
	chosen, err := choose(rows(), "", true)
	if err != nil {
		t.Fatal(err)
	}
	known := strings.Split(pending, "\n")
	chosen = slices.DeleteFunc(chosen, func(r row) bool { return slices.Contains(known, r.title()) })
	outcomes := make([]outcome, len(chosen))
	var work sync.WaitGroup
	places := make(chan struct{}, 8) // most of a row is waiting
	for i := range chosen {
		places <- struct{}{}
		work.Go(func() {
			defer func() { <-places }()
			outcomes[i] = chosen[i].run(t.Context(), binary, filepath.Join(dir, "rows", chosen[i].folder()))
		})
	}
	work.Wait()
	for i, o := range outcomes {
		if len(o.wrong) > 0 { // a machine that is busy with other tests may have been the reason
			o = chosen[i].run(t.Context(), binary, filepath.Join(dir, "rows", chosen[i].folder()))
		}
		if len(o.wrong) > 0 {
			t.Errorf("%s\n$ %s\n%s", chosen[i].title(), strings.Join(o.commands, "\n$ "), strings.Join(o.wrong, "\n"))
		}
	}
}

// Each row has a name of its own, belongs to a point, and expects something.
func TestRowsAreWhole(t *testing.T) {
	seen := map[string]bool{}
	for _, r := range rows() {
		if seen[r.title()] {
			t.Errorf("two rows are called %q", r.title())
		}
		seen[r.title()] = true
		if r.point == "" || r.name == "" || r.args == "" {
			t.Errorf("row %d lacks its point, name or command", r.number)
		}
		if len(r.exit)+len(r.says)+len(r.not)+len(r.report) == 0 && r.check == nil && r.act == nil {
			t.Errorf("%s: nothing is expected", r.title())
		}
		if r.fast && r.alone {
			t.Errorf("%s: go test runs its rows together", r.title())
		}
	}
	for name := range strings.Lines(pending) {
		if name = strings.TrimSpace(name); name != "" && !seen[name] {
			t.Errorf("testdata/pending.txt: there is no row %q", name)
		}
	}
}

func TestFields(t *testing.T) {
	for line, want := range map[string][]string{
		"run --a  b":          {"run", "--a", "b"},
		"--slo 'a b' --c=''":  {"--slo", "a b", "--c="},
		"x '' y":              {"x", "", "y"},
		"":                    nil,
		`--b '{"n": 2}' 'q'r`: {"--b", `{"n": 2}`, "qr"},
	} {
		if got := fields(line); !slices.Equal(got, want) {
			t.Errorf("%q: %q, want %q", line, got, want)
		}
	}
}

// The campaign notices what it is there to notice: a program that says too much, leaves files, lies or hangs.
func TestRowsFail(t *testing.T) {
	for _, c := range []struct {
		name, shell string
		row         row
		wrong       string // "" for a row that passes
	}{
		{"as it should be", "echo fine", row{exit: []int{0}, says: []string{"FINE"}, not: []string{"bad"}}, ""},
		{"another exit code", "exit 3", row{exit: []int{0, 1}}, "exit code 0 or 1"},
		{"not said", "echo no", row{says: []string{"fine"}}, `to say "fine"`},
		{"said", "echo bad", row{not: []string{"b.d"}}, `not to say "b.d"`},
		{"the secret on stderr", "echo a $OPENAI_API_KEY >&2", row{}, "secret is in stderr"},
		{"the secret in a file", "mkdir out; echo $OPENAI_API_KEY >out/x", row{}, "secret is in out/x"},
		{"an escape", `printf 'a\033[2Jb'`, row{}, "control character on stdout"},
		{"a panic", "echo 'panic: oh'", row{}, `says "panic:"`},
		{"a temporary file", "mkdir out; touch out/.openloop-7", row{}, "left behind: out/.openloop-7"},
		{"no report", "true", row{report: []check{completed(1, 1)}}, "want a report"},
		{"it hangs", "sleep 60", row{within: 50e6}, "did not end within 50ms"},
	} {
		r := c.row
		r.point, r.name, r.shell, r.args = "0", c.name, c.shell, "x"
		o := r.run(t.Context(), "/bin/true", filepath.Join(t.TempDir(), "row"))
		all := strings.Join(o.wrong, "\n")
		if (all == "") != (c.wrong == "") || !strings.Contains(all, c.wrong) {
			t.Errorf("%s: %q, want %q", c.name, all, c.wrong)
		}
	}
}
