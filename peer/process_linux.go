package peer

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// ticksPerSecond is the unit of times in /proc: USER_HZ, 100 on every Linux.
const ticksPerSecond = 100

// processTree is a process and its descendants, as /proc shows them.
type processTree struct {
	pids map[int]bool
	cpu  map[int]float64 // s, as last seen; a process that has ended keeps it
}

func newProcessTree(root int) *processTree {
	return &processTree{pids: map[int]bool{root: true}, cpu: map[int]float64{}}
}

// search finds descendants that are new.
func (t *processTree) search() {
	parents := map[int]int{}
	names, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return
	}
	for _, name := range names {
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(name)))
		if fields := statFields(pid); err == nil && len(fields) > 1 {
			parents[pid], _ = strconv.Atoi(fields[1])
		}
	}
	for pid := range parents {
		// Chains of parents end at 0, which no process has.
		for up := pid; up > 0; up = parents[up] {
			if t.pids[up] {
				t.pids[pid] = true
				break
			}
		}
	}
}

// sample adds up what all processes of the tree have used so far; weigh has it read their memory too.
func (t *processTree) sample(weigh bool) (sample, bool) {
	s := sample{at: time.Now()}
	for pid := range t.pids {
		fields := statFields(pid)
		if len(fields) < 13 {
			delete(t.pids, pid)
			continue
		}
		user, _ := strconv.ParseFloat(fields[11], 64)
		system, _ := strconv.ParseFloat(fields[12], 64)
		t.cpu[pid] = (user + system) / ticksPerSecond
		s.processes++
		if weigh {
			s.memory += memoryOf(pid)
		}
	}
	for _, cpu := range t.cpu {
		s.cpu += cpu
	}
	return s, s.processes > 0
}

// memoryOf is a process's part of the machine's memory in MB: pages that it shares with others, as forks do, count for
// each by its share.
func memoryOf(pid int) float64 {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/smaps_rollup")
	if err != nil {
		return 0 // gone
	}
	for line := range strings.Lines(string(b)) {
		if value, ok := strings.CutPrefix(line, "Pss:"); ok {
			kB, _ := strconv.ParseFloat(strings.Fields(value + " 0")[0], 64)
			return kB * 1024 / 1e6
		}
	}
	return 0
}

// statFields are the fields of /proc/PID/stat behind the name, which may hold spaces: state, parent, and so on.
func statFields(pid int) []string {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return nil
	}
	return strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:]))
}

// ownGroup puts a command into a process group of its own, so that all of it can be ended, and has the kernel end it if
// this process dies. The thread that starts the command must live as long as it.
func ownGroup(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}

// largestMB is the peak memory of the largest of the processes.
func largestMB(u *syscall.Rusage) float64 { return float64(u.Maxrss) * 1024 / 1e6 }
