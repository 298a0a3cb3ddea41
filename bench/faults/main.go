// Faults is the fault campaign: a table of rows, each a server that misbehaves, a command of the real binary, and what
// must then be said, what the exit code must be, and what the report must hold.
//
//	go run ./bench/faults                               # all rows: minutes
//	go run ./bench/faults -list
//	go run ./bench/faults -run '^1\.4' -v
//	go run ./bench/faults -openloop /path/to/another/openloop
//	go run ./bench/faults -soak 1h                      # descriptors and memory over time, with faults all along
//
// The rows are Go literals, one file for each part of what they guard: truth.go, secrets.go, limits.go, lost.go,
// held.go, workers.go and joining.go. row.go says what a row can hold, run.go runs it, hands.go its workers, relay.go
// the network to them, report.go reads what it left. The servers are those of the package server; soak.go uses llmsim.
// It exits with 1 if a row fails. docs/faults.md says how to add a row.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
)

func main() {
	if err := campaign(); err != nil {
		fmt.Fprintln(os.Stderr, "bench/faults:", err)
		os.Exit(1)
	}
}

// rows are all rows, in the order of the points that they belong to.
func rows() []row {
	all := slices.Concat(truthRows(), secretRows(), limitRows(), lostRows(), heldRows(), workerRows())
	for i := range all {
		all[i].number = i + 1
	}
	return all
}

