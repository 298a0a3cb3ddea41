// Truthbench measures loadgen against a server that knows the truth about every request: llmsim with fixed timing, in a
// process of its own on the same machine. For each row it prints what the client measured, what the server did, and the
// difference. It is a test of the client, not of the simulated engine.
//
//	go run ./loadgen/truthbench                            # every row, three runs each
//	go run ./loadgen/truthbench -runs 1 -seconds 3 -row 300
//	go run ./loadgen/truthbench -row 300 -cpuprofile cpu.out
//
// Every run has a fresh server and a fresh client process, so that processor time and memory are the client's alone. Where the
// pinned GuideLLM is installed it is run beside openloop, once a row. With -check it exits with 1 if a request was lost or the
// audit gave a wrong verdict; times are not checked, for they hang on what else the machine does.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"
)

func main() {
	runProcess(os.Args[1:])
	exit(bench())
}

// runProcess is what the bench starts itself anew for: a server, or a client. It returns if the arguments name neither.
func runProcess(args []string) {
	switch args = append(args, "", "", ""); args[0] {
	case "serve":
		exit(serve(args[1], args[2]))
	case "send":
		exit(send(args[1]))
	case "bare":
		exit(bare(args[1]))
	}
}

func exit(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "truthbench:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

func bench() error {
	runs := flag.Int("runs", 3, "runs of each row; printed are the median and the range")
	seconds := flag.Float64("seconds", 15, "length of a run")
	only := flag.String("row", "", "only the rows of these names, separated by commas; those that take ten minutes run only when named: 200-long, report")
	check := flag.Bool("check", false, "fail if a request was lost or a verdict is wrong")
	guide := flag.String("guidellm", guideLLMProgram(), "the pinned GuideLLM, to be run beside openloop at 300 and 700 req/s; empty: not")
	gc := flag.Int("gc", defaultGC, "the client's GOGC")
	profile := flag.String("cpuprofile", "", "write the client's processor profile of the last run here")
	trace := flag.String("trace", "", "write the client's execution trace of the last run here")
	beside := flag.Bool("bare", false, "run a bare net/http reader after every run, as a yardstick for processor time")
	apart := flag.Bool("apart", false, "give server and client a processor each (by taskset), so that neither takes the other's")
	quiet := flag.Float64("quiet", 0, "begin a run only when other processes use less than this many cores, and repeat it if they used more in it; 0: never mind")
	patience := flag.Duration("patience", 10*time.Minute, "how long -quiet waits for each row")
	verbose := flag.Bool("v", false, "print every run")
	flag.Parse()
	if flag.NArg() > 0 {
		return fmt.Errorf("unexpected argument %q", flag.Arg(0))
	}
	var names []string
	failed := false
	for _, r := range rows() {
		names = append(names, r.Name)
		if named := slices.Contains(strings.Split(*only, ","), r.Name); !named && (*only != "" || r.Extra) {
			continue
		}
		if r.Seconds == 0 {
			r.Seconds = *seconds
		}
		var results []result
		for range *runs {
			j := job{row: r, GC: *gc, Profile: *profile, Trace: *trace, Apart: *apart}
			var res *result
			var err error
			for until := time.Now().Add(*patience); ; {
				waitForQuiet(*quiet, until)
				if res, err = r.run("send", j); err != nil {
					return fmt.Errorf("row %s: %w", r.Name, err)
				}
				if *quiet == 0 || res.Others < *quiet || time.Now().After(until) {
					break
				}
			}
			if *beside && r.Rate > 0 {
				b, err := r.run("bare", j)
				if err != nil {
					return fmt.Errorf("row %s, bare: %w", r.Name, err)
				}
				res.BareCPU = b.CPU / float64(b.Tokens)
			}
			if *verbose {
				b, err := json.Marshal(res)
				if err != nil {
					return err
				}
				fmt.Printf("%s\n", b)
			}
			if res.Lost > 0 {
				failed = true
			}
			if wrong := r.wrongVerdict(res); wrong != "" {
				fmt.Printf("wrong verdict, row %s: %s\n", r.Name, wrong)
				failed = true
			}
			results = append(results, *res)
		}
		r.print(results)
		if *guide != "" && slices.Contains(besideGuideLLM, r.Name) {
			if err := r.runGuideLLM(*guide, results); err != nil {
				return fmt.Errorf("row %s, GuideLLM: %w", r.Name, err)
			}
		}
	}
	for _, name := range strings.Split(*only, ",") {
		if name != "" && !slices.Contains(names, name) {
			return fmt.Errorf("no row %q; rows are %s", name, strings.Join(names, ", "))
		}
	}
	if failed && *check {
		return fmt.Errorf("requests were lost, or a verdict is wrong")
	}
	return nil
}
