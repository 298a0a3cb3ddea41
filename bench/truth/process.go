package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/openloop/openloop/internal/machine"
)

// run starts a server and a client, openloop's ("send") or the bare one ("bare"), and puts together what both say.
func (r *row) run(as string, o clientOptions) (_ *runResult, err error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	server, err := startServer(r.Engine, o.Apart)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, server.close()) }()
	arg, err := json.Marshal(clientArgs{row: *r, clientOptions: o, URL: server.url})
	if err != nil {
		return nil, err
	}
	client := command(o.Apart, "1", self, as, string(arg))
	started, busy := time.Now(), machine.BusyTime()
	answer, err := client.Output()
	if err != nil {
		return nil, fmt.Errorf("the client: %w", err)
	}
	elapsed, busy := time.Since(started).Seconds(), machine.BusyTime()-busy
	if err := server.stop(); err != nil {
		return nil, err
	}
	var m clientMeasured
	if err := json.Unmarshal(answer, &m); err != nil {
		return nil, err
	}
	usage := client.ProcessState.SysUsage().(*syscall.Rusage)
	res := &runResult{clientMeasured: m, PeakMB: float64(usage.Maxrss) / 1024}
	res.FirstRequest = m.FirstSent.Sub(started).Seconds()
	res.ServerCPU = server.cpu()
	own := res.ServerCPU + (client.ProcessState.UserTime() + client.ProcessState.SystemTime()).Seconds()
	res.Others = max(busy-own, 0) / elapsed
	if res.serverMeasured, err = server.measured(r.steady()); err != nil {
		return nil, err
	}
	res.Lost = res.Errored
	return res, nil
}

// command prepares a process, on a processor of its own if apart.
func command(apart bool, processor string, args ...string) *exec.Cmd {
	if apart {
		args = append([]string{"taskset", "-c", processor}, args...)
	}
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Stderr = os.Stderr
	cmd.Env = os.Environ()
	if apart {
		cmd.Env = append(cmd.Env, "GOMAXPROCS=2") // a pacer that sleeps in the kernel must not keep the others waiting
	}
	return cmd
}

// server is the server's process as its starter sees it.
type server struct {
	url  string
	cmd  *exec.Cmd
	hold io.Closer // the process ends when this is closed
	dir  string    // of its record
}

// startServer starts a server. Whoever has it must close it.
func startServer(engine string, apart bool) (_ *server, err error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	s := &server{}
	if s.dir, err = os.MkdirTemp("", "openloop-bench-truth"); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.close())
		}
	}()
	s.cmd = command(apart, "0", self, "serve", engine, s.truthFile())
	s.cmd.Env = append(s.cmd.Env, "GOGC=400")
	if s.hold, err = s.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := s.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := s.cmd.Start(); err != nil {
		return nil, err
	}
	url, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		return nil, fmt.Errorf("the server did not start: %w", err)
	}
	s.url = strings.TrimSpace(url)
	return s, nil
}

func (s *server) truthFile() string { return filepath.Join(s.dir, "truth.jsonl") }

// stop ends the process, if it runs. Its record is whole then.
func (s *server) stop() error {
	if s.cmd == nil || s.cmd.Process == nil || s.cmd.ProcessState != nil {
		return nil
	}
	s.hold.Close()
	if err := s.cmd.Wait(); err != nil {
		return fmt.Errorf("the server: %w", err)
	}
	return nil
}

// close ends the process and removes its record.
func (s *server) close() error { return errors.Join(s.stop(), os.RemoveAll(s.dir)) }

// cpu is the processor time of the ended process, in seconds.
func (s *server) cpu() float64 {
	return (s.cmd.ProcessState.UserTime() + s.cmd.ProcessState.SystemTime()).Seconds()
}

// waitForQuiet waits until other processes use less than so many cores.
func waitForQuiet(cores float64, until time.Time) {
	for cores > 0 && time.Now().Before(until) {
		before, start := machine.BusyTime(), time.Now()
		time.Sleep(2 * time.Second)
		if (machine.BusyTime()-before)/time.Since(start).Seconds() < cores {
			return
		}
	}
}
