package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"

	"github.com/openloop/openloop/spec"
)

// FuzzOutputs: an output that is taken is a file whose ending says its form, and by its name it is the same.
func FuzzOutputs(f *testing.F) {
	for _, s := range []string{
		"json", " csv ", "screen", "a.txt", "/b/c.yml", "json.csv", "", ".", "..", ".json", "console", "a/json",
		"yml",
		"a\x00.json", "a.json.gz", "summary", "benchmarks.", "csv ",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, name string) {
		outputs, err := parseOutputs([]string{name})
		if err != nil {
			var coded *exitError
			if errors.As(err, &coded) || outputs != nil {
				t.Fatalf("%q: %+v, %v", name, outputs, err)
			}
			return
		}
		o := outputs[0]
		plain := formatOf(strings.TrimSuffix(o.file, compressedEnding))
		if len(outputs) != 1 || o.file == "" || o.format == nil || plain == nil || plain.name != o.format.name {
			t.Fatalf("%q is %+v", name, outputs)
		}
		again, err := parseOutputs([]string{o.file})
		if err != nil || again[0].file != o.file || again[0].format.name != o.format.name {
			t.Fatalf("%q is %s in the form %s, and its file %+v (%v)", name, o.file, o.format.name, again, err)
		}
	})
}

// FuzzReportForm: whichever flags of openloop report are given, there is a form, or none and a reason.
func FuzzReportForm(f *testing.F) {
	for _, s := range [][3]string{
		{"", "", ""}, {"json", "", "a.csv"}, {"summary", "guidellm", ""}, {"console", "openloop", ""},
		{"", "openloop", "a.txt"},
		{"", "guidellm", "a.txt.gz"}, {"", "", "a.yaml.gz"}, {"", "", ".gz"}, {"x", "x", "x"}, {"", "", "a.log"},
		{"screen", "guidellm", "a"},
	} {
		f.Add(s[0], s[1], s[2])
	}
	f.Fuzz(func(t *testing.T, form, style, output string) {
		flags := reportFlags{format: form, style: style, output: output}
		got, err := flags.outputFormat()
		var coded *exitError
		if err != nil && (!errors.As(err, &coded) || coded.code != exitUsage || got != nil) {
			t.Fatalf("%+v: %+v, %v", flags, got, err)
		}
		if form != "" && err == nil && got == nil {
			t.Fatalf("%+v: a form that is asked for is none", flags)
		}
	})
}

// FuzzHeader: a header that is taken is one line of a request, its value as it was given, and no error shows a value.
func FuzzHeader(f *testing.F) {
	for _, s := range []string{
		"X-Key: KEY", "X-Key:KEY", "KEY", ": KEY", "a b: KEY", "a: KEY\r\nb: c", "é: KEY", "a:KEY:b", "a: KEY\x00",
		"a\x00: KEY", "a:",
		"a: KEY\n", "(x): KEY", "Host: KEY", "Content-Length: KEY", "a: é KEY", "a\t: KEY", "Transfer-Encoding: KEY",
		"a: KEY\x7f",
	} {
		f.Add(s)
	}
	const canary = "sk-canary-0123456789"
	f.Fuzz(func(t *testing.T, line string) {
		line = strings.ReplaceAll(line, "KEY", canary)
		headers, err := (&specFlags{headers: []string{line}}).parseHeaders()
		if err != nil {
			if strings.Contains(err.Error(), canary) {
				t.Fatalf("%q: %v", line, err)
			}
			return
		}
		name, value, _ := strings.Cut(line, ":")
		h := headers[0]
		if len(headers) != 1 || h.Name != strings.TrimSpace(name) || h.Value.Reveal() != strings.TrimSpace(value) {
			t.Fatalf("%q is %s: %q", line, h.Name, h.Value.Reveal())
		}
		if shown := fmt.Sprintf("%v %+v %#v", headers, headers, headers); strings.Contains(shown, canary) &&
			!strings.Contains(name, canary) {
			t.Fatalf("%q: shown as %s", line, shown)
		}
		var wire bytes.Buffer
		header := http.Header{}
		header.Add(h.Name, h.Value.Reveal())
		if err := header.Write(&wire); err == nil && strings.Count(wire.String(), "\n") > 1 {
			t.Fatalf("%q goes out as %q", line, wire.String())
		}
	})
}

