package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/openloop/openloop/llmsim"
)

// soakOptions are what -soak asks for.
type soakOptions struct {
	length, sample     time.Duration
	rate               float64
	binary, dir, write string
}

// What the program may hold more in the last quarter of a soak than in the second.
const (
	moreDescriptors = 20
	moreThreads     = 8
	moreMemory      = 24 << 20 // bytes, beside the records
	perRecord       = 1 << 10  // bytes for each request sent between, with the room that the garbage collector takes
)

// soakFaults are done once a minute each. Those that llmsim has go to it by its header; the others are the front's.
var soakFaults = []string{
	"status=503", "status=429,retry-after=1s", "slow-headers=2s", "stall=3s@5", "cut@7", "garbage@3", "error@4",
	"drop", "reset", "close idle", "refuse for 300ms",
}

// look is what the program held at a moment.
type look struct {
	at                   time.Duration
	sent                 int64
	descriptors, threads int
	bytes                int64
}

// run sends load for some time with a fault of each kind every minute, and fails where descriptors, threads or memory
// grow beyond the records.
func (s *soakOptions) run(ctx context.Context) error {
	if reason := needsLinux(); reason != "" {
		return fmt.Errorf("-soak: %s", reason)
	}
	front, err := newFront(s.period())
	if err != nil {
		return err
	}
	defer front.close()
	if err := os.MkdirAll(s.dir, 0o777); err != nil {
		return err
	}
	out := filepath.Join(s.dir, "out")
	cmd := exec.CommandContext(ctx, s.binary, "run", "--target", front.url(), "--profile", "poisson",
		"--rate", fmt.Sprint(s.rate), "--max-seconds", fmt.Sprint(s.length.Seconds()), "--grace", "10s",
		"--prompt-tokens", "64", "--output-tokens", "16", "--tokenizer", "none", "--outputs", "json", "--output-dir",
		out,
		"--allow-invalid", "--slo", "errors<50%")
	ownGroup(cmd)
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = time.Minute
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	started := time.Now()
	if err := cmd.Start(); err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	looks := s.watch(cmd.Process.Pid, started, front, ended)
	if err := <-ended; err != nil {
		return fmt.Errorf("the program: %w\n%s", err, last(said.String(), 10))
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	var b strings.Builder
	s.table(&b, looks, front, cmd)
	wrong := s.judge(&b, looks)
	r, err := readReport(filepath.Join(out, "benchmarks.json"))
	switch {
	case err != nil:
		wrong = append(wrong, err.Error())
	default:
		n := r.sum(func(s stage) int { return s.completed + s.errored + s.unfinished })
		fmt.Fprintf(&b, "\nThe report holds %d requests, %d of them failed.\n", n,
			r.sum(func(s stage) int { return s.errored }))
		if got := int(front.sent.Load()); n < got-1 || n > got+front.refusedAtMost(s.rate) {
			wrong = append(wrong,
				complaint(fmt.Sprintf("a report of the %d requests that came, and those that were refused", got), n))
		}
	}
	fmt.Print(b.String())
	if s.write != "" {
		if err := os.WriteFile(s.write, []byte("# Soak\n\n"+b.String()), 0o666); err != nil {
			return err
		}
	}
	if len(wrong) > 0 {
		fmt.Printf("\n%s\n", strings.Join(wrong, "\n"))
		return errors.New("the soak failed; what it left is in " + s.dir)
	}
	return os.RemoveAll(s.dir)
}

// period is how often each fault is done: once a minute, in a short check twice in each quarter of it.
func (s *soakOptions) period() time.Duration { return min(time.Minute, s.length/8) }

// watch looks at the process until the load has ended, or the process.
func (s *soakOptions) watch(pid int, started time.Time, front *front, ended chan error) (looks []look) {
	sample := min(s.sample, s.length/20)
	tick := time.NewTicker(sample)
	defer tick.Stop()
	for range tick.C {
		at := time.Since(started)
		select {
		case err := <-ended:
			ended <- err
			return looks
		default:
		}
		if at > s.length { // it sums up and writes, which takes memory of another kind
			return looks
		}
		l := look{at: at, sent: front.sent.Load(), bytes: int64(residentMB(pid, "VmRSS")) << 20}
		for name, n := range map[string]*int{"fd": &l.descriptors, "task": &l.threads} {
			list, err := os.ReadDir(fmt.Sprintf("/proc/%d/%s", pid, name))
			if err != nil {
				return looks
			}
			*n = len(list)
		}
		looks = append(looks, l)
	}
	return looks
}

// quarter is what the program held in a quarter of the time, from 0: of descriptors and threads the least, for after a
// fault there are more connections until the idle ones are closed; of the rest the median.
func (s *soakOptions) quarter(looks []look, n int) (q look) {
	from, to := s.length*time.Duration(n)/4, s.length*time.Duration(n+1)/4
	var in []look
	for _, l := range looks {
		if l.at >= from && l.at < to {
			in = append(in, l)
		}
	}
	if len(in) == 0 {
		return look{}
	}
	q = in[0]
	var memory, sent []int64
	for _, l := range in {
		q.descriptors, q.threads = min(q.descriptors, l.descriptors), min(q.threads, l.threads)
		memory, sent = append(memory, l.bytes), append(sent, l.sent)
	}
	slices.Sort(memory)
	slices.Sort(sent)
	q.bytes, q.sent = memory[len(memory)/2], sent[len(sent)/2]
	return q
}

// judge compares the second quarter, when all is under way, with the last.
func (s *soakOptions) judge(w io.Writer, looks []look) (wrong []string) {
	first, last := s.quarter(looks, 1), s.quarter(looks, 3)
	if first.sent == 0 || last.sent <= first.sent {
		return []string{"the program was not watched long enough to judge"}
	}
	records := last.sent - first.sent
	grown := last.bytes - first.bytes
	fmt.Fprintf(w, "\nFrom the second quarter to the last: %+d descriptors, %+d threads, %+.1f MB for %d requests "+
		"(%.0f bytes each; at most %d and %d MB beside).\n", last.descriptors-first.descriptors,
		last.threads-first.threads,
		float64(grown)/(1<<20), records, float64(grown)/float64(records), perRecord, moreMemory>>20)
	if n := last.descriptors - first.descriptors; n > moreDescriptors {
		wrong = append(wrong, fmt.Sprintf("descriptors grew by %d", n))
	}
	if n := last.threads - first.threads; n > moreThreads {
		wrong = append(wrong, fmt.Sprintf("threads grew by %d", n))
	}
	if grown > moreMemory+perRecord*records {
		wrong = append(wrong, fmt.Sprintf("memory grew by %.1f MB for %d requests", float64(grown)/(1<<20), records))
	}
	return wrong
}

// table prints the looks: at most twenty-four rows.
func (s *soakOptions) table(w io.Writer, looks []look, front *front, cmd *exec.Cmd) {
	fmt.Fprintf(w, "%v at %g req/s against llmsim; every %v a fault of each kind: %s.\n\n", s.length, s.rate,
		s.period(),
		strings.Join(soakFaults, ", "))
	fmt.Fprintln(w, "| time | requests | descriptors | threads | memory (MB) |\n|---:|---:|---:|---:|---:|")
	step := max(1, (len(looks)+23)/24)
	for i := 0; i < len(looks); i += step {
		l := looks[i]
		fmt.Fprintf(w, "| %v | %d | %d | %d | %d |\n", l.at.Round(time.Second), l.sent, l.descriptors, l.threads,
			l.bytes>>20)
	}
	fmt.Fprintf(w, "\n%d faults were done. The process used %.1f s of processor time.\n", front.done.Load(),
		(cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()).Seconds())
}

// front stands before llmsim and does the faults.
type front struct {
	sim    *llmsim.Server
	proxy  *httputil.ReverseProxy
	period time.Duration

	sent atomic.Int64 // completions, but for the trial
	done atomic.Int64 // faults

	mu       sync.Mutex
	due      []string // faults for the next requests
	idle     map[net.Conn]bool
	refused  time.Duration
	server   *http.Server
	listener net.Listener
	addr     string
	stop     chan struct{}
	work     sync.WaitGroup
}

func newFront(period time.Duration) (*front, error) {
	config, err := llmsim.ParseSpec("fixed?ttft=30ms&itl=5ms")
	if err != nil {
		return nil, err
	}
	config.TruthLimit = -1
	f := &front{period: period, idle: map[net.Conn]bool{}, stop: make(chan struct{})}
	if f.sim, err = llmsim.NewServer(config); err != nil {
		return nil, err
	}
	if err := f.sim.Start("127.0.0.1:0"); err != nil {
		return nil, err
	}
	to, err := url.Parse(f.sim.URL())
	if err != nil {
		return nil, err
	}
	quiet := log.New(io.Discard, "", 0)
	f.proxy = &httputil.ReverseProxy{FlushInterval: -1, ErrorLog: quiet,
		Rewrite:   func(r *httputil.ProxyRequest) { r.SetURL(to) },
		Transport: &http.Transport{MaxIdleConnsPerHost: 1000, DisableCompression: true}}
	f.server = &http.Server{Handler: f, ErrorLog: quiet, ConnState: func(c net.Conn, state http.ConnState) {
		f.mu.Lock()
		defer f.mu.Unlock()
		if state == http.StateIdle {
			f.idle[c] = true
		} else {
			delete(f.idle, c)
		}
	}}
	if err := f.listen("127.0.0.1:0"); err != nil {
		return nil, err
	}
	f.work.Go(f.schedule)
	return f, nil
}

func (f *front) url() string { return "http://" + f.addr }

func (f *front) close() {
	close(f.stop)
	f.work.Wait()
	f.server.Close()
	f.sim.Close()
}

func (f *front) listen(addr string) error {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return err
	}
	f.listener, f.addr = l, l.Addr().String()
	go func() { _ = f.server.Serve(l) }() // it ends when the listener is closed
	return nil
}

