//go:build unix

package main

import (
	"os"
	"os/signal"
	"time"

	"golang.org/x/sys/unix"
)

// inForeground says whether a terminal is the program's to draw on, and not that of a shell which runs it in the
// background.
func inForeground(tty *os.File) bool {
	group, err := unix.IoctlGetInt(int(tty.Fd()), unix.TIOCGPGRP)
	return err != nil || group == unix.Getpgrp()
}

// notifySuspend tells of Ctrl-Z, so that a screen can be ended before the shell has the terminal again.
func notifySuspend(c chan<- os.Signal) { signal.Notify(c, unix.SIGTSTP) }

// suspend stops the program until the shell lets it go on.
func suspend() {
	_ = unix.Kill(os.Getpid(), unix.SIGSTOP) // what can't be stopped goes on
	time.Sleep(50 * time.Millisecond)        // the signal reaches one thread after the other
}
