package main

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"time"
)

// scene is a case under way.
type scene struct {
	*cluster
	number int
	dir    string // for what its runs leave
	runs   int
}

// wrong is why a case failed.
type wrong string

func (s *scene) failf(format string, args ...any) { panic(wrong(fmt.Sprintf(format, args...))) }

// must stops the case at an error.
func (s *scene) must(err error) {
	if err != nil {
		s.failf("%v", err)
	}
}

// kubectl runs kubectl in the namespace; an error fails the case.
func (s *scene) get(ctx context.Context, args ...string) string {
	out, err := s.kube(ctx, args...)
	s.must(err)
	return strings.TrimSpace(out)
}

// ask is what a run is asked for.
type ask struct {
	overlay string // a folder of deploy/overlays; "" is plain
	patches string // JSON patches of the Job, beside those of every case
	config  string // openloop.yaml
	target  string // base URL in a ConfigMap of this run; "" for none
	name    string // RUN; "" for one of bench.sh's own
	env     []string
}

// started is a run under way.
type started struct {
	scene   *scene
	cmd     *exec.Cmd
	results string
	begin   time.Time

	mu  sync.Mutex
	out bytes.Buffer
}

// ended is a run that has ended.
type ended struct {
	scene  *scene
	out    string // what bench.sh printed
	code   int
	pod    string
	dir    string // of what was fetched
	took   time.Duration
	report *report // nil: none was fetched
}

// Write implements io.Writer.
func (r *started) Write(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.scene.verbose {
		_, _ = os.Stdout.Write(p) // nobody is left to tell
	}
	return r.out.Write(p)
}

func (r *started) text() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.out.String()
}

// relative is the way from one folder to another as kustomize takes it.
func relative(from, to string) (string, error) {
	from, err := filepath.EvalSymlinks(from)
	if err != nil {
		return "", err
	}
	if to, err = filepath.EvalSymlinks(to); err != nil {
		return "", err
	}
	return filepath.Rel(from, to)
}

// Of the processors that the Job asks for a small test cluster may not have as many: it may use them, and does not
// reserve them.
const smallPatches = `
      - {op: replace, path: POD/containers/0/resources/requests/cpu, value: 50m}
      - {op: replace, path: POD/containers/0/resources/requests/memory, value: 64Mi}`

// layer is an overlay of the case's own over one of deploy's, as a user would write it.
func (s *scene) layer(dir string, a ask) {
	overlay := a.overlay
	if overlay == "" {
		overlay = "plain"
	}
	s.must(os.MkdirAll(dir, 0o755))
	base, err := relative(dir, filepath.Join(s.root, "deploy", "overlays", overlay))
	s.must(err)
	var b strings.Builder
	fmt.Fprintf(&b, "resources: [%s]\npatches:\n", base)
	for kind, pod := range map[string]string{
		"Job": "/spec/template/spec", "CronJob": "/spec/jobTemplate/spec/template/spec",
	} {
		fmt.Fprintf(&b, "  - target: {kind: %s}\n    patch: |%s\n", kind,
			strings.ReplaceAll(smallPatches+a.patches, "POD", pod))
	}
	s.must(os.WriteFile(filepath.Join(dir, "kustomization.yaml"), []byte(b.String()), 0o644))
}

// begin starts deploy/bench.sh.
func (s *scene) begin(ctx context.Context, a ask) *started {
	s.runs++
	dir := filepath.Join(s.dir, fmt.Sprint(s.runs))
	s.layer(filepath.Join(dir, "overlay"), a)
	r := &started{scene: s, results: filepath.Join(dir, "results"), begin: time.Now()}
	r.cmd = exec.CommandContext(ctx, filepath.Join(s.root, "deploy", "bench.sh"))
	// Ctrl-C reaches it and what it runs.
	r.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	r.cmd.Cancel = func() error { return syscall.Kill(-r.cmd.Process.Pid, syscall.SIGKILL) }
	r.cmd.WaitDelay = 5 * time.Second
	r.cmd.Env = append(os.Environ(), "OVERLAY="+filepath.Join(dir, "overlay"), "IMAGE="+s.image,
		"NAMESPACE="+s.namespace, "RESULTS="+r.results, "KUBECTL="+s.kubectl, "RUN="+a.name, "PATIENCE=60",
		"CONFIG=", "TARGET=")
	if a.config != "" {
		file := filepath.Join(dir, "given.yaml")
		s.must(os.WriteFile(file, []byte(a.config), 0o644))
		r.cmd.Env = append(r.cmd.Env, "CONFIG="+file)
	}
	if a.target != "" {
		file := filepath.Join(dir, "target.yaml")
		s.must(os.WriteFile(file, fmt.Appendf(nil, "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: bench-target}\n"+
			"data: {BASE_URL: %q, MODEL: \"\"}\n", a.target), 0o644))
		r.cmd.Env = append(r.cmd.Env, "TARGET="+file)
	}
	r.cmd.Env = append(r.cmd.Env, a.env...)
	r.cmd.Stdout, r.cmd.Stderr = r, r
	s.must(r.cmd.Start())
	return r
}

