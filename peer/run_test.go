package peer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/openloop/openloop/llmsim"
)

// TestMain is a load generator when it is asked to be one: it sends three requests to where its environment says,
// writes a report of vLLM's form, and, asked to hang, waits for a signal.
func TestMain(m *testing.M) {
	if os.Getenv("PEER_TEST_CLIENT") == "" {
		os.Exit(m.Run())
	}
	fmt.Print("\x1b[32mstarting\x1b[0m\n10 %\r50 %\r100 %\n")
	for i := range 3 {
		body := fmt.Sprintf(`{"model":%q,"prompt":"one two %d","max_tokens":3,"stream":true}`, os.Args[1], i)
		resp, err := http.Post(os.Getenv("OPENAI_BASE_URL")+"/completions", "application/json", strings.NewReader(body))
		if err != nil {
			fmt.Println(err)
			os.Exit(3)
		}
		_, _ = io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
	}
	const report = `{"request_throughput": 12, "completed": 3, "num_prompts": 3, "failed": 0, "request_rate": 10}`
	if err := os.WriteFile(os.Args[2], []byte(report), 0o600); err != nil {
		os.Exit(4)
	}
	if len(os.Args) > 3 {
		time.Sleep(time.Minute)
	}
	os.Exit(5)
}

func clientOptions(t *testing.T, args ...string) Options {
	t.Helper()
	t.Setenv("PEER_TEST_CLIENT", "1")
	t.Setenv("OPENAI_BASE_URL", "")
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return Options{
		Command: append([]string{self, "{model}", "{dir}/out.json"}, args...), Dir: t.TempDir(),
		Engine: llmsim.Config{Fixed: true, TTFT: time.Millisecond, Model: "a-model"}, Prefix: "> ",
	}
}

func TestRun(t *testing.T) {
	o := clientOptions(t)
	var printed strings.Builder
	o.Output = &printed
	a, err := Run(context.Background(), o)
	if err != nil {
		t.Fatal(err)
	}
	if a.Tool != "vllm bench serve" || len(a.Stages) != 1 || a.Stages[0].Seen.Completed != 3 || a.Others != 0 {
		t.Errorf("tool %q, report %q (%s), stages %+v", a.Tool, a.Report, a.NoReport, a.Stages)
	}
	if a.Process.Exit != 5 || !(a.Process.CPU > 0) || !(a.Process.Memory > 1) || !(a.Process.First >= 0) {
		t.Errorf("process %+v", a.Process)
	}
	if want := "> starting\n> 100 %\n"; printed.String() != want {
		t.Errorf("printed %q, want %q", printed.String(), want)
	}
	if a.Connections != 1 {
		t.Errorf("%d connections, want 1", a.Connections)
	}
}

// When the context ends, the command does too, and what it did until then is there.
func TestRunInterrupted(t *testing.T) {
	o := clientOptions(t, "hang")
	ctx, cancel := context.WithCancelCause(context.Background())
	why := errors.New("enough")
	go func() {
		// The report is written after the last answer.
		for i := 0; i < 6000; i++ {
			if _, err := os.Stat(filepath.Join(o.Dir, "out.json")); err == nil {
				break
			}
			time.Sleep(10 * time.Millisecond)
		}
		cancel(why)
	}()
	began := time.Now()
	a, err := Run(ctx, o)
	if !errors.Is(err, why) || a == nil || len(a.Stages) != 1 || a.Stages[0].Seen.Completed != 3 {
		t.Errorf("%v, %+v", err, a)
	}
	if a != nil && a.Process.Exit != -1 {
		t.Errorf("exit code %d of a process that a signal ended", a.Process.Exit)
	}
	if took := time.Since(began); took > 50*time.Second {
		t.Errorf("it took %v", took)
	}
}

func TestRunNotStarted(t *testing.T) {
	o := clientOptions(t)
	o.Command = []string{"no-such-program-anywhere"}
	if _, err := Run(context.Background(), o); !errors.Is(err, ErrNotStarted) {
		t.Errorf("%v", err)
	}
}

// The report is looked for in the folder, in the working directory, and where arguments lead to; old files and others
// are none.
func TestWritten(t *testing.T) {
	folder, elsewhere := t.TempDir(), t.TempDir()
	t.Chdir(t.TempDir())
	began := time.Now()
	for _, name := range []string{
		filepath.Join(folder, "a", "report.json"), filepath.Join(folder, "notes.txt"),
		filepath.Join(folder, ".hidden", "c.json"), filepath.Join(elsewhere, "b.jsonl"), "here.yaml", "old.json",
	} {
		if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte("{}"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chtimes("old.json", began.Add(-time.Hour), began.Add(-time.Hour)); err != nil {
		t.Fatal(err)
	}
	o := Options{Command: []string{"tool", "--output=kind=json,path=" + elsewhere}, Dir: folder}
	var names []string
	for _, name := range o.written(strings.NewReplacer(), began) {
		names = append(names, filepath.Base(name))
	}
	slices.Sort(names)
	if got := strings.Join(names, " "); got != "b.jsonl here.yaml report.json" {
		t.Errorf("found %s", got)
	}
	o.Report = "nothing*"
	claim, why := o.findReport(strings.NewReplacer(), began)
	if claim != nil || !strings.Contains(why, "--report nothing") {
		t.Errorf("%v, %q", claim, why)
	}
}

// A working directory with more files than are looked at hides none elsewhere.
func TestWrittenBesideManyFiles(t *testing.T) {
	full, folder := t.TempDir(), t.TempDir()
	t.Chdir(full)
	began := time.Now()
	for i := range mostFiles {
		f, err := os.Create(fmt.Sprint(i))
		if err != nil {
			t.Fatal(err)
		}
		f.Close()
	}
	report := filepath.Join(folder, "report.json")
	if err := os.WriteFile(report, []byte("{}"), 0o600); err != nil {
		t.Fatal(err)
	}
	o := Options{Command: []string{"tool", "--output-dir", folder}}
	if names := o.written(strings.NewReplacer(), began); !slices.Equal(names, []string{report}) {
		t.Errorf("found %q", names)
	}
}

func TestPrinter(t *testing.T) {
	var out strings.Builder
	p := &printer{to: &out, prefix: "| "}
	for _, text := range []string{"a\r", "\nb", "c\r\nlong\rs\n", "\x1b]0;title\x07end \x1b[1m", "!"} {
		if _, err := io.WriteString(p, text); err != nil {
			t.Fatal(err)
		}
	}
	p.flush()
	if want := "| a\n| bc\n| s\n| end !\n"; out.String() != want {
		t.Errorf("%q, want %q", out.String(), want)
	}
	out.Reset()
	// What "tput sgr0" and a terminal's own queries write: a character set, a device control string.
	fmt.Fprintln(p, "plain\x1b(B\x1b[m, \x1bP+q544e\x1b\\größer\t✓")
	if want := "| plain, größer\t✓\n"; out.String() != want {
		t.Errorf("%q, want %q", out.String(), want)
	}
	for range 100 {
		fmt.Fprintln(p, "more")
	}
	if n := len(p.last()); n != keptLines {
		t.Errorf("%d lines are kept", n)
	}
}
