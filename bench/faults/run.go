package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/openloop/openloop/bench/faults/server"
)

// outcome is how a row went.
type outcome struct {
	commands []string
	wrong    []string
	skipped  string
	took     time.Duration
	others   float64 // processors that other processes used meanwhile; 0 where that is not known
}

// env is a row under way.
type env struct {
	row     *row
	Server  *server.Server
	Second  *server.Server
	Dir     string // holds all of the below, and is where commands run
	Out, In string
	binary  string
	text    string // stdout and stderr so far, of all commands
	outcome *outcome

	lead  string // where a leader listens: $LEAD
	Relay *relay // before it; nil unless a hand needs it

	mu      sync.Mutex
	process *os.Process
	hands   []*process
	ended   chan struct{} // closed when the first command has ended
	over    time.Time     // when it had
}

// run runs a row in a folder of its own.
func (r *row) run(ctx context.Context, binary, dir string) (o outcome) {
	started, busy := time.Now(), busyTime()
	defer func() { o.took = time.Since(started) }()
	if r.needs != nil {
		if o.skipped = r.needs(); o.skipped != "" {
			return o
		}
	}
	e := &env{row: r, Dir: dir, Out: filepath.Join(dir, "out"), In: filepath.Join(dir, "in"), binary: binary,
		outcome: &o,
		ended:   make(chan struct{})}
	if err := e.prepare(); err != nil {
		o.wrong = append(o.wrong, fmt.Sprintf("the row could not be prepared: %v", err))
		return o
	}
	defer e.Server.Close()
	defer e.Second.Close()
	limit := r.within
	if limit == 0 {
		limit = 30 * time.Second
	}
	defer e.Relay.close()
	text := e.command(ctx, r.args, limit, "")
	e.endHands()
	e.expect(text, r.exit, r.says, r.not)
	e.checkReport(r.report)
	for i, s := range r.then {
		if s.before != nil {
			if err := s.before(e); err != nil {
				e.wrong("%v", err)
				break
			}
		}
		text := e.command(ctx, s.args, 30*time.Second, fmt.Sprint(i+2))
		e.expect(text, s.exit, s.says, s.not)
		e.checkReport(s.report)
	}
	e.everywhere()
	if r.check != nil {
		if w := r.check(e); w != "" {
			e.wrong("%s", w)
		}
	}
	if busy > 0 {
		o.others = max(0, (busyTime()-busy)/time.Since(started).Seconds())
	}
	return o
}

func (e *env) wrong(format string, args ...any) {
	e.outcome.wrong = append(e.outcome.wrong, fmt.Sprintf(format, args...))
}

// prepare makes the folder and starts the servers.
func (e *env) prepare() (err error) {
	if err := os.RemoveAll(e.Dir); err != nil {
		return err
	}
	for _, d := range []string{e.Dir, e.In} {
		if err := os.MkdirAll(d, 0o777); err != nil {
			return err
		}
	}
	if e.Server, err = server.Start(e.row.server); err != nil {
		return err
	}
	if e.Second, err = server.Start(e.row.second); err != nil {
		e.Server.Close()
		return err
	}
	if len(e.row.hands) > 0 || strings.Contains(e.row.args, "$LEAD") {
		e.hands = make([]*process, len(e.row.hands))
		if e.lead, err = freeAddress(); err != nil {
			return err
		}
		if e.Relay, err = newRelay(e.lead); err != nil {
			return err
		}
	}
	for name, text := range e.row.files {
		if err := os.WriteFile(filepath.Join(e.In, name), []byte(e.expand(text)), 0o666); err != nil {
			return err
		}
	}
	if e.row.make != nil {
		return e.row.make(e)
	}
	return nil
}

// expand replaces the names of a text.
func (e *env) expand(text string) string {
	return os.Expand(text, func(name string) string {
		port := func(addr string) string { return addr[strings.LastIndexByte(addr, ':')+1:] }
		switch name {
		case "URL":
			return e.Server.URL()
		case "ADDR":
			return e.Server.Addr()
		case "PORT":
			return port(e.Server.Addr())
		case "URL2":
			return e.Second.URL()
		case "ADDR2":
			return e.Second.Addr()
		case "PORT2":
			return port(e.Second.Addr())
		case "LEAD":
			return e.lead
		case "DIR":
			return e.Dir
		case "OUT":
			return e.Out
		case "IN":
			return e.In
		case "OPENLOOP":
			return e.binary
		case "KEY":
			return apiKey
		case "STUCK":
			return filepath.Join(e.Dir, "stuck.json")
		case "PASS":
			return password
		}
		return "$" + name // the shell's own
	})
}