// run runs deploy/bench.sh to its end.
func (s *scene) run(ctx context.Context, a ask) *ended { return s.begin(ctx, a).wait() }

var podLine = regexp.MustCompile(`(?m)^\S+ bench-openloop: pod (\S+)$`)

// wait waits for the end of a run.
func (r *started) wait() *ended {
	err := r.cmd.Wait()
	e := &ended{scene: r.scene, out: r.text(), code: r.cmd.ProcessState.ExitCode(), took: time.Since(r.begin)}
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		r.scene.failf("bench.sh: %v\n%s", err, tail(e.out))
	}
	if m := podLine.FindStringSubmatch(e.out); m != nil {
		e.pod = m[1]
		e.dir = filepath.Join(r.results, e.pod)
		for _, name := range []string{"benchmarks.json", "benchmarks.json.gz"} {
			if file := filepath.Join(e.dir, name); exists(file) {
				e.report, err = readReport(file)
				r.scene.must(err)
			}
		}
	}
	return e
}

// says waits until bench.sh has printed something.
func (r *started) says(ctx context.Context, expression string) {
	match := regexp.MustCompile(expression)
	gone := make(chan struct{})
	if err := eventually(ctx, "bench.sh prints "+expression, func() bool {
		return match.MatchString(r.text())
	}); err != nil {
		close(gone)
		r.scene.failf("%v\n%s", err, tail(r.text()))
	}
}

// expect fails the case where a run has ended otherwise than it should.
func (e *ended) expect(code int, says ...string) {
	if e.code != code {
		e.scene.failf("exit code %d, want %d\n%s", e.code, code, tail(e.out))
	}
	for _, s := range says {
		if !regexp.MustCompile(s).MatchString(e.out) {
			e.scene.failf("it does not say %s\n%s", s, tail(e.out))
		}
	}
	for _, secret := range []string{goodKey, wrongKey, workerToken} {
		if strings.Contains(e.out, secret) {
			e.scene.failf("a key or the token is in what is printed")
		}
	}
}

// job is the name of the run's Job.
func (e *ended) job() string {
	return e.scene.get(context.Background(), "get", "pod", e.pod,
		`--output=jsonpath={.metadata.labels.batch\.kubernetes\.io/job-name}`)
}

// answered is what a run says of the maximum rate: it must have come to its end, and its report must be there. Where
// the machine is too busy to measure, the answer may be that there is none.
func (e *ended) answered() string {
	e.expect(0, "(?m)^. max rate at SLO")
	if e.report == nil || len(e.report.OpenLoop.Stages) < 3 {
		e.scene.failf("no report was fetched, or one without its stages\n%s", tail(e.out))
	}
	if !e.found() {
		return "no max rate: the client was not fit"
	}
	return fmt.Sprintf("max rate %.3g req/s", e.report.OpenLoop.Search.Estimate)
}

// found says whether a run found a max rate. A run without one, with a client that was fit, fails the case.
func (e *ended) found() bool {
	search := e.report.OpenLoop.Search
	if search != nil && search.Estimate > 0 {
		return true
	}
	for _, st := range e.report.OpenLoop.Stages {
		if st.Client.Level == "invalid" {
			return false
		}
	}
	e.scene.failf("the report holds no max rate\n%s", tail(e.out))
	return false
}

// tries is how often is run what a busy machine keeps from being measured.
const tries = 4

// until runs deploy/bench.sh until a run has been able to say what it was asked for.
func (s *scene) until(ctx context.Context, a ask, said func(*ended) bool) *ended {
	var e *ended
	for range tries {
		if e = s.run(ctx, a); said(e) {
			return e
		}
	}
	s.failf("the machine is too busy to measure: %d runs said nothing\n%s", tries, tail(e.out))
	return nil
}

// decided says whether a run found a max rate with an interval around it.
func decided(e *ended) bool {
	e.answered()
	return e.found() && e.report.OpenLoop.Search.Finding == "interval"
}

// tail is the end of a long text.
func tail(text string) string {
	const most = 3000
	if len(text) > most {
		text = "…" + text[len(text)-most:]
	}
	return text
}

func exists(name string) bool {
	_, err := os.Stat(name)
	return err == nil
}

// report is what the cases look at of a benchmarks.json.
type report struct {
	raw      string
	OpenLoop struct {
		Stages []struct {
			Requests struct{ Completed, Errored, Unfinished int }
			Client   struct {
				Level   string
				Reasons []struct{ Check, Text string }
			}
		}
		Search *struct {
			Finding                string
			Estimate, Lower, Upper float64
		}
	}
}

func readReport(name string) (*report, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	in, err := plain(f, name)
	if err != nil {
		return nil, err
	}
	text, err := io.ReadAll(in)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	r := &report{raw: string(text)}
	if err := json.Unmarshal(text, r); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return r, nil
}

// plain undoes compression where the name says that there is any.
func plain(in io.Reader, name string) (io.Reader, error) {
	if strings.HasSuffix(name, ".gz") {
		return gzip.NewReader(in)
	}
	return in, nil
}