// FuzzKeyFile: the key of a file is one that a header may hold, and no error shows it.
func FuzzKeyFile(f *testing.F) {
	for _, s := range []string{
		"KEY\n", "KEY", "", "\n", "a\nKEY", "KEY\x00", "é KEY", "\ufeffKEY", "KEY\r\n", " KEY ",
	} {
		f.Add([]byte(s))
	}
	const canary = "sk-canary-0123456789"
	f.Fuzz(func(t *testing.T, text []byte) {
		text = bytes.ReplaceAll(text, []byte("KEY"), []byte(canary))
		path := filepath.Join(t.TempDir(), "key")
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
		key, err := (&specFlags{apiKeyFile: path}).key()
		if err != nil {
			if strings.Contains(err.Error(), canary) || !key.IsEmpty() {
				t.Fatalf("%q: %v", text, err)
			}
			return
		}
		if want := "Bearer " + strings.TrimSpace(string(text)); key.Reveal() != want {
			t.Fatalf("%q is %q", text, key.Reveal())
		}
		if strings.ContainsFunc(key.Reveal(), func(r rune) bool { return r < ' ' || r >= 0x7f }) {
			t.Fatalf("%q is taken", text)
		}
	})
}

// parseLine makes of arguments what a command does before it runs.
func parseLine(p *program, cmd *cobra.Command, args []string) error {
	(&cobra.Command{}).AddCommand(cmd)
	cmd.Flags().SetNormalizeFunc(presentName)
	p.args = append([]string{cmd.Name()}, args...)
	if err := cmd.ParseFlags(args); err != nil {
		return p.flagError(cmd, err)
	}
	p.finishCommand(cmd)
	return cmd.ValidateArgs(cmd.Flags().Args())
}

// runLine is what "openloop run" makes of its arguments before it asks anything of an endpoint.
func runLine(args []string) (*runFlags, spec.Spec, error) {
	p := &program{stdout: io.Discard, stderr: io.Discard}
	cmd := &cobra.Command{Use: "run", Args: urlArgument}
	f := addRunFlags(cmd.Flags(), p)
	if err := parseLine(p, cmd, args); err != nil {
		return nil, spec.Spec{}, err
	}
	s, err := f.spec(cmd.Flags().Args())
	return f, s, err
}

