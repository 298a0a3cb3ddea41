//go:build !linux

package main

import (
	"os"
	"os/exec"
	"syscall"
)

func ownGroup(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} }

func killGroup(p *os.Process) error { return syscall.Kill(-p.Pid, syscall.SIGKILL) }

func limitAddressSpace(int) {}

// watchMemory looks at nothing: there is no /proc.
func watchMemory(_ *os.Process, _ int, stop <-chan struct{}) int {
	<-stop
	return 0
}

func residentMB(int, string) int { return 0 }

func needsLinux() string { return "it needs Linux" }

func limitFiles(int, uint64) {}

func busyTime() float64 { return 0 }
