package main

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/openloop/openloop/internal/machine"
)

// ownGroup makes a command the leader of a group of processes, so that a shell and what it runs end together.
func ownGroup(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} }

func killGroup(p *os.Process) error { return syscall.Kill(-p.Pid, syscall.SIGKILL) }

// mostAddressSpace is a second wall behind watchMemory, for what allocates faster than that looks.
const mostAddressSpace = 16 << 30

func limitAddressSpace(pid int) {
	_ = unix.Prlimit(pid, unix.RLIMIT_AS, &unix.Rlimit{Cur: mostAddressSpace, Max: mostAddressSpace},
		nil) // may have ended
}

// watchMemory looks at the memory of a process until it is stopped, and kills it where it takes more than maxMB. It
// returns the most that it took, in MB.
func watchMemory(p *os.Process, maxMB int, stop <-chan struct{}) (peak int) {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-stop:
			return peak
		case <-tick.C:
			if now := residentMB(p.Pid, "VmHWM"); now > peak {
				peak = now
			}
			if peak > maxMB {
				_ = killGroup(p) // it may have ended
			}
		}
	}
}

// residentMB is a figure of /proc/PID/status in MB: VmHWM is the most memory that was resident, VmRSS what is now.
func residentMB(pid int, name string) int {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0
	}
	for line := range strings.SplitSeq(string(b), "\n") {
		if value, found := strings.CutPrefix(line, name+":"); found {
			var kb int
			if _, err := fmt.Sscan(value, &kb); err == nil {
				return kb >> 10
			}
		}
	}
	return 0
}

func needsLinux() string { return "" }

// limitFiles limits the open files of a process.
func limitFiles(pid int, n uint64) {
	_ = unix.Prlimit(pid, unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: n, Max: 20000}, nil) // it may have ended
}

// busyTime is the processor time of all other processes of the machine so far, in seconds; 0 where it can't be read.
// Commands of the campaign are among them until they have ended.
func busyTime() float64 {
	busy := machine.BusyTime()
	if busy == 0 {
		return 0
	}
	for _, who := range []int{unix.RUSAGE_SELF, unix.RUSAGE_CHILDREN} {
		var own unix.Rusage
		if unix.Getrusage(who, &own) != nil {
			return 0
		}
		busy -= float64(own.Utime.Nano()+own.Stime.Nano()) / 1e9
	}
	return busy
}