// fields splits a command line at blanks that are not within single quotes.
func fields(line string) (list []string) {
	var word strings.Builder
	quoted, any := false, false
	for _, c := range line {
		switch {
		case c == '\'':
			quoted, any = !quoted, true
		case c == ' ' && !quoted:
			if any {
				list = append(list, word.String())
			}
			word.Reset()
			any = false
		default:
			word.WriteRune(c)
			any = true
		}
	}
	if any {
		list = append(list, word.String())
	}
	return list
}

// command runs a command and returns what it wrote. n is part of the names of the files that keep it; the row's shell
// and its deeds belong to the first, whose n is "".
func (e *env) command(ctx context.Context, line string, limit time.Duration, n string) string {
	args := []string{e.binary}
	for _, a := range fields(line) {
		args = append(args, e.expand(a))
	}
	first := n == ""
	shown := "openloop " + strings.Join(args[1:], " ")
	if first && e.row.shell != "" {
		args = append([]string{"bash", "-c", e.expand(e.row.shell), "bash"}, args...)
		shown += "   # by: " + e.row.shell
	}
	for _, v := range e.row.env {
		shown = e.expand(v) + " " + shown
	}
	e.outcome.commands = append(e.outcome.commands, strings.NewReplacer(apiKey, "$KEY", password,
		"$PASS").Replace(shown))
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Dir = e.Dir
	cmd.Env = e.environment(nil)
	ownGroup(cmd)
	cmd.Cancel = func() error { return killGroup(cmd.Process) }
	cmd.WaitDelay = time.Second
	stdout, stderr := e.create("stdout"+n), e.create("stderr"+n)
	cmd.Stdout, cmd.Stderr = stdout, stderr
	defer stdout.Close()
	defer stderr.Close()
	if err := cmd.Start(); err != nil {
		e.wrong("%v", err)
		if first {
			close(e.ended)
		}
		return ""
	}
	limitAddressSpace(cmd.Process.Pid)
	maxMB := e.row.maxMB
	if maxMB == 0 {
		maxMB = 600
	}
	watched, stop := make(chan int), make(chan struct{})
	go func() { watched <- watchMemory(cmd.Process, maxMB, stop) }()
	acted := make(chan struct{})
	if first {
		e.mu.Lock()
		e.process = cmd.Process
		e.mu.Unlock()
		e.startHands()
		go func() {
			defer close(acted)
			if e.row.act != nil {
				e.row.act(e)
			}
		}()
	} else {
		close(acted)
	}
	err := cmd.Wait()
	close(stop)
	peak := <-watched
	if first {
		e.over = time.Now()
		close(e.ended)
	}
	<-acted
	var exited *exec.ExitError
	switch {
	case peak > maxMB:
		e.wrong("the program took %d MB of memory, and was to take %d at most", peak, maxMB)
	case ctx.Err() != nil:
		e.wrong("it did not end within %v", limit)
	case err != nil && !errors.As(err, &exited):
		e.wrong("%v", err)
	}
	text := e.read("stdout"+n) + e.read("stderr"+n)
	e.text += text
	code := cmd.ProcessState.ExitCode()
	return fmt.Sprintf("%s\n[exit %d]", text, code)
}

// environment is that of a command, with further variables.
func (e *env) environment(more []string) []string {
	all := []string{"PATH=" + os.Getenv("PATH"), "HOME=" + e.Dir, "TMPDIR=" + os.TempDir(), "OPENAI_API_KEY=" + apiKey}
	for _, v := range slices.Concat(e.row.env, more) {
		all = append(all, e.expand(v))
	}
	return all
}

func (e *env) create(name string) *os.File {
	f, err := os.Create(filepath.Join(e.Dir, name))
	if err != nil {
		e.wrong("%v", err)
	}
	return f
}

func (e *env) read(name string) string {
	b, err := os.ReadFile(filepath.Join(e.Dir, name))
	if err != nil {
		return ""
	}
	return string(b)
}

var exitCode = regexp.MustCompile(`\[exit (-?\d+)\]$`)

var wrapped = regexp.MustCompile(`\n {4,}`)

// expect compares what a command wrote and its exit code.
func (e *env) expect(text string, exit []int, says, not []string) {
	found := exitCode.FindStringSubmatch(text)
	if found == nil {
		return // it did not start
	}
	// The screen at the end is wrapped: a sentence goes on in an indented line.
	text = wrapped.ReplaceAllString(strings.TrimSuffix(text, found[0]), " ")
	allowed := make([]string, len(exit))
	for i, c := range exit {
		allowed[i] = fmt.Sprint(c)
	}
	if len(exit) > 0 && !slices.Contains(allowed, found[1]) {
		e.wrong("%s", complaint("exit code "+strings.Join(allowed, " or "), found[1]+", having said:\n"+last(text, 6)))
	}
	for _, s := range says {
		if !regexp.MustCompile(`(?is)` + s).MatchString(text) {
			e.wrong("%s", complaint(fmt.Sprintf("it to say %q", s), last(text, 8)))
		}
	}
	for _, s := range not {
		if m := regexp.MustCompile(`(?i)` + s).FindString(text); m != "" {
			e.wrong("%s", complaint(fmt.Sprintf("it not to say %q", s), fmt.Sprintf("%q", m)))
		}
	}
}

