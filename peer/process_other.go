//go:build !linux

package peer

import (
	"os/exec"
	"syscall"
)

// processTree sees nothing where there is no /proc; what the system counts at the end stands for it.
type processTree struct{}

func newProcessTree(int) *processTree                { return &processTree{} }
func (*processTree) search()                         {}
func (*processTree) sample(bool) (s sample, ok bool) { return s, false }

// ownGroup puts a command into a process group of its own, so that all of it can be ended.
func ownGroup(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} }

// largestMB is the peak memory of the largest of the processes, which macOS counts in bytes.
func largestMB(u *syscall.Rusage) float64 { return float64(u.Maxrss) / 1e6 }
