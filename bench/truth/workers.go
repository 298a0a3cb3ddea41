package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"time"

	"github.com/openloop/openloop/cluster"
	"github.com/openloop/openloop/loadgen"
)

// crewToken is what the workers of the bench join with.
const crewToken = "bench"

// work is the process of a worker, which joins at an address.
func work(address string) error {
	return cluster.Work(context.Background(), cluster.WorkerConfig{
		Leader: address, Token: crewToken, Name: fmt.Sprint(os.Getpid()), Version: "bench", Most: 20_000,
		Patience: 10 * time.Second,
		Open: func(s cluster.Setup) (*loadgen.Client, error) {
			return loadgen.NewClient(loadgen.Target{URL: s.Targets[0] + s.Path})
		},
	})
}

// sendByWorkers has a stage sent by processes that this one leads. leader is the processor time that it took itself, s.
func sendByWorkers(n int, url string, stage loadgen.Stage, hooks loadgen.Hooks) (
	m *loadgen.Measured, leader float64, err error,
) {
	l, err := cluster.NewLeader(cluster.Config{Listen: "127.0.0.1:0", Token: crewToken, Workers: n, Version: "bench"})
	if err != nil {
		return nil, 0, err
	}
	self, err := os.Executable()
	if err != nil {
		return nil, 0, err
	}
	var workers []*exec.Cmd
	for range n {
		w := exec.Command(self, "work", l.Address())
		w.Stderr = os.Stderr
		if err := w.Start(); err != nil {
			return nil, 0, err
		}
		workers = append(workers, w)
	}
	ctx := context.Background()
	setup := cluster.Setup{Targets: []string{url}, Path: "/v1/chat/completions"}
	if err := l.Open(ctx, setup, 10*time.Second); err != nil {
		return nil, 0, err
	}
	before := processorTime()
	run, err := l.Start(ctx, stage, hooks)
	if err != nil {
		return nil, 0, err
	}
	m, leader = run.Wait(), processorTime()-before
	l.Close()
	for _, w := range workers {
		if err := w.Wait(); err != nil {
			return nil, 0, fmt.Errorf("a worker: %w", err)
		}
	}
	return m, leader, nil
}

// processorTime is what this process has used, in seconds.
func processorTime() float64 {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano()).Seconds()
}
