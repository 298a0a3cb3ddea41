// Truth measures the client, loadgen, against a server that knows what happened to every request: llmsim with fixed
// timing, in a process of its own on the same machine. For each row it prints what the client measured, what the server
// did, and the difference. It is a test of the client, not of the simulated engine.
//
//	go run ./bench/truth                            # every row, three runs each
//	go run ./bench/truth -runs 1 -seconds 3 -row 300
//	go run ./bench/truth -row 300 -cpuprofile cpu.out
//	go run ./bench/truth -write bench/results/truth.md
//
// Every run has a fresh server and a fresh client process, so that processor time and memory are the client's alone.
// Where the pinned GuideLLM is installed it is run beside openloop, once a row. With -check it exits with 1 if a
// request was lost or the audit's verdict was wrong (check.go); times are not checked, for they depend on what else the
// machine does.
//
// rows.go lists the loads. process.go starts the processes, send.go is the client's and serve.go the server's;
// workers.go has several of the client's send together. table.go prints.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/openloop/openloop/audit"
)

func main() {
	runProcess(os.Args[1:])
	exit(bench())
}

// runProcess is the main function of the processes that the bench starts: a server, or a client. It returns if the
// arguments name neither.
func runProcess(args []string) {
	switch args = append(args, "", "", ""); args[0] {
	case "serve":
		exit(serve(args[1], args[2]))
	case "send":
		exit(send(args[1]))
	case "bare":
		exit(bare(args[1]))
	case "work":
		exit(work(args[1]))
	}
}

func exit(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench/truth:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

// options are what the flags ask for.
type options struct {
	clientOptions
	runs     int
	bare     bool
	guidellm string
	quiet    float64
	patience time.Duration
	verbose  bool
}

func bench() error {
	var o options
	flag.IntVar(&o.runs, "runs", 3, "runs of each row; printed are the median and the range")
	seconds := flag.Float64("seconds", 15, "length of a run")
	only := flag.String("row", "", "only the rows of these names, separated by commas; "+
		"those that take minutes run only when named: 200-long, sessions, report")
	check := flag.Bool("check", false, "fail if a request was lost or a verdict is wrong")
	flag.StringVar(&o.guidellm, "guidellm", guideLLMProgram(),
		"the pinned GuideLLM, to be run beside openloop at 300 and 700 req/s; empty: not")
	flag.IntVar(&o.GC, "gc", defaultGC, "the client's GOGC")
	flag.StringVar(&o.Profile, "cpuprofile", "", "write the client's processor profile of the last run to this file")
	flag.StringVar(&o.Trace, "trace", "", "write the client's execution trace of the last run to this file")
	flag.BoolVar(&o.bare, "bare", false, "run a bare net/http reader after every run, as a yardstick for CPU time")
	flag.BoolVar(&o.Screen, "screen", false, "draw the command's screen on stderr while load is sent")
	flag.IntVar(&o.Workers, "workers", 0, "have the client's process lead this number of further ones, which send")
	flag.BoolVar(&o.Apart, "apart", false, "give server and client a processor each (by taskset), "+
		"so that neither takes the other's")
	flag.Float64Var(&o.quiet, "quiet", 0, "begin a run only when other processes use less than this many cores, "+
		"and repeat it if they used more during it; 0: never wait")
	flag.DurationVar(&o.patience, "patience", 10*time.Minute, "how long -quiet waits for each row")
	flag.BoolVar(&o.verbose, "v", false, "print every run")
	write := flag.String("write", "", "write the tables in Markdown to this file too, with commit, date and command; "+
		"of a file that has them already only the tables are replaced")
	flag.Parse()
	if flag.NArg() > 0 {
		return fmt.Errorf("unexpected argument %q", flag.Arg(0))
	}
	chosen, err := choose(rows(), *only)
	if err != nil {
		return err
	}
	var tables []table
	failed := false
	for _, r := range chosen {
		if r.Seconds == 0 {
			r.Seconds = *seconds
		}
		results, wrong, err := r.measure(&o)
		if err != nil {
			return fmt.Errorf("row %s: %w", r.Name, err)
		}
		for _, w := range wrong {
			fmt.Printf("\nrow %s: %s\n", r.Name, w)
		}
		failed = failed || len(wrong) > 0
		made := []table{r.table(results)}
		if o.guidellm != "" && slices.Contains(besideGuideLLM, r.Name) {
			beside, err := r.runGuideLLM(o.guidellm, results)
			if err != nil {
				return fmt.Errorf("row %s, GuideLLM: %w", r.Name, err)
			}
			made = append(made, beside)
		}
		for _, t := range made {
			t.print(os.Stdout)
		}
		tables = append(tables, made...)
	}
	if *write != "" {
		if err := writeTables(*write, tables); err != nil {
			return err
		}
	}
	if failed && *check {
		return fmt.Errorf("requests were lost, or a verdict is wrong")
	}
	return nil
}

// choose gives the rows of these names, separated by commas; for no name all that are not to be named.
func choose(all []row, names string) (chosen []row, err error) {
	if names == "" {
		return slices.DeleteFunc(slices.Clone(all), func(r row) bool { return r.Extra }), nil
	}
	var known []string
	for _, r := range all {
		known = append(known, r.Name)
	}
	for name := range strings.SplitSeq(names, ",") {
		if !slices.Contains(known, name) {
			return nil, fmt.Errorf("no row %q; rows are %s", name, strings.Join(known, ", "))
		}
	}
	return slices.DeleteFunc(slices.Clone(all), func(r row) bool {
		return !slices.Contains(strings.Split(names, ","), r.Name)
	}), nil
}

// measure runs a row as often as is asked for. wrong lists what must not be: lost requests and wrong verdicts.
func (r *row) measure(o *options) (results []runResult, wrong []string, err error) {
	for range o.runs {
		res, err := r.runInQuiet(o)
		// On a machine that can do this load there is nothing to notice. Twice as much, until there is.
		for ; err == nil && r.Beyond && res.Verdict != audit.Invalid && r.Rate < mostRate; res, err = r.runInQuiet(o) {
			if w := r.wrongVerdict(res); w != "" {
				break
			}
			r.Rate *= 2
		}
		if err != nil {
			return nil, nil, err
		}
		if o.bare && r.Rate > 0 {
			b, err := r.run("bare", o.clientOptions)
			if err != nil {
				return nil, nil, fmt.Errorf("bare: %w", err)
			}
			res.BareCPU = b.CPU / float64(b.Tokens)
		}
		if o.verbose {
			b, err := json.Marshal(res)
			if err != nil {
				return nil, nil, err
			}
			fmt.Printf("%s\n", b)
		}
		if res.Lost > 0 {
			wrong = append(wrong, fmt.Sprintf("%d requests were lost: %s", res.Lost, res.FirstErr))
		}
		if w := r.wrongVerdict(res); w != "" {
			wrong = append(wrong, "wrong verdict: "+w)
		}
		results = append(results, *res)
	}
	return results, wrong, nil
}

// runInQuiet runs a row once, while the machine is quiet if that is asked for.
func (r *row) runInQuiet(o *options) (*runResult, error) {
	for until := time.Now().Add(o.patience); ; {
		waitForQuiet(o.quiet, until)
		res, err := r.run("send", o.clientOptions)
		if err != nil || o.quiet == 0 || res.Others < o.quiet || time.Now().After(until) {
			return res, err
		}
	}
}