// refusedAtMost is how many requests may have found nobody listening.
func (f *front) refusedAtMost(rate float64) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return int(2*rate*f.refused.Seconds()) + 10
}

// schedule does the faults, spread evenly over each period.
func (f *front) schedule() {
	tick := time.NewTicker(f.period / time.Duration(len(soakFaults)))
	defer tick.Stop()
	for i := 0; ; i++ {
		select {
		case <-f.stop:
			return
		case <-tick.C:
		}
		switch fault := soakFaults[i%len(soakFaults)]; fault {
		case "close idle":
			f.mu.Lock()
			for c := range f.idle {
				c.Close()
			}
			f.mu.Unlock()
			f.done.Add(1)
		case "refuse for 300ms":
			f.listener.Close()
			f.mu.Lock()
			for c := range f.idle {
				c.Close()
			}
			f.refused += 300 * time.Millisecond
			f.mu.Unlock()
			time.Sleep(300 * time.Millisecond)
			if err := f.listen(f.addr); err != nil {
				fmt.Fprintln(os.Stderr, "bench/faults: the front of the soak:", err)
				return
			}
			f.done.Add(1)
		default:
			f.mu.Lock()
			f.due = append(f.due, fault)
			f.mu.Unlock()
		}
	}
}

// ServeHTTP passes a request on, with the fault that is due.
func (f *front) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	fault := ""
	if strings.HasSuffix(r.URL.Path, "/completions") {
		if f.sent.Add(1) > 1 {
			f.mu.Lock()
			if len(f.due) > 0 {
				fault, f.due = f.due[0], f.due[1:]
			}
			f.mu.Unlock()
		}
	}
	switch fault {
	case "":
	case "drop", "reset":
		f.done.Add(1)
		_, _ = io.Copy(io.Discard, r.Body) // the client may have gone
		c, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return
		}
		if t, ok := c.(*net.TCPConn); ok && fault == "reset" {
			_ = t.SetLinger(0) // it may be closed
		}
		c.Close()
		return
	default:
		f.done.Add(1)
		r.Header.Set(llmsim.FaultHeader, fault)
	}
	f.proxy.ServeHTTP(w, r)
}
