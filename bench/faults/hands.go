package main

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"time"
)

// hand is a worker of a row: a further process of the binary, beside the command that leads. It joins as the command
// starts, unless it is late.
type hand struct {
	args   string   // beside --join
	env    []string // variables beside those of the row
	binary string   // in the row's folder; "": that of the campaign
	relay  bool     // joins by the row's relay
	late   bool     // started by the row's act

	exit      []int    // one of these exit codes; −1 is a signal's end
	says, not []string // as in a row
}

// The commands of hands. A leader listens at $LEAD.
const handEnds = 6 * time.Second // after the command has ended, a hand ends in this time

// process is a hand that was started.
type process struct {
	cmd   *exec.Cmd
	files [2]*os.File
	ended chan struct{}
	at    time.Time // it ended
}

// freeAddress is one at which nobody listens.
func freeAddress() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	return l.Addr().String(), nil
}

// startHands starts those that are not late.
func (e *env) startHands() {
	for i := range e.row.hands {
		if !e.row.hands[i].late {
			e.StartHand(i)
		}
	}
}

// StartHand starts a hand.
func (e *env) StartHand(i int) {
	h := &e.row.hands[i]
	to := e.lead
	if h.relay {
		to = e.Relay.addr()
	}
	binary := e.binary
	if h.binary != "" {
		binary = e.expand(h.binary)
	}
	args := []string{"worker", "--join", to}
	for _, a := range fields(h.args) {
		args = append(args, e.expand(a))
	}
	cmd := exec.Command(binary, args...)
	cmd.Dir, cmd.Env = e.Dir, e.environment(h.env)
	ownGroup(cmd)
	p := &process{cmd: cmd, ended: make(chan struct{})}
	for k, name := range []string{"stdout", "stderr"} {
		p.files[k] = e.create(fmt.Sprintf("%s.w%d", name, i+1))
	}
	cmd.Stdout, cmd.Stderr = p.files[0], p.files[1]
	if err := cmd.Start(); err != nil {
		e.wrong("worker %d: %v", i+1, err)
		return
	}
	e.mu.Lock()
	e.hands[i] = p
	e.mu.Unlock()
	go func() {
		_ = cmd.Wait() // its state says how it ended
		p.at = time.Now()
		close(p.ended)
	}()
}

// Hand is a hand that was started; nil if it was not.
func (e *env) Hand(i int) *process {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.hands[i]
}

// SignalHand sends a signal to a hand.
func (e *env) SignalHand(i int, s os.Signal) {
	if p := e.Hand(i); p != nil {
		_ = p.cmd.Process.Signal(s) // it may have ended
	}
}

// endHands waits for the hands to end, and looks at how they did.
func (e *env) endHands() {
	for i := range e.row.hands {
		p := e.Hand(i)
		if p == nil {
			continue
		}
		h := &e.row.hands[i]
		select {
		case <-p.ended:
		case <-time.After(time.Until(e.over.Add(handEnds))):
			e.wrong("worker %d did not end within %v of the command", i+1, handEnds)
			_ = killGroup(p.cmd.Process) // it may have ended
			<-p.ended
		}
		for _, f := range p.files {
			f.Close()
		}
		text := e.read(fmt.Sprintf("stdout.w%d", i+1)) + e.read(fmt.Sprintf("stderr.w%d", i+1))
		before := len(e.outcome.wrong)
		e.expect(fmt.Sprintf("%s\n[exit %d]", text, p.cmd.ProcessState.ExitCode()), h.exit, h.says, h.not)
		for k := before; k < len(e.outcome.wrong); k++ {
			e.outcome.wrong[k] = fmt.Sprintf("worker %d: %s", i+1, e.outcome.wrong[k])
		}
	}
}

// Within does something, and expects that the command says something soon after.
func (e *env) Within(d time.Duration, expression string, do func()) {
	do()
	began := time.Now()
	if !e.SaysWithin(2*d, expression) {
		e.wrong("%s", complaint(fmt.Sprintf("it to say %q within %v", expression, d), last(e.read("stderr"), 4)))
		return
	}
	if took := time.Since(began); took > d {
		e.wrong("%s", complaint(fmt.Sprintf("it to say %q within %v", expression, d), took))
	}
}
