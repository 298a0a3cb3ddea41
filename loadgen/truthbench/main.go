// Truthbench measures loadgen against a server that knows the truth about every request: llmsim with fixed timing, in a
// process of its own on the same machine. For each row it prints what the client measured, what the server did, and the
// difference. It is a test of the client, not of the simulated engine.
//
//	go run ./loadgen/truthbench                            # every row, three runs each
//	go run ./loadgen/truthbench -runs 1 -seconds 3 -row 300
//	go run ./loadgen/truthbench -row 300 -cpuprofile cpu.out
//
// Every run has a fresh server and a fresh client process, so that processor time and memory are the client's alone. With
// -check it exits with 1 if a request was lost or a row that had to hold did not; times are not checked, for they hang on
// what else the machine does.
package main

import (
	"bufio"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/openloop/openloop/llmsim"
)

// row is one line of the table: a load and what is asked of the client under it.
type row struct {
	Name    string
	Engine  string  // llmsim's spec
	Rate    float64 // open loop, requests a second
	Streams int     // closed loop
	Output  int     // tokens a request
	Seconds float64 // 0: as -seconds says
	Extra   bool    // run only when it is named
}

func rows() []row {
	return []row{
		{Name: "300", Engine: "fixed?ttft=30ms&itl=5ms", Rate: 300, Output: 128},
		{Name: "700", Engine: "fixed?ttft=30ms&itl=5ms", Rate: 700, Output: 128},
		{Name: "1200", Engine: "fixed?ttft=30ms&itl=5ms", Rate: 1200, Output: 128},
		{Name: "1024-streams", Engine: "fixed?ttft=30ms&itl=50ms", Streams: 1024, Output: 128, Seconds: 15},
		{Name: "200-long", Engine: "fixed?ttft=30ms&itl=5ms", Rate: 200, Output: 128, Seconds: 600, Extra: true},
		{Name: "8000-streams", Engine: "fixed?ttft=1s&itl=1s", Streams: 8000, Output: 16, Seconds: 40},
	}
}

func main() {
	if len(os.Args) > 1 {
		switch os.Args[1] {
		case "serve":
			exit(serve(os.Args[2], os.Args[3]))
		case "send":
			exit(send(os.Args[2]))
		case "bare":
			exit(bare(os.Args[2]))
		}
	}
	exit(bench())
}

func exit(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "truthbench:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

// serve is the server's process. It ends with its standard input.
func serve(spec, truthFile string) error {
	config, err := llmsim.ParseSpec(spec)
	if err != nil {
		return err
	}
	config.TruthLimit = -1
	server, err := llmsim.NewServer(config)
	if err != nil {
		return err
	}
	f, err := os.Create(truthFile)
	if err != nil {
		return err
	}
	defer f.Close()
	server.WriteTruth(f)
	if err := server.Start("127.0.0.1:0"); err != nil {
		return err
	}
	fmt.Println(server.URL())
	signal.Ignore(os.Interrupt)
	_, _ = io.Copy(io.Discard, os.Stdin)
	return server.Close()
}

func bench() error {
	runs := flag.Int("runs", 3, "runs of each row; printed are the median and the range")
	seconds := flag.Float64("seconds", 15, "length of a run")
	only := flag.String("row", "", "only the rows of these names, separated by commas")
	check := flag.Bool("check", false, "fail if a request was lost")
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
			failed = failed || res.Lost > 0
			results = append(results, *res)
		}
		r.print(results)
	}
	for _, name := range strings.Split(*only, ",") {
		if name != "" && !slices.Contains(names, name) {
			return fmt.Errorf("no row %q; rows are %s", name, strings.Join(names, ", "))
		}
	}
	if failed && *check {
		return fmt.Errorf("requests were lost")
	}
	return nil
}