// last is the end of a text, its long lines cut.
func last(text string, lines int) string {
	all := strings.Split(strings.TrimRight(text, "\n"), "\n")
	all = all[max(0, len(all)-lines):]
	for i, l := range all {
		if len(l) > 300 {
			all[i] = strings.ToValidUTF8(l[:300], "") + "…"
		}
	}
	return strings.Join(all, "\n")
}

func (e *env) checkReport(checks []check) {
	if len(checks) == 0 {
		return
	}
	r, err := readReport(filepath.Join(e.Out, "benchmarks.json"))
	if err != nil {
		e.wrong("%s", complaint("a report", err))
		return
	}
	for _, c := range checks {
		if w := c(r); w != "" {
			e.wrong("report: %s", w)
		}
	}
}

// What no program should say, whatever happens.
var never = regexp.MustCompile(`(?i)panic:|goroutine \d+ \[|runtime error|%!|context deadline exceeded|` +
	`context canceled|token too long|unexpected newline|<nil>|0x[0-9a-f]{8}`)

// everywhere checks what holds for every row: no secret in any output or file, no control characters for the
// terminal, no
// words of the runtime, no temporary file left.
func (e *env) everywhere() {
	for _, where := range []string{"stdout", "stderr"} {
		files, err := filepath.Glob(filepath.Join(e.Dir, where+"*"))
		if err != nil {
			e.wrong("%v", err)
		}
		for _, f := range files {
			text := e.read(filepath.Base(f))
			if i := controlIn(text); i >= 0 {
				e.wrong("a control character on %s: %q", filepath.Base(f), text[max(0, i-20):min(len(text), i+20)])
			}
			if m := never.FindString(text); m != "" && !e.row.dies {
				e.wrong("%s says %q", filepath.Base(f), m)
			}
		}
	}
	err := filepath.WalkDir(e.Dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if name == e.In {
			return fs.SkipDir
		}
		below, _ := filepath.Rel(e.Dir, name)
		part := strings.HasPrefix(d.Name(), ".openloop") || strings.Contains(d.Name(), ".part")
		if part && !e.row.dies && !(e.row.parts && d.Name() == "records.part") {
			e.wrong("left behind: %s", below)
		}
		if !d.Type().IsRegular() {
			return nil
		}
		b, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		if i := bytes.Index(bytes.ToLower(b), []byte(canary)); i >= 0 {
			e.wrong("the secret is in %s: %q", below, b[max(0, i-40):min(len(b), i+20)])
		}
		return nil
	})
	if err != nil {
		e.wrong("%v", err)
	}
}

// controlIn finds what a terminal may take for a command, or a byte that is no UTF-8; −1 for none.
func controlIn(text string) int {
	for i, c := range text {
		_, size := utf8.DecodeRuneInString(text[i:])
		if c < ' ' && c != '\n' && c != '\t' || c >= 0x7f && c < 0xa0 || c == utf8.RuneError && size == 1 ||
			c >= 0x202a && c <= 0x202e || c >= 0x2066 && c <= 0x2069 {
			return i
		}
	}
	return -1
}

// Signal sends a signal to the command's process.
func (e *env) Signal(s os.Signal) {
	e.mu.Lock()
	defer e.mu.Unlock()
	_ = e.process.Signal(s) // it may have ended
}

// Sleep waits; false if the command ended meanwhile.
func (e *env) Sleep(d time.Duration) bool {
	select {
	case <-e.ended:
		return false
	case <-time.After(d):
		return true
	}
}

// Until waits until something holds; false if the command ended before.
func (e *env) Until(holds func() bool) bool {
	for !holds() {
		if !e.Sleep(10 * time.Millisecond) {
			return holds()
		}
	}
	return true
}

// Chats waits for so many completions, the trial included.
func (e *env) Chats(n int) bool { return e.Until(func() bool { return e.Server.Chats() >= n }) }

// SaysWithin waits for some time until the command has written something.
func (e *env) SaysWithin(d time.Duration, expression string) bool {
	late := time.Now().Add(d)
	match := regexp.MustCompile(`(?i)` + expression)
	said := false
	e.Until(func() bool {
		said = match.MatchString(e.read("stdout") + e.read("stderr"))
		return said || time.Now().After(late)
	})
	return said
}

// Says waits until the command has written something.
func (e *env) Says(expression string) bool {
	match := regexp.MustCompile(`(?i)` + expression)
	return e.Until(func() bool { return match.MatchString(e.read("stdout") + e.read("stderr")) })
}
