// Peers runs load generators one after the other by openloop audit, all against the same simulated engine of known
// timing, and writes a table of what each reports beside what happened.
//
//	make peers                                  # those that are installed, and the table in bench/results/peers.md
//	make peers ARGS='-install'                  # install them all before; minutes, and some 15 GB
//	make peers ARGS='-only openloop,aiperf -rates 50'
//
// tools.go lists the load generators and their commands, install.sh installs them, table.go prints. One that is not
// installed is left out, and named.
package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/openloop/openloop/internal/machine"
	"github.com/openloop/openloop/peer"
)

func main() {
	if err := bench(); err != nil {
		fmt.Fprintln(os.Stderr, "bench/peers:", err)
		os.Exit(1)
	}
}

// options are what the flags ask for.
type options struct {
	openloop string
	rates    []float64
	seconds  float64
	prompt   int
	output   int
	engine   string
	folder   string // for reports
	write    string
	patience time.Duration
}

// load is one load that is asked of every load generator.
type load struct {
	rate    float64 // requests a second
	seconds float64
	prompt  int // tokens
	output  int
}

func (l load) requests() int { return int(l.rate * l.seconds) }

// outcome is one load generator's run of one load.
type outcome struct {
	tool  *tool
	load  load
	audit *peer.Audit // nil: there is none
	err   string      // why
	busy  float64     // cores that other processes used meanwhile
}

func bench() error {
	var o options
	var rates, only string
	install := flag.Bool("install", false, "install the load generators that are not there")
	flag.StringVar(&o.openloop, "openloop", "bin/openloop", "the openloop that audits, and is audited")
	flag.StringVar(&rates, "rates", "50,300", "requests a second, separated by commas")
	flag.Float64Var(&o.seconds, "seconds", 20, "length of a run")
	flag.IntVar(&o.prompt, "prompt-tokens", 256, "prompt tokens of a request")
	flag.IntVar(&o.output, "output-tokens", 128, "output tokens of a request")
	flag.StringVar(&o.engine, "engine", "fixed?ttft=30ms&itl=5ms", "what is simulated")
	flag.StringVar(&only, "only", "", "only these load generators, separated by commas")
	flag.StringVar(&o.folder, "results", "peers-results", "folder for the reports; it is emptied")
	flag.StringVar(&o.write, "write", "", "write the table to this file too, in place of the one that it has")
	flag.DurationVar(&o.patience, "patience", 5*time.Minute, "how long one run may take")
	flag.Parse()
	if flag.NArg() > 0 {
		return fmt.Errorf("unexpected argument %q", flag.Arg(0))
	}
	for text := range strings.SplitSeq(rates, ",") {
		rate, err := strconv.ParseFloat(text, 64)
		if err != nil || rate <= 0 {
			return fmt.Errorf("-rates: %q is not a rate", text)
		}
		o.rates = append(o.rates, rate)
	}
	var err error
	if o.folder, err = filepath.Abs(o.folder); err != nil {
		return err
	}
	if o.openloop, err = filepath.Abs(o.openloop); err != nil {
		return err
	}
	if err := errors.Join(os.RemoveAll(o.folder), os.MkdirAll(o.folder, 0o755)); err != nil {
		return err
	}
	chosen, skipped, err := o.choose(only, *install)
	if err != nil {
		return err
	}
	began, where := time.Now(), setting()
	var outcomes []outcome
	for _, rate := range o.rates {
		l := load{rate: rate, seconds: o.seconds, prompt: o.prompt, output: o.output}
		for _, t := range chosen {
			outcomes = append(outcomes, o.run(t, l))
		}
	}
	text := o.table(outcomes, skipped, where, began)
	fmt.Print(text)
	if o.write != "" {
		return writeTable(o.write, text)
	}
	return nil
}

// choose gives the load generators that can be run, and of the others why not.
func (o *options) choose(only string, install bool) (chosen []*tool, skipped []string, err error) {
	all := tools()
	for name := range strings.SplitSeq(only, ",") {
		if only != "" && !slices.ContainsFunc(all, func(t *tool) bool { return t.name == name }) {
			return nil, nil, fmt.Errorf("-only: there is no %q", name)
		}
	}
	for _, t := range all {
		if only != "" && !slices.Contains(strings.Split(only, ","), t.name) {
			continue
		}
		why := t.find(o, install)
		if why == "" {
			chosen = append(chosen, t)
			continue
		}
		fmt.Fprintf(os.Stderr, "%s is left out: %s\n", t.name, why)
		skipped = append(skipped, t.name+" ("+why+")")
	}
	if len(chosen) == 0 {
		return nil, nil, errors.New("none of the load generators is there")
	}
	return chosen, skipped, nil
}

// run runs one load generator with one load.
func (o *options) run(t *tool, l load) outcome {
	out := outcome{tool: t, load: l}
	folder := filepath.Join(o.folder, fmt.Sprintf("%s-%g", t.name, l.rate))
	fail := func(err error) outcome {
		out.err = err.Error()
		fmt.Fprintf(os.Stderr, "  %v\n", err)
		return out
	}
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return fail(err)
	}
	file := filepath.Join(folder, "audit.json")
	args := []string{"audit", "--engine", o.engine, "--report", filepath.Join(folder, t.report), "--output", file}
	if t.tokenizer != "" {
		args = append(args, "--tokenizer", filepath.Join(t.tokenizer, "tokenizer.json"))
	}
	args = append(append(args, "--quiet", "--"), t.command(l, folder)...)
	fmt.Fprintf(os.Stderr, "%s at %g req/s: %s\n", t.name, l.rate, strings.Join(args, " "))
	cmd := exec.Command(o.openloop, args...)
	cmd.Env = append(os.Environ(), t.env...)
	cmd.Dir = folder
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	began, busy := time.Now(), machine.BusyTime()
	if err := cmd.Start(); err != nil {
		return fail(err)
	}
	// An interrupt has the audit end the command and say what it saw.
	timer := time.AfterFunc(o.patience, func() { _ = cmd.Process.Signal(os.Interrupt) })
	err := cmd.Wait()
	timer.Stop()
	if werr := os.WriteFile(filepath.Join(folder, "console.txt"), said.Bytes(), 0o644); werr != nil {
		return fail(werr)
	}
	text, rerr := os.ReadFile(file)
	if rerr != nil {
		return fail(errors.Join(err, rerr))
	}
	if jerr := json.Unmarshal(text, &out.audit); jerr != nil {
		return fail(jerr)
	}
	own := (cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()).Seconds()
	out.busy = max(machine.BusyTime()-busy-own, 0) / time.Since(began).Seconds()
	if err != nil {
		last := strings.Split(strings.TrimSpace(said.String()), "\n")
		out.err = last[len(last)-1]
		fmt.Fprintf(os.Stderr, "  %s\n", out.err)
	}
	return out
}