// run starts a server and a client, and puts together what both say.
func (r row) run(as string, j job) (*result, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "truthbench")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	truthFile := filepath.Join(dir, "truth.jsonl")
	command := func(processor string, args ...string) *exec.Cmd {
		if j.Apart {
			args = append([]string{"taskset", "-c", processor}, args...)
		}
		cmd := exec.Command(args[0], args[1:]...)
		cmd.Stderr = os.Stderr
		cmd.Env = os.Environ()
		if j.Apart {
			cmd.Env = append(cmd.Env, "GOMAXPROCS=2") // a pacer that sleeps in the kernel must not keep the others waiting
		}
		return cmd
	}
	server := command("0", self, "serve", r.Engine, truthFile)
	server.Env = append(server.Env, "GOGC=400")
	hold, err := server.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := server.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := server.Start(); err != nil {
		return nil, err
	}
	url, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		return nil, fmt.Errorf("the server did not start: %w", err)
	}
	j.URL = strings.TrimSpace(url)

	arg, err := json.Marshal(j)
	if err != nil {
		return nil, err
	}
	client := command("1", self, as, string(arg))
	started, busy := time.Now(), busyTime()
	answer, err := client.Output()
	if err != nil {
		return nil, fmt.Errorf("the client: %w", err)
	}
	elapsed, busy := time.Since(started).Seconds(), busyTime()-busy
	hold.Close()
	if err := server.Wait(); err != nil {
		return nil, fmt.Errorf("the server: %w", err)
	}
	var m measured
	if err := json.Unmarshal(answer, &m); err != nil {
		return nil, err
	}
	usage := client.ProcessState.SysUsage().(*syscall.Rusage)
	res := &result{measured: m, FirstRequest: m.FirstSent.Sub(started).Seconds(), PeakMB: float64(usage.Maxrss) / 1024}
	res.ServerCPU = (server.ProcessState.UserTime() + server.ProcessState.SystemTime()).Seconds()
	own := res.ServerCPU + (client.ProcessState.UserTime() + client.ProcessState.SystemTime()).Seconds()
	res.Others = max(busy-own, 0) / elapsed
	return res, res.addTruth(truthFile)
}

// result is one run: what the client measured, and what the server did.
type result struct {
	measured
	FirstRequest float64 // s from the start of the client's process
	PeakMB       float64 // resident memory of the client's process at most
	ServerCPU    float64 // s
	Others       float64 // cores that other processes used meanwhile
	BareCPU      float64 // s a token, of the bare reader; 0: was not run
	TrueTTFT     [2]float64
	TrueITL      float64
	Handling     [2]float64 // µs: what the server took from the kernel's receipt of a request to its handler
	Behind       [2]float64 // µs: how late the server wrote its first token, by its own schedule
	Reached      int        // requests that reached the server
	Lost         int        // requests that were sent and whose stream did not come whole
}

// addTruth reads the server's own records.
func (res *result) addTruth(file string) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	var ttft, handling, behind []float64
	var span, gaps float64
	for d := json.NewDecoder(f); ; {
		var t llmsim.Truth
		if err := d.Decode(&t); err == io.EOF {
			break
		} else if err != nil {
			return err
		}
		res.Reached++
		if t.FirstToken > 0 {
			ttft = append(ttft, float64(t.FirstToken-t.Read)/1e6)
			handling = append(handling, float64(t.Handled-t.Read)/1e3)
			behind = append(behind, float64(t.FirstToken-t.DueFirst)/1e3)
		}
		if t.OutputTokens > 1 && t.LastToken > 0 {
			span += float64(t.LastToken-t.FirstToken) / 1e6
			gaps += float64(t.OutputTokens - 1)
		}
	}
	res.TrueTTFT, res.TrueITL = twoPercentiles(ttft), span/gaps
	res.Handling, res.Behind = twoPercentiles(handling), twoPercentiles(behind)
	res.Lost = res.Errored
	return nil
}

// busyTime is the processor time that all processes of the machine have used, in seconds; 0 where it can't be read.
func busyTime() float64 {
	b, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0
	}
	var user, nice, system, idle, iowait, irq, softirq float64
	if _, err := fmt.Sscanf(string(b), "cpu %g %g %g %g %g %g %g", &user, &nice, &system, &idle, &iowait, &irq, &softirq); err != nil {
		return 0
	}
	return (user + nice + system + irq + softirq) / 100 // USER_HZ is 100 on every Linux
}

// waitForQuiet waits until other processes use less than so many cores.
func waitForQuiet(cores float64, until time.Time) {
	for cores > 0 && time.Now().Before(until) {
		before, start := busyTime(), time.Now()
		time.Sleep(2 * time.Second)
		if (busyTime()-before)/time.Since(start).Seconds() < cores {
			return
		}
	}
}

func twoPercentiles(values []float64) [2]float64 {
	return [2]float64{percentile(values, 0.5), percentile(values, 0.99)}
}

// percentile sorts its argument.
func percentile(values []float64, q float64) float64 {
	if len(values) == 0 {
		return 0
	}
	slices.Sort(values)
	return values[min(int(q*float64(len(values))), len(values)-1)]
}

