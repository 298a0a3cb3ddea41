package peer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/charmbracelet/x/ansi"

	"github.com/openloop/openloop/internal/num"
	"github.com/openloop/openloop/llmsim"
)

// Options say what is to be audited.
type Options struct {
	// Command is the program and its arguments, in which placeholders are filled in: {target}, the server's base URL
	// without /v1; {host} and {port} of it; {model}; {dir}, an empty folder for what the command writes.
	Command []string
	Engine  llmsim.Config // what is simulated
	// Report is where the command writes its report: a file or a pattern, {dir} filled in. "": it is looked for.
	Report string
	Dir    string    // the folder that {dir} stands for
	Output io.Writer // what the command prints goes here, line by line; nil: nowhere
	Prefix string    // of each such line
}

// ErrNotStarted is the error of a command that could not be started at all.
var ErrNotStarted = errors.New("the command could not be started")

// endTime is how long an interrupted command has to end by itself.
const endTime = 15 * time.Second

// truthLimit is how many requests are remembered; what is beyond is as good as what is not.
const truthLimit = 4_000_000

// Run starts the server and the command, waits for its end, reads its report, and compares. When the context ends, the
// command is interrupted, and what it sent until then is compared; the error is the context's then. An error of the
// command itself is in the audit, not in err.
func Run(ctx context.Context, o Options) (_ *Audit, err error) {
	server, err := o.serve()
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, server.Close()) }()
	dir := o.Dir
	fill := placeholders(server, dir)

	// What the server takes must not be the collector's work.
	defer debug.SetGCPercent(debug.SetGCPercent(400))
	p := &printer{to: o.Output, prefix: o.Prefix}
	began := time.Now()
	run, err := o.runCommand(ctx, fill, server, p)
	if err != nil {
		return nil, err
	}
	truth := settled(server)
	a := &Audit{
		Command: redact(o.Command), Engine: server.Config().Name, Began: began.UTC(), LastLines: p.last(),
		Connections: server.Connections(),
	}
	claim, why := o.findReport(fill, began)
	a.NoReport = why
	a.compare(claim, truth, run)
	if ctx.Err() != nil {
		return a, context.Cause(ctx)
	}
	return a, nil
}

// serve starts the simulated engine.
func (o *Options) serve() (*llmsim.Server, error) {
	config := o.Engine
	config.TruthTokens, config.TruthPrompts, config.TruthLimit = true, true, truthLimit
	// The engine's loop sleeps in the kernel with its processor in hand; with a single one, handlers would wait for it.
	runtime.GOMAXPROCS(max(2, runtime.GOMAXPROCS(0)))
	server, err := llmsim.NewServer(config)
	if err != nil {
		return nil, err
	}
	if err := server.Start("127.0.0.1:0"); err != nil {
		return nil, errors.Join(err, server.Close())
	}
	return server, nil
}

// placeholders gives what fills in the placeholders of a text.
func placeholders(server *llmsim.Server, dir string) *strings.Replacer {
	host, port, _ := strings.Cut(strings.TrimPrefix(server.URL(), "http://"), ":")
	return strings.NewReplacer("{target}", server.URL(), "{host}", host, "{port}", port,
		"{model}", server.Config().Model, "{dir}", dir)
}

// ran is what is known of a command that has ended.
type ran struct {
	process Process
	samples []sample
	began   time.Time
}

// runCommand runs the command to its end.
func (o *Options) runCommand(
	ctx context.Context, fill *strings.Replacer, server *llmsim.Server, p *printer,
) (*ran, error) {
	var args []string
	for _, arg := range o.Command {
		args = append(args, fill.Replace(arg))
	}
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Stdout, cmd.Stderr = p, p
	cmd.Env = os.Environ()
	for name, value := range map[string]string{
		"OPENAI_BASE_URL": server.URL() + "/v1", "OPENAI_API_KEY": "none", "NO_COLOR": "1",
	} {
		if os.Getenv(name) == "" {
			cmd.Env = append(cmd.Env, name+"="+value)
		}
	}
	ownGroup(cmd)
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGINT) }
	cmd.WaitDelay = endTime

	r := &ran{}
	ended := make(chan struct{})
	started := make(chan error, 1)
	go func() {
		// The kernel ends the command with the thread that started it.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		r.began = time.Now()
		err := cmd.Start()
		started <- err
		if err == nil {
			_ = cmd.Wait() // how it ended is in ProcessState
		}
		close(ended)
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNotStarted, err)
	}
	sampler := follow(cmd.Process.Pid)
	<-ended
	r.samples = sampler.finish()
	// What it left running, if anything, would go on loading the machine.
	_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
	p.flush()

	none := num.Absent()
	r.process = Process{
		Exit: cmd.ProcessState.ExitCode(), Took: time.Since(r.began).Seconds(), First: none, CPUToken: none,
		CPU:    num.Value((cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()).Seconds()),
		Memory: none,
	}
	if usage, ok := cmd.ProcessState.SysUsage().(*syscall.Rusage); ok {
		r.process.Memory = num.Value(largestMB(usage))
	}
	for _, s := range r.samples {
		r.process.Processes = max(r.process.Processes, s.processes)
		r.process.Memory = max(r.process.Memory, num.Value(s.memory))
	}
	return r, nil
}