func campaign() error {
	binary := flag.String("openloop", "", "the binary to be tried; empty: build ./cmd/openloop")
	only := flag.String("run", "", "only rows whose point and name, such as \"1.2 role only\", match this expression")
	list := flag.Bool("list", false, "list the rows and end")
	fast := flag.Bool("fast", false, "only the rows that go test runs")
	parallel := flag.Int("parallel", 6, "rows at a time; those that measure times run alone")
	patience := flag.Duration("patience", 2*time.Minute,
		"how long, in all, rows that run alone wait for a quiet machine")
	keep := flag.String("keep", "", "folder for what the rows leave; empty: a temporary one, of failed rows alone")
	verbose := flag.Bool("v", false, "print the commands")
	var s soakOptions
	flag.DurationVar(&s.length, "soak", 0, "send load with faults for so long, and watch what the program holds")
	flag.Float64Var(&s.rate, "soak-rate", 50, "requests a second of -soak")
	flag.DurationVar(&s.sample, "soak-sample", 10*time.Second, "time between two looks of -soak")
	flag.StringVar(&s.write, "soak-write", "", "write the table of -soak in Markdown to this file too")
	flag.Parse()
	if flag.NArg() > 0 {
		return fmt.Errorf("unexpected argument %q", flag.Arg(0))
	}
	chosen, err := choose(rows(), *only, *fast)
	if err != nil {
		return err
	}
	if *list {
		for _, r := range chosen {
			fmt.Printf("%-60s %s\n", r.title(), r.pace())
		}
		fmt.Printf("%d rows\n", len(chosen))
		return nil
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	// Under nohup, the program would inherit that SIGHUP is ignored.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGHUP)
	c := &campaigner{keep: *keep != "", verbose: *verbose, patience: *patience}
	if c.folder, err = folder(*keep); err != nil {
		return err
	}
	defer os.Remove(c.folder) // if it is empty
	if c.binary, err = findBinary(ctx, *binary, c.folder); err != nil {
		return err
	}
	if *binary == "" {
		defer os.Remove(c.binary)
	}
	if s.length > 0 {
		s.binary, s.dir = c.binary, filepath.Join(c.folder, "soak")
		return s.run(ctx)
	}
	started := time.Now()
	failed := c.run(ctx, chosen, *parallel)
	fmt.Printf("\n%d rows: %d passed, %d FAILED, %d skipped, in %.0f s\n", len(chosen), c.passed, len(failed),
		c.skipped,
		time.Since(started).Seconds())
	if len(failed) > 0 {
		fmt.Printf("what they left is in %s\n", c.folder)
		return errors.New("rows failed: " + strings.Join(failed, "; "))
	}
	return ctx.Err()
}

// folder makes the folder for what rows leave.
func folder(name string) (string, error) {
	if name == "" {
		return os.MkdirTemp("", "openloop-faults-")
	}
	name, err := filepath.Abs(name)
	if err != nil {
		return "", err
	}
	return name, os.MkdirAll(name, 0o777)
}

// findBinary is the absolute path of the binary to try, which is built if none is named.
func findBinary(ctx context.Context, name, dir string) (string, error) {
	if name != "" {
		return filepath.Abs(name)
	}
	name = filepath.Join(dir, "openloop")
	build := exec.CommandContext(ctx, "go", "build", "-o", name, "github.com/openloop/openloop/cmd/openloop")
	build.Stderr = os.Stderr
	return name, build.Run()
}

// choose gives the rows that match an expression.
func choose(all []row, expression string, fast bool) ([]row, error) {
	match, err := regexp.Compile(expression)
	if err != nil {
		return nil, fmt.Errorf("-run: %w", err)
	}
	chosen := slices.DeleteFunc(slices.Clone(all), func(r row) bool {
		return !match.MatchString(r.title()) || fast && !r.fast
	})
	if len(chosen) == 0 {
		return nil, fmt.Errorf("no row matches %q", expression)
	}
	return chosen, nil
}

// A row that runs alone is repeated where it fails while other processes use more than busyCores. One that runs beside
// others, whose commands are among those processes, is repeated alone above crowdedCores.
const (
	busyCores    = 0.3
	crowdedCores = 1.0
	tries        = 2
)

// campaigner runs rows and prints how they went.
type campaigner struct {
	binary, folder  string
	keep, verbose   bool
	patience        time.Duration // how long rows that run alone may still wait for a quiet machine, in all
	mu              sync.Mutex
	passed, skipped int
	failed          []string
}

// run runs the rows, several at a time, and then one by one those that are to be alone, and those that failed while
// other processes took the machine.
func (c *campaigner) run(ctx context.Context, chosen []row, parallel int) (failed []string) {
	var work sync.WaitGroup
	places := make(chan struct{}, max(1, parallel))
	var later []*row
	for i := range chosen {
		r := &chosen[i]
		switch {
		case ctx.Err() != nil:
		case r.alone:
			later = append(later, r)
		default:
			places <- struct{}{}
			work.Go(func() {
				defer func() { <-places }()
				o := r.run(ctx, c.binary, c.dir(r))
				c.mu.Lock()
				defer c.mu.Unlock()
				if len(o.wrong) > 0 && o.others > crowdedCores {
					later = append(later, r)
					return
				}
				c.print(r, o)
			})
		}
	}
	work.Wait()
	for _, r := range later {
		if ctx.Err() == nil {
			o := c.alone(ctx, r)
			c.print(r, o)
		}
	}
	return c.failed
}

// dir is the folder for what a row leaves.
func (c *campaigner) dir(r *row) string { return filepath.Join(c.folder, r.folder()) }

// alone runs a row with no other beside it. A busy machine makes every client late and some too late: a row gets
// another
// chance for that alone.
func (c *campaigner) alone(ctx context.Context, r *row) (o outcome) {
	for try := 0; try < tries && ctx.Err() == nil; try++ {
		c.waitForQuiet(ctx)
		o = r.run(ctx, c.binary, c.dir(r))
		if len(o.wrong) == 0 || o.others <= busyCores {
			return o
		}
	}
	if len(o.wrong) > 0 {
		o.wrong = append(o.wrong, fmt.Sprintf("(the machine was busy: others used %.1f processors)", o.others))
	}
	return o
}

// waitForQuiet waits while other processes use the machine, as long as the patience lasts.
func (c *campaigner) waitForQuiet(ctx context.Context) {
	const look = time.Second / 2
	for ; c.patience > 0 && ctx.Err() == nil; c.patience -= look {
		before, start := busyTime(), time.Now()
		time.Sleep(look)
		if (busyTime()-before)/time.Since(start).Seconds() < busyCores {
			return
		}
	}
}

// print prints a line about a row, and more if it failed.
func (c *campaigner) print(r *row, o outcome) {
	word := "pass"
	switch {
	case o.skipped != "":
		word = "skipped"
		c.skipped++
	case len(o.wrong) > 0:
		word = "FAIL"
		c.failed = append(c.failed, r.title())
	default:
		c.passed++
	}
	fmt.Printf("%-60s %-7s %5.1f s\n", r.title(), word, o.took.Seconds())
	if c.verbose || word == "FAIL" {
		for _, command := range o.commands {
			fmt.Printf("    $ %s\n", command)
		}
	}
	if o.skipped != "" {
		fmt.Printf("    %s\n", o.skipped)
	}
	for _, w := range o.wrong {
		fmt.Printf("    %s\n", strings.ReplaceAll(w, "\n", "\n      "))
	}
	if word == "FAIL" {
		fmt.Printf("    kept in %s\n", c.dir(r))
	} else if !c.keep {
		os.RemoveAll(c.dir(r))
	}
}

// buildOther builds a binary of another version beside the one to be tried.
func buildOther(dir string) (string, error) {
	name := filepath.Join(dir, "openloop-other")
	build := exec.Command("go", "build", "-ldflags", "-X main.version=other", "-o", name,
		"github.com/openloop/openloop/cmd/openloop")
	build.Stderr = os.Stderr
	return name, build.Run()
}