// print writes a row: the median of the runs, and their range.
func (r row) print(results []result) {
	load := fmt.Sprintf("%g req/s", r.Rate)
	if r.Streams > 0 {
		load = fmt.Sprintf("%d streams", r.Streams)
	}
	fmt.Printf("\n%s of %d tokens, %s, %g s, %d runs\n", load, r.Output, r.Engine, r.Seconds, len(results))
	fmt.Printf("  %-34s %12s %26s\n", "", "median", "range")
	line := func(name, format string, value func(*result) float64) {
		var v []float64
		for i := range results {
			v = append(v, value(&results[i]))
		}
		slices.Sort(v)
		fmt.Printf("  %-34s %12s %26s\n", name, fmt.Sprintf(format, v[len(v)/2]), fmt.Sprintf(format+" … "+format, v[0], v[len(v)-1]))
	}
	against := func(name string, measured, truth func(*result) float64) {
		line(name+", measured (ms)", "%.3f", measured)
		line(name+", truth (ms)", "%.3f", truth)
		line(name+", error (ms)", "%+.3f", func(r *result) float64 { return measured(r) - truth(r) })
		line(name+", ratio", "%.4f", func(r *result) float64 { return measured(r) / truth(r) })
	}
	if r.Rate > 0 {
		line("achieved (% of offered)", "%.2f", func(r *result) float64 { return 100 * float64(r.Sent) / float64(r.Offered) })
	}
	against("TTFT p50", func(r *result) float64 { return r.TTFT[0] }, func(r *result) float64 { return r.TrueTTFT[0] })
	against("TTFT p99", func(r *result) float64 { return r.TTFT[1] }, func(r *result) float64 { return r.TrueTTFT[1] })
	against("mean ITL", func(r *result) float64 { return r.ITL }, func(r *result) float64 { return r.TrueITL })
	if r.Rate > 0 {
		line("send lateness p50 (µs)", "%.0f", func(r *result) float64 { return r.Lateness[0] })
		line("send lateness p99 (µs)", "%.0f", func(r *result) float64 { return r.Lateness[1] })
		line("  until its goroutine ran, p50 (µs)", "%.0f", func(r *result) float64 { return r.Started[0] })
		line("  until its goroutine ran, p99 (µs)", "%.0f", func(r *result) float64 { return r.Started[1] })
		line("  connecting, where it had to, p50", "%.0f", func(r *result) float64 { return r.Connect[0] })
		line("  requests that had to connect", "%.0f", func(r *result) float64 { return float64(r.NewConns) })
	}
	line("client delay p50 (µs)", "%.0f", func(r *result) float64 { return r.Delay[0] })
	line("client delay p99 (µs)", "%.0f", func(r *result) float64 { return r.Delay[1] })
	line("client CPU a token (µs)", "%.2f", func(r *result) float64 { return 1e6 * r.CPU / float64(r.Tokens) })
	if results[0].BareCPU > 0 {
		line("bare net/http reader's (µs)", "%.2f", func(r *result) float64 { return 1e6 * r.BareCPU })
		line("client CPU over the bare reader's", "%.2f", func(r *result) float64 { return r.CPU / float64(r.Tokens) / r.BareCPU })
	}
	line("client CPU (cores)", "%.2f", func(r *result) float64 { return r.CPU / r.Elapsed })
	line("server CPU a token (µs)", "%.2f", func(r *result) float64 { return 1e6 * r.ServerCPU / float64(r.Tokens) })
	line("server late by itself, p99 (µs)", "%.0f", func(r *result) float64 { return r.Behind[1] })
	line("other processes' CPU (cores)", "%.2f", func(r *result) float64 { return r.Others })
	line("client memory, peak (MB)", "%.0f", func(r *result) float64 { return r.PeakMB })
	if r.Seconds >= 120 {
		line("  after a minute (MB)", "%.0f", func(r *result) float64 { return r.MinuteMB })
		line("  as sending ends (MB)", "%.0f", func(r *result) float64 { return r.EndMB })
		line("send lateness p99, first minute (µs)", "%.0f", func(r *result) float64 { return r.FirstMinute[1] })
		line("send lateness p99, last minute (µs)", "%.0f", func(r *result) float64 { return r.LastMinute[1] })
	}
	line("garbage collections", "%.0f", func(r *result) float64 { return float64(r.GCs) })
	line("first request after start (s)", "%.3f", func(r *result) float64 { return r.FirstRequest })
	line("requests sent", "%.0f", func(r *result) float64 { return float64(r.Sent) })
	line("requests lost", "%.0f", func(r *result) float64 { return float64(r.Lost) })
}