// FuzzRunLine: whatever the arguments of openloop run are, one a line, they are a load that can be run or an error of
// usage, and a secret among them is shown in neither.
func FuzzRunLine(f *testing.F) {
	for _, s := range []string{
		"--profile\nconstant\n--rate\n1,2.5", "--rate=1e308\n--profile=concurrent", "--rate=NaN\n--profile=poisson",
		"--profile=concurrent\n--rate=9e18\n--max-concurrency=9223372036854775807",
		"--ramp=1..20\n--max-seconds=1e300",
		"--ramp=0..5\n--max-seconds=1e-300", "--stages=5rps:60s,5..20rps:60s", "--stages=1rps:2562047h,1rps:2562047h",
		"--ramp=5..1",
		"--stages=1rps:1s\n--max-seconds=2", "--arrival=gamma:0.5\n--rate=3", "--arrival=burst:8\n--ramp=1..2",
		"--max-seconds=-1",
		"--max-requests=-1\n--profile=synchronous", "--warmup=0.5\n--cooldown=0.5\n--profile=synchronous",
		"--max-seconds=inf",
		"--header\nX: KEY\n--profile=synchronous", "--api-key=KEY", "--target=http://me:KEY@h",
		"--server-metrics=http://me:KEY@h/m", "--server-metrics=p=http://me:KEY@h/m\n--server-metrics=d=http://h/m",
		"--server-metrics=p=http://h/m\n--server-metrics=p=http://h/m", "--server-metrics=auto\n--server-metrics=off",
		"--server-metrics==http://h", "--target=a=http://me:KEY@h\n--target=b=http://h",
		"--profile=throughput\n--rate=1.5", "--grace=-1s", "--rampup=1000000h", "--slo=ttft:p95<1s errors<1%",
		"--gate=rate>=1e400",
		"--outputs=json,,csv", "--extra-body={", "--data=prompt_tokens=1",
		"--data-column-mapper={\"text_column\":1}\n--data=a.csv",
		"--confidence=nan", "--prompt-tokens=0", "--prompt-tokens-min=5\n--prompt-tokens-max=2", "--seed=x", "-h",
		"--", "x", "--api-key",
		"--request-timeout=9223372036854775807ns\n--profile=synchronous", "--max-error-rate=2",
		"--sample-requests=-1", "--target=h",
	} {
		f.Add(s)
	}
	const canary = "sk-canary-0123456789"
	f.Fuzz(func(t *testing.T, text string) {
		if len(text) > 4096 || strings.ContainsAny(text, "\x00") {
			return
		}
		defer time.AfterFunc(20*time.Second, func() { panic("hangs") }).Stop()
		given := strings.Split(strings.ReplaceAll(text, "KEY", canary), "\n")
		args := given
		if !strings.Contains(text, "--target") {
			args = append([]string{"--target=http://h:1"}, given...)
		}
		check := func(err error) {
			if err == nil {
				return
			}
			var coded *exitError
			if errors.As(err, &coded) && coded.code != exitUsage {
				t.Fatalf("%q: %v with exit code %d", args, err, coded.code)
			}
			// A key in the place of another flag's value is nobody's to know.
			if mayHideKey(given, canary) && strings.Contains(err.Error(), canary) {
				t.Fatalf("%q: %v", args, err)
			}
		}
		flags, s, err := runLine(args)
		if check(err); err != nil {
			return
		}
		loads := s.Plan.Stages
		if check(refuse(s.Validate())); s.Validate() != nil {
			return
		}
		for _, load := range loads {
			if len(load.Times) == 0 && flags.trace == "" && load.Kind.Open() {
				schedule := load.Schedule()
				last := time.Duration(-1)
				for i := range 20 {
					at, ok := schedule.At(i)
					if !ok {
						break
					}
					if at < last {
						t.Fatalf("%q: request %d is due at %v, after %v", args, i, at, last)
					}
					last = at
				}
			}
			if math.IsNaN(load.Rate) || load.Rate < 0 || load.Kind.Open() == (load.Streams > 0) {
				t.Fatalf("%q: %+v", args, load)
			}
		}
		if l := s.Limits; l.MaxDuration < 0 || l.MaxDuration == 0 && l.MaxRequests == 0 && flags.trace == "" {
			t.Fatalf("%q: %+v", args, l)
		}
		if !mayHideKey(given, canary) {
			return
		}
		saved, err := json.Marshal(s.Output.Command)
		if err != nil {
			t.Fatal(err)
		}
		shown := string(saved) + fmt.Sprintf("%v %+v %#v", s.Endpoint, s, s.Endpoint)
		if strings.Contains(shown, canary) {
			t.Fatalf("%q: shown as %s", args, shown)
		}
	})
}

// keyInURL is a URL, with a name before it or without, in whose login a key is.
var keyInURL = regexp.MustCompile(`^([A-Za-z0-9_.-]+=)?http://me:KEY@[^@]*$`)

// mayHideKey says whether a key stands nowhere but where one belongs: as the value of a flag that has one, or before
// the host of a URL.
func mayHideKey(args []string, key string) bool {
	value := false // of a flag that has a key
	for _, arg := range args {
		flag, rest, joined := strings.Cut(arg, "=")
		secret := flag == "--header" || flag == "--api-key"
		isURL := flag == "--target" || flag == "--server-metrics"
		switch {
		case !strings.Contains(arg, key), value:
		case secret && joined && !strings.Contains(flag, key):
		case isURL && joined && keyInURL.MatchString(strings.ReplaceAll(rest, key, "KEY")):
		default:
			return false
		}
		value = !value && secret && !joined
	}
	return true
}