// settled is the server's records of all requests, once it has filed those whose client is gone.
func settled(server *llmsim.Server) []llmsim.Truth {
	for before := -1; ; time.Sleep(50 * time.Millisecond) {
		truth := server.Truth()
		if len(truth) == before {
			return truth
		}
		before = len(truth)
	}
}

// findReport finds and reads the command's report. Without one, why says what was looked at.
func (o *Options) findReport(fill *strings.Replacer, began time.Time) (claim *Claim, why string) {
	if o.Report != "" {
		names, err := filepath.Glob(fill.Replace(o.Report))
		if err != nil || len(names) == 0 {
			return nil, fmt.Sprintf("no file matches --report %s", o.Report)
		}
		return best(names)
	}
	names := o.written(fill, began)
	if len(names) == 0 {
		return nil, "no report was found that the command wrote; --report FILE says where it is"
	}
	return best(names)
}

// best reads the report that says most among some files.
func best(names []string) (found *Claim, why string) {
	slices.Sort(names)
	for _, name := range names {
		claim, err := ReadFile(name)
		switch {
		case err != nil:
			why = err.Error()
		case found == nil || claim.format >= found.format:
			found = claim
		}
	}
	if found != nil {
		return found, ""
	}
	return nil, why
}

// The bounds of the search for a report.
const (
	mostFiles  = 20_000 // of each place: a large working directory must not hide the others
	mostLevels = 5
	// coarse is by how much a file's time may lag behind the clock, which the kernel reads for it once a tick.
	coarse = 20 * time.Millisecond
)

var reportName = regexp.MustCompile(`\.(json|jsonl|ya?ml)(\.gz)?$`)

// configName is what openloop writes beside its reports: what repeats the run.
const configName = "openloop.yaml"

// written lists the files that may be the report: those with the name of one, written since the command began, in
// {dir}, in the working directory, and where an argument of the command leads to.
func (o *Options) written(fill *strings.Replacer, began time.Time) []string {
	places := []string{".", o.Dir}
	for _, arg := range o.Command {
		between := func(c rune) bool { return c == '=' || c == ',' }
		places = append(places, strings.FieldsFunc(fill.Replace(arg), between)...)
	}
	var names []string
	for _, place := range places {
		if place == "" || place == "/" {
			continue
		}
		base := strings.Count(filepath.Clean(place), string(filepath.Separator))
		files := 0
		// Errors are of files that go while one looks, or that are none of ours.
		_ = filepath.WalkDir(place, func(name string, d fs.DirEntry, err error) error {
			if files++; files > mostFiles {
				return fs.SkipAll
			}
			if err != nil {
				return nil
			}
			if d.IsDir() {
				hidden := name != place && strings.HasPrefix(d.Name(), ".")
				if hidden || strings.Count(name, string(filepath.Separator))-base >= mostLevels {
					return fs.SkipDir
				}
				return nil
			}
			info, err := d.Info()
			if err == nil && info.Mode().IsRegular() && reportName.MatchString(d.Name()) && d.Name() != configName &&
				info.ModTime().After(began.Add(-coarse)) {
				if path, err := filepath.Abs(name); err == nil && !slices.Contains(names, path) {
					names = append(names, path)
				}
			}
			return nil
		})
	}
	return names
}

// printer hands on what a command prints, line by line, without what a terminal would obey. Of a line that is written
// over and over, as progress is, only the last state is kept.
type printer struct {
	to     io.Writer
	prefix string

	mu    sync.Mutex
	line  []byte
	over  bool // the next text replaces the line
	lines []string
}

const (
	keptLines  = 20
	longestRow = 4096
)

// Write implements io.Writer.
func (p *printer) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range b {
		switch {
		case c == '\n':
			p.end()
		case c == '\r':
			p.over = true
		default:
			if p.over {
				p.line, p.over = p.line[:0], false
			}
			if len(p.line) < longestRow {
				p.line = append(p.line, c)
			}
		}
	}
	return len(b), nil
}

// end hands on the line at hand.
func (p *printer) end() {
	text := strings.TrimRight(ansi.Strip(string(p.line)), " \t")
	p.line, p.over = p.line[:0], false
	p.lines = append(p.lines, text)
	if len(p.lines) > keptLines {
		p.lines = p.lines[1:]
	}
	if p.to != nil {
		fmt.Fprintf(p.to, "%s%s\n", p.prefix, text)
	}
}

func (p *printer) flush() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.line) > 0 {
		p.end()
	}
}

// last are the last lines that were printed.
func (p *printer) last() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.lines)
}
